//! The last frames of a stream, made small.
//!
//! A score comes some frames after its frame (smoothing and snippets look ahead), so the picture
//! of the peak must be remembered until then. Memory is bounded: with a long lag only every n-th
//! frame is kept, which is near enough for a picture.

use video::{Frame, Resizer};

/// Frames kept.
const SLOTS: usize = 32;
/// Wider frames are made smaller. 32 frames of 480 × 360 are 16 MiB.
const MAX_WIDTH: usize = 480;

/// The last frames of a stream.
#[derive(Debug)]
pub struct Ring {
    slots: Vec<(u64, Frame)>,
    next: usize,
    every: u64,
    /// Frames that were handed in.
    count: u64,
    resizer: Resizer,
}

impl Ring {
    /// Remembers at least the last `lag` frames, to within a thirty-second of them.
    pub fn new(lag: u64) -> Self {
        Self {
            slots: Vec::with_capacity(SLOTS),
            next: 0,
            every: (lag + 1).div_ceil(SLOTS as u64 - 1).max(1),
            count: 0,
            resizer: Resizer::new(),
        }
    }

    /// Remembers frame `number`; numbers may leave some out. Allocates nothing once the ring is full.
    ///
    /// # Errors
    /// If the frame has no pixels.
    pub fn push(&mut self, number: u64, frame: &Frame) -> Result<(), video::Error> {
        let kept = self.count.is_multiple_of(self.every);
        self.count += 1;
        if !kept {
            return Ok(());
        }
        if self.slots.len() < SLOTS {
            self.slots.push((0, Frame::default()));
            self.next = self.slots.len() - 1;
        }
        let (width, height) = (frame.width(), frame.height());
        let (small_width, small_height) = if width > MAX_WIDTH {
            (MAX_WIDTH, (height * MAX_WIDTH / width).max(1))
        } else {
            (width, height)
        };
        let slot = &mut self.slots[self.next];
        slot.0 = number;
        slot.1.reshape(small_width, small_height);
        self.resizer.resize(frame, &mut slot.1)?;
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }

    /// The frame nearest to `number`.
    pub fn nearest(&self, number: u64) -> Option<&Frame> {
        self.slots.iter().min_by_key(|(n, _)| n.abs_diff(number)).map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(level: u64) -> Frame {
        Frame::from_rgb(8, 4, vec![level as u8; 96]).unwrap()
    }

    #[test]
    fn every_frame_of_a_short_lag_is_there() {
        let mut ring = Ring::new(8);
        for i in 0..100 {
            ring.push(i, &frame(i)).unwrap();
            for back in 0..=8.min(i) {
                assert_eq!(ring.nearest(i - back).unwrap().rgb()[0], (i - back) as u8);
            }
        }
    }

    #[test]
    fn a_long_lag_is_covered_coarsely() {
        let mut ring = Ring::new(200);
        for i in 0..250 {
            ring.push(i, &frame(i)).unwrap();
        }
        let found = ring.nearest(49).unwrap().rgb()[0];
        assert!(found.abs_diff(49) <= 7, "{found}");
        assert_eq!(ring.slots.len(), SLOTS);
    }

    #[test]
    fn large_frames_are_made_small() {
        let mut ring = Ring::new(1);
        ring.push(0, &Frame::new(1920, 1080)).unwrap();
        let kept = ring.nearest(0).unwrap();
        assert_eq!((kept.width(), kept.height()), (480, 270));
    }
}
