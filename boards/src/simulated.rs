//! Hardware that is not there: every trait with a recorded history, for tests and for hosts
//! without pins.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    AlarmOutput, ArmInput, HardwareError, StatusLed, ThermalReading, ThermalSource, Watchdog,
};

/// What happened to a piece of simulated hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Output or LED switched.
    Set(bool),
    /// Watchdog fed.
    Feed,
    /// Watchdog disarmed.
    Disarm,
}

/// Longest history that is kept; a program that runs for months must not grow.
const MAX_HISTORY: usize = 10_000;

#[derive(Debug, Default)]
struct Shared {
    history: Vec<Action>,
    failure: Option<HardwareError>,
    reading: ThermalReading,
    disarmed: bool,
}

/// A simulated device. Clones are the same device: keep one to look at what happened to the other.
#[derive(Debug, Clone, Default)]
pub struct Simulated {
    name: Option<&'static str>,
    shared: Arc<Mutex<Shared>>,
}

impl Simulated {
    /// A silent device.
    pub fn new() -> Self {
        Self::default()
    }

    /// A device that logs each change under this name, as the development host's alarm does.
    pub fn logging(name: &'static str) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    /// What happened so far; the first 10 000 actions.
    pub fn history(&self) -> Vec<Action> {
        self.with(|shared| shared.history.clone())
    }

    /// Makes every further action fail with this error, or succeed again.
    pub fn fail_with(&self, failure: Option<HardwareError>) {
        self.with(|shared| shared.failure = failure);
    }

    /// Sets what the thermal sensors say.
    pub fn set_reading(&self, reading: ThermalReading) {
        self.with(|shared| shared.reading = reading);
    }

    /// Turns the key switch; a new device is armed.
    pub fn set_armed(&self, armed: bool) {
        self.with(|shared| shared.disarmed = !armed);
    }

    fn with<T>(&self, action: impl FnOnce(&mut Shared) -> T) -> T {
        // The lock guards plain values; a panic elsewhere leaves them whole.
        action(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn act(&self, action: Action) -> Result<(), HardwareError> {
        self.with(|shared| {
            if let Some(failure) = shared.failure {
                return Err(failure);
            }
            if shared.history.len() < MAX_HISTORY {
                shared.history.push(action);
            }
            Ok(())
        })
    }

    fn switch(&self, on: bool) -> Result<(), HardwareError> {
        if let Some(name) = self.name {
            log::info!("{name} {}", if on { "on" } else { "off" });
        }
        self.act(Action::Set(on))
    }
}

impl AlarmOutput for Simulated {
    fn set(&mut self, active: bool) -> Result<(), HardwareError> {
        self.switch(active)
    }
}

impl StatusLed for Simulated {
    fn set(&mut self, on: bool) -> Result<(), HardwareError> {
        self.switch(on)
    }
}

impl Watchdog for Simulated {
    fn feed(&mut self) -> Result<(), HardwareError> {
        self.act(Action::Feed)
    }

    fn disarm(&mut self) -> Result<(), HardwareError> {
        self.act(Action::Disarm)
    }
}

impl ThermalSource for Simulated {
    fn read(&mut self) -> Result<ThermalReading, HardwareError> {
        self.with(|shared| shared.failure.map_or(Ok(shared.reading), Err))
    }
}

impl ArmInput for Simulated {
    fn armed(&mut self) -> Result<bool, HardwareError> {
        self.with(|shared| shared.failure.map_or(Ok(!shared.disarmed), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlarmController;

    #[test]
    fn the_history_is_that_of_the_clone() {
        let device = Simulated::logging("alarm");
        let mut controller = AlarmController::new(device.clone(), 0);
        controller.set_incident(3, true, 0).unwrap();
        device.fail_with(Some(HardwareError::NotFound));
        assert_eq!(controller.set_incident(3, false, 1), Err(HardwareError::NotFound));
        device.fail_with(None);
        drop(controller);
        let expected = [Action::Set(false), Action::Set(true), Action::Set(false)];
        assert_eq!(device.history(), expected);
    }

    #[test]
    fn watchdog_thermal_and_arm_switch() {
        let mut device = Simulated::new();
        device.feed().unwrap();
        device.disarm().unwrap();
        assert_eq!(device.history(), [Action::Feed, Action::Disarm]);
        let reading = ThermalReading { temperature: 55_500, throttling: true };
        device.set_reading(reading);
        assert_eq!(device.read(), Ok(reading));
        assert_eq!(device.armed(), Ok(true));
        device.set_armed(false);
        assert_eq!(device.armed(), Ok(false));
        device.fail_with(Some(HardwareError::Denied));
        assert_eq!(device.armed(), Err(HardwareError::Denied));
    }
}
