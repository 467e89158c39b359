//! The temporal embedding: a convolution of kernel 3 as one matrix product, with its ReLU.
//!
//! With a row of zeros before and after each video, the three snippets that an output sees lie one
//! behind the other: the window of row i is simply `x[i · D ..][.. 3 D]`. So the padded features are
//! their own columns (im2col without a copy). Windows that reach from one video into the next give
//! rows that are passed over, two for each video.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{column_sums, floats, with_floats};
use crate::local::gemm::{Matrix, MatrixMut, matmul_on_all_threads};

/// ReLU of the convolution: features `[B, T, D]` (data, without a gradient), weight `[E, D, 3]`,
/// bias `[E]` to `[B, T, E]`.
#[derive(Default)]
pub(in crate::detector) struct Embedding {
    /// The padded features `[B, T + 2, D]`, for the backward pass.
    padded: OnceLock<Vec<f32>>,
}

/// From `[E, D, 3]` to `[E, 3, D]`.
fn taps_first(weight: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0.0; weight.len()];
    out.par_chunks_mut(3 * d).zip(weight.par_chunks(3 * d)).for_each(|(out, weight)| {
        for (at, taps) in weight.chunks_exact(3).enumerate() {
            taps.iter().enumerate().for_each(|(k, tap)| out[k * d + at] = *tap);
        }
    });
    out
}

/// The inverse of [`taps_first`].
fn taps_last(weight: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0.0; weight.len()];
    out.par_chunks_mut(3 * d).zip(weight.par_chunks(3 * d)).for_each(|(out, weight)| {
        for (at, taps) in out.chunks_exact_mut(3).enumerate() {
            taps.iter_mut().enumerate().for_each(|(k, tap)| *tap = weight[k * d + at]);
        }
    });
    out
}

impl CustomOp3 for Embedding {
    fn name(&self) -> &'static str {
        "temporal-embedding"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, t, d) = x_layout.shape().dims3()?;
        let (e, inputs, kernel) = weight_layout.shape().dims3()?;
        if inputs != d || kernel != 3 || bias_layout.dims() != [e] || b * t * d == 0 {
            bail!("embedding: weight {:?} of {:?}", weight_layout.dims(), x_layout.dims());
        }
        let (x, bias) = (floats(x, x_layout)?, floats(bias, bias_layout)?);
        let weight = taps_first(floats(weight, weight_layout)?, d); // [E, 3 D]
        let mut padded = vec![0.0; b * (t + 2) * d];
        padded.par_chunks_mut((t + 2) * d).zip(x.par_chunks(t * d)).for_each(|(padded, x)| {
            padded[d..(t + 1) * d].copy_from_slice(x);
        });
        let rows = b * (t + 2) - 2;
        let mut all = vec![0.0; (rows + 2) * e];
        matmul_on_all_threads(
            (rows, 3 * d, e),
            &mut MatrixMut { data: &mut all, row_stride: e, col_stride: 1 },
            Matrix { data: &padded, row_stride: d, col_stride: 1 },
            Matrix { data: &weight, row_stride: 1, col_stride: 3 * d },
            false,
        );
        let mut out = vec![0.0; b * t * e];
        out.par_chunks_mut(t * e).zip(all.par_chunks((t + 2) * e)).for_each(|(out, all)| {
            for (out, all) in out.chunks_exact_mut(e).zip(all.chunks_exact(e)) {
                for ((out, value), bias) in out.iter_mut().zip(all).zip(bias) {
                    *out = (value + bias).max(0.0);
                }
            }
        });
        let _ = self.padded.set(padded);
        Ok((CpuStorage::F32(out), (b, t, e).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(padded) = self.padded.get() else {
            bail!("the embedding's backward pass before its forward pass");
        };
        if x.track_op() {
            bail!("the embedding gives its input no gradient: features are data");
        }
        let ((b, t, d), e) = (x.dims3()?, bias.dim(0)?);
        let grad = grad.contiguous()?;
        // The gradient behind the ReLU, with two rows of zeros for each video's padding.
        let mut all = vec![0.0; b * (t + 2) * e];
        with_floats(&grad, |grad| {
            with_floats(out, |out| {
                all.par_chunks_mut((t + 2) * e)
                    .zip(grad.par_chunks(t * e))
                    .zip(out.par_chunks(t * e))
                    .for_each(|((all, grad), out)| {
                        for ((all, grad), out) in all.iter_mut().zip(grad).zip(out) {
                            *all = if *out > 0.0 { *grad } else { 0.0 };
                        }
                    });
                Ok(())
            })
        })?;
        let rows = b * (t + 2) - 2;
        let mut dweight = vec![0.0; e * 3 * d];
        matmul_on_all_threads(
            (e, rows, 3 * d),
            &mut MatrixMut { data: &mut dweight, row_stride: 3 * d, col_stride: 1 },
            Matrix { data: &all, row_stride: 1, col_stride: e },
            Matrix { data: padded, row_stride: d, col_stride: 1 },
            false,
        );
        let dweight = Tensor::from_vec(taps_last(&dweight, d), weight.shape(), x.device())?;
        let dbias = Tensor::from_vec(column_sums(&all, e), bias.shape(), x.device())?;
        Ok((None, Some(dweight), Some(dbias)))
    }
}
