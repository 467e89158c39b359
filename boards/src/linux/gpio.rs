//! Lines of a GPIO character device (`/dev/gpiochipN`).
//!
//! A line is named by chip and offset, or by its own name (`PQ.05`, as `gpioinfo` shows it): offsets
//! differ between releases of a board's kernel, names do not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded_hal::digital::{ErrorKind, ErrorType, InputPin, OutputPin};
use gpiocdev::line::{Bias, Value};
use gpiocdev::{Request, request::Builder};

use crate::{ActiveLevel, AlarmOutput, ArmInput, HardwareError, PinAlarm, StatusLed};

/// Time for which a switch must rest before it counts; contacts bounce for a few milliseconds.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineAddress {
    /// The line at an offset of a chip.
    Offset(PathBuf, u32),
    /// The line with this name, on whichever chip.
    Name(String),
}

impl LineAddress {
    /// Chip and offset of the line.
    fn find(&self, root: &Path) -> Result<(PathBuf, u32), HardwareError> {
        match self {
            Self::Offset(chip, offset) => Ok((super::below(root, chip), *offset)),
            Self::Name(name) => {
                let found = gpiocdev::find_named_line(name).ok_or_else(|| {
                    log::warn!("GPIO: no chip has a line `{name}`; see `gpioinfo`");
                    HardwareError::NotFound
                })?;
                Ok((found.chip, found.info.offset))
            }
        }
    }

    fn request(
        &self,
        root: &Path,
        set_up: impl FnOnce(&mut Builder),
    ) -> Result<GpioPin, HardwareError> {
        let (chip, offset) = self.find(root)?;
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer("pavad").with_line(offset);
        set_up(&mut builder);
        let request = builder.request().map_err(|e| gpio_error(&e))?;
        Ok(GpioPin { request, offset })
    }
}

/// A requested line as an `embedded-hal` pin. Held for as long as this lives; what the line does
/// afterwards is up to the kernel's driver.
#[derive(Debug)]
struct GpioPin {
    request: Request,
    offset: u32,
}

/// Why a pin could not be read or driven, behind `embedded-hal`'s trait.
#[derive(Debug)]
struct PinError(HardwareError);

impl embedded_hal::digital::Error for PinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for GpioPin {
    type Error = PinError;
}

impl OutputPin for GpioPin {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.drive(Value::Inactive)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.drive(Value::Active)
    }
}

impl InputPin for GpioPin {
    fn is_high(&mut self) -> Result<bool, PinError> {
        let value = self.request.value(self.offset).map_err(|e| PinError(gpio_error(&e)))?;
        Ok(value == Value::Active)
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl GpioPin {
    fn drive(&mut self, value: Value) -> Result<(), PinError> {
        self.request.set_value(self.offset, value).map_err(|e| PinError(gpio_error(&e)))?;
        Ok(())
    }
}

/// An output line: a relay, a LED.
#[derive(Debug)]
pub struct GpioOutput {
    pin: PinAlarm<GpioPin>,
}

impl GpioOutput {
    /// Requests a line as an output that is off. `root` is `/` on a real machine.
    ///
    /// # Errors
    /// If the line is not there, in use, or may not be used.
    pub fn open(
        root: &Path,
        address: &LineAddress,
        active: ActiveLevel,
    ) -> Result<Self, HardwareError> {
        let off = if active == ActiveLevel::Low { Value::Active } else { Value::Inactive };
        let pin = address.request(root, |builder| {
            builder.as_output(off);
        })?;
        Ok(Self { pin: PinAlarm::new(pin, active) })
    }
}

impl AlarmOutput for GpioOutput {
    fn set(&mut self, active: bool) -> Result<(), HardwareError> {
        AlarmOutput::set(&mut self.pin, active)
    }
}

impl StatusLed for GpioOutput {
    fn set(&mut self, on: bool) -> Result<(), HardwareError> {
        StatusLed::set(&mut self.pin, on)
    }
}

/// An input line: the key switch that arms the siren.
#[derive(Debug)]
pub struct GpioInput {
    pin: GpioPin,
    active: ActiveLevel,
}

impl GpioInput {
    /// Requests a line as a debounced input, armed at level `active`. The line is pulled to that
    /// level where the chip can do so: a switch that is cut off arms.
    ///
    /// # Errors
    /// If the line is not there, in use, or may not be used.
    pub fn open(
        root: &Path,
        address: &LineAddress,
        active: ActiveLevel,
    ) -> Result<Self, HardwareError> {
        let bias = if active == ActiveLevel::High { Bias::PullUp } else { Bias::PullDown };
        let pin = address.request(root, |builder| {
            builder.as_input().with_bias(bias).with_debounce_period(DEBOUNCE);
        })?;
        Ok(Self { pin, active })
    }
}

impl ArmInput for GpioInput {
    fn armed(&mut self) -> Result<bool, HardwareError> {
        let high = self.pin.is_high().map_err(|error| error.0)?;
        Ok(high == (self.active == ActiveLevel::High))
    }
}

/// The reason goes to the log: the error number alone does not tell a line that is in use from one
/// that the chip does not have.
fn gpio_error(error: &gpiocdev::Error) -> HardwareError {
    log::warn!("GPIO: {error}");
    match error {
        gpiocdev::Error::Os(errno) => std::io::Error::from_raw_os_error(errno.0).into(),
        gpiocdev::Error::GpioChip(..) => HardwareError::NotFound,
        _ => HardwareError::Os(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_there_is_an_error() {
        for address in [
            LineAddress::Offset("/nonexistent/gpiochip9".into(), 0),
            LineAddress::Name("no board has this line".into()),
        ] {
            let root = Path::new("/");
            let output = GpioOutput::open(root, &address, ActiveLevel::High);
            assert_eq!(output.unwrap_err(), HardwareError::NotFound);
            let input = GpioInput::open(root, &address, ActiveLevel::Low);
            assert_eq!(input.unwrap_err(), HardwareError::NotFound);
        }
    }
}
