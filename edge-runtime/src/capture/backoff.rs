//! Waits between attempts to open a camera that is away: each twice as long as the one before.

use std::time::Duration;

use super::sleep;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LAST: Duration = Duration::from_secs(10);

/// The wait before the next attempt.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// Seconds of the next wait.
    pub fn seconds(&self) -> f64 {
        self.0.as_secs_f64()
    }

    /// Waits, the next time twice as long. Returns false if stopped.
    pub fn wait(&mut self, stop: &dyn Fn() -> bool) -> bool {
        let done = sleep(self.0, stop);
        self.0 = (self.0 * 2).min(LAST);
        done
    }

    /// It went well: the next wait is the first again.
    pub fn reset(&mut self) {
        self.0 = FIRST;
    }
}
