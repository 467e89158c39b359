//! The alarm output: on while any camera has an incident.

use std::path::Path;
use std::time::Duration;

use boards::profile::Profile;
use boards::{AlarmController, AlarmOutput};

use crate::error::Error;

/// The board's alarm output, if it has one.
pub struct Alarm {
    controller: Option<AlarmController<Box<dyn AlarmOutput + Send>>>,
    /// The last call failed; reported once, not with every frame.
    failing: bool,
    silenced: bool,
}

impl Alarm {
    /// A board without an output.
    pub fn none() -> Self {
        Self { controller: None, failing: false, silenced: false }
    }

    /// Opens the output that a board profile names; `root` is `/` on a real machine.
    ///
    /// # Errors
    /// If the output is not there or may not be used.
    pub fn open(profile: &Profile, root: &Path) -> Result<Self, Error> {
        let output = profile.open_alarm(root).map_err(|e| {
            Error::Unavailable(format!(
                "alarm output of board `{}`: {e}; check the profile or change `board`",
                profile.name
            ))
        })?;
        Ok(output.map_or_else(Self::none, |o| {
            Self::with_output(o, profile.alarm_hold().as_millis() as u64)
        }))
    }

    /// An alarm on a given output, held for `hold_ms` after the last incident.
    pub fn with_output(output: Box<dyn AlarmOutput + Send>, hold_ms: u64) -> Self {
        Self { controller: Some(AlarmController::new(output, hold_ms)), ..Self::none() }
    }

    /// Goes off `limit` after the newest incident has begun, however long it lasts; `None` for never.
    #[must_use]
    pub fn limited(self, limit: Option<Duration>) -> Self {
        let limit_ms = limit.map(|limit| limit.as_millis() as u64);
        Self { controller: self.controller.map(|c| c.limited(limit_ms)), ..self }
    }

    /// Says whether a camera has an active incident.
    pub fn set(&mut self, camera: usize, active: bool, now_ms: u64) {
        if let Some(controller) = &mut self.controller {
            let result = controller.set_incident(camera, active, now_ms);
            self.report(result);
        }
    }

    /// Lets time pass; to be called about once a second.
    pub fn tick(&mut self, now_ms: u64) {
        if let Some(controller) = &mut self.controller {
            let result = controller.tick(now_ms);
            self.report(result);
        }
        let silenced = self.is_silenced();
        let before = std::mem::replace(&mut self.silenced, silenced);
        if silenced && !before {
            log::warn!(
                "alarm output: off after the time of `alarm.longest`; the incident goes on, the next \
                 one switches it on again"
            );
        }
    }

    /// Arms or disarms the output: disarmed it is quiet, whatever happens.
    pub fn set_armed(&mut self, armed: bool) {
        log::info!("alarm output {}", if armed { "armed" } else { "disarmed" });
        if let Some(controller) = &mut self.controller {
            let result = controller.set_armed(armed);
            self.report(result);
        }
    }

    /// Whether the output is armed; one that is not there counts as armed.
    pub fn is_armed(&self) -> bool {
        self.controller.as_ref().is_none_or(AlarmController::is_armed)
    }

    /// Switches the output off and lets it go.
    pub fn release(&mut self) {
        self.controller = None;
    }

    /// Whether the output is to be on.
    pub fn is_active(&self) -> bool {
        self.controller.as_ref().is_some_and(AlarmController::is_active)
    }

    /// Whether it would be on if it had not been for as long as it may be.
    pub fn is_silenced(&self) -> bool {
        self.controller.as_ref().is_some_and(AlarmController::is_silenced)
    }

    fn report(&mut self, result: Result<(), boards::HardwareError>) {
        match result {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                log::error!("alarm output: {e}; it is tried again");
            }
            Err(_) => {}
        }
    }
}
