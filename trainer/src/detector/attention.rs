//! The global and local multi-head self-attention encoder of UR-DMU (its GL-MHSA).

use std::sync::OnceLock;

use candle_core::{Device, Result as TensorResult, Tensor};

use super::fused::{self, Nearby, layer};
use super::noise::Noise;
use super::ops::{layer_norm, linear, softmax};
use super::parameters::Parameters;
use super::{Error, ModelSize};

/// Weights `[T, T]` of the local branch: `exp(−|i − j| / e)`, column j divided by its sum.
///
/// The paper normalises rows. The public code divides by a vector that broadcasts along the other
/// axis, so that near the ends of a video the rows do not sum to one; its checkpoints are trained
/// that way, and it is what is computed here.
pub fn local_weights(t: usize, like: &Tensor) -> TensorResult<Tensor> {
    let near: Vec<f64> = (0..t).map(|i| (-(i as f64) / std::f64::consts::E).exp()).collect();
    let at = |i: usize, j: usize| near[i.abs_diff(j)];
    let sums: Vec<f64> = (0..t).map(|j| (0..t).map(|i| at(i, j)).sum()).collect();
    let values: Vec<f64> = (0..t * t).map(|n| at(n / t, n % t) / sums[n % t]).collect();
    Tensor::from_vec(values, (t, t), &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())
}

/// The transformer: `size.layers` pre-norm layers, each attention and feed-forward with a residual.
/// `x` `[B, T, E]`, result the same. Dropout only where `noise` is given.
///
/// # Errors
/// If a parameter is missing or a tensor operation fails.
pub fn forward(
    parameters: &Parameters,
    size: &ModelSize,
    x: &Tensor,
    dropout: f64,
    noise: &mut Option<&mut dyn Noise>,
) -> Result<Tensor, Error> {
    let masks = |n, noise: &mut Option<&mut dyn Noise>| match noise {
        Some(noise) => noise.mask(n, dropout),
        None => None,
    };
    if fused::fits(x) {
        let (b, t, e) = x.dims3()?;
        let keep = noise.is_some();
        let nearby = Nearby::new(t, keep);
        let mut x = x.contiguous()?; // [B, T, E]
        for i in 0..size.layers {
            let get = |name: &str| parameters.get(&format!("selfatt.layers.{i}.{name}"));
            let attention = layer::Attention {
                heads: (size.heads, size.head_size),
                nearby: nearby.clone(),
                mask: masks(b * t * e, noise),
                kept: keep.then(OnceLock::new),
            };
            let packed = layer::pack(&[
                get("0.norm.weight")?,
                get("0.norm.bias")?,
                get("0.fn.to_qkv.weight")?,
                get("0.fn.to_out.0.weight")?,
                get("0.fn.to_out.0.bias")?,
            ])?;
            x = x.apply_op2(&packed, attention)?; // [B, T, E]
            let feed_forward = layer::FeedForward {
                width: size.feed_forward,
                masks: [masks(b * t * size.feed_forward, noise), masks(b * t * e, noise)],
                kept: keep.then(OnceLock::new),
            };
            let packed = layer::pack(&[
                get("1.norm.weight")?,
                get("1.norm.bias")?,
                get("1.fn.net.0.weight")?,
                get("1.fn.net.0.bias")?,
                get("1.fn.net.3.weight")?,
                get("1.fn.net.3.bias")?,
            ])?;
            x = x.apply_op2(&packed, feed_forward)?; // [B, T, E]
        }
        return Ok(x);
    }
    composed(parameters, size, x, dropout, noise)
}

/// The same from primitives.
fn composed(
    parameters: &Parameters,
    size: &ModelSize,
    x: &Tensor,
    dropout: f64,
    noise: &mut Option<&mut dyn Noise>,
) -> Result<Tensor, Error> {
    let (b, t, _) = x.dims3()?;
    // One copy a video, because candle's batched product needs whole batches.
    let local = local_weights(t, x)?.broadcast_as((b, t, t))?.contiguous()?;
    let mut drop = |x: Tensor| match noise {
        Some(noise) => noise.dropout(&x, dropout),
        None => Ok(x),
    };
    let mut x = x.clone();
    for i in 0..size.layers {
        let layer = format!("selfatt.layers.{i}");
        let get = |name: &str| parameters.get(&format!("{layer}.{name}"));
        let y = layer_norm(&x, get("0.norm.weight")?, get("0.norm.bias")?)?;
        let y = attend(&y, get("0.fn.to_qkv.weight")?, &local, size)?; // [B, T, 2 H C]
        let y = linear(&y, get("0.fn.to_out.0.weight")?, Some(get("0.fn.to_out.0.bias")?))?;
        x = (drop(y)? + x)?; // [B, T, E]
        let y = layer_norm(&x, get("1.norm.weight")?, get("1.norm.bias")?)?;
        let y = linear(&y, get("1.fn.net.0.weight")?, Some(get("1.fn.net.0.bias")?))?;
        let y = drop(y.gelu_erf()?)?; // [B, T, F]
        let y = linear(&y, get("1.fn.net.3.weight")?, Some(get("1.fn.net.3.bias")?))?;
        x = (drop(y)? + x)?; // [B, T, E]
    }
    Ok(x)
}

/// Both branches of all heads; for each head its global half, then its local half.
/// `x` `[B, T, E]`, `weight` `[4 H C, E]`; result `[B, T, 2 H C]`.
fn attend(x: &Tensor, weight: &Tensor, local: &Tensor, size: &ModelSize) -> TensorResult<Tensor> {
    let (b, t, _) = x.dims3()?;
    let (h, c) = (size.heads, size.head_size);
    let inner = h * c;
    let qkvt = linear(x, weight, None)?; // [B, T, 4 H C]
    let part = |n: usize| qkvt.narrow(2, n * inner, inner);
    let heads = |n: usize| part(n)?.reshape((b, t, h, c))?.transpose(1, 2)?.contiguous(); // [B, H, T, C]
    let (q, k, v) = (heads(0)?, heads(1)?, heads(2)?);
    let weights = (q.matmul(&k.transpose(2, 3)?)? * (c as f64).powf(-0.5))?; // [B, H, T, T]
    let global = softmax(&weights)?.matmul(&v)?.transpose(1, 2)?; // [B, T, H, C]
    // The local weights are the same for all heads: no need to part them.
    let nearby = local.matmul(&part(3)?.contiguous()?)?.reshape((b, t, h, c))?; // [B, T, H, C]
    Tensor::cat(&[&global, &nearby], 3)?.reshape((b, t, 2 * inner))
}
