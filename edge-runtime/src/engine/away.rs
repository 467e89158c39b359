//! Cameras that are away. The watchdog resets the board when a camera is silent that is there; one that
//! is away no reset brings back.

use std::time::Duration;

use crate::capture::Error;

/// Longest time from one word of a network camera that is away to the next: for connecting, without a
/// frame, and between two attempts.
const ATTEMPT: Duration = Duration::from_secs(60 + 60 + 10);

/// When a camera was last found to be away.
#[derive(Debug, Clone, Copy)]
pub struct Away {
    found: Duration,
    /// Whether it is one of the network.
    network: bool,
}

impl Away {
    /// After an attempt that has failed.
    pub fn after_attempt(why: &Error, now: Duration) -> Self {
        Self { found: now, network: is_network(why) }
    }

    /// After the frames have stopped. A network camera is away with that. A device may still be there and
    /// hang, which is what the watchdog is for.
    pub fn after_gap(why: &Error, now: Duration) -> Option<Self> {
        is_network(why).then_some(Self { found: now, network: true })
    }

    /// How much of a silence is one of a camera that is there; `lost` as long as none of its frames has
    /// come since.
    pub fn silence(self, silence: Duration, lost: bool, now: Duration) -> Duration {
        let since = silence.min(now.saturating_sub(self.found));
        // As long as it is away an attempt follows the other, and each is heard of.
        if lost && self.network { since.saturating_sub(ATTEMPT) } else { since }
    }
}

fn is_network(why: &Error) -> bool {
    matches!(why, Error::Stream { .. } | Error::Refused { .. } | Error::Password(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_device_that_hangs_is_not_away() {
        let hangs = Error::Device { path: "/dev/video0".into(), what: "no frame for 2 s".into() };
        assert!(Away::after_gap(&hangs, seconds(10)).is_none());
        // Unplugged, the next attempt says so; the silence counts from there.
        let away = Away::after_attempt(&Error::Missing("/dev/video0".into()), seconds(11));
        assert_eq!(away.silence(seconds(30), true, seconds(12)), seconds(1));
    }

    #[test]
    fn a_network_camera_that_accepts_and_sends_nothing_is_away() {
        let quiet = Error::Stream { url: "rtsp://gate".into(), what: "no frame".into() };
        let away = Away::after_gap(&quiet, seconds(10)).unwrap();
        assert_eq!(away.silence(seconds(120), true, seconds(120)), Duration::ZERO);
        // The attempts have stopped, too: this program hangs.
        assert_eq!(away.silence(seconds(200), true, seconds(200)), seconds(60));
        // It has come back and fallen silent.
        assert_eq!(away.silence(seconds(40), false, seconds(200)), seconds(40));
    }
}
