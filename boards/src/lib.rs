//! Boards as data plus small drivers: alarm output, status LED, watchdog, temperature.
//!
//! The core (traits, [`AlarmController`], [`ThermalMonitor`], [`Ladder`], [`Blinker`]) is `no_std`
//! and knows time only as milliseconds that the caller hands in, so it runs the same on a
//! microcontroller, on Linux and in a test. With the `std` feature come board profiles (TOML) and
//! drivers through the operating system's files.

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(test)]
extern crate std;

mod controller;
mod ladder;
mod led;
mod pin;
mod thermal;

#[cfg(feature = "std")]
pub mod linux;
#[cfg(feature = "std")]
pub mod profile;
#[cfg(feature = "std")]
pub mod simulated;

pub use controller::{AlarmController, MAX_CAMERAS};
pub use ladder::{CLIMB_MS, DESCEND_MS, Ladder, Rung};
pub use led::{Blinker, Pattern, Status};
pub use pin::{ActiveLevel, PinAlarm};
pub use thermal::{ThermalLimits, ThermalMonitor, ThermalReading, ThermalState};

/// Why a piece of hardware did not do what it was told. Small enough for a microcontroller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardwareError {
    /// The device is not there.
    NotFound,
    /// The device is there, but this program may not use it.
    Denied,
    /// The device answered something that makes no sense.
    Malformed,
    /// The operating system reports this error number (0 if it gives none).
    Os(i32),
    /// The pin's driver reports a failure.
    Pin,
}

impl core::fmt::Display for HardwareError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotFound => f.write_str("the device is not there"),
            Self::Denied => f.write_str("permission denied; add the user to the device's group"),
            Self::Malformed => f.write_str("the device gave a value that makes no sense"),
            Self::Os(code) => write!(f, "operating system error {code}"),
            Self::Pin => f.write_str("the pin's driver failed"),
        }
    }
}

impl core::error::Error for HardwareError {}

#[cfg(feature = "std")]
impl From<std::io::Error> for HardwareError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound,
            std::io::ErrorKind::PermissionDenied => Self::Denied,
            std::io::ErrorKind::InvalidData => Self::Malformed,
            _ => Self::Os(error.raw_os_error().unwrap_or(0)),
        }
    }
}

/// A siren, a lamp, a relay: on while there is an alarm.
pub trait AlarmOutput {
    /// Switches the output. Setting it to what it already is must be harmless.
    fn set(&mut self, active: bool) -> Result<(), HardwareError>;
}

/// A status LED.
pub trait StatusLed {
    /// Switches the LED.
    fn set(&mut self, on: bool) -> Result<(), HardwareError>;
}

/// A hardware watchdog that resets the board unless it is fed.
pub trait Watchdog {
    /// Puts the reset off by the timeout.
    fn feed(&mut self) -> Result<(), HardwareError>;
    /// Stops the watchdog for an orderly end of the program. A board whose watchdog cannot be
    /// stopped resets, which is what such a board is for.
    fn disarm(&mut self) -> Result<(), HardwareError>;
    /// What the last reset came of, if the watchdog knows.
    fn boot_cause(&mut self) -> Option<BootCause> {
        None
    }
}

/// What a board's last reset came of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootCause {
    /// The watchdog was not fed.
    pub watchdog: bool,
    /// The board was too hot.
    pub overheat: bool,
    /// The voltage was too low.
    pub power_under: bool,
    /// The voltage was too high.
    pub power_over: bool,
}

impl BootCause {
    /// For people; `None` if nothing is known.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Self { overheat: true, .. } => Some("overheated"),
            Self { power_under: true, .. } => Some("its voltage was too low"),
            Self { power_over: true, .. } => Some("its voltage was too high"),
            Self { watchdog: true, .. } => Some("the watchdog was not fed"),
            _ => None,
        }
    }
}

/// Something that knows how hot the board is.
pub trait ThermalSource {
    /// What the sensors say now.
    fn read(&mut self) -> Result<ThermalReading, HardwareError>;
}

/// A switch that arms the siren: a key switch, or the output of an intruder alarm panel.
pub trait ArmInput {
    /// Whether the switch says armed.
    fn armed(&mut self) -> Result<bool, HardwareError>;
}

macro_rules! forward {
    ($trait:ident { $($method:ident($($arg:ident: $type:ty)?) -> $out:ty;)+ }) => {
        impl<T: $trait + ?Sized> $trait for &mut T {
            $(fn $method(&mut self $(, $arg: $type)?) -> Result<$out, HardwareError> {
                (**self).$method($($arg)?)
            })+
        }
        #[cfg(feature = "std")]
        impl<T: $trait + ?Sized> $trait for Box<T> {
            $(fn $method(&mut self $(, $arg: $type)?) -> Result<$out, HardwareError> {
                (**self).$method($($arg)?)
            })+
        }
    };
}

forward!(AlarmOutput { set(active: bool) -> (); });
forward!(StatusLed { set(on: bool) -> (); });
forward!(Watchdog { feed() -> (); disarm() -> (); });
forward!(ThermalSource { read() -> ThermalReading; });
forward!(ArmInput { armed() -> bool; });
