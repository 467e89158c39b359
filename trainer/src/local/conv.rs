//! A 2-D convolution for training on the CPU.
//!
//! candle's own convolution spends most of a training step in its backward pass. Here forward and
//! backward go through blocks of columns (im2col) that fit a core's cache and a matrix product per
//! block; images run in parallel, each on one thread. Partial weight gradients are added in the
//! order of the images, so results are the same bits for any number of threads.

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::gemm::{Matrix, MatrixMut, matmul};
use super::im2col::Geometry;

/// Stride, padding and dilation of a convolution, equal along both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Input pixels from one output pixel to the next, at least 1.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: usize,
    /// Input pixels from one tap of the kernel to the next, at least 1.
    pub dilation: usize,
}

/// Convolves `x` `[n, c, h, w]` with `weight` `[o, c, kh, kw]`, differentiably, giving
/// `[n, o, (h + 2p − d(kh − 1) − 1) / s + 1, …]`.
///
/// On the CPU in `f32` this is this module's own operation, elsewhere candle's.
///
/// # Errors
/// If shapes do not match or the kernel is larger than the padded picture.
pub fn conv2d(x: &Tensor, weight: &Tensor, steps: Steps) -> Result<Tensor> {
    if fits(x) {
        x.contiguous()?.apply_op2(&weight.contiguous()?, Conv2d { steps })
    } else {
        x.conv2d(weight, steps.padding, steps.stride, steps.dilation, 1)
    }
}

/// Whether this module's operations can take the tensor. Others go through candle's own, which a GPU
/// has too; in `f64` those run on the CPU, where they are tested against these.
pub(crate) fn fits(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

struct Conv2d {
    steps: Steps,
}

#[derive(Default)]
struct Scratch {
    phased: Vec<f32>,
    phased_grad: Vec<f32>,
    columns: Vec<f32>,
    column_grad: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The first `len` floats of a buffer that only ever grows.
fn take(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Steps {
    /// The geometry of a convolution of shapes `x` and `weight`.
    pub(crate) fn geometry(self, x: &Shape, weight: &Shape) -> Result<Geometry> {
        let (images, channels, height, width) = x.dims4()?;
        let (out_channels, weight_channels, kh, kw) = weight.dims4()?;
        let Steps { stride, padding, dilation } = self;
        if weight_channels != channels || kh == 0 || kw == 0 || stride == 0 || dilation == 0 {
            bail!("conv2d: weight {weight:?} does not fit input {x:?} with {:?}", self);
        }
        let size = |pixels: usize, taps: usize| {
            (pixels + 2 * padding)
                .checked_sub(dilation * (taps - 1) + 1)
                .map(|room| room / stride + 1)
        };
        let (Some(out_height), Some(out_width)) = (size(height, kh), size(width, kw)) else {
            bail!("conv2d: kernel {weight:?} is larger than the padded input {x:?}");
        };
        Ok(Geometry {
            images,
            channels,
            height,
            width,
            out_channels,
            out_height,
            out_width,
            kernel: (kh, kw),
            stride,
            padding,
            dilation,
        })
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-im2col"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = self.steps.geometry(x_layout.shape(), weight_layout.shape())?;
        let out = forward(&g, floats(x, x_layout)?, floats(weight, weight_layout)?);
        let shape = (g.images, g.out_channels, g.out_height, g.out_width);
        Ok((CpuStorage::F32(out), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = self.steps.geometry(x.shape(), weight.shape())?;
        let grad = grad.contiguous()?;
        let (x_grad, weight_grad) = with_floats(x, |x_data| {
            with_floats(weight, |weight_data| {
                with_floats(&grad, |grad| {
                    Ok(backward(&g, x_data, weight_data, grad, XGrad::of(x, None)))
                })
            })
        })?;
        let x_grad =
            x_grad.map(|data| Tensor::from_vec(data, x.shape(), x.device())).transpose()?;
        let weight_grad = Tensor::from_vec(weight_grad, weight.shape(), weight.device())?;
        Ok((x_grad, Some(weight_grad)))
    }
}

/// The floats of a contiguous tensor on the CPU.
pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a custom operation was given a tensor that is not contiguous"),
    }
}

/// Calls `f` with the floats of a contiguous tensor on the CPU, without copying them.
pub(crate) fn with_floats<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(floats(storage, layout)?),
        _ => bail!("a CPU operation was given a tensor of another device"),
    }
}

/// `[images, out_channels, out_height, out_width]`.
pub(crate) fn forward(g: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let (pixels, taps) = (g.out_pixels(), g.taps());
    let mut out = vec![0f32; g.images * g.out_channels * pixels];
    if out.is_empty() {
        return out;
    }
    let image_len = (g.channels * g.in_pixels()).max(1);
    out.par_chunks_mut(g.out_channels * pixels).zip(x.par_chunks(image_len)).for_each(
        |(out, image)| {
            SCRATCH.with_borrow_mut(|scratch| {
                let phased = take(&mut scratch.phased, g.phased_len());
                g.split_phases(image, phased);
                for first in (0..g.out_height).step_by(g.block_rows()) {
                    let rows = g.block_rows().min(g.out_height - first);
                    let block = rows * g.out_width;
                    let columns = take(&mut scratch.columns, taps * block);
                    g.gather(phased, first, rows, columns);
                    matmul(
                        (g.out_channels, taps, block),
                        &mut MatrixMut {
                            data: &mut out[first * g.out_width..],
                            row_stride: pixels,
                            col_stride: 1,
                        },
                        Matrix { data: weight, row_stride: taps, col_stride: 1 },
                        Matrix { data: columns, row_stride: block, col_stride: 1 },
                        false,
                    );
                }
            });
        },
    );
    out
}

/// Whether a convolution's input gets a gradient, and what it is added to.
#[derive(Clone, Copy)]
pub(crate) enum XGrad<'a> {
    /// The input is data: no gradient.
    Unwanted,
    /// The gradient alone.
    FromZero,
    /// The gradient added to another of the same shape, such as a shortcut's.
    AddedTo(&'a [f32]),
}

impl<'a> XGrad<'a> {
    /// A gradient if the tensor is a weight or was computed from one.
    pub fn of(x: &Tensor, other: Option<&'a [f32]>) -> Self {
        match other {
            _ if !x.track_op() => Self::Unwanted,
            Some(other) => Self::AddedTo(other),
            None => Self::FromZero,
        }
    }
}

/// The gradients of the input (if wanted) and of the weight.
pub(crate) fn backward(
    g: &Geometry,
    x: &[f32],
    weight: &[f32],
    grad: &[f32],
    wanted: XGrad<'_>,
) -> (Option<Vec<f32>>, Vec<f32>) {
    let (pixels, taps) = (g.out_pixels(), g.taps());
    let image_len = g.channels * g.in_pixels();
    let want_x = !matches!(wanted, XGrad::Unwanted);
    let mut x_grad = vec![0f32; if want_x { g.images * image_len } else { 0 }];
    let mut x_grads: Vec<&mut [f32]> = x_grad.chunks_mut(image_len.max(1)).collect();
    x_grads.resize_with(g.images, Default::default);
    // One partial gradient for each image, `[taps, out_channels]`: this way round the product
    // below runs along contiguous memory.
    let mut partial = vec![0f32; g.images * taps * g.out_channels];
    partial.par_chunks_mut(taps * g.out_channels).zip(x_grads).enumerate().for_each(
        |(index, (partial, x_grad))| {
            let image = &x[index * image_len..][..image_len];
            let grad = &grad[index * g.out_channels * pixels..][..g.out_channels * pixels];
            let start = match wanted {
                XGrad::AddedTo(other) => Some(&other[index * image_len..][..image_len]),
                XGrad::Unwanted | XGrad::FromZero => None,
            };
            SCRATCH.with_borrow_mut(|scratch| {
                let operands = Operands { image, weight, grad, start };
                backward_image(g, scratch, operands, (x_grad, partial));
            });
        },
    );
    let mut weight_grad = vec![0f32; g.out_channels * taps];
    for partial in partial.chunks_exact(taps * g.out_channels) {
        for (tap, values) in partial.chunks_exact(g.out_channels).enumerate() {
            for (channel, value) in values.iter().enumerate() {
                weight_grad[channel * taps + tap] += *value;
            }
        }
    }
    (want_x.then_some(x_grad), weight_grad)
}

/// What one image's gradients are computed from.
struct Operands<'a> {
    image: &'a [f32],
    weight: &'a [f32],
    grad: &'a [f32],
    /// What the input gradient is added to.
    start: Option<&'a [f32]>,
}

/// Writes one image's input gradient, added to `start`, (if the slice is not empty) and weight gradient
/// `[taps, out_channels]`.
fn backward_image(
    g: &Geometry,
    scratch: &mut Scratch,
    Operands { image, weight, grad, start }: Operands<'_>,
    (x_grad, weight_grad): (&mut [f32], &mut [f32]),
) {
    let (pixels, taps) = (g.out_pixels(), g.taps());
    let phased = take(&mut scratch.phased, g.phased_len());
    g.split_phases(image, phased);
    let phased_grad = take(&mut scratch.phased_grad, g.phased_len());
    match start {
        Some(start) => g.split_phases(start, phased_grad),
        None => phased_grad.fill(0.0),
    }
    for first in (0..g.out_height).step_by(g.block_rows()) {
        let rows = g.block_rows().min(g.out_height - first);
        let block = rows * g.out_width;
        let grad = &grad[first * g.out_width..];
        let columns = take(&mut scratch.columns, taps * block);
        g.gather(phased, first, rows, columns);
        // weight_gradᵀ [taps, out] += columns [taps, block] · gradᵀ [block, out], written as its
        // transpose so that the product packs the smaller operand.
        matmul(
            (g.out_channels, block, taps),
            &mut MatrixMut { data: weight_grad, row_stride: 1, col_stride: g.out_channels },
            Matrix { data: grad, row_stride: pixels, col_stride: 1 },
            Matrix { data: columns, row_stride: 1, col_stride: block },
            first > 0,
        );
        if !x_grad.is_empty() {
            let column_grad = take(&mut scratch.column_grad, taps * block);
            matmul(
                (taps, g.out_channels, block),
                &mut MatrixMut { data: column_grad, row_stride: block, col_stride: 1 },
                Matrix { data: weight, row_stride: 1, col_stride: taps },
                Matrix { data: grad, row_stride: pixels, col_stride: 1 },
                false,
            );
            g.scatter_add(column_grad, first, rows, phased_grad);
        }
    }
    if !x_grad.is_empty() {
        g.join_phases(phased_grad, x_grad);
    }
}
