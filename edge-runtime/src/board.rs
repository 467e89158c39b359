//! The machine that the program runs on: status LED, watchdog, key switch of the siren,
//! temperature. The alarm output itself is in [`crate::alarm`].
//!
//! Nothing here keeps the program from watching: a LED, a watchdog or a sensor that is not there is
//! said in the log, and the rest goes on. Only a siren that is asked for and not there ends it.

mod led;

use std::path::Path;
use std::time::Duration;

use boards::profile::{Origin, Profile};
use boards::{
    ArmInput, BootCause, HardwareError, Ladder, Rung, Status, ThermalMonitor, ThermalSource,
    ThermalState, Watchdog,
};
use serde::Serialize;

use crate::config::BackendName;
use crate::error::Error;
use led::LedThread;

/// Time between two readings of the temperature.
const THERMAL_EVERY: Duration = Duration::from_secs(2);
/// Time between two meals of the watchdog.
const FEED_EVERY: Duration = Duration::from_millis(500);

/// The board profile of a configuration's `board`: the one it names, or, if that is `auto`, the one
/// for the machine. `root` is `/` on a real machine.
///
/// # Errors
/// If there is no such profile, or it is not valid.
pub fn profile(board: &str, root: &Path) -> Result<(Profile, Origin), Error> {
    let model = boards::linux::device_tree_model(root);
    let asked_for = (board != "auto").then_some(board);
    Profile::detect(model.as_deref(), asked_for)
        .map_err(|e| Error::Usage(format!("{e}; change `board`")))
}

/// What to tell people about how the board was found.
pub fn describe(profile: &Profile, origin: Origin, root: &Path) -> String {
    match (origin, boards::linux::device_tree_model(root)) {
        (Origin::AskedFor | Origin::Model, _) => {
            format!("{} (profile {})", profile.description, profile.name)
        }
        (Origin::Unknown, Some(model)) => format!(
            "no profile knows \"{model}\", so {} is used, which has no outputs; name a profile or a \
             .toml file of your own as `board`",
            profile.name
        ),
        (Origin::Unknown, None) => format!(
            "this machine has no device tree, so {} is used, which has no outputs; name a profile \
             or a .toml file of your own as `board`",
            profile.name
        ),
    }
}

/// The backends of a profile, in its order; `None` if it has no opinion.
pub fn backends(profile: &Profile) -> Option<Vec<BackendName>> {
    let known = |name: &String| {
        let backend = BackendName::named(name);
        if backend.is_none() {
            log::warn!("board profile {}: no backend `{name}`; left out", profile.name);
        }
        backend
    };
    let list: Vec<BackendName> = profile.backends.iter().filter_map(known).collect();
    (!list.is_empty()).then_some(list)
}

/// How the program is doing, as far as the board has to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions {
    /// A frame has been taken since the start.
    pub started: bool,
    /// An incident is active.
    pub alarm: bool,
    /// Watching, but something is wrong.
    pub degraded: bool,
    /// Nothing is watched.
    pub fault: bool,
    /// Frames come from every camera that should give them.
    pub frames_flow: bool,
}

/// The board in the status message.
#[derive(Debug, Clone, Serialize)]
pub struct BoardStatus {
    /// Name of the profile.
    pub profile: String,
    /// Whether the alarm output is armed; absent if the board has no key switch.
    pub armed: Option<bool>,
    /// `normal`, `warm`, `throttled` or `critical`; absent without a sensor.
    pub thermal: Option<&'static str>,
    /// Degrees Celsius of the hottest sensor.
    pub temperature_celsius: Option<f64>,
    /// What is given up because of heat: `full` (nothing), `frame-rate`, `input-skip`, `one-camera`
    /// or `paused`.
    pub rung: &'static str,
    /// Whether a watchdog guards the program.
    pub watchdog: bool,
}

/// A driver, and whether its last use failed: reported once, not with every use.
struct Part<T> {
    what: &'static str,
    driver: T,
    failing: bool,
}

impl<T> Part<T> {
    fn new(what: &'static str, driver: T) -> Self {
        Self { what, driver, failing: false }
    }

    /// What the use gave, or `None` if it failed.
    fn try_to<R>(&mut self, go: impl FnOnce(&mut T) -> Result<R, HardwareError>) -> Option<R> {
        match go(&mut self.driver) {
            Ok(value) => {
                self.failing = false;
                Some(value)
            }
            Err(e) => {
                if !self.failing {
                    log::error!("{}: {e}; it is tried again", self.what);
                }
                self.failing = true;
                None
            }
        }
    }
}

/// LED, watchdog, key switch and temperature of the board; each may be absent.
pub struct Board {
    profile: String,
    led: Option<LedThread>,
    watchdog: Option<Part<Box<dyn Watchdog + Send>>>,
    frames_within: Duration,
    fed: Option<Duration>,
    starving: bool,
    arm: Option<Part<Box<dyn ArmInput + Send>>>,
    thermal: Option<Part<Box<dyn ThermalSource + Send>>>,
    monitor: ThermalMonitor,
    ladder: Ladder,
    temperature: Option<i32>,
    measured: Option<Duration>,
    memory_ceiling_mib: Option<u64>,
    boot_cause: Option<BootCause>,
}

impl Board {
    /// A board with nothing on it.
    pub fn none() -> Self {
        let thermal = boards::profile::ThermalProfile::default();
        Self {
            profile: "none".into(),
            led: None,
            watchdog: None,
            frames_within: Duration::MAX,
            fed: None,
            starving: false,
            arm: None,
            thermal: None,
            monitor: ThermalMonitor::new(thermal.limits()),
            ladder: Ladder::new(),
            temperature: None,
            measured: None,
            memory_ceiling_mib: None,
            boot_cause: None,
        }
    }

    /// Opens what a profile names, and starts the watchdog. `root` is `/` on a real machine.
    pub fn open(profile: &Profile, root: &Path) -> Self {
        fn part<T>(
            what: &'static str,
            opened: Result<Option<T>, HardwareError>,
        ) -> Option<Part<T>> {
            opened.map(|driver| driver.map(|d| Part::new(what, d))).unwrap_or_else(|e| {
                log::warn!("{what}: {e}; the program runs without it");
                None
            })
        }
        let watchdog = profile.watchdog.as_ref();
        let mut board = Self {
            profile: profile.name.clone(),
            led: part("status LED", profile.open_led(root)).map(|led| LedThread::start(led.driver)),
            watchdog: part("watchdog", profile.open_watchdog(root)),
            frames_within: watchdog
                .map_or(Duration::MAX, |w| Duration::from_secs_f64(w.frames_within)),
            arm: part("key switch", profile.open_arm(root)),
            thermal: part("temperature", profile.open_thermal(root)),
            monitor: ThermalMonitor::new(profile.thermal.limits()),
            memory_ceiling_mib: profile.memory_ceiling_mib.map(u64::from),
            ..Self::none()
        };
        board.boot_cause = board.watchdog.as_mut().and_then(|w| w.driver.boot_cause());
        board
    }

    /// A board of given parts, for tests.
    pub fn with_parts(
        watchdog: Option<(Box<dyn Watchdog + Send>, Duration)>,
        arm: Option<Box<dyn ArmInput + Send>>,
        thermal: Option<Box<dyn ThermalSource + Send>>,
    ) -> Self {
        let mut board = Self::none();
        if let Some((watchdog, frames_within)) = watchdog {
            let mut watchdog = Part::new("watchdog", watchdog);
            board.boot_cause = watchdog.driver.boot_cause();
            board.watchdog = Some(watchdog);
            board.frames_within = frames_within;
        }
        board.arm = arm.map(|arm| Part::new("key switch", arm));
        board.thermal = thermal.map(|thermal| Part::new("temperature", thermal));
        board
    }

    /// Lets time pass: reads the temperature, feeds the watchdog, shows the state. Returns how much
    /// is to be given up because of heat. To be called at least twice a second.
    pub fn tick(&mut self, now: Duration, conditions: &Conditions) -> Rung {
        self.measure(now);
        self.feed(now, conditions.frames_flow);
        let rung = self.ladder.rung();
        if let Some(led) = &self.led {
            led.show(match conditions {
                Conditions { alarm: true, .. } => Status::Alarm,
                Conditions { started: false, fault: false, .. } => Status::Starting,
                _ if conditions.fault || rung == Rung::Paused => Status::Fault,
                _ if conditions.degraded || rung != Rung::Full => Status::Degraded,
                _ => Status::Healthy,
            });
        }
        rung
    }

    fn measure(&mut self, now: Duration) {
        let Some(thermal) = &mut self.thermal else {
            return;
        };
        if self.measured.is_some_and(|measured| now < measured + THERMAL_EVERY) {
            return;
        }
        self.measured = Some(now);
        let Some(reading) = thermal.try_to(ThermalSource::read) else {
            // Nothing is known of the heat; what is given up stays given up.
            self.temperature = None;
            return;
        };
        self.temperature = Some(reading.temperature);
        let (state, rung) = (self.monitor.state(), self.ladder.rung());
        let now_state = self.monitor.update(reading);
        let now_rung = self.ladder.update(now_state, now.as_millis() as u64);
        if (now_state, now_rung) != (state, rung) {
            let level =
                if now_state > ThermalState::Normal { log::Level::Warn } else { log::Level::Info };
            log::log!(
                level,
                "temperature {:.1} °C: {}, working at {}",
                f64::from(reading.temperature) / 1000.0,
                now_state.name(),
                now_rung.name()
            );
        }
    }

    fn feed(&mut self, now: Duration, frames_flow: bool) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if !frames_flow {
            if !self.starving {
                log::error!(
                    "no frame for {} s from a camera that is plugged in; the watchdog is fed no \
                     more and will reset the board",
                    self.frames_within.as_secs_f64()
                );
            }
            self.starving = true;
            return;
        }
        if std::mem::take(&mut self.starving) {
            log::warn!("frames flow again; the watchdog is fed");
        }
        if self.fed.is_none_or(|fed| now >= fed + FEED_EVERY) {
            self.fed = Some(now);
            watchdog.try_to(|w| w.feed());
        }
    }

    /// Whether the key switch says armed; `None` if there is none. One that cannot be read counts
    /// as armed: cutting its wire must not silence the siren.
    pub fn armed(&mut self) -> Option<bool> {
        let arm = self.arm.as_mut()?;
        Some(arm.try_to(|a| a.armed()).unwrap_or(true))
    }

    /// How much is given up because of heat.
    pub fn rung(&self) -> Rung {
        self.ladder.rung()
    }

    /// What the watchdog says of the last reset, if there is one that knows.
    pub fn boot_cause(&self) -> Option<BootCause> {
        self.boot_cause
    }

    /// Whether the watchdog is fed no more: the board is about to be reset.
    pub fn is_starving(&self) -> bool {
        self.starving && self.watchdog.is_some()
    }

    /// Longest silence of a camera after which the watchdog is fed no more.
    pub fn frames_within(&self) -> Duration {
        self.frames_within
    }

    /// Resident memory in MiB beyond which the program is to end.
    pub fn memory_ceiling_mib(&self) -> Option<u64> {
        self.memory_ceiling_mib
    }

    /// The last reading in degrees Celsius and the thermal state, if there is a sensor that could be
    /// read.
    pub fn heat(&self) -> Option<(f64, &'static str)> {
        self.temperature.map(|milli| (f64::from(milli) / 1000.0, self.monitor.state().name()))
    }

    /// What is published of the board.
    pub fn status(&mut self) -> BoardStatus {
        BoardStatus {
            profile: self.profile.clone(),
            armed: self.armed(),
            thermal: self.thermal.is_some().then(|| self.monitor.state().name()),
            temperature_celsius: self.heat().map(|(celsius, _)| celsius),
            rung: self.ladder.rung().name(),
            watchdog: self.watchdog.is_some(),
        }
    }

    /// The orderly end: stops the watchdog, switches the LED off. Not done when the program
    /// crashes, so that the watchdog then resets the board.
    pub fn close(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.try_to(|w| w.disarm());
        }
        self.watchdog = None;
        self.led = None;
    }
}

#[cfg(test)]
mod tests;
