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
    /// What is known of the wall clock.
    fn state(&self) -> ClockState {
        if self.synced() { ClockState::Synced } else { ClockState::Unset }
    }
}

/// What is known of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// Something keeps it right: NTP, PTP, a receiver.
    Synced,
    /// It has been set, by a clock on the board or by hand, and nothing keeps it right.
    Unsynced,
    /// It is earlier than this program.
    Unset,
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

    fn synced(&self) -> bool {
        self.state() == ClockState::Synced
    }

    fn state(&self) -> ClockState {
        let timesyncd = Path::new("/run/systemd/timesync");
        let told = timesyncd.exists().then(|| timesyncd.join("synchronized").exists());
        judge(self.wall_ms(), disciplined(), told)
    }
}

/// What is known of the wall clock: its time, whether the kernel says that it is disciplined, and whether
/// systemd-timesyncd, where it runs, has set it.
fn judge(wall_ms: u64, disciplined: Option<bool>, timesyncd: Option<bool>) -> ClockState {
    match (disciplined, timesyncd) {
        _ if wall_ms <= RELEASED_MS => ClockState::Unset,
        (Some(true), _) => ClockState::Synced,
        // The kernel gives up its word some time after the last correction; who set the clock knows better.
        (_, Some(true)) => ClockState::Synced,
        (Some(false), _) | (None, Some(false)) => ClockState::Unsynced,
        (None, None) => ClockState::Synced,
    }
}

/// Whether the kernel says that somebody disciplines the clock (NTP, PTP, a receiver); `None` where it may
/// not be asked.
fn disciplined() -> Option<bool> {
    // SAFETY: all zeroes is a valid `timex`, whose `modes` of 0 ask and change nothing; the kernel writes
    // to the struct and keeps no pointer.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    match state {
        ..0 => None,
        libc::TIME_ERROR => Some(false),
        _ => Some(true),
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
    fn the_state_of_the_clock_is_the_kernels_word() {
        let now = RELEASED_MS + 1;
        assert_eq!(judge(now, Some(true), None), ClockState::Synced);
        assert_eq!(judge(now, Some(false), None), ClockState::Unsynced);
        assert_eq!(judge(now, Some(false), Some(false)), ClockState::Unsynced);
        assert_eq!(judge(now, Some(false), Some(true)), ClockState::Synced);
        assert_eq!(judge(now, None, None), ClockState::Synced);
        // In 1970 it is not set, whoever disciplines it.
        assert_eq!(judge(1000, Some(true), Some(true)), ClockState::Unset);
        // This machine may be asked, or says that it may not.
        println!("disciplined: {:?}", disciplined());
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let clock = SystemClock::new();
        let a = clock.monotonic();
        assert!(clock.monotonic() >= a);
    }
}
