//! Board profiles: what hangs where, as TOML.
//!
//! The profiles in `boards/profiles/` are part of the program; a site can write its own file in
//! the same form. A profile says only what differs between boards: drivers are in
//! [`linux`](crate::linux).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::linux::{
    GpioInput, GpioOutput, LineAddress, SysfsLed, SysfsThermal, WatchdogDevice, below,
};
use crate::simulated::Simulated;
use crate::{
    ActiveLevel, AlarmOutput, ArmInput, HardwareError, StatusLed, ThermalLimits, ThermalSource,
    Watchdog,
};

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../profiles/", $name, ".toml")))),+]
    };
}

/// The profiles that are part of the program, by name.
const BUILT_IN: [(&str, &str); 9] = built_in![
    "development-host",
    "generic-arm64",
    "generic-linux",
    "generic-x86-64",
    "jetson-agx-orin",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-xavier-nx",
    "raspberry-pi-5",
];

/// The profile of a machine that nothing is known of.
const FALLBACK: &str = if cfg!(target_arch = "aarch64") {
    "generic-arm64"
} else if cfg!(target_arch = "x86_64") {
    "generic-x86-64"
} else {
    "generic-linux"
};

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
    /// The switch that arms the alarm output. Default: none, always armed.
    #[serde(default)]
    pub arm: ArmProfile,
    /// The watchdog. Default: none.
    #[serde(default)]
    pub watchdog: Option<WatchdogProfile>,
    /// Temperature. Default: every thermal zone, warm at 80 °C, throttled at 88 °C, critical at
    /// 95 °C.
    #[serde(default)]
    pub thermal: ThermalProfile,
    /// Names of the `nvpmodel` power modes that the board should run in, the recommended one
    /// first. Default: none, it has no such modes.
    #[serde(default)]
    pub power_modes: Vec<String>,
    /// Where cameras appear, for people who look for one. Default: none.
    #[serde(default)]
    pub cameras: Vec<PathBuf>,
    /// Inference backends in the order in which they are tried, if the configuration names none.
    /// Default: none, the program's own order.
    #[serde(default)]
    pub backends: Vec<String>,
    /// Resident memory in MiB beyond which the program ends, to be started afresh. Default: none.
    #[serde(default)]
    pub memory_ceiling_mib: Option<u32>,
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
    /// A line of a GPIO character device, by `chip` and `line` or by `name`.
    Gpio {
        /// The chip, for example `/dev/gpiochip0`.
        chip: Option<PathBuf>,
        /// The line's offset on the chip.
        line: Option<u32>,
        /// The line's own name, for example `PQ.05`.
        name: Option<String>,
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

/// The switch that arms the alarm output.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArmProfile {
    /// There is none: always armed.
    #[default]
    None,
    /// A line of a GPIO character device, by `chip` and `line` or by `name`.
    Gpio {
        /// The chip, for example `/dev/gpiochip0`.
        chip: Option<PathBuf>,
        /// The line's offset on the chip.
        line: Option<u32>,
        /// The line's own name, for example `PQ.06`.
        name: Option<String>,
        /// The level at which it is armed. Default `high`.
        #[serde(default)]
        active: ActiveLevel,
    },
}

/// The line that a profile names; checked, so that it is named in one way.
fn address(
    chip: &Option<PathBuf>,
    line: &Option<u32>,
    name: &Option<String>,
) -> Option<LineAddress> {
    match (chip, line, name) {
        (Some(chip), Some(line), None) => Some(LineAddress::Offset(chip.clone(), *line)),
        (None, None, Some(name)) if !name.is_empty() => Some(LineAddress::Name(name.clone())),
        _ => None,
    }
}

/// A watchdog and when it is fed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchdogProfile {
    /// The device, for example `/dev/watchdog0`.
    pub device: PathBuf,
    /// Seconds without food after which the board resets. Default: what the driver has.
    pub timeout: Option<u32>,
    /// Seconds without a frame from a camera that is plugged in and has given frames before, after
    /// which the watchdog is fed no more. Default 120.
    #[serde(default = "default_frames_within")]
    pub frames_within: f64,
}

fn default_frames_within() -> f64 {
    120.0
}

/// What is hot, and how hot is too hot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThermalProfile {
    /// Types of the thermal zones that count; empty stands for every zone.
    pub zones: Vec<String>,
    /// Types of the cooling devices that are above 0 while the processor throttles itself; one
    /// that begins with `*` stands for all that end so.
    pub throttles: Vec<String>,
    /// Degrees Celsius from which the device works less.
    pub warm: f64,
    /// Degrees Celsius from which the processor throttles itself, or is about to.
    pub throttled: f64,
    /// Degrees Celsius from which it only cools.
    pub critical: f64,
    /// Degrees below a limit at which its state is left.
    pub hysteresis: f64,
}

impl Default for ThermalProfile {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            throttles: Vec::new(),
            warm: 80.0,
            throttled: 88.0,
            critical: 95.0,
            hysteresis: 5.0,
        }
    }
}

impl ThermalProfile {
    /// The limits in thousandths of a degree.
    pub fn limits(&self) -> ThermalLimits {
        // In range: validated to at most 200 degrees.
        let milli = |degrees: f64| (degrees * 1000.0).round() as i32;
        ThermalLimits {
            warm: milli(self.warm),
            throttled: milli(self.throttled),
            critical: milli(self.critical),
            hysteresis: milli(self.hysteresis),
        }
    }
}

/// How a profile came to be the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was asked for.
    AskedFor,
    /// The board's device-tree model is one of the profile's.
    Model,
    /// Nothing is known of the board.
    Unknown,
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
            match output {
                OutputProfile::Led { name }
                    if name.is_empty() || name.contains('/') || name.starts_with('.') =>
                {
                    return Err("a LED's `name` must be a name in /sys/class/leds");
                }
                OutputProfile::Gpio { chip, line, name, .. }
                    if address(chip, line, name).is_none() =>
                {
                    return Err(LINE);
                }
                _ => {}
            }
        }
        if let ArmProfile::Gpio { chip, line, name, .. } = &self.arm
            && address(chip, line, name).is_none()
        {
            return Err(LINE);
        }
        if let Some(watchdog) = &self.watchdog {
            if watchdog.timeout.is_some_and(|seconds| !(2..=3600).contains(&seconds)) {
                return Err("`watchdog.timeout` must be 2 to 3600 seconds");
            }
            if !(1.0..=86_400.0).contains(&watchdog.frames_within) {
                return Err("`watchdog.frames_within` must be 1 to 86400 seconds");
            }
        }
        let ThermalProfile { warm, throttled, critical, hysteresis, .. } = self.thermal;
        if !(warm > 0.0 && throttled > warm && critical > throttled && critical <= 200.0) {
            return Err("`thermal` must have 0 < warm < throttled < critical <= 200");
        }
        if !(0.0..(throttled - warm).min(critical - throttled)).contains(&hysteresis) {
            return Err("`thermal.hysteresis` must be less than the steps between the limits");
        }
        if self.memory_ceiling_mib.is_some_and(|mib| mib < 64) {
            return Err("`memory_ceiling_mib` must be at least 64");
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

    /// The profile of this machine, and how it was found: the one asked for, else the one with the
    /// longest entry in `models` that the device-tree model contains, else `generic-arm64`,
    /// `generic-x86-64` or `generic-linux`, by the processor.
    pub fn detect(model: Option<&str>, asked_for: Option<&str>) -> Result<(Self, Origin), Error> {
        if let Some(name) = asked_for {
            return Ok((Self::named(name)?, Origin::AskedFor));
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
        Ok(match best {
            Some((_, profile)) => (profile, Origin::Model),
            None => (Self::named(FALLBACK)?, Origin::Unknown),
        })
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
            OutputProfile::Gpio { chip, line, name, active } => {
                let address = address(chip, line, name).ok_or(HardwareError::Malformed)?;
                Some(Box::new(GpioOutput::open(root, &address, *active)?))
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
            OutputProfile::Gpio { chip, line, name, active } => {
                let address = address(chip, line, name).ok_or(HardwareError::Malformed)?;
                Some(Box::new(GpioOutput::open(root, &address, *active)?))
            }
            OutputProfile::Led { name } => {
                Some(Box::new(SysfsLed::open(&root.join("sys/class/leds"), name)?))
            }
        })
    }

    /// Opens the switch that arms the alarm output, if the board has one.
    pub fn open_arm(&self, root: &Path) -> Result<Option<Box<dyn ArmInput + Send>>, HardwareError> {
        Ok(match &self.arm {
            ArmProfile::None => None,
            ArmProfile::Gpio { chip, line, name, active } => {
                let address = address(chip, line, name).ok_or(HardwareError::Malformed)?;
                Some(Box::new(GpioInput::open(root, &address, *active)?))
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
            Some(watchdog) => {
                let path = below(root, &watchdog.device);
                Ok(Some(Box::new(WatchdogDevice::open(&path, watchdog.timeout)?)))
            }
        }
    }

    /// Opens the temperature sensors; `None` if the machine has none of those the profile names.
    pub fn open_thermal(
        &self,
        root: &Path,
    ) -> Result<Option<Box<dyn ThermalSource + Send>>, HardwareError> {
        let class = root.join("sys/class/thermal");
        match SysfsThermal::open(&class, &self.thermal.zones, &self.thermal.throttles) {
            Ok(source) => Ok(Some(Box::new(source))),
            Err(HardwareError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is wrong with a GPIO line that is named in no way, or in two.
const LINE: &str = "a GPIO line is given by `chip` and `line`, or by `name` alone";
