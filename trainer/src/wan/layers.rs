//! What text encoder and transformer have in common: linear layers and attention.
//!
//! The batch is always one clip, so activations are matrices `[tokens, channels]`. Nothing here has
//! a gradient: several of candle's fused operations drop it.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use super::error::Result;
use super::weights::Scope;

/// `x · Wᵀ + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Weight `[outputs, inputs]`, bias `[outputs]`.
    pub fn load(scope: &Scope<'_>, inputs: usize, outputs: usize, dtype: DType) -> Result<Self> {
        let weight = scope.get("weight", &[outputs, inputs], dtype)?;
        Ok(Self { weight, bias: Some(scope.get("bias", &[outputs], dtype)?) })
    }

    /// Without a bias.
    pub fn load_plain(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        dtype: DType,
    ) -> Result<Self> {
        Ok(Self { weight: scope.get("weight", &[outputs, inputs], dtype)?, bias: None })
    }

    /// From tensors; `weight` is `[outputs, inputs]`.
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias: Some(bias) }
    }

    /// `[tokens, inputs]` → `[tokens, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }
}

/// Layer norm in float32, whatever the model's type: mean and variance of large activations are
/// lost in bf16.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// With weight and bias from a file.
    pub fn load(scope: &Scope<'_>, channels: usize, eps: f64) -> Result<Self> {
        let get = |name| scope.get(name, &[channels], DType::F32);
        Ok(Self { weight: get("weight")?, bias: get("bias")?, eps })
    }

    /// Without weight and bias.
    pub fn plain(channels: usize, eps: f64, device: &Device) -> Result<Self> {
        Ok(Self {
            weight: Tensor::ones(channels, DType::F32, device)?,
            bias: Tensor::zeros(channels, DType::F32, device)?,
            eps,
        })
    }

    /// `[tokens, channels]` → the same, float32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(DType::F32)?.contiguous()?;
        Ok(ops::layer_norm(&x, &self.weight, &self.bias, self.eps as f32)?)
    }
}

/// Root-mean-square norm over the last axis, with a weight.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// From a file.
    pub fn load(scope: &Scope<'_>, channels: usize, eps: f64, dtype: DType) -> Result<Self> {
        Ok(Self { weight: scope.get("weight", &[channels], dtype)?, eps })
    }

    /// `[tokens, channels]` → the same.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32)?)
    }
}

/// Bytes of attention scores that are held at once on a GPU. The whole matrix of a clip of 832×480×81
/// would be 86 GB in bf16 (40 heads, 32 760 tokens); queries are taken in chunks of this size instead,
/// large enough to keep the GPU busy.
pub(crate) const GPU_SCORES: usize = 1 << 30;
/// The same on the CPU, where a chunk should stay near the caches.
const CPU_SCORES: usize = 32 << 20;

/// How many of `queries` are taken at once, so that the scores of `heads × queries × keys` stay
/// within the budget.
pub(crate) fn query_chunk(
    heads: usize,
    queries: usize,
    keys: usize,
    dtype: DType,
    device: &Device,
) -> usize {
    let budget = if device.is_cpu() { CPU_SCORES } else { GPU_SCORES };
    let row = (heads * keys * dtype.size_in_bytes()).max(1);
    (budget / row).clamp(1, queries.max(1))
}

/// `softmax(q · kᵀ + bias) · v`, queries in chunks; `scale` multiplies the queries first.
///
/// `q` `[heads, n, d]`, `k` and `v` `[heads, m, d]`, `bias` `[heads, n, m]` → `[n, heads · d]`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (heads, n, d) = q.dims3()?;
    let keys = k.dim(1)?;
    let chunk = query_chunk(heads, n, keys, q.dtype(), q.device());
    let (kt, v) = (k.transpose(1, 2)?, v.contiguous()?);
    let q = if scale == 1.0 { q.clone() } else { (q * scale)? };
    let mut parts = Vec::with_capacity(n.div_ceil(chunk));
    for first in (0..n).step_by(chunk) {
        let length = chunk.min(n - first);
        let mut scores = q.narrow(1, first, length)?.contiguous()?.matmul(&kt)?; // [h, c, m]
        if let Some(bias) = bias {
            scores = (scores + bias.narrow(1, first, length)?)?;
        }
        let weights = ops::softmax_last_dim(&scores)?;
        parts.push(weights.matmul(&v)?); // [h, c, d]
    }
    let out = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? }; // [h, n, d]
    Ok(out.transpose(0, 1)?.reshape((n, heads * d))?)
}

/// `[tokens, heads · d]` → `[heads, tokens, d]`.
pub(crate) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    Ok(x.reshape((n, heads, width / heads))?.transpose(0, 1)?.contiguous()?)
}

/// `x / ‖x‖ · √channels · γ` over the channels of `[frames, channels, height, width]`: the
/// autoencoders' norm.
pub(crate) fn channel_norm(x: &Tensor, gamma: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)?;
    // 1e-12 is `torch.nn.functional.normalize`'s smallest length.
    let length = x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    let scaled = (x.broadcast_div(&length)? * (channels as f64).sqrt())?;
    Ok(scaled.broadcast_mul(&gamma.reshape((1, channels, 1, 1))?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;

    /// Deterministic values around zero.
    fn wave(shape: (usize, usize, usize), step: f32) -> Tensor {
        let n = shape.0 * shape.1 * shape.2;
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn chunks_change_nothing() {
        // 5000 keys, 8 heads: 160 kB a query, so the 32 MiB hold 209 of the 500 queries.
        let (q, k, v) =
            (wave((8, 500, 4), 0.37), wave((8, 5000, 4), 0.11), wave((8, 5000, 4), 0.23));
        assert_eq!(query_chunk(8, 500, 5000, DType::F32, &Device::Cpu), 209);
        let got = attention(&q, &k, &v, 0.5, None).unwrap();
        let whole = ops::softmax_last_dim(&(q * 0.5).unwrap().matmul(&k.t().unwrap()).unwrap());
        let whole = whole.unwrap().matmul(&v).unwrap().transpose(0, 1).unwrap();
        let difference = (got - whole.reshape((500, 32)).unwrap()).unwrap().abs().unwrap();
        let worst: f32 =
            difference.flatten_all().unwrap().max(D::Minus1).unwrap().to_scalar().unwrap();
        assert!(worst < 1e-6, "{worst}");
    }
}
