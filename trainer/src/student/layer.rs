//! A convolution, its bias and ReLU6 as one differentiable operation.
//!
//! Batch norms are frozen (see [`super::network`]), so that a layer is no more than this. As one
//! operation only its output is kept for the backward pass: ReLU6 cut off exactly where the output is 0
//! or 6.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::depthwise::{Plane, TAPS};
use crate::local::Steps;
use crate::local::conv::{self, XGrad, floats, with_floats};
use crate::local::gemm::{Matrix, MatrixMut, matmul};

/// Where ReLU6 cuts.
const LIMIT: f32 = 6.0;
/// Images whose partial weight gradients are added by one thread: a number that does not depend on the
/// threads, so that sums are the same bits with any number of them.
const GROUP: usize = 4;

/// What the convolution of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 3 × 3 with a padding of 1, over all channels.
    Dense {
        /// Pixels from one output pixel to the next.
        stride: usize,
    },
    /// 3 × 3 with a padding of 1, each channel by itself; the weight is `[c, 1, 3, 3]`.
    Depthwise {
        /// Pixels from one output pixel to the next, 1 or 2.
        stride: usize,
    },
    /// 1 × 1.
    Pointwise,
}

/// A layer: a convolution with a bias, then ReLU6 if asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The convolution.
    pub kind: Kind,
    /// Whether the output is cut to 0 … 6.
    pub relu6: bool,
}

impl Layer {
    /// The layer's output for `x` `[n, c, h, w]`, `weight` `[o, c or 1, k, k]` and `bias` `[o]`, as
    /// `[n, o, h', w']` with sizes rounded up where the stride halves them.
    ///
    /// On the CPU in `f32` this is this module's own operation, elsewhere candle's own operations.
    ///
    /// # Errors
    /// If shapes do not match, or on a device error.
    pub fn apply(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        self.check(x.shape(), weight.shape(), bias.shape())?;
        if conv::fits(x) {
            x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, self)
        } else {
            self.composed(x, weight, bias)
        }
    }

    fn check(self, x: &Shape, weight: &Shape, bias: &Shape) -> Result<()> {
        let (_, c, h, w) = x.dims4()?;
        let (o, per_group, kh, kw) = weight.dims4()?;
        let fits = match self.kind {
            Kind::Dense { stride } => stride > 0 && per_group == c && (kh, kw) == (3, 3),
            Kind::Depthwise { stride } => {
                (1..=2).contains(&stride) && o == c && per_group == 1 && (kh, kw) == (3, 3)
            }
            Kind::Pointwise => per_group == c && (kh, kw) == (1, 1),
        };
        if !fits || bias.dims() != [o] || x.elem_count() == 0 || h == 0 || w == 0 {
            bail!("{self:?}: weight {weight:?} and bias {bias:?} do not fit input {x:?}");
        }
        Ok(())
    }

    /// The same from candle's own operations, as matrix products: candle's convolution would be one
    /// for each of a depthwise one's hundreds of channels, and its gradients are slow on a GPU.
    pub(super) fn composed(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let outputs = bias.dim(0)?;
        let (oh, ow) = self.out_size(h, w);
        let positions = n * oh * ow;
        // Channels first: then a product has every position of every image as a column.
        let x = x.transpose(0, 1)?.contiguous()?;
        let y = match self.kind {
            Kind::Pointwise => weight.reshape((outputs, c))?.matmul(&x.reshape((c, positions))?)?,
            Kind::Dense { stride } => {
                let columns = columns(&x, stride)?.reshape((c * TAPS, positions))?;
                weight.reshape((outputs, c * TAPS))?.matmul(&columns)?
            }
            Kind::Depthwise { stride } => {
                let product = weight.reshape((c, 1, TAPS))?.matmul(&columns(&x, stride)?)?;
                product.reshape((outputs, positions))?
            }
        };
        let y = y.broadcast_add(&bias.reshape((outputs, 1))?)?;
        let y = if self.relu6 { y.clamp(0f32, LIMIT)? } else { y };
        y.reshape((outputs, n, oh, ow))?.transpose(0, 1)?.contiguous()
    }

    fn cut(self, y: &mut [f32]) {
        if self.relu6 {
            y.iter_mut().for_each(|y| *y = y.clamp(0.0, LIMIT));
        }
    }

    /// The gradient before ReLU6.
    fn mask(self, y: &[f32], grad: &[f32], masked: &mut [f32]) {
        if !self.relu6 {
            masked.copy_from_slice(grad);
            return;
        }
        for ((masked, y), grad) in masked.iter_mut().zip(y).zip(grad) {
            // Without a branch the loop becomes vector code.
            *masked = f32::from(u8::from(*y > 0.0 && *y < LIMIT)) * grad;
        }
    }
}

/// What each tap of a 3 × 3 kernel meets at every output position of `x` `[c, n, h, w]`, as
/// `[c, 9, n · h' · w']`.
fn columns(x: &Tensor, stride: usize) -> Result<Tensor> {
    let (c, n, h, w) = x.dims4()?;
    let (oh, ow) = (h.div_ceil(stride), w.div_ceil(stride));
    let padded = x.pad_with_zeros(2, 1, stride)?.pad_with_zeros(3, 1, stride)?;
    let tap = |tap: usize| {
        let (ky, kx) = (tap / 3, tap % 3);
        let mut part = padded.narrow(2, ky, oh * stride)?.narrow(3, kx, ow * stride)?;
        if stride > 1 {
            part =
                part.reshape((c, n, oh, stride, ow, stride))?.narrow(3, 0, 1)?.narrow(5, 0, 1)?;
        }
        part.reshape((c, 1, n * oh * ow))
    };
    Tensor::cat(&(0..TAPS).map(tap).collect::<Result<Vec<_>>>()?, 1)
}

/// Shapes of one application on the CPU.
struct Sizes {
    inputs: usize,
    outputs: usize,
    /// Pixels of an input and an output map.
    pixels: (usize, usize),
}

impl Layer {
    fn sizes(self, x: &Shape, weight: &Shape) -> Result<Sizes> {
        let (_, inputs, h, w) = x.dims4()?;
        let outputs = weight.dims()[0];
        let (oh, ow) = self.out_size(h, w);
        Ok(Sizes { inputs, outputs, pixels: (h * w, oh * ow) })
    }

    fn out_size(self, h: usize, w: usize) -> (usize, usize) {
        match self.kind {
            Kind::Dense { stride } | Kind::Depthwise { stride } => {
                (h.div_ceil(stride), w.div_ceil(stride))
            }
            Kind::Pointwise => (h, w),
        }
    }
}

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        "conv-bias-relu6"
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
        let (x_shape, weight_shape) = (x_layout.shape(), weight_layout.shape());
        let (n, _, h, w) = x_shape.dims4()?;
        let sizes = self.sizes(x_shape, weight_shape)?;
        let (oh, ow) = self.out_size(h, w);
        let (x, weight) = (floats(x, x_layout)?, floats(weight, weight_layout)?);
        let bias = floats(bias, bias_layout)?;
        let y = match self.kind {
            Kind::Dense { stride } => {
                let g = dense(stride).geometry(x_shape, weight_shape)?;
                let mut y = conv::forward(&g, x, weight);
                y.par_chunks_mut(sizes.pixels.1).enumerate().for_each(|(index, y)| {
                    let bias = bias[index % sizes.outputs];
                    y.iter_mut().for_each(|y| *y += bias);
                    self.cut(y);
                });
                y
            }
            Kind::Depthwise { stride } => {
                let plane = Plane { height: h, width: w, stride };
                let mut y = vec![0f32; n * sizes.outputs * plane.out_len()];
                let planes = y.par_chunks_mut(plane.out_len()).zip(x.par_chunks(plane.len()));
                planes.enumerate().for_each(|(index, (y, x))| {
                    let channel = index % sizes.outputs;
                    plane.forward(x, kernel(weight, channel), bias[channel], y);
                    self.cut(y);
                });
                y
            }
            Kind::Pointwise => self.pointwise(&sizes, n, x, weight, bias),
        };
        Ok((CpuStorage::F32(y), (n, sizes.outputs, oh, ow).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_grad, weight_grad, bias_grad) = with_floats(x, |x_data| {
            with_floats(weight, |weight_data| {
                with_floats(y, |y| {
                    with_floats(&grad, |grad| {
                        self.gradients(x, x_data, weight, weight_data, y, grad)
                    })
                })
            })
        })?;
        let x_grad =
            x_grad.map(|data| Tensor::from_vec(data, x.shape(), x.device())).transpose()?;
        let weight_grad = Tensor::from_vec(weight_grad, weight.shape(), weight.device())?;
        let bias_grad = Tensor::from_vec(bias_grad, bias.shape(), bias.device())?;
        Ok((x_grad, Some(weight_grad), Some(bias_grad)))
    }
}

/// Gradients of the input (if wanted), the weight and the bias.
type Gradients = (Option<Vec<f32>>, Vec<f32>, Vec<f32>);

impl Layer {
    fn gradients(
        self,
        x_tensor: &Tensor,
        x: &[f32],
        weight_tensor: &Tensor,
        weight: &[f32],
        y: &[f32],
        grad: &[f32],
    ) -> Result<Gradients> {
        let (n, _, h, w) = x_tensor.dims4()?;
        let sizes = self.sizes(x_tensor.shape(), weight_tensor.shape())?;
        Ok(match self.kind {
            Kind::Dense { stride } => {
                let g = dense(stride).geometry(x_tensor.shape(), weight_tensor.shape())?;
                let mut masked = vec![0f32; grad.len()];
                let plane = sizes.pixels.1;
                masked.par_chunks_mut(plane).enumerate().for_each(|(index, masked)| {
                    let at = index * plane..(index + 1) * plane;
                    self.mask(&y[at.clone()], &grad[at], masked);
                });
                let sums: Vec<f32> =
                    masked.par_chunks(plane).map(|plane| plane.iter().sum()).collect();
                let mut bias_grad = vec![0f32; sizes.outputs];
                add_all(&mut bias_grad, &sums);
                let wanted = XGrad::of(x_tensor, None);
                let (x_grad, weight_grad) = conv::backward(&g, x, weight, &masked, wanted);
                (x_grad, weight_grad, bias_grad)
            }
            Kind::Depthwise { stride } => {
                let plane = Plane { height: h, width: w, stride };
                self.depthwise_gradients(&sizes, plane, x, weight, y, grad)
            }
            Kind::Pointwise => self.pointwise_gradients(&sizes, n, x, weight, y, grad),
        })
    }

    fn pointwise(
        self,
        sizes: &Sizes,
        images: usize,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> Vec<f32> {
        let Sizes { inputs, outputs, pixels: (pixels, _) } = *sizes;
        let mut y = vec![0f32; images * outputs * pixels];
        y.par_chunks_mut(outputs * pixels).zip(x.par_chunks(inputs * pixels)).for_each(|(y, x)| {
            for (y, bias) in y.chunks_exact_mut(pixels).zip(bias) {
                y.fill(*bias);
            }
            matmul(
                (outputs, inputs, pixels),
                &mut MatrixMut { data: y, row_stride: pixels, col_stride: 1 },
                Matrix { data: weight, row_stride: inputs, col_stride: 1 },
                Matrix { data: x, row_stride: pixels, col_stride: 1 },
                true,
            );
            self.cut(y);
        });
        y
    }

    fn pointwise_gradients(
        self,
        sizes: &Sizes,
        images: usize,
        x: &[f32],
        weight: &[f32],
        y: &[f32],
        grad: &[f32],
    ) -> Gradients {
        let Sizes { inputs, outputs, pixels: (pixels, _) } = *sizes;
        let (from, to) = (inputs * pixels, outputs * pixels);
        let mut x_grad = vec![0f32; images * from];
        // For each group of images the weight's gradient, then the bias's.
        let part = outputs * (inputs + 1);
        let mut parts = vec![0f32; images.div_ceil(GROUP) * part];
        let groups = parts.par_chunks_mut(part).zip(x_grad.par_chunks_mut(GROUP * from));
        groups.enumerate().for_each(|(group, (part, x_grad))| {
            let (weight_grad, bias_grad) = part.split_at_mut(outputs * inputs);
            let mut masked = vec![0f32; to];
            for (at, x_grad) in x_grad.chunks_exact_mut(from).enumerate() {
                let image = group * GROUP + at;
                let (y, grad) = (&y[image * to..][..to], &grad[image * to..][..to]);
                self.mask(y, grad, &mut masked);
                for (sum, plane) in bias_grad.iter_mut().zip(masked.chunks_exact(pixels)) {
                    *sum += plane.iter().sum::<f32>();
                }
                let grad = Matrix { data: &masked, row_stride: pixels, col_stride: 1 };
                // [inputs, pixels] = weightᵀ · grad
                matmul(
                    (inputs, outputs, pixels),
                    &mut MatrixMut { data: x_grad, row_stride: pixels, col_stride: 1 },
                    Matrix { data: weight, row_stride: 1, col_stride: inputs },
                    grad,
                    false,
                );
                // [outputs, inputs] += grad · xᵀ
                let x = &x[image * from..][..from];
                matmul(
                    (outputs, pixels, inputs),
                    &mut MatrixMut { data: weight_grad, row_stride: inputs, col_stride: 1 },
                    grad,
                    Matrix { data: x, row_stride: 1, col_stride: pixels },
                    true,
                );
            }
        });
        let mut sums = vec![0f32; part];
        add_all(&mut sums, &parts);
        let bias_grad = sums.split_off(outputs * inputs);
        (Some(x_grad), sums, bias_grad)
    }

    fn depthwise_gradients(
        self,
        sizes: &Sizes,
        plane: Plane,
        x: &[f32],
        weight: &[f32],
        y: &[f32],
        grad: &[f32],
    ) -> Gradients {
        let (from, to) = (plane.len(), plane.out_len());
        let mut x_grad = vec![0f32; x.len()];
        // The kernel's nine gradients and the bias's, for each channel of each image.
        let parts: Vec<[f32; TAPS + 1]> = x_grad
            .par_chunks_mut(from)
            .enumerate()
            .map_init(
                || vec![0f32; to],
                |masked, (index, x_grad)| {
                    self.mask(&y[index * to..][..to], &grad[index * to..][..to], masked);
                    let kernel = kernel(weight, index % sizes.outputs);
                    let taps = plane.backward(&x[index * from..][..from], kernel, masked, x_grad);
                    let mut part = [0f32; TAPS + 1];
                    part[..TAPS].copy_from_slice(&taps);
                    part[TAPS] = masked.iter().sum();
                    part
                },
            )
            .collect();
        let mut weight_grad = vec![0f32; sizes.outputs * TAPS];
        let mut bias_grad = vec![0f32; sizes.outputs];
        for (index, part) in parts.iter().enumerate() {
            let channel = index % sizes.outputs;
            add_all(&mut weight_grad[channel * TAPS..][..TAPS], &part[..TAPS]);
            bias_grad[channel] += part[TAPS];
        }
        (Some(x_grad), weight_grad, bias_grad)
    }
}

fn dense(stride: usize) -> Steps {
    Steps { stride, padding: 1, dilation: 1 }
}

/// The kernel of a channel.
fn kernel(weight: &[f32], channel: usize) -> &[f32; TAPS] {
    weight.as_chunks().0.get(channel).expect("the weight was checked to have all channels")
}

/// Adds each of the parts that lie one after the other in `parts`.
fn add_all(sums: &mut [f32], parts: &[f32]) {
    for part in parts.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
}
