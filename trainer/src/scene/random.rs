//! Seeded random numbers of a stream: the same seed and stream give the same scene everywhere.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.0.random::<f32>() < p
    }

    /// An index below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n.max(1))
    }

    /// About normal with mean 0 and standard deviation 1: the sum of four uniform bytes, one draw.
    pub fn grain(&mut self) -> f32 {
        let bytes = self.0.next_u32().to_le_bytes();
        let sum: i32 = bytes.iter().map(|&b| b as i32).sum();
        // Four uniform bytes have mean 510 and variance 4 · (256² − 1) / 12.
        (sum as f32 - 510.0) / 147.8
    }
}
