//! Whole parts of the network as single differentiable operations, for training on the CPU in `f32`.
//!
//! candle computes element by element on one thread, and its backward pass fills a tensor of zeros
//! and adds to it for every operation. Of a training step at the published sizes (64 videos of 200
//! snippets) that was more than half. Here the embedding, each half of an encoder layer and a dense
//! layer are one operation each: one thread a block of rows, no copies of heads, gradients written
//! where they belong. Other devices and types take the composed form beside it, which is also what
//! these are tested against.
//!
//! Sums run over blocks of fixed length in a fixed order, so results have the same bits for any
//! number of threads.

pub(super) mod adam;
mod attend;
pub(super) mod dense;
pub(super) mod embedding;
mod gelu;
pub(super) mod layer;
mod nearby;
mod norm;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

pub(super) use nearby::Nearby;

/// Rows that are summed together before blocks are.
const BLOCK: usize = 256;

/// Whether these operations can take the tensor.
pub(super) fn fits(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The floats of a contiguous tensor.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a custom operation was given a tensor that is not contiguous"),
    }
}

/// Calls `f` with the floats of a contiguous tensor on the CPU, without copying them.
fn with_floats<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(floats(storage, layout)?),
        _ => bail!("a CPU operation was given a tensor of another device"),
    }
}

/// The sums of the columns of `x` `[rows, cols]`.
fn column_sums(x: &[f32], cols: usize) -> Vec<f32> {
    let blocks: Vec<Vec<f32>> = x
        .par_chunks(BLOCK * cols)
        .map(|block| {
            let mut sums = vec![0.0; cols];
            block.chunks_exact(cols).for_each(|row| add(&mut sums, row));
            sums
        })
        .collect();
    let mut total = vec![0.0; cols];
    blocks.iter().for_each(|sums| add(&mut total, sums));
    total
}

/// `to += from`.
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// `to += from` on all threads.
fn add_all(to: &mut [f32], from: &[f32]) {
    to.par_chunks_mut(1 << 14).zip(from.par_chunks(1 << 14)).for_each(|(to, from)| add(to, from));
}

/// `x ∘ mask`, or `x` again without a mask.
fn masked(mut x: Vec<f32>, mask: Option<&[f32]>) -> Vec<f32> {
    if let Some(mask) = mask {
        x.par_chunks_mut(1 << 14).zip(mask.par_chunks(1 << 14)).for_each(|(x, mask)| {
            x.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
        });
    }
    x
}
