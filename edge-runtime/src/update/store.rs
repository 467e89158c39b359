//! The folder of slots: installing, choosing, committing, going back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model_bundle::container::MAX_FILE_SIZE;
use model_bundle::{Bundle, Trust};

use super::state::{Condition, Slot, SlotInfo, State, Trial};
use crate::error::Error;
use crate::files::{self, Files};

/// Starts of the program that a bundle on trial gets.
pub const STARTS: u32 = 3;
/// Far more than the state ever has.
const MAX_STATE: u64 = 64 << 10;

/// The folder of slots, and what a bundle must be to be taken.
pub struct Store {
    files: Arc<dyn Files>,
    dir: PathBuf,
    trust: Trust,
    device_class: String,
    /// The bundle of the configuration.
    factory: PathBuf,
}

/// What an install did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// The bundle is in this slot, on trial.
    OnTrial(Slot),
    /// The bundle is the one in use already; nothing was changed.
    Already,
}

/// A bundle that has passed its self-test, and what that gave.
#[derive(Debug)]
pub struct Selected<T> {
    /// What the self-test returned.
    pub value: T,
    /// Where the bundle is; `None` stands for the bundle of the configuration.
    pub slot: Option<Slot>,
    /// Whether it has yet to prove itself.
    pub on_trial: bool,
}

/// Held while the state is changed.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "released when it is dropped")] File);

impl Lock {
    /// Waits for the lock of a folder, making the folder if needed.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn take(dir: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Write { path: dir.into(), source };
        fs::create_dir_all(dir).map_err(fail)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(dir.join("lock")).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(Self(file))
    }
}

impl Store {
    /// The slots in `dir`. Bundles must be signed by one of the keys of `trust` and be for
    /// `device_class`; `factory` is run where no slot can be.
    pub fn new(
        files: Arc<dyn Files>,
        dir: &Path,
        trust: Trust,
        device_class: &str,
        factory: &Path,
    ) -> Self {
        let device_class = device_class.to_owned();
        Self { files, dir: dir.to_owned(), trust, device_class, factory: factory.to_owned() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a slot, or of the bundle of the configuration.
    pub fn path(&self, slot: Option<Slot>) -> PathBuf {
        slot.map_or_else(|| self.factory.clone(), |s| self.dir.join(format!("{s}.pavad")))
    }

    fn state_path(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// The state; that of a fresh device if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn state(&self) -> Result<State, Error> {
        let path = self.state_path();
        let damaged = |message: String| Error::Bundle { path: path.clone(), message };
        match self.files.read(&path, MAX_STATE) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| damaged(format!("{e}; remove it and install a bundle again"))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(damaged(e.to_string())),
        }
    }

    fn save(&self, state: &State) -> Result<(), Error> {
        let path = self.state_path();
        let json = serde_json::to_vec_pretty(state).map_err(io::Error::other);
        json.and_then(|json| files::replace(self.files.as_ref(), &path, &json))
            .map_err(|source| Error::Write { path, source })
    }

    /// Reads and verifies the bundle of a slot, against what the state says of it.
    fn open(&self, state: &State, slot: Option<Slot>) -> Result<Bundle, Error> {
        let path = self.path(slot);
        let bytes = self
            .files
            .read(&path, MAX_FILE_SIZE)
            .map_err(|e| Error::Bundle { path: path.clone(), message: e.to_string() })?;
        let bundle = self.verify(bytes, &path, state.epoch)?;
        let known = slot.and_then(|slot| state.slot(slot));
        if known.is_some_and(|info| info.digest != bundle.digest_hex()) {
            let message = "is not the bundle that was installed".into();
            return Err(Error::Bundle { path, message });
        }
        Ok(bundle)
    }

    fn verify(&self, bytes: Vec<u8>, origin: &Path, epoch: u32) -> Result<Bundle, Error> {
        let refused =
            |e: model_bundle::Error| Error::Bundle { path: origin.into(), message: e.to_string() };
        let bundle = Bundle::from_bytes(bytes, &self.trust).map_err(refused)?;
        bundle.check_device(&self.device_class).map_err(refused)?;
        bundle.check_epoch(epoch).map_err(refused)?;
        Ok(bundle)
    }

    /// The lowest epoch that is accepted: the device's, or that of the bundle in use, which may be
    /// that of the configuration and then nothing has noted it yet.
    fn floor(&self, state: &State) -> u32 {
        let used = self.open(state, state.active).map_or(0, |b| b.manifest().security_epoch);
        state.epoch.max(used)
    }

    /// Installs a bundle: verified, written to the inactive slot, read back, tested with `test`, and
    /// put on trial. `origin` is named in errors. The caller holds the [`Lock`].
    ///
    /// # Errors
    /// If the bundle is refused, an update is on trial already, or the folder cannot be written. The
    /// bundle in use is the same as before.
    pub fn install<T>(
        &self,
        bytes: Vec<u8>,
        origin: &Path,
        test: impl FnOnce(Bundle) -> Result<T, Error>,
    ) -> Result<Installed, Error> {
        let mut state = self.state()?;
        if let Some(trial) = state.trial {
            return Err(Error::Failed(format!(
                "the bundle in slot {} is on trial; wait until it has passed, or go back with \
                 `bundle rollback`",
                trial.slot
            )));
        }
        state.epoch = self.floor(&state);
        let bundle = self.verify(bytes, origin, state.epoch)?;
        let digest = bundle.digest_hex();
        if state.active.and_then(|s| state.slot(s)).is_some_and(|info| info.digest == digest) {
            return Ok(Installed::Already);
        }
        let slot = state.inactive();
        if state.slot(slot).is_some() {
            *state.slot_mut(slot) = None;
            self.save(&state)?;
        }
        let path = self.path(Some(slot));
        files::replace(self.files.as_ref(), &path, bundle.as_bytes())
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        let manifest = bundle.manifest();
        *state.slot_mut(slot) = Some(SlotInfo {
            digest,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            epoch: manifest.security_epoch,
            condition: Condition::Candidate,
            reason: None,
        });
        drop(bundle);
        // What counts is what the disk gives back.
        test(self.open(&state, Some(slot))?)?;
        state.trial = Some(Trial { slot, starts_left: STARTS });
        self.save(&state)?;
        Ok(Installed::OnTrial(slot))
    }

    /// Chooses what to run: the first of trial, active slot, other slot and bundle of the
    /// configuration that is verified and passes `test`, which also gets its file. Counts a start of a trial. The caller holds
    /// the [`Lock`].
    ///
    /// # Errors
    /// The first candidate's, if none can be run.
    pub fn select<T>(
        &self,
        mut test: impl FnMut(Bundle, &Path) -> Result<T, Error>,
    ) -> Result<Selected<T>, Error> {
        let mut state = self.state().unwrap_or_else(|e| {
            log::error!("{e}; the bundle of the configuration is used");
            State::default()
        });
        let mut first_error = None;
        if let Some(mut trial) = state.trial {
            let slot = trial.slot;
            let tried = match trial.starts_left.checked_sub(1) {
                None => Err(Error::Failed(format!("did not pass its trial in {STARTS} starts"))),
                Some(left) => {
                    trial.starts_left = left;
                    state.trial = Some(trial);
                    // First the count, then the risk.
                    self.save(&state)?;
                    self.open(&state, Some(slot)).and_then(|b| test(b, &self.path(Some(slot))))
                }
            };
            match tried {
                Ok(value) => return Ok(Selected { value, slot: Some(slot), on_trial: true }),
                Err(e) => {
                    self.fail_trial(&e.to_string())?;
                    state = self.state()?;
                    first_error = Some(e);
                }
            }
        }
        let good = [Slot::A, Slot::B].into_iter().filter(|slot| {
            let info = state.slot(*slot);
            state.active != Some(*slot) && info.is_some_and(|i| i.condition == Condition::Good)
        });
        let others: Vec<Option<Slot>> = good.map(Some).chain([None]).collect();
        let others = others.into_iter().filter(|slot| *slot != state.active);
        for slot in std::iter::once(state.active).chain(others) {
            match self.open(&state, slot).and_then(|b| test(b, &self.path(slot))) {
                Ok(value) => {
                    if slot != state.active {
                        log::error!(
                            "the bundle in use cannot be run; {} is run instead",
                            self.path(slot).display()
                        );
                    }
                    return Ok(Selected { value, slot, on_trial: false });
                }
                Err(e) => {
                    log::error!("{e}");
                    first_error.get_or_insert(e);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Failed("there is no bundle".into())))
    }

    /// The trial is passed: the bundle is in use from now on. The caller holds the [`Lock`].
    ///
    /// # Errors
    /// If the state cannot be read or written.
    pub fn commit(&self) -> Result<(), Error> {
        let mut state = self.state()?;
        let Some(trial) = state.trial.take() else { return Ok(()) };
        state.active = Some(trial.slot);
        state.mark(trial.slot, Condition::Good, None);
        state.epoch = state.epoch.max(state.slot(trial.slot).map_or(0, |info| info.epoch));
        self.save(&state)
    }

    /// The trial has failed: the slot is bad, the bundle before it is in use. The caller holds the
    /// [`Lock`].
    ///
    /// # Errors
    /// If the state cannot be read or written.
    pub fn fail_trial(&self, why: &str) -> Result<(), Error> {
        let mut state = self.state()?;
        let Some(trial) = state.trial.take() else { return Ok(()) };
        log::error!("the bundle in slot {} has failed its trial: {why}", trial.slot);
        state.mark(trial.slot, Condition::Bad, Some(why.chars().take(300).collect()));
        self.save(&state)
    }

    /// Goes back to the bundle before: ends a trial, or makes the other slot (else the bundle of
    /// the configuration) the one in use, after it has passed `test`. Returns what is in use now.
    /// The caller holds the [`Lock`].
    ///
    /// # Errors
    /// If there is none, or it is refused: its epoch may be below the device's.
    pub fn rollback<T>(
        &self,
        test: impl FnOnce(Bundle, &Path) -> Result<T, Error>,
    ) -> Result<Option<Slot>, Error> {
        let mut state = self.state()?;
        if state.trial.is_some() {
            self.fail_trial("rolled back by command")?;
            return Ok(state.active);
        }
        if state.active.is_none() {
            return Err(Error::Failed(
                "no bundle was installed; there is none to go back to".into(),
            ));
        }
        let good = Some(state.inactive())
            .filter(|slot| state.slot(*slot).is_some_and(|i| i.condition == Condition::Good));
        let to = good.filter(|slot| self.open(&state, Some(*slot)).is_ok());
        let bundle = self.open(&state, to)?;
        test(bundle, &self.path(to))?;
        state.active = to;
        self.save(&state)?;
        Ok(to)
    }
}
