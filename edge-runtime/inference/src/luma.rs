//! The last luma frames of a stream.

/// A ring of luma frames, addressed by model frame.
pub(crate) struct LumaRing {
    frames: Vec<Vec<u8>>,
    pushed: u64,
}

impl LumaRing {
    /// Room for `capacity` frames of `size` bytes.
    pub(crate) fn new(capacity: usize, size: usize) -> Self {
        Self { frames: vec![vec![0; size]; capacity.max(1)], pushed: 0 }
    }

    /// Makes room for the next frame in place of the oldest; the caller writes it.
    pub(crate) fn push(&mut self) -> &mut [u8] {
        let slot = (self.pushed % self.frames.len() as u64) as usize;
        self.pushed += 1;
        &mut self.frames[slot]
    }

    /// Number of the newest frame; there must be one.
    pub(crate) fn newest(&self) -> u64 {
        self.pushed - 1
    }

    /// A frame that is still held.
    pub(crate) fn get(&self, frame: u64) -> &[u8] {
        debug_assert!(frame < self.pushed && frame + self.frames.len() as u64 >= self.pushed);
        &self.frames[(frame % self.frames.len() as u64) as usize]
    }
}
