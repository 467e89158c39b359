//! Random numbers of training: reparameterisation noise, dropout, initial values, order of bags.
//!
//! candle's CPU generator cannot be seeded, so everything is drawn here. A stream of numbers is
//! named by (seed, purpose, step, draw), never by what was drawn before: a resumed run needs no
//! generator state, and the result does not depend on the number of threads.
//!
//! On a GPU the noise of a step, forty million numbers at the published sizes, is drawn there: drawing
//! them here and moving them would take longer than the rest of the step. candle's generator for GPUs
//! can be seeded, and is at each step, so the same holds; the numbers are others than on the CPU.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of parameters.
    Init = 1,
    /// Order of the normal bags.
    NormalOrder = 2,
    /// Order of the pseudo-abnormal bags.
    PseudoOrder = 3,
    /// Noise and dropout of a step.
    Step = 4,
    /// Which bags are kept out for validation.
    Validation = 5,
    /// Which cells and snippets of the normal bags are looked at.
    NormalInstances = 6,
    /// Which cells and snippets of the pseudo-abnormal bags are looked at.
    PseudoInstances = 7,
}

/// The generator of stream (seed, purpose, index); index below 2^60.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((purpose as u64) << 60 | index);
    rng
}

/// A uniform number in (0, 1), never 0 or 1.
pub fn open_unit(rng: &mut impl Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// A permutation of `0..n` (Fisher and Yates).
pub fn permutation(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, (open_unit(rng) * (i + 1) as f64) as usize);
    }
    order
}

/// Where a forward pass in training gets its noise from.
pub trait Noise {
    /// Standard normal noise of the shape.
    ///
    /// # Errors
    /// If the tensor cannot be made on the device.
    fn normal(&mut self, shape: (usize, usize, usize), like: &Tensor) -> Result<Tensor>;

    /// A dropout mask for `n` values: each is zero with the probability, and 1 / (1 − probability)
    /// otherwise; `None` if nothing is dropped.
    fn mask(&mut self, n: usize, probability: f64) -> Option<Vec<f32>>;

    /// `x` times a dropout mask.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn dropout(&mut self, x: &Tensor, probability: f64) -> Result<Tensor> {
        masked(x, self.mask(x.elem_count(), probability))
    }
}

/// The noise of one training step.
#[derive(Debug)]
pub struct StepNoise {
    seed: u64,
    step: u64,
    draws: u64,
    /// Whether the GPU's generator has been seeded for this step.
    seeded: bool,
}

/// Numbers drawn from one stream; a longer tensor takes further streams.
const CHUNK: usize = 1 << 16;

impl StepNoise {
    /// The noise of a step, below 2^28.
    pub fn new(seed: u64, step: usize) -> Self {
        Self { seed, step: step as u64, draws: 0, seeded: false }
    }

    /// Seeds the GPU's generator with a number of this step's own, once.
    fn seed_device(&mut self, device: &Device) -> Result<()> {
        if !self.seeded {
            // A draw that the CPU's noise never uses: those count up from 0.
            let index = (self.step << 8 | 0xff) << 24;
            device.set_seed(stream(self.seed, Purpose::Step, index).next_u64())?;
            self.seeded = true;
        }
        Ok(())
    }

    fn fill(&mut self, n: usize, fill: impl Fn(&mut ChaCha8Rng, &mut [f32]) + Sync) -> Vec<f32> {
        // 28 bits of step, 8 of draws, 24 of chunks.
        let base = (self.step << 8 | self.draws) << 24;
        self.draws += 1;
        let mut values = vec![0.0f32; n];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            fill(&mut stream(self.seed, Purpose::Step, base | chunk as u64), out);
        });
        values
    }
}

impl Noise for StepNoise {
    fn normal(&mut self, shape: (usize, usize, usize), like: &Tensor) -> Result<Tensor> {
        if like.device().is_cuda() {
            self.seed_device(like.device())?;
            return Tensor::randn(0f32, 1f32, shape, like.device())?.to_dtype(like.dtype());
        }
        let values = self.fill(shape.0 * shape.1 * shape.2, |rng, out| {
            // Box and Muller, two numbers at a time.
            for pair in out.chunks_mut(2) {
                let radius = (-2.0 * open_unit(rng).ln()).sqrt();
                let (sin, cos) = (std::f64::consts::TAU * open_unit(rng)).sin_cos();
                pair[0] = (radius * cos) as f32;
                if let Some(second) = pair.get_mut(1) {
                    *second = (radius * sin) as f32;
                }
            }
        });
        to_tensor(values, shape, like.dtype(), like.device())
    }

    fn mask(&mut self, n: usize, probability: f64) -> Option<Vec<f32>> {
        if probability == 0.0 {
            return None;
        }
        let keep = (1.0 / (1.0 - probability)) as f32;
        let below = (probability * 65536.0).round() as u32;
        Some(self.fill(n, |rng, out| {
            // Four decisions from each word.
            for four in out.chunks_mut(4) {
                let mut word = rng.next_u64();
                for value in four {
                    *value = if (word as u32 & 0xffff) < below { 0.0 } else { keep };
                    word >>= 16;
                }
            }
        }))
    }

    fn dropout(&mut self, x: &Tensor, probability: f64) -> Result<Tensor> {
        if x.device().is_cuda() && probability > 0.0 {
            self.seed_device(x.device())?;
            let uniform = Tensor::rand(0f32, 1f32, x.shape(), x.device())?;
            let kept = uniform.ge(probability)?.to_dtype(x.dtype())?;
            return x.mul(&(kept * (1.0 / (1.0 - probability)))?);
        }
        masked(x, self.mask(x.elem_count(), probability))
    }
}

/// `x` times a mask, or `x` again without one.
fn masked(x: &Tensor, mask: Option<Vec<f32>>) -> Result<Tensor> {
    match mask {
        Some(mask) => x.mul(&to_tensor(mask, x.shape().clone(), x.dtype(), x.device())?),
        None => Ok(x.clone()),
    }
}

fn to_tensor(
    values: Vec<f32>,
    shape: impl Into<candle_core::Shape>,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal_and_repeats() {
        let like = Tensor::zeros(1, DType::F64, &Device::Cpu).unwrap();
        let draw = |step| StepNoise::new(9, step).normal((3, 100, 401), &like).unwrap();
        let values = draw(4).flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let fourth = values.iter().map(|v| v.powi(4)).sum::<f64>() / n;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / n;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02 && (fourth - 3.0).abs() < 0.1);
        assert_eq!(values, draw(4).flatten_all().unwrap().to_vec1::<f64>().unwrap());
        assert_ne!(values, draw(5).flatten_all().unwrap().to_vec1::<f64>().unwrap());
    }

    #[test]
    fn dropout_keeps_the_expectation() {
        let x = Tensor::ones((300, 1001), DType::F32, &Device::Cpu).unwrap();
        let mut noise = StepNoise::new(1, 1);
        let a = noise.dropout(&x, 0.3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let b = noise.dropout(&x, 0.3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let zeros = a.iter().filter(|v| **v == 0.0).count() as f64 / a.len() as f64;
        assert!((zeros - 0.3).abs() < 0.005, "{zeros}");
        assert!(a.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.7).abs() < 1e-6));
        assert_ne!(a, b, "each layer draws its own mask");
    }

    #[test]
    fn permutations_are_whole() {
        let mut order = permutation(50, &mut stream(3, Purpose::NormalOrder, 0));
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
