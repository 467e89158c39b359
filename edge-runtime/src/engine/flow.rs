//! The flow of frames, between the capture threads and whoever looks after it: how many are wanted,
//! and when the last one came.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Camera {
    /// Every how many frames one is wanted; 0 for none.
    every: AtomicU32,
    /// Milliseconds from the start to the last frame, wanted or not, plus one; 0 before the first.
    seen: AtomicU64,
    /// Frames per second of the source when every one is wanted, as bits.
    rate: AtomicU64,
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
        let camera = || Camera { every: AtomicU32::new(1), seen: zero(), rate: zero() };
        Self { started: Instant::now(), cameras: (0..cameras).map(|_| camera()).collect() }
    }

    /// Asks for every `every`-th frame of a camera from now on; 0 asks for none.
    pub fn want(&self, camera: usize, every: u32) {
        self.cameras[camera].every.store(every, Ordering::Relaxed);
    }

    /// Every how many frames one is wanted; 0 for none.
    pub fn wanted(&self, camera: usize) -> u32 {
        self.cameras[camera].every.load(Ordering::Relaxed)
    }

    /// Notes the rate of a camera of which every frame is wanted.
    pub fn set_rate(&self, camera: usize, rate: f64) {
        self.cameras[camera].rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Frames per second of a camera when every one is wanted; 0 if it is not known.
    pub fn rate(&self, camera: usize) -> f64 {
        f64::from_bits(self.cameras[camera].rate.load(Ordering::Relaxed))
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
        assert_eq!((flow.wanted(1), flow.silence(1)), (1, None));
        flow.saw(1);
        flow.want(1, 3);
        flow.set_rate(1, 29.97);
        std::thread::sleep(Duration::from_millis(20));
        let silence = flow.silence(1).unwrap();
        assert!(silence >= Duration::from_millis(18), "{silence:?}");
        assert_eq!((flow.wanted(1), flow.wanted(0), flow.silence(0)), (3, 1, None));
        assert_eq!((flow.rate(1), flow.rate(0)), (29.97, 0.0));
    }
}
