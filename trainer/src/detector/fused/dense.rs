//! A dense layer: y = x Wᵀ + b.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{column_sums, floats, with_floats};
use crate::local::gemm::{Matrix, MatrixMut, matmul_on_all_threads};

/// `[rows, out]` from `x` `[rows, in]`, `weight` `[out, in]`, `bias` `[out]` or empty.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let mut y = vec![0.0; rows * outputs];
    if !bias.is_empty() {
        y.par_chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias));
    }
    matmul_on_all_threads(
        (rows, inputs, outputs),
        &mut MatrixMut { data: &mut y, row_stride: outputs, col_stride: 1 },
        Matrix { data: x, row_stride: inputs, col_stride: 1 },
        Matrix { data: weight, row_stride: 1, col_stride: inputs },
        !bias.is_empty(),
    );
    y
}

/// The input's gradient, g W.
pub(super) fn input_gradient(grad: &[f32], weight: &[f32], outputs: usize) -> Vec<f32> {
    let (rows, inputs) = (grad.len() / outputs, weight.len() / outputs);
    let mut out = vec![0.0; rows * inputs];
    matmul_on_all_threads(
        (rows, outputs, inputs),
        &mut MatrixMut { data: &mut out, row_stride: inputs, col_stride: 1 },
        Matrix { data: grad, row_stride: outputs, col_stride: 1 },
        Matrix { data: weight, row_stride: inputs, col_stride: 1 },
        false,
    );
    out
}

/// The weight's gradient, gᵀ x.
pub(super) fn weight_gradient(grad: &[f32], x: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let rows = grad.len() / outputs;
    let mut out = vec![0.0; outputs * inputs];
    matmul_on_all_threads(
        (outputs, rows, inputs),
        &mut MatrixMut { data: &mut out, row_stride: inputs, col_stride: 1 },
        Matrix { data: grad, row_stride: 1, col_stride: outputs },
        Matrix { data: x, row_stride: inputs, col_stride: 1 },
        false,
    );
    out
}

/// The layer as an operation of `x` `[..., in]`, weight and bias.
pub(in crate::detector) struct Dense;

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "dense"
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
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let mut shape = x_layout.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == inputs && bias_layout.dims() == [outputs] => *last = outputs,
            _ => candle_core::bail!("dense: weight {:?} of input {shape:?}", weight_layout.dims()),
        }
        let (x, weight) = (floats(x, x_layout)?, floats(weight, weight_layout)?);
        let y = forward(x, weight, floats(bias, bias_layout)?, inputs);
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = weight.dims2()?;
        let grad = grad.contiguous()?;
        let (dx, dw, db) = with_floats(&grad, |g| {
            let dx =
                with_floats(weight, |w| Ok(x.track_op().then(|| input_gradient(g, w, outputs))))?;
            let dw = with_floats(x, |x| Ok(weight_gradient(g, x, outputs, inputs)))?;
            Ok((dx, dw, column_sums(g, outputs)))
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let dw = Tensor::from_vec(dw, weight.shape(), x.device())?;
        let db = Tensor::from_vec(db, bias.shape(), x.device())?;
        Ok((dx, Some(dw), Some(db)))
    }
}
