//! The time of each frame of a file.

use std::path::Path;

/// A step ahead by more seconds is a join of two recordings, not a hole in one.
const LONGEST_HOLE: f64 = 60.0;
/// A step back by more seconds is one, too.
const STEP_BACK: f64 = 1.0;
/// Frames at one time after which the stamps are no longer looked at.
const STANDS_STILL: u32 = 10;

/// Turns a file's time stamps into seconds since its first frame, which never go back.
#[derive(Debug)]
pub(super) struct Times {
    /// Seconds of a unit of time.
    base: f64,
    /// Seconds between two frames, by the file's rate.
    distance: f64,
    /// What is added to a stamp.
    shift: Option<f64>,
    last: f64,
    still: u32,
}

impl Times {
    pub(super) fn new(base: f64, rate: f64) -> Self {
        Self { base, distance: 1.0 / rate, shift: None, last: 0.0, still: 0 }
    }

    /// Time of the newest frame.
    pub(super) fn last(&self) -> f64 {
        self.last
    }

    /// Takes up frame `number` with its stamp.
    pub(super) fn next(&mut self, stamp: Option<i64>, path: &Path, number: u64) {
        let seconds = stamp.map(|stamp| stamp as f64 * self.base);
        if number == 0 {
            self.shift = seconds.map(|seconds| -seconds);
            return;
        }
        let next = self.last + self.distance;
        let (Some(seconds), true) = (seconds, self.still < STANDS_STILL) else {
            self.last = next;
            return;
        };
        let shift = *self.shift.get_or_insert(next - seconds);
        let step = seconds + shift - self.last;
        if step > 0.0 && step <= LONGEST_HOLE {
            (self.last, self.still) = (seconds + shift, 0);
        } else if (-STEP_BACK..=0.0).contains(&step) {
            self.still += 1;
        } else {
            log::warn!(
                "{}: frame {number}: the time stamps jump by {step:.1} s; the frames are taken to go on",
                path.display()
            );
            self.shift = Some(next - seconds);
            (self.last, self.still) = (next, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stamps: &[Option<i64>]) -> Vec<f64> {
        let mut times = Times::new(0.001, 10.0);
        let path = Path::new("a.ts");
        let next = |(number, stamp): (usize, &Option<i64>)| {
            times.next(*stamp, path, number as u64);
            (times.last() * 1000.0).round() / 1000.0
        };
        stamps.iter().enumerate().map(next).collect()
    }

    #[test]
    fn stamps_as_they_are_from_the_first_one() {
        let stamps = [5000, 5033, 5067, 5100, 9000].map(Some);
        assert_eq!(times(&stamps), [0.0, 0.033, 0.067, 0.1, 4.0]);
    }

    #[test]
    fn joined_recordings_go_on() {
        let stamps = [1000, 1100, 1200, 0, 100, 9_000_000, 9_000_100].map(Some);
        assert_eq!(times(&stamps), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    }

    #[test]
    fn without_stamps_or_with_useless_ones_the_rate_tells() {
        assert_eq!(times(&[None, None, None]), [0.0, 0.1, 0.2]);
        let still = times(&[Some(7); 30]);
        assert_eq!((still[10], still[11], still[29]), (0.0, 0.1, 1.9));
        // A little back, as some writers round: it does not go back.
        assert_eq!(times(&[0, 100, 99, 200].map(Some)), [0.0, 0.1, 0.1, 0.2]);
    }
}
