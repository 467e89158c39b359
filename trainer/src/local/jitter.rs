//! How a training crop is changed, the same for all frames of its stack: as another hour, lens or
//! encoder would.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::config::LocalConfig;

/// The changes of one crop.
pub(super) struct Jitter {
    /// What each level becomes: bent, contrast around mid grey, brightness.
    pub tone: [f32; 256],
    /// Mirrored.
    pub flip: bool,
    /// Standard deviation of the noise in levels.
    noise: f32,
    /// Share that a blurred pixel takes from each of its neighbours along an axis.
    share: f32,
}

impl Jitter {
    pub fn draw(config: &LocalConfig, rng: &mut ChaCha8Rng) -> Self {
        let mut within = |limit: f32| limit * (2.0 * rng.random::<f32>() - 1.0);
        let (gain, brightness) = (1.0 + within(config.gain), within(config.brightness));
        let noise = config.noise * rng.random::<f32>();
        let flip = rng.random_bool(0.5);
        // What is switched off draws nothing, so that the other draws stay what they were.
        let power = match config.gamma {
            0.0 => 1.0,
            gamma => (1.0 + gamma).powf(2.0 * rng.random::<f32>() - 1.0),
        };
        let sigma = match config.blur {
            0.0 => 0.0,
            blur => blur * rng.random::<f32>(),
        };
        let tone = std::array::from_fn(|level| {
            let level = level as f32;
            let bent = if power == 1.0 { level } else { 255.0 * (level / 255.0).powf(power) };
            (bent - 128.0) * gain + 128.0 + brightness
        });
        // Three taps of share, 1 − 2 share, share have the variance 2 share.
        Self { tone, flip, noise, share: sigma * sigma / 2.0 }
    }

    /// Blurs a plane of rows of `width` toned levels.
    pub fn blur(&self, plane: &mut [f32], width: usize) {
        if self.share == 0.0 {
            return;
        }
        let mix = |a: f32, b: f32, c: f32| b + self.share * (a + c - 2.0 * b);
        for row in plane.chunks_exact_mut(width) {
            let mut before = row[0];
            for x in 0..width {
                let (this, after) = (row[x], row[(x + 1).min(width - 1)]);
                row[x] = mix(before, this, after);
                before = this;
            }
        }
        let height = plane.len() / width;
        let mut before = plane[..width].to_vec();
        for y in 0..height {
            let next = (y + 1).min(height - 1) * width;
            for x in 0..width {
                let (this, after) = (plane[y * width + x], plane[next + x]);
                plane[y * width + x] = mix(before[x], this, after);
                before[x] = this;
            }
        }
    }

    /// Adds noise to a row; the result stays a luma level. `deviates` are standard normal.
    pub fn finish(&self, row: &mut [f32], deviates: &[f32]) {
        for (level, deviate) in row.iter_mut().zip(deviates) {
            *level = (*level + self.noise * deviate).clamp(0.0, 255.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_blur_spreads_a_point_and_keeps_the_sum() {
        let jitter = Jitter { tone: [0.0; 256], flip: false, noise: 0.0, share: 0.25 };
        let mut plane = vec![0.0; 25];
        plane[12] = 16.0;
        jitter.blur(&mut plane, 5);
        let expected = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        let found: Vec<f32> =
            (1..4).flat_map(|y| plane[5 * y + 1..5 * y + 4].iter().copied()).collect();
        assert_eq!(found, expected);
        // At the border the pixel stands for what is not there: a flat plane stays flat.
        let mut flat = vec![7.0; 12];
        jitter.blur(&mut flat, 4);
        assert_eq!(flat, [7.0; 12]);
    }

    #[test]
    fn the_tone_keeps_the_order_of_levels_within_its_limits() {
        let config = LocalConfig { gamma: 0.5, gain: 0.0, brightness: 0.0, ..Default::default() };
        let mut powers = Vec::new();
        for seed in 0..40 {
            let tone = Jitter::draw(&config, &mut ChaCha8Rng::seed_from_u64(seed)).tone;
            assert!(tone.windows(2).all(|pair| pair[0] <= pair[1]));
            assert!((tone[255] - 255.0).abs() < 1e-3 && tone[0].abs() < 1e-3);
            powers.push((tone[128] / 255.0).ln() / (128.0f32 / 255.0).ln());
        }
        assert!(powers.iter().all(|p| (1.0 / 1.501..1.501).contains(p)), "{powers:?}");
        assert!(powers.iter().any(|p| *p > 1.2) && powers.iter().any(|p| *p < 0.85));
    }
}
