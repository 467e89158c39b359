//! Batch normalisation followed by ReLU, for training, as one operation.
//!
//! `y = relu(γ · (x − mean) / √(var + ε) + β)` with the mean and the biased variance of each
//! channel over the batch (Ioffe and Szegedy 2015). Written with single candle operations this
//! would allocate and sweep the batch a dozen times, forward and backward each.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::conv::{floats, with_floats};

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
/// and cuts at zero; differentiable. Also gives the statistics.
///
/// # Errors
/// If shapes do not match, or on a device error.
pub fn batch_norm_relu(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<(Tensor, BatchStats)> {
    if !x.device().is_cpu() {
        return composed(x, gamma, beta);
    }
    let moments = Arc::new(OnceLock::new());
    let op = BatchNormRelu {
        moments: moments.clone(),
    };
    let y = x.contiguous()?.apply_op3(gamma, beta, op)?;
    let (n, _, h, w) = x.dims4()?;
    let moments: &Moments = moments.get().expect("the forward pass sets the moments");
    Ok((y, moments.stats(n * h * w)))
}

/// The same from candle's own operations, for devices other than the CPU.
pub(super) fn composed(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<(Tensor, BatchStats)> {
    let (n, c, h, w) = x.dims4()?;
    let shape = (1, c, 1, 1);
    let mean = x.mean_keepdim((0, 2, 3))?; // [1, c, 1, 1]
    let centred = x.broadcast_sub(&mean)?; // [n, c, h, w]
    let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?; // [1, c, 1, 1]
    let scale = (gamma.reshape(shape)? / (&variance + EPSILON)?.sqrt()?)?;
    let y = centred
        .broadcast_mul(&scale)?
        .broadcast_add(&beta.reshape(shape)?)?
        .relu()?;
    let moments = Moments {
        mean: mean.flatten_all()?.to_vec1()?,
        variance: variance.flatten_all()?.to_vec1()?,
    };
    Ok((y, moments.stats(n * h * w)))
}

/// Mean and biased variance of each channel.
#[derive(Debug)]
struct Moments {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Moments {
    fn stats(&self, count: usize) -> BatchStats {
        let unbias = count as f32 / (count.max(2) - 1) as f32;
        BatchStats {
            mean: self.mean.clone(),
            variance: self
                .variance
                .iter()
                .map(|variance| variance * unbias)
                .collect(),
        }
    }

    fn inverse_std(&self, channel: usize) -> f32 {
        (1.0 / (f64::from(self.variance[channel]) + EPSILON).sqrt()) as f32
    }
}

/// The sum of `term(i)` for `i < count`: sixteen running sums in `f32`, for vector units, joined in
/// `f64` in a fixed order.
fn sum(count: usize, term: impl Fn(usize) -> f32) -> f64 {
    let mut lanes = [0f32; 16];
    let whole = count - count % 16;
    for start in (0..whole).step_by(16) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += term(start + lane);
        }
    }
    let tail: f64 = (whole..count).map(|i| f64::from(term(i))).sum();
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() + tail
}

struct BatchNormRelu {
    moments: Arc<OnceLock<Moments>>,
}

impl CustomOp3 for BatchNormRelu {
    fn name(&self) -> &'static str {
        "batch-norm-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (images, channels, height, width) = x_layout.shape().dims4()?;
        let plane = height * width;
        let x = floats(x, x_layout)?;
        let (gamma, beta) = (floats(gamma, gamma_layout)?, floats(beta, beta_layout)?);
        if gamma.len() != channels || beta.len() != channels || x.is_empty() {
            bail!(
                "batch norm: {channels} channels, {} scales, {} shifts",
                gamma.len(),
                beta.len()
            );
        }
        let planes = |channel: usize| {
            (0..images).map(move |image| &x[(image * channels + channel) * plane..][..plane])
        };
        let count = (images * plane) as f64;
        let (mean, variance) = (0..channels)
            .into_par_iter()
            .map(|channel| {
                let total: f64 = planes(channel).map(|p| sum(plane, |i| p[i])).sum();
                let mean = (total / count) as f32;
                let squares: f64 = planes(channel)
                    .map(|p| sum(plane, |i| (p[i] - mean) * (p[i] - mean)))
                    .sum();
                (mean, (squares / count) as f32)
            })
            .unzip();
        let moments = Moments { mean, variance };
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .enumerate()
            .for_each(|(at, (y, x))| {
                let (scale, shift) = affine(&moments, gamma, beta, at % channels);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (scale * *x + shift).max(0.0);
                }
            });
        // Running the same operation twice gives the same moments: keeping the first is right.
        let _ = self.moments.set(moments);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(moments) = self.moments.get() else {
            bail!("batch norm: backward before forward");
        };
        let (_, channels, height, width) = x.dims4()?;
        let grad = grad.contiguous()?;
        let (dx, dgamma, dbeta) = with_floats(x, |x| {
            with_floats(gamma, |gamma| {
                with_floats(y, |y| {
                    with_floats(&grad, |grad| {
                        Ok(backward(
                            moments,
                            (channels, height * width),
                            x,
                            gamma,
                            y,
                            grad,
                        ))
                    })
                })
            })
        })?;
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(Tensor::from_vec(dgamma, gamma.shape(), gamma.device())?),
            Some(Tensor::from_vec(dbeta, beta.shape(), beta.device())?),
        ))
    }
}

/// Scale and shift that normalise a channel and apply γ and β.
fn affine(moments: &Moments, gamma: &[f32], beta: &[f32], channel: usize) -> (f32, f32) {
    let scale = gamma[channel] * moments.inverse_std(channel);
    (scale, beta[channel] - scale * moments.mean[channel])
}

/// With g the gradient where the output is positive and x̂ the normalised input:
/// dβ = Σ g, dγ = Σ g x̂, dx = γ / √(var + ε) · (g − dβ / m − x̂ dγ / m) over the m values of a channel.
fn backward(
    moments: &Moments,
    (channels, plane): (usize, usize),
    x: &[f32],
    gamma: &[f32],
    y: &[f32],
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let images = x.len() / (channels * plane);
    let sums: Vec<(f32, f32)> = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let mean = moments.mean[channel];
            let (mut total, mut against) = (0f64, 0f64);
            for image in 0..images {
                let at = (image * channels + channel) * plane;
                let (x, y, g) = (&x[at..][..plane], &y[at..][..plane], &grad[at..][..plane]);
                total += sum(plane, |i| if y[i] > 0.0 { g[i] } else { 0.0 });
                against += sum(plane, |i| {
                    if y[i] > 0.0 {
                        g[i] * (x[i] - mean)
                    } else {
                        0.0
                    }
                });
            }
            (
                total as f32,
                (against * f64::from(moments.inverse_std(channel))) as f32,
            )
        })
        .collect();
    let count = (images * plane) as f32;
    let mut dx = vec![0f32; x.len()];
    dx.par_chunks_mut(plane)
        .enumerate()
        .for_each(|(index, dx)| {
            let channel = index % channels;
            let inverse_std = moments.inverse_std(channel);
            let (mean, (dbeta, dgamma)) = (moments.mean[channel], sums[channel]);
            let scale = gamma[channel] * inverse_std;
            let constant = scale * dbeta / count;
            let slope = scale * dgamma / count * inverse_std;
            let at = index * plane;
            let (x, y, g) = (&x[at..][..plane], &y[at..][..plane], &grad[at..][..plane]);
            for i in 0..plane {
                let g = if y[i] > 0.0 { g[i] } else { 0.0 };
                dx[i] = scale * g - constant - slope * (x[i] - mean);
            }
        });
    let (dbeta, dgamma) = sums.into_iter().unzip();
    (dx, dgamma, dbeta)
}
