//! Grain: fixed tiles of noise, so that pasted pixels tremble like filmed ones.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Edge of a tile; a power of two.
const SIZE: usize = 128;

/// A periodic tile of noise with mean 0 and standard deviation 1.
pub(super) struct Grain {
    values: Vec<f32>,
}

impl Grain {
    /// Noise averaged over boxes of ± `radius` pixels, twice: its patches are about as large.
    pub fn new(rng: &mut ChaCha8Rng, radius: usize) -> Self {
        let mut values: Vec<f32> = (0..SIZE * SIZE).map(|_| rng.random_range(-1.0..1.0)).collect();
        for _ in 0..2 {
            values = smooth(&values, radius, 1);
            values = smooth(&values, radius, SIZE);
        }
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
        values.iter_mut().for_each(|v| *v = (*v - mean) / std);
        Self { values }
    }

    /// The value at a pixel of the tile shifted by `phase`, one for each frame or thing.
    pub fn at(&self, x: usize, y: usize, phase: u32) -> f32 {
        // Odd multipliers spread successive phases over the tile.
        let shift = phase.wrapping_mul(0x9e37_79b1);
        let x = (x + (shift >> 8) as usize) % SIZE;
        let y = (y + (shift >> 20) as usize) % SIZE;
        self.values[y * SIZE + x]
    }

    /// The value between pixels, bilinear.
    pub fn between(&self, x: f32, y: f32, phase: u32) -> f32 {
        let (x, y) = (x.rem_euclid(SIZE as f32), y.rem_euclid(SIZE as f32));
        let (ix, iy) = (x as usize, y as usize);
        let (ax, ay) = (x - ix as f32, y - iy as f32);
        let top = self.at(ix, iy, phase) * (1.0 - ax) + self.at(ix + 1, iy, phase) * ax;
        let bottom = self.at(ix, iy + 1, phase) * (1.0 - ax) + self.at(ix + 1, iy + 1, phase) * ax;
        top * (1.0 - ay) + bottom * ay
    }
}

/// The periodic mean over ± `radius` along the axis of `step` 1 (rows) or [`SIZE`] (columns).
fn smooth(values: &[f32], radius: usize, step: usize) -> Vec<f32> {
    let at = |line: usize, i: usize| {
        if step == 1 { line * SIZE + i } else { i * SIZE + line }
    };
    let mut out = vec![0.0; values.len()];
    for line in 0..SIZE {
        for i in 0..SIZE {
            let window = (0..=2 * radius).map(|k| values[at(line, (i + SIZE + k - radius) % SIZE)]);
            out[at(line, i)] = window.sum::<f32>() / (2 * radius + 1) as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn smooth_noise_is_unit_and_correlated() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (fine, coarse) = (Grain::new(&mut rng, 0), Grain::new(&mut rng, 4));
        let neighbours = |g: &Grain| {
            let n = SIZE * SIZE;
            (0..n)
                .map(|i| g.at(i % SIZE, i / SIZE, 0) * g.at(i % SIZE + 1, i / SIZE, 0))
                .sum::<f32>()
                / n as f32
        };
        assert!(neighbours(&fine).abs() < 0.1);
        assert!(neighbours(&coarse) > 0.8);
    }
}
