//! An alarm on a pin, through `embedded-hal`.

use embedded_hal::digital::OutputPin;

use crate::{AlarmOutput, HardwareError, StatusLed};

/// The level at which what hangs on a pin is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "std", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "std", serde(rename_all = "lowercase"))]
pub enum ActiveLevel {
    /// On when the pin is high.
    #[default]
    High,
    /// On when the pin is low, as with most relay boards.
    Low,
}

/// An alarm (or a LED) on an output pin.
#[derive(Debug)]
pub struct PinAlarm<P> {
    pin: P,
    active: ActiveLevel,
}

impl<P: OutputPin> PinAlarm<P> {
    /// What hangs on `pin` and is on at level `active`. The pin is not touched yet.
    pub fn new(pin: P, active: ActiveLevel) -> Self {
        Self { pin, active }
    }

    /// Gives the pin back.
    pub fn release(self) -> P {
        self.pin
    }

    fn drive(&mut self, on: bool) -> Result<(), HardwareError> {
        let high = on == (self.active == ActiveLevel::High);
        self.pin.set_state(high.into()).map_err(|_| HardwareError::Pin)
    }
}

impl<P: OutputPin> AlarmOutput for PinAlarm<P> {
    fn set(&mut self, active: bool) -> Result<(), HardwareError> {
        self.drive(active)
    }
}

impl<P: OutputPin> StatusLed for PinAlarm<P> {
    fn set(&mut self, on: bool) -> Result<(), HardwareError> {
        self.drive(on)
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::*;

    fn set<P: OutputPin>(alarm: &mut PinAlarm<P>, on: bool) -> Result<(), HardwareError> {
        AlarmOutput::set(alarm, on)
    }

    #[test]
    fn levels() {
        for (active, on, off) in [
            (ActiveLevel::High, State::High, State::Low),
            (ActiveLevel::Low, State::Low, State::High),
        ] {
            let pin = Mock::new(&[Transaction::set(on), Transaction::set(off)]);
            let mut alarm = PinAlarm::new(pin, active);
            set(&mut alarm, true).unwrap();
            set(&mut alarm, false).unwrap();
            alarm.release().done();
        }
    }

    #[test]
    fn a_failing_pin_is_reported() {
        let failure = MockError::Io(std::io::ErrorKind::Other);
        let pin = Mock::new(&[Transaction::set(State::High).with_error(failure)]);
        let mut alarm = PinAlarm::new(pin, ActiveLevel::High);
        assert_eq!(set(&mut alarm, true), Err(HardwareError::Pin));
        alarm.release().done();
    }
}
