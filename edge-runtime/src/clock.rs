//! Time: wall clock, monotonic clock, and whether the wall clock can be trusted.
//!
//! The order of events never depends on wall time, which on some boards starts in 1970 and jumps
//! when the network comes up.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall time in milliseconds of the Unix epoch.
    fn wall_ms(&self) -> u64;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Whether the wall clock has been set.
    fn synced(&self) -> bool;
}

/// 2026-01-01; the wall clock of a device that runs this program cannot be earlier if it is set.
const RELEASED_MS: u64 = 1_767_225_600_000;

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// Uptime of the machine when the process started, so that `monotonic` counts from boot.
    boot_offset: Duration,
}

impl SystemClock {
    /// Counts monotonic time from boot where the system tells it (`/proc/uptime`), else from now.
    pub fn new() -> Self {
        let boot_offset = std::fs::read_to_string("/proc/uptime")
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .filter(|s| s.is_finite() && *s >= 0.0)
            .map_or(Duration::ZERO, Duration::from_secs_f64);
        Self { started: Instant::now(), boot_offset }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // A clock before 1970 is as good as one in 1970: not set.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.boot_offset + self.started.elapsed()
    }

    /// The clock is later than this program, and where systemd-timesyncd runs it has said so.
    fn synced(&self) -> bool {
        let timesyncd = Path::new("/run/systemd/timesync");
        self.wall_ms() > RELEASED_MS
            && (!timesyncd.exists() || timesyncd.join("synchronized").exists())
    }
}

/// A clock that moves only when told to: for tests, and for recorded videos, whose messages must
/// not depend on when they are replayed.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// Starts at the given wall time with the monotonic clock at zero.
    pub fn new(wall_ms: u64) -> Self {
        Self { wall_ms: AtomicU64::new(wall_ms), monotonic_ms: AtomicU64::new(0) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }

    fn synced(&self) -> bool {
        self.wall_ms() > RELEASED_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_is_not_synced() {
        assert!(!ManualClock::new(0).synced());
        assert!(ManualClock::new(RELEASED_MS + 1).synced());
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let clock = SystemClock::new();
        let a = clock.monotonic();
        assert!(clock.monotonic() >= a);
    }
}
