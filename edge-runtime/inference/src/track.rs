//! The raw values of a detector, frame after frame.

use crate::Error;

/// The newest raw values of a detector, addressed by model frame. Detectors run ahead of the score
/// by different lengths; the ring holds what smoothing still needs.
pub(crate) struct Track {
    detector: &'static str,
    values: Vec<f64>,
    known: u64,
}

impl Track {
    pub(crate) fn new(detector: &'static str, capacity: usize) -> Self {
        Self { detector, values: vec![0.0; capacity.max(1)], known: 0 }
    }

    /// Appends the value of the next model frame.
    pub(crate) fn push(&mut self, value: f64) -> Result<(), Error> {
        if !value.is_finite() {
            return Err(Error::NotFinite { detector: self.detector, frame: self.known, value });
        }
        let slot = (self.known % self.values.len() as u64) as usize;
        self.values[slot] = value;
        self.known += 1;
        Ok(())
    }

    /// Number of model frames whose value is known.
    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    /// The value of a frame that is known and still held.
    pub(crate) fn get(&self, frame: u64) -> f64 {
        debug_assert!(frame < self.known && frame + self.values.len() as u64 >= self.known);
        self.values[(frame % self.values.len() as u64) as usize]
    }
}
