//! What the status LED says.

use crate::{HardwareError, StatusLed};

/// The device's state, as the LED shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not running.
    Off,
    /// Loading the model, opening the camera.
    Starting,
    /// Watching.
    Healthy,
    /// Watching, but something is wrong: no broker, too hot, frames dropped.
    Degraded,
    /// An incident is active.
    Alarm,
    /// Not watching: no camera, no model.
    Fault,
}

impl Status {
    /// How the LED blinks for it. The patterns differ in rhythm, so that they can be told apart
    /// from afar and by a colour-blind eye.
    pub const fn pattern(self) -> Pattern {
        let (on_ms, off_ms) = match self {
            Self::Off => (0, 1),
            Self::Starting => (500, 500),
            Self::Healthy => (1, 0),
            Self::Degraded => (1800, 200),
            Self::Alarm => (100, 100),
            Self::Fault => (200, 1800),
        };
        Pattern { on_ms, off_ms }
    }
}

/// A rhythm: on, then off, and over again. In milliseconds; not both zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Time on.
    pub on_ms: u32,
    /// Time off.
    pub off_ms: u32,
}

impl Pattern {
    /// Whether the LED is on, so long after the pattern began.
    pub fn is_on(self, elapsed_ms: u64) -> bool {
        let period = (u64::from(self.on_ms) + u64::from(self.off_ms)).max(1);
        elapsed_ms % period < u64::from(self.on_ms)
    }
}

/// Drives a LED in the rhythm of the status.
#[derive(Debug)]
pub struct Blinker<L: StatusLed> {
    led: L,
    status: Status,
    since_ms: u64,
    applied: Option<bool>,
}

impl<L: StatusLed> Blinker<L> {
    /// A LED that is off.
    pub fn new(led: L) -> Self {
        Self { led, status: Status::Off, since_ms: 0, applied: None }
    }

    /// Shows a status from `now_ms` on.
    pub fn show(&mut self, status: Status, now_ms: u64) -> Result<(), HardwareError> {
        if status != self.status {
            self.status = status;
            self.since_ms = now_ms;
        }
        self.tick(now_ms)
    }

    /// Lets time pass; call it every 50 ms or so.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        let on = self.status.pattern().is_on(now_ms.saturating_sub(self.since_ms));
        if self.applied != Some(on) {
            self.applied = None;
            self.led.set(on)?;
            self.applied = Some(on);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    struct Recorder<'a>(&'a mut Vec<bool>);

    impl StatusLed for Recorder<'_> {
        fn set(&mut self, on: bool) -> Result<(), HardwareError> {
            self.0.push(on);
            Ok(())
        }
    }

    #[test]
    fn patterns() {
        assert!((0..10_000).all(|t| Status::Healthy.pattern().is_on(t)));
        assert!(!(0..10_000).any(|t| Status::Off.pattern().is_on(t)));
        let fault = Status::Fault.pattern();
        assert!(fault.is_on(0) && fault.is_on(199) && !fault.is_on(200) && fault.is_on(2000));
    }

    #[test]
    fn the_led_is_switched_only_when_it_changes() {
        let mut seen = Vec::new();
        let mut blinker = Blinker::new(Recorder(&mut seen));
        blinker.show(Status::Starting, 1000).unwrap();
        for now in (1050..2600).step_by(50) {
            blinker.show(Status::Starting, now).unwrap();
        }
        blinker.show(Status::Healthy, 2600).unwrap();
        blinker.tick(9000).unwrap();
        // On at 1000, off at 1500, on at 2000, off at 2500, healthy on at 2600.
        assert_eq!(seen, [true, false, true, false, true]);
    }
}
