//! Board profiles: what hangs where, as TOML.
//!
//! The profiles in `boards/profiles/` are part of the program; a site can write its own file in
//! the same form. A profile says only what differs between boards: drivers are in
//! [`linux`](crate::linux).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::linux::{GpioLine, SysfsLed, SysfsThermal, WatchdogDevice};
use crate::simulated::Simulated;
use crate::{
    ActiveLevel, AlarmOutput, HardwareError, StatusLed, ThermalLimits, ThermalSource, Watchdog,
};

/// The profiles that are part of the program, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("development-host", include_str!("../profiles/development-host.toml")),
    ("generic-linux", include_str!("../profiles/generic-linux.toml")),
    ("jetson-orin-nano", include_str!("../profiles/jetson-orin-nano.toml")),
    ("raspberry-pi-5", include_str!("../profiles/raspberry-pi-5.toml")),
];

/// The profile of a machine that nothing is known of.
const FALLBACK: &str = "generic-linux";

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no profile of that name.
    #[error("no board profile `{name}`; there are {known}, or give a .toml file")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The profile's text is not valid.
    #[error("board profile {origin}: {problem}")]
    Invalid {
        /// The profile's file or name.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// The profile's file cannot be read.
    #[error("cannot read board profile {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A board.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name, as the profile's file.
    pub name: String,
    /// What the board is, for people.
    pub description: String,
    /// Class of device that a model bundle must be for.
    pub device_class: String,
    /// The board is this one if its device-tree model contains one of these.
    #[serde(default)]
    pub models: Vec<String>,
    /// The alarm output. Default: none.
    #[serde(default)]
    pub alarm: OutputProfile,
    /// Seconds that the alarm stays on after the last incident. Default 0.
    #[serde(default)]
    pub alarm_hold_seconds: f64,
    /// The status LED. Default: none.
    #[serde(default)]
    pub led: OutputProfile,
    /// The watchdog device. Default: none.
    #[serde(default)]
    pub watchdog: Option<PathBuf>,
    /// Temperature. Default: every thermal zone, warm at 80 °C, critical at 95 °C.
    #[serde(default)]
    pub thermal: ThermalProfile,
}

/// Something that can be switched on and off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutputProfile {
    /// There is none.
    #[default]
    None,
    /// One that is only logged.
    Simulated,
    /// A line of a GPIO character device.
    Gpio {
        /// The chip, for example `/dev/gpiochip0`.
        chip: PathBuf,
        /// The line's offset on the chip.
        line: u32,
        /// The level at which it is on. Default `high`.
        #[serde(default)]
        active: ActiveLevel,
    },
    /// An entry of `/sys/class/leds`.
    Led {
        /// Its name.
        name: String,
    },
}

/// What is hot, and how hot is too hot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThermalProfile {
    /// Types of the thermal zones that count; empty stands for every zone.
    pub zones: Vec<String>,
    /// Degrees Celsius from which the device works less.
    pub warm: f64,
    /// Degrees Celsius from which it works as little as possible.
    pub critical: f64,
    /// Degrees below a limit at which its state is left.
    pub hysteresis: f64,
}

impl Default for ThermalProfile {
    fn default() -> Self {
        Self { zones: Vec::new(), warm: 80.0, critical: 95.0, hysteresis: 5.0 }
    }
}

impl ThermalProfile {
    /// The limits in thousandths of a degree.
    pub fn limits(&self) -> ThermalLimits {
        // In range: validated to at most 200 degrees.
        let milli = |degrees: f64| (degrees * 1000.0).round() as i32;
        ThermalLimits {
            warm: milli(self.warm),
            critical: milli(self.critical),
            hysteresis: milli(self.hysteresis),
        }
    }
}

impl Profile {
    /// Names of the profiles that are part of the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a profile's TOML; `origin` is named in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let invalid = |problem: String| Error::Invalid { origin: origin.to_owned(), problem };
        let profile: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            invalid(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        profile.check().map_err(|problem| invalid(problem.to_owned()))?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), &'static str> {
        let class = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_class = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(class);
        if !is_class(&self.name) || !is_class(&self.device_class) {
            return Err("`name` and `device_class` must be 1 to 64 of a-z, 0-9 and -");
        }
        if self.models.iter().any(String::is_empty) {
            return Err("`models` must not hold an empty text, which every board contains");
        }
        if !(0.0..=86_400.0).contains(&self.alarm_hold_seconds) {
            return Err("`alarm_hold_seconds` must be 0 to 86400");
        }
        for output in [&self.alarm, &self.led] {
            if let OutputProfile::Led { name } = output
                && (name.is_empty() || name.contains('/') || name.starts_with('.'))
            {
                return Err("a LED's `name` must be a name in /sys/class/leds");
            }
        }
        let ThermalProfile { warm, critical, hysteresis, .. } = self.thermal;
        if !(warm > 0.0 && critical > warm && critical <= 200.0) {
            return Err("`thermal` must have 0 < warm < critical <= 200");
        }
        if !(0.0..critical - warm).contains(&hysteresis) {
            return Err("`thermal.hysteresis` must be less than critical - warm");
        }
        Ok(())
    }

    /// A profile by name, or from a file if `name` ends in `.toml`.
    pub fn named(name: &str) -> Result<Self, Error> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, name);
        }
        if name.ends_with(".toml") {
            let path = PathBuf::from(name);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| Error::Io { path: path.clone(), source })?;
            return Self::parse(&text, name);
        }
        let known = Self::names().collect::<Vec<_>>().join(", ");
        Err(Error::Unknown { name: name.to_owned(), known })
    }

    /// The profile of this machine: the one asked for, else the one with the longest entry in
    /// `models` that the device-tree model contains, else `generic-linux`.
    pub fn detect(model: Option<&str>, asked_for: Option<&str>) -> Result<Self, Error> {
        if let Some(name) = asked_for {
            return Self::named(name);
        }
        let mut best: Option<(usize, Self)> = None;
        for name in Self::names() {
            let profile = Self::named(name)?;
            let matches = profile.models.iter().filter(|m| model.is_some_and(|it| it.contains(*m)));
            let Some(length) = matches.map(String::len).max() else {
                continue;
            };
            if best.as_ref().is_none_or(|(other, _)| length > *other) {
                best = Some((length, profile));
            }
        }
        best.map_or_else(|| Self::named(FALLBACK), |(_, profile)| Ok(profile))
    }

    /// How long the alarm stays on after the last incident.
    pub fn alarm_hold(&self) -> Duration {
        Duration::from_secs_f64(self.alarm_hold_seconds)
    }

    /// Opens the alarm output, if the board has one. `root` is `/` on a real machine.
    pub fn open_alarm(
        &self,
        root: &Path,
    ) -> Result<Option<Box<dyn AlarmOutput + Send>>, HardwareError> {
        Ok(match &self.alarm {
            OutputProfile::None => None,
            OutputProfile::Simulated => Some(Box::new(Simulated::logging("alarm"))),
            OutputProfile::Gpio { chip, line, active } => {
                Some(Box::new(GpioLine::open(&below(root, chip), *line, *active)?))
            }
            OutputProfile::Led { name } => {
                Some(Box::new(SysfsLed::open(&root.join("sys/class/leds"), name)?))
            }
        })
    }

    /// Opens the status LED, if the board has one.
    pub fn open_led(
        &self,
        root: &Path,
    ) -> Result<Option<Box<dyn StatusLed + Send>>, HardwareError> {
        Ok(match &self.led {
            OutputProfile::None => None,
            // Blinking in a log helps nobody.
            OutputProfile::Simulated => Some(Box::new(Simulated::new())),
            OutputProfile::Gpio { chip, line, active } => {
                Some(Box::new(GpioLine::open(&below(root, chip), *line, *active)?))
            }
            OutputProfile::Led { name } => {
                Some(Box::new(SysfsLed::open(&root.join("sys/class/leds"), name)?))
            }
        })
    }

    /// Opens and starts the watchdog, if the board has one.
    pub fn open_watchdog(
        &self,
        root: &Path,
    ) -> Result<Option<Box<dyn Watchdog + Send>>, HardwareError> {
        match &self.watchdog {
            None => Ok(None),
            Some(path) => Ok(Some(Box::new(WatchdogDevice::open(&below(root, path))?))),
        }
    }

    /// Opens the temperature sensors; `None` if the machine has none of those the profile names.
    pub fn open_thermal(
        &self,
        root: &Path,
    ) -> Result<Option<Box<dyn ThermalSource + Send>>, HardwareError> {
        match SysfsThermal::open(&root.join("sys/class/thermal"), &self.thermal.zones) {
            Ok(source) => Ok(Some(Box::new(source))),
            Err(HardwareError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An absolute path, moved below `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
