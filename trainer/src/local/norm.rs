//! Batch normalisation followed by ReLU, for training: `relu(γ · (x − mean) / √(var + ε) + β)` with
//! the mean and the biased variance of each channel over the batch (Ioffe and Szegedy 2015).

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// Added to the variance, as in PyTorch.
pub const EPSILON: f64 = 1e-5;

/// Mean and unbiased variance of each channel over one batch: what running statistics average.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStats {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Variance of each channel, divided by count − 1.
    pub variance: Vec<f32>,
}

/// Normalises `x` `[n, c, h, w]` by its own statistics, scales by `gamma` `[c]`, adds `beta` `[c]`
/// and cuts at zero, with candle's own operations: for devices other than the CPU, and other types.
pub(super) fn composed(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<(Tensor, BatchStats)> {
    let (n, c, h, w) = x.dims4()?;
    let shape = (1, c, 1, 1);
    let mean = x.mean_keepdim((0, 2, 3))?; // [1, c, 1, 1]
    let centred = x.broadcast_sub(&mean)?; // [n, c, h, w]
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?; // [1, c, 1, 1]
    let scale = (gamma.reshape(shape)? / (&variance + EPSILON)?.sqrt()?)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(&beta.reshape(shape)?)?.relu()?;
    let floats = |x: &Tensor| x.detach().flatten_all()?.to_dtype(DType::F32)?.to_vec1();
    let moments = Moments { mean: floats(&mean)?, variance: floats(&variance)? };
    Ok((y, moments.stats(n * h * w)))
}

/// Images, channels and pixels of a map.
pub(super) type Dims = (usize, usize, usize);

/// Mean and biased variance of each channel.
#[derive(Debug)]
pub(super) struct Moments {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Moments {
    /// The moments of `x` `[images, channels, plane]`.
    pub fn of(x: &[f32], (images, channels, plane): Dims) -> Self {
        let planes = |channel: usize| {
            (0..images).map(move |image| &x[(image * channels + channel) * plane..][..plane])
        };
        let count = (images * plane).max(1) as f64;
        let (mean, variance) = (0..channels)
            .into_par_iter()
            .map(|channel| {
                let total: f64 = planes(channel).map(|x| sum([x], |[x]| [x])[0]).sum();
                let mean = (total / count) as f32;
                let square = |[x]: [f32; 1]| [(x - mean) * (x - mean)];
                let squares: f64 = planes(channel).map(|x| sum([x], square)[0]).sum();
                (mean, (squares / count) as f32)
            })
            .unzip();
        Self { mean, variance }
    }

    /// What running statistics average, for `count` values of each channel.
    pub fn stats(&self, count: usize) -> BatchStats {
        let unbias = count as f32 / (count.max(2) - 1) as f32;
        BatchStats {
            mean: self.mean.clone(),
            variance: self.variance.iter().map(|variance| variance * unbias).collect(),
        }
    }

    fn inverse_std(&self, channel: usize) -> f32 {
        (1.0 / (f64::from(self.variance[channel]) + EPSILON).sqrt()) as f32
    }

    /// Scale and shift that normalise a channel and apply γ and β.
    fn affine(&self, gamma: &[f32], beta: &[f32], channel: usize) -> (f32, f32) {
        let scale = gamma[channel] * self.inverse_std(channel);
        (scale, beta[channel] - scale * self.mean[channel])
    }
}

/// Sums over `i` of the terms that `f` makes of the inputs' i-th values: sixteen running sums in
/// `f32`, for vector units, joined in `f64`, all in a fixed order.
fn sum<const IN: usize, const OUT: usize>(
    inputs: [&[f32]; IN],
    f: impl Fn([f32; IN]) -> [f32; OUT],
) -> [f64; OUT] {
    let split = inputs.map(|input| input.as_chunks::<16>());
    let mut lanes = [[0f32; 16]; OUT];
    for chunk in 0..split[0].0.len() {
        let values: [&[f32; 16]; IN] = std::array::from_fn(|input| &split[input].0[chunk]);
        for lane in 0..16 {
            let terms = f(std::array::from_fn(|input| values[input][lane]));
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[lane] += term;
            }
        }
    }
    let mut totals = lanes.map(|lanes| lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>());
    for at in 0..split[0].1.len() {
        let terms = f(std::array::from_fn(|input| split[input].1[at]));
        for (total, term) in totals.iter_mut().zip(terms) {
            *total += f64::from(term);
        }
    }
    totals
}

/// `relu(γ x̂ + β)`, plus `shortcut` if there is one.
pub(super) fn forward(
    moments: &Moments,
    x: &[f32],
    (gamma, beta): (&[f32], &[f32]),
    shortcut: Option<&[f32]>,
    (_, channels, plane): Dims,
) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(plane).enumerate().for_each(|(index, y)| {
        let (scale, shift) = moments.affine(gamma, beta, index % channels);
        let x = &x[index * plane..][..plane];
        match shortcut {
            Some(shortcut) => {
                let shortcut = &shortcut[index * plane..][..plane];
                for ((y, x), shortcut) in y.iter_mut().zip(x).zip(shortcut) {
                    *y = (scale * *x + shift).max(0.0) + *shortcut;
                }
            }
            None => {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (scale * *x + shift).max(0.0);
                }
            }
        }
    });
    y
}

/// The gradients of x, γ and β. With g the gradient where γ x̂ + β is positive: dβ = Σ g,
/// dγ = Σ g x̂, dx = γ / √(var + ε) · (g − dβ / m − x̂ dγ / m) over the m values of a channel.
pub(super) fn backward(
    moments: &Moments,
    x: &[f32],
    (gamma, beta): (&[f32], &[f32]),
    grad: &[f32],
    (images, channels, plane): Dims,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let sums: Vec<(f32, f32)> = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let mean = moments.mean[channel];
            let (scale, shift) = moments.affine(gamma, beta, channel);
            let (mut total, mut against) = (0f64, 0f64);
            for image in 0..images {
                let at = (image * channels + channel) * plane;
                let [g, gx] = sum([&x[at..][..plane], &grad[at..][..plane]], |[x, g]| {
                    let g = if scale * x + shift > 0.0 { g } else { 0.0 };
                    [g, g * (x - mean)]
                });
                total += g;
                against += gx;
            }
            (total as f32, (against * f64::from(moments.inverse_std(channel))) as f32)
        })
        .collect();
    let count = (images * plane) as f32;
    let mut dx = vec![0f32; x.len()];
    dx.par_chunks_mut(plane).enumerate().for_each(|(index, dx)| {
        let channel = index % channels;
        let (mean, (dbeta, dgamma)) = (moments.mean[channel], sums[channel]);
        let (scale, shift) = moments.affine(gamma, beta, channel);
        let slope = scale * dgamma / count * moments.inverse_std(channel);
        let constant = scale * dbeta / count - slope * mean;
        let at = index * plane;
        let values = x[at..][..plane].iter().zip(&grad[at..][..plane]);
        for (dx, (&x, &g)) in dx.iter_mut().zip(values) {
            // Without a branch the loop becomes vector code: g is loaded, then kept or not.
            let keep = f32::from(u8::from(scale * x + shift > 0.0));
            *dx = scale * keep * g - constant - slope * x;
        }
    });
    let (dbeta, dgamma) = sums.into_iter().unzip();
    (dx, dgamma, dbeta)
}
