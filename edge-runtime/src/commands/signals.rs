//! Signals: SIGTERM and SIGINT end the program in order, SIGHUP reads the configuration again, if it can
//! be run.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_runtime::Error;
use edge_runtime::config::Config;
use edge_runtime::engine::Hub;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A start that was told to end is given so long to come to where it can end in order.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Default)]
struct State {
    /// What a signal stops.
    hub: Option<Arc<Hub>>,
    /// The end was asked for.
    ended: bool,
    /// The configuration that was read again.
    reloaded: Option<Config>,
}

/// Waits for signals in a thread of its own.
pub struct Signals {
    state: Arc<Mutex<State>>,
}

impl Signals {
    /// Begins; `path` is the configuration.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let state = Arc::new(Mutex::new(State::default()));
        let (own, path) = (Arc::clone(&state), path.to_owned());
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let reloaded = if signal == SIGHUP {
                    let read = || -> Result<Config, Error> {
                        let config = Config::load(&path)?;
                        super::reload::check(&config)?;
                        Ok(config)
                    };
                    match read() {
                        Ok(config) => Some(config),
                        Err(e) => {
                            log::error!("{e}; the configuration stays as it was");
                            continue;
                        }
                    }
                } else {
                    // Without a service manager there is nobody to tell.
                    let _ = sd_notify::notify(&[NotifyState::Stopping]);
                    None
                };
                let mut state = lock(&own);
                let ends = reloaded.is_none();
                state.ended |= ends;
                state.reloaded = reloaded;
                if let Some(hub) = &state.hub {
                    hub.stop();
                } else if ends {
                    drop(state);
                    give_up_starting(&own);
                }
            }
        })?;
        Ok(Self { state })
    }

    /// From now on signals stop this hub; at once if the end was asked for already.
    pub fn stops(&self, hub: &Arc<Hub>) {
        let mut state = lock(&self.state);
        if state.ended || state.reloaded.is_some() {
            hub.stop();
        }
        state.hub = Some(Arc::clone(hub));
    }

    /// The configuration to go on with, unless the program is to end.
    pub fn take_reloaded(&self) -> Option<Config> {
        let mut state = lock(&self.state);
        let ended = state.ended;
        state.reloaded.take().filter(|_| !ended)
    }
}

/// Ends a start that is still loading its model when it has been waited for: nothing runs yet that
/// would have to come to an end.
fn give_up_starting(state: &Arc<Mutex<State>>) {
    let state = Arc::clone(state);
    let wait = move || {
        std::thread::sleep(PATIENCE);
        if lock(&state).hub.is_none() {
            log::info!("told to end while starting");
            std::process::exit(0);
        }
    };
    if let Err(e) = std::thread::Builder::new().name("patience".into()).spawn(wait) {
        log::warn!("no thread to wait for the start: {e}");
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
