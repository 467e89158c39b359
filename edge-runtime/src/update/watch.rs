//! The thread that installs, hands over and judges bundles while the cameras run.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model_bundle::Bundle;
use serde::Serialize;

use super::progress::{Exchange, Offer};
use super::state::{Slot, State};
use super::store::{Installed, Lock, Store};
use super::{fetch, is_url};
use crate::control::UpdateCommand;
use crate::error::Error;

/// Time between two looks at the state: another process may have installed a bundle.
const LOOK: Duration = Duration::from_millis(500);
/// Commands that may wait.
const COMMANDS: usize = 4;

/// Makes a verified bundle a loaded model, its golden vectors checked.
pub type Load<S> = Box<dyn Fn(Bundle, &Path) -> Result<Offer<S>, Error> + Send>;

/// What the thread needs.
pub struct WatchSetup<S> {
    /// The slots.
    pub store: Store,
    /// Loads a bundle.
    pub load: Load<S>,
    /// Where loaded models are handed over.
    pub exchange: Arc<Exchange<S>>,
    /// Beginnings of addresses that a bundle may be fetched from.
    pub url_prefixes: Vec<String>,
    /// Certificates that a server must be signed by; none stands for the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// Frames of a trial.
    pub probation_frames: u64,
    /// Shortest time of a trial.
    pub probation: Duration,
    /// What runs at the start.
    pub running: Option<Slot>,
    /// Gets a report after every change.
    pub report: Box<dyn Fn(&Report) + Send>,
    /// Commands; the thread ends when all its senders are gone.
    pub commands: Receiver<UpdateCommand>,
}

/// The slots and the newest command, as published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The slot that runs: `a`, `b`, or none for the bundle of the configuration.
    pub running: Option<Slot>,
    /// The slots.
    #[serde(flatten)]
    pub state: State,
    /// What became of the newest command or change.
    pub message: String,
    /// Whether it failed.
    pub failed: bool,
}

/// The thread. It ends soon after this and every other sender of its commands are gone, and is not
/// waited for: a fetch may take an hour.
pub struct Watch {
    _commands: SyncSender<UpdateCommand>,
    _thread: JoinHandle<()>,
}

impl Watch {
    /// A bounded queue of commands.
    pub fn commands() -> (SyncSender<UpdateCommand>, Receiver<UpdateCommand>) {
        sync_channel(COMMANDS)
    }

    /// Starts the thread; `commands` is the other end of `setup.commands`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start<S: Send + 'static>(
        setup: WatchSetup<S>,
        commands: SyncSender<UpdateCommand>,
    ) -> Result<Self, Error> {
        let wanted = setup.store.state().ok().and_then(|state| wanted(&state));
        let told = String::new();
        let mut watcher = Watcher { since: Instant::now(), wanted, told, setup };
        let thread = std::thread::Builder::new()
            .name("updates".into())
            .spawn(move || watcher.run())
            .map_err(|e| Error::Failed(format!("no thread for updates: {e}")))?;
        Ok(Self { _commands: commands, _thread: thread })
    }
}

struct Watcher<S> {
    setup: WatchSetup<S>,
    /// When the running model took over.
    since: Instant,
    /// What the state asked for when the running model was chosen.
    wanted: Option<(Slot, String)>,
    /// The newest message: the same trouble is told once, not twice a second.
    told: String,
}

/// The bundle that the state asks for: its slot and digest.
fn wanted(state: &State) -> Option<(Slot, String)> {
    let slot = state.current()?;
    Some((slot, state.slot(slot).map(|info| info.digest.clone()).unwrap_or_default()))
}

impl<S> Watcher<S> {
    fn run(&mut self) {
        self.tell("", false);
        loop {
            let done = match self.setup.commands.recv_timeout(LOOK) {
                Ok(command) => Some(self.command(&command)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(done) = done {
                self.tell_result(done);
            }
            match self.look() {
                Ok(None) => {}
                Ok(Some(news)) => self.tell(&news, false),
                Err(e) if e.to_string() == self.told => {}
                Err(e) => self.tell(&e.to_string(), true),
            }
        }
    }

    fn command(&self, command: &UpdateCommand) -> Result<String, Error> {
        let WatchSetup { store, load, url_prefixes, ca_file, .. } = &self.setup;
        match command {
            UpdateCommand::Install { url } => {
                if !is_url(url) || !url_prefixes.iter().any(|prefix| url.starts_with(prefix)) {
                    let message =
                        format!("{url}: does not begin with one of `updates.url_prefixes`");
                    return Err(Error::Usage(message));
                }
                let bytes = fetch(url, ca_file.as_deref())?;
                let _lock = Lock::take(store.dir())?;
                let origin = Path::new(url);
                let test = |bundle| load(bundle, origin).map(drop);
                Ok(match store.install(bytes, origin, test)? {
                    Installed::OnTrial(slot) => format!("installed in slot {slot}, on trial"),
                    Installed::Already => "is in use already".into(),
                })
            }
            UpdateCommand::Rollback {} => {
                let _lock = Lock::take(store.dir())?;
                let to = store.rollback(load)?;
                Ok(to.map_or("back to the bundle of the configuration".into(), |slot| {
                    format!("back to the bundle in slot {slot}")
                }))
            }
        }
    }

    /// Brings what runs in line with the state, and judges a trial. Returns what has changed.
    fn look(&mut self) -> Result<Option<String>, Error> {
        if self.setup.exchange.is_waiting() {
            // The cameras have not taken over the last one yet.
            self.since = Instant::now();
            return Ok(None);
        }
        let store = &self.setup.store;
        let state = store.state()?;
        let asked = wanted(&state);
        if asked != self.wanted {
            self.wanted = asked;
            let _lock = Lock::take(store.dir())?;
            let load = &self.setup.load;
            let selected = store.select(load)?;
            self.setup.running = selected.slot;
            self.setup.exchange.offer(selected.value);
            self.since = Instant::now();
            let place = selected.slot.map_or("the configuration".into(), |s| format!("slot {s}"));
            let trial = if selected.on_trial { ", on trial" } else { "" };
            return Ok(Some(format!("runs the bundle of {place}{trial}")));
        }
        if state.trial.is_none() {
            return Ok(None);
        }
        let (scored, failures) = self.setup.exchange.counts();
        if failures > 0 {
            let _lock = Lock::take(store.dir())?;
            store.fail_trial("the model failed")?;
            return Ok(Some("the trial has failed".into()));
        }
        if scored >= self.setup.probation_frames && self.since.elapsed() >= self.setup.probation {
            let _lock = Lock::take(store.dir())?;
            store.commit()?;
            return Ok(Some(format!("the trial is passed after {scored} frames")));
        }
        Ok(None)
    }

    fn tell_result(&mut self, result: Result<String, Error>) {
        match result {
            Ok(message) => self.tell(&message, false),
            Err(e) => self.tell(&e.to_string(), true),
        }
    }

    fn tell(&mut self, message: &str, failed: bool) {
        message.clone_into(&mut self.told);
        if failed {
            log::error!("update: {message}");
        } else if !message.is_empty() {
            log::info!("update: {message}");
        }
        let state = self.setup.store.state().unwrap_or_default();
        let running = self.setup.running;
        (self.setup.report)(&Report { running, state, message: message.to_owned(), failed });
    }
}
