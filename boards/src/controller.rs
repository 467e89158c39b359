//! One alarm output for many cameras.

use crate::{AlarmOutput, HardwareError};

/// Most cameras that one controller watches.
pub const MAX_CAMERAS: usize = 64;

/// Holds an alarm output on while any camera has an active incident, and for a hold time after the
/// last one has ended. Dropped, it switches the output off: the safe state of a siren whose program
/// is gone. (An alarm that must sound when the camera dies belongs on an alarm node, which notices
/// the silence.)
///
/// With a limit the output goes off after that time however long an incident lasts: neighbours, batteries
/// and the law have limits. The incidents stay as they are, and the next one starts the time anew.
///
/// A controller that is disarmed keeps count of the incidents and leaves the output off.
///
/// Time is milliseconds of any monotonic clock. A failed switch is tried again at every call.
#[derive(Debug)]
pub struct AlarmController<O: AlarmOutput> {
    output: O,
    hold_ms: u64,
    /// One bit for each camera with an active incident.
    incidents: u64,
    /// Until when the output stays on with no incident left.
    hold_until: Option<u64>,
    /// Longest time on; `None` for ever.
    limit_ms: Option<u64>,
    /// Since when it has been on for the newest incident.
    since: Option<u64>,
    /// It has been on for as long as it may be.
    silenced: bool,
    armed: bool,
    /// What the output was last set to; unknown at the start and after a failure.
    applied: Option<bool>,
}

impl<O: AlarmOutput> AlarmController<O> {
    /// An armed controller that holds the alarm for `hold_ms` after the last incident; the output
    /// is switched off first.
    pub fn new(output: O, hold_ms: u64) -> Self {
        let mut controller = Self {
            output,
            hold_ms,
            incidents: 0,
            hold_until: None,
            limit_ms: None,
            since: None,
            silenced: false,
            armed: true,
            applied: None,
        };
        // A failure here leaves `applied` unknown, and the next call tries again and reports it.
        let _ = controller.apply();
        controller
    }

    /// Goes off `limit_ms` after the newest incident has begun; `None` for never.
    #[must_use]
    pub fn limited(mut self, limit_ms: Option<u64>) -> Self {
        self.limit_ms = limit_ms;
        self
    }

    /// Says whether a camera (0 to 63) has an active incident, at time `now_ms`. Other cameras are
    /// counted with the last one, so that no alarm is lost to a wrong number.
    pub fn set_incident(
        &mut self,
        camera: usize,
        active: bool,
        now_ms: u64,
    ) -> Result<(), HardwareError> {
        let bit = 1 << camera.min(MAX_CAMERAS - 1);
        let before = self.incidents;
        if active {
            self.incidents |= bit;
        } else {
            self.incidents &= !bit;
        }
        if self.incidents & !before != 0 {
            self.since = Some(now_ms);
            self.silenced = false;
        }
        if self.incidents != 0 {
            self.hold_until = None;
        } else if before != 0 {
            self.hold_until = Some(now_ms.saturating_add(self.hold_ms));
        }
        self.tick(now_ms)
    }

    /// Lets time pass: ends the hold time, and tries again what failed. Call it about once a
    /// second.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        if self.hold_until.is_some_and(|until| now_ms >= until) {
            self.hold_until = None;
        }
        if self.incidents == 0 && self.hold_until.is_none() {
            self.since = None;
            self.silenced = false;
        }
        if let (Some(limit), Some(since)) = (self.limit_ms, self.since)
            && now_ms >= since.saturating_add(limit)
        {
            self.silenced = true;
        }
        self.apply()
    }

    /// Ends every incident and the hold time, as an operator does who has seen to it.
    pub fn silence(&mut self) -> Result<(), HardwareError> {
        self.incidents = 0;
        self.hold_until = None;
        self.since = None;
        self.silenced = false;
        self.apply()
    }

    /// Arms or disarms the output. Disarmed it goes off at once; armed again, it goes on if an
    /// incident is still active.
    pub fn set_armed(&mut self, armed: bool) -> Result<(), HardwareError> {
        self.armed = armed;
        if !armed {
            // What was held belongs to the time before.
            self.hold_until = None;
        }
        self.apply()
    }

    /// Whether the output is armed.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether the output is to be on.
    pub fn is_active(&self) -> bool {
        self.armed && !self.silenced && (self.incidents != 0 || self.hold_until.is_some())
    }

    /// Whether it would be on if it had not been for as long as it may be.
    pub fn is_silenced(&self) -> bool {
        self.armed && self.silenced
    }

    /// How many cameras have an active incident.
    pub fn cameras_active(&self) -> u32 {
        self.incidents.count_ones()
    }

    fn apply(&mut self) -> Result<(), HardwareError> {
        let wanted = self.is_active();
        if self.applied == Some(wanted) {
            return Ok(());
        }
        self.applied = None;
        self.output.set(wanted)?;
        self.applied = Some(wanted);
        Ok(())
    }
}

impl<O: AlarmOutput> Drop for AlarmController<O> {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure.
        let _ = self.output.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::vec::Vec;

    use super::*;

    #[derive(Clone, Default)]
    struct Fake {
        history: Rc<RefCell<Vec<bool>>>,
        broken: Rc<RefCell<bool>>,
    }

    impl AlarmOutput for Fake {
        fn set(&mut self, active: bool) -> Result<(), HardwareError> {
            if *self.broken.borrow() {
                return Err(HardwareError::Pin);
            }
            self.history.borrow_mut().push(active);
            Ok(())
        }
    }

    #[test]
    fn a_siren_has_a_time_limit_and_the_incident_goes_on() {
        let fake = Fake::default();
        let mut alarm = AlarmController::new(fake.clone(), 5_000).limited(Some(10_000));
        alarm.set_incident(0, true, 1_000).unwrap();
        alarm.set_incident(0, true, 6_000).unwrap();
        alarm.tick(10_999).unwrap();
        assert!(alarm.is_active() && !alarm.is_silenced());
        alarm.tick(11_000).unwrap();
        assert_eq!(*fake.history.borrow(), [false, true, false]);
        assert!(!alarm.is_active() && alarm.is_silenced());
        assert_eq!(alarm.cameras_active(), 1);
        // Updates of the same incident do not start it again, another incident does.
        alarm.set_incident(0, true, 12_000).unwrap();
        assert!(!alarm.is_active());
        alarm.set_incident(1, true, 13_000).unwrap();
        assert!(alarm.is_active() && !alarm.is_silenced());
        alarm.tick(23_000).unwrap();
        assert!(alarm.is_silenced());
        // Their end leaves no hold time behind, and the next is as the first.
        alarm.set_incident(0, false, 24_000).unwrap();
        alarm.set_incident(1, false, 25_000).unwrap();
        assert!(!alarm.is_active());
        alarm.tick(30_000).unwrap();
        assert!(!alarm.is_silenced());
        alarm.set_incident(0, true, 31_000).unwrap();
        alarm.set_incident(0, false, 32_000).unwrap();
        assert!(alarm.is_active());
        alarm.tick(37_000).unwrap();
        assert!(!alarm.is_active());
        assert_eq!(*fake.history.borrow(), [false, true, false, true, false, true, false]);
    }

    #[test]
    fn on_while_any_camera_has_an_incident() {
        let fake = Fake::default();
        let mut controller = AlarmController::new(fake.clone(), 0);
        controller.set_incident(0, true, 0).unwrap();
        controller.set_incident(5, true, 10).unwrap();
        controller.set_incident(0, false, 20).unwrap();
        assert!(controller.is_active());
        assert_eq!(controller.cameras_active(), 1);
        controller.set_incident(5, false, 30).unwrap();
        assert!(!controller.is_active());
        assert_eq!(*fake.history.borrow(), [false, true, false]);
    }

    #[test]
    fn hold_time_runs_from_the_last_end() {
        let fake = Fake::default();
        let mut controller = AlarmController::new(fake.clone(), 1000);
        controller.set_incident(1, true, 0).unwrap();
        controller.set_incident(1, false, 100).unwrap();
        // Ending what has ended does not prolong the hold.
        controller.set_incident(1, false, 900).unwrap();
        controller.tick(1099).unwrap();
        assert!(controller.is_active());
        controller.tick(1100).unwrap();
        assert!(!controller.is_active());
        // An incident during the hold starts anew.
        controller.set_incident(1, true, 2000).unwrap();
        controller.set_incident(1, false, 2100).unwrap();
        controller.set_incident(2, true, 2500).unwrap();
        controller.tick(10_000).unwrap();
        assert!(controller.is_active());
        controller.silence().unwrap();
        assert!(!controller.is_active());
        assert_eq!(*fake.history.borrow(), [false, true, false, true, false]);
    }

    #[test]
    fn disarmed_it_counts_and_is_quiet() {
        let fake = Fake::default();
        let mut controller = AlarmController::new(fake.clone(), 1000);
        controller.set_incident(0, true, 0).unwrap();
        controller.set_armed(false).unwrap();
        controller.set_incident(1, true, 10).unwrap();
        assert!(!controller.is_active() && !controller.is_armed());
        assert_eq!(controller.cameras_active(), 2);
        controller.set_armed(true).unwrap();
        assert!(controller.is_active());
        controller.set_incident(0, false, 20).unwrap();
        controller.set_incident(1, false, 20).unwrap();
        // The hold time ends with the arming.
        controller.set_armed(false).unwrap();
        controller.set_armed(true).unwrap();
        assert_eq!(*fake.history.borrow(), [false, true, false, true, false]);
    }

    #[test]
    fn failures_are_reported_and_tried_again() {
        let fake = Fake::default();
        let mut controller = AlarmController::new(fake.clone(), 0);
        *fake.broken.borrow_mut() = true;
        assert_eq!(controller.set_incident(0, true, 0), Err(HardwareError::Pin));
        assert_eq!(controller.tick(1), Err(HardwareError::Pin));
        *fake.broken.borrow_mut() = false;
        controller.tick(2).unwrap();
        assert_eq!(*fake.history.borrow(), [false, true]);
    }

    #[test]
    fn dropped_it_is_off() {
        let fake = Fake::default();
        let mut controller = AlarmController::new(fake.clone(), 60_000);
        controller.set_incident(usize::MAX, true, 0).unwrap();
        drop(controller);
        assert_eq!(*fake.history.borrow(), [false, true, false]);
    }
}
