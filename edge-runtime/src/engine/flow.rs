//! The flow of frames, between the capture threads and whoever looks after it: how many are wanted,
//! and when the last one came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Camera {
    /// Frames a second that are wanted, as bits: infinite for all, 0 for none.
    wanted: AtomicU64,
    /// Milliseconds from the start to the last frame, wanted or not, plus one; 0 before the first.
    seen: AtomicU64,
}

/// The flow of every camera's frames.
#[derive(Debug)]
pub struct Flow {
    started: Instant,
    cameras: Vec<Camera>,
}

impl Flow {
    /// Cameras of which every frame is wanted and none has come.
    pub fn new(cameras: usize) -> Self {
        let zero = || AtomicU64::new(0);
        let all = || AtomicU64::new(f64::INFINITY.to_bits());
        let camera = || Camera { wanted: all(), seen: zero() };
        Self { started: Instant::now(), cameras: (0..cameras).map(|_| camera()).collect() }
    }

    /// Asks for so many frames a second of a camera from now on; infinite for all, 0 for none.
    pub fn want(&self, camera: usize, rate: f64) {
        self.cameras[camera].wanted.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Frames a second that are wanted; infinite for all, 0 for none.
    pub fn wanted(&self, camera: usize) -> f64 {
        f64::from_bits(self.cameras[camera].wanted.load(Ordering::Relaxed))
    }

    /// Notes that a camera has given a frame.
    pub fn saw(&self, camera: usize) {
        let now = self.started.elapsed().as_millis() as u64 + 1;
        self.cameras[camera].seen.store(now, Ordering::Relaxed);
    }

    /// Time since the last frame of a camera; `None` before the first.
    pub fn silence(&self, camera: usize) -> Option<Duration> {
        let seen = self.cameras[camera].seen.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(seen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_frame() {
        let flow = Flow::new(2);
        assert_eq!((flow.wanted(1), flow.silence(1)), (f64::INFINITY, None));
        flow.saw(1);
        flow.want(1, 2.5);
        std::thread::sleep(Duration::from_millis(20));
        let silence = flow.silence(1).unwrap();
        assert!(silence >= Duration::from_millis(18), "{silence:?}");
        assert_eq!((flow.wanted(1), flow.wanted(0)), (2.5, f64::INFINITY));
        assert_eq!(flow.silence(0), None);
    }
}
