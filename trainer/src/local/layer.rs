//! A convolution, its batch norm, ReLU and shortcut as one differentiable operation.
//!
//! As single candle operations a layer would allocate and sweep the whole batch a dozen times, and
//! candle's backward pass adds every gradient to a tensor of zeros: together more work than the
//! convolution itself.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::conv::{self, Steps, XGrad, conv2d, floats, with_floats};
use super::norm::{self, BatchStats, Dims, Moments};

/// `relu(bn(conv(x)))`, plus `x` if `residual`, in training mode: the batch norm uses the batch's own
/// statistics, which are also given.
///
/// `x` is `[n, c, h, w]`, `weight` `[o, c, kh, kw]`, `gamma` and `beta` `[o]`; a residual layer must
/// keep the shape.
///
/// # Errors
/// If shapes do not match, or on a device error.
pub fn layer(
    x: &Tensor,
    weight: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    steps: Steps,
    residual: bool,
) -> Result<(Tensor, BatchStats)> {
    if !conv::fits(x) {
        return composed(x, weight, (gamma, beta), steps, residual);
    }
    let cache = Arc::new(OnceLock::new());
    let op = Layer { steps, residual, cache: cache.clone() };
    let affine = Tensor::stack(&[gamma, beta], 0)?; // [2, o]
    let y = x.contiguous()?.apply_op3(&weight.contiguous()?, &affine, op)?;
    let (n, _, h, w) = y.dims4()?;
    let cache: &Cache = cache.get().expect("the forward pass fills the cache");
    let stats = cache.moments.stats(n * h * w);
    Ok((y, stats))
}

/// The same from separate operations.
pub(super) fn composed(
    x: &Tensor,
    weight: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    steps: Steps,
    residual: bool,
) -> Result<(Tensor, BatchStats)> {
    let (y, stats) = norm::composed(&conv2d(x, weight, steps)?, gamma, beta)?;
    Ok((if residual { (x + y)? } else { y }, stats))
}

/// What the backward pass needs of the forward pass.
struct Cache {
    /// The convolution's output.
    conv: Vec<f32>,
    moments: Moments,
    dims: Dims,
}

struct Layer {
    steps: Steps,
    residual: bool,
    cache: Arc<OnceLock<Cache>>,
}

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        "conv-batch-norm-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = self.steps.geometry(x_layout.shape(), weight_layout.shape())?;
        let shape = Shape::from((g.images, g.out_channels, g.out_height, g.out_width));
        if self.residual && &shape != x_layout.shape() {
            bail!("a residual layer of input {:?} and output {shape:?}", x_layout.shape());
        }
        if affine_layout.dims() != [2, g.out_channels] || shape.elem_count() == 0 {
            bail!("scales and shifts {:?} of output {shape:?}", affine_layout.dims());
        }
        let (x, affine) = (floats(x, x_layout)?, floats(affine, affine_layout)?);
        let dims = (g.images, g.out_channels, g.out_pixels());
        let conv = conv::forward(&g, x, floats(weight, weight_layout)?);
        let moments = Moments::of(&conv, dims);
        let shortcut = self.residual.then_some(x);
        let y = norm::forward(&moments, &conv, affine.split_at(g.out_channels), shortcut, dims);
        // An operation is applied once, so the cache is empty here.
        let _ = self.cache.set(Cache { conv, moments, dims });
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(Cache { conv, moments, dims }) = self.cache.get() else {
            bail!("a layer's backward pass before its forward pass");
        };
        let g = self.steps.geometry(x.shape(), weight.shape())?;
        let grad = grad.contiguous()?;
        let (conv_grad, gamma_grad, beta_grad) = with_floats(affine, |affine| {
            let affine = affine.split_at(dims.1);
            with_floats(&grad, |grad| Ok(norm::backward(moments, conv, affine, grad, *dims)))
        })?;
        let (x_grad, weight_grad) = with_floats(x, |data| {
            with_floats(weight, |weight| {
                with_floats(&grad, |grad| {
                    let wanted = XGrad::of(x, self.residual.then_some(grad));
                    Ok(conv::backward(&g, data, weight, &conv_grad, wanted))
                })
            })
        })?;
        let x_grad =
            x_grad.map(|data| Tensor::from_vec(data, x.shape(), x.device())).transpose()?;
        let weight_grad = Tensor::from_vec(weight_grad, weight.shape(), weight.device())?;
        let affine_grad = [gamma_grad, beta_grad].concat();
        let affine_grad = Tensor::from_vec(affine_grad, affine.shape(), affine.device())?;
        Ok((x_grad, Some(weight_grad), Some(affine_grad)))
    }
}
