//! A memory unit of UR-DMU: prototypes of normal or abnormal snippets.

use candle_core::{Result, Tensor};

use super::ops::{linear, sigmoid, top_k_mean};

/// What a memory says about features.
#[derive(Debug)]
pub struct Recall {
    /// Temporal attention `[B, T]`: mean of the K / 16 + 1 largest entries of S along the slots.
    pub attention: Tensor,
    /// Augmentation `[B, T, E]`: S M.
    pub augmentation: Tensor,
}

/// `S = sigmoid(X Mᵀ / √E)`, attention and augmentation; `x` `[B, T, E]`, `memory` `[K, E]`.
pub fn recall(x: &Tensor, memory: &Tensor) -> Result<Recall> {
    let (slots, e) = memory.dims2()?;
    let s = sigmoid(&(linear(x, memory, None)? / (e as f64).sqrt())?)?; // [B, T, K]
    let attention = top_k_mean(&s, slots / 16 + 1)?; // [B, T]
    Ok(Recall { attention, augmentation: augment(&s, memory)? })
}

/// The augmentation alone, for evaluation; `[B, T, E]`.
pub fn recall_augmentation(x: &Tensor, memory: &Tensor) -> Result<Tensor> {
    let e = memory.dim(1)?;
    augment(&sigmoid(&(linear(x, memory, None)? / (e as f64).sqrt())?)?, memory)
}

fn augment(s: &Tensor, memory: &Tensor) -> Result<Tensor> {
    let (b, t, slots) = s.dims3()?;
    s.reshape((b * t, slots))?.matmul(memory)?.reshape((b, t, memory.dim(1)?))
}
