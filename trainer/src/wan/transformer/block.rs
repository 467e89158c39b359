//! A block of the transformer: self-attention with rotary embedding, cross-attention to the text,
//! feed-forward.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb::rope_i;

use super::config::TransformerConfig;
use super::time::{Modulation, TimeSteps};
use crate::wan::error::Result;
use crate::wan::layers::{LayerNorm, Linear, RmsNorm, attention, split_heads};
use crate::wan::weights::Scope;

/// Base of the rotary frequencies. No configuration has it; the reference sets it in the code.
const ROPE_THETA: f64 = 10_000.0;

/// Rotary embedding: cosine and sine for each token and pair of channels, `[tokens, head_dim / 2]`.
pub(super) struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    pub(super) fn new(
        config: &TransformerConfig,
        grid: [usize; 3],
        device: &Device,
    ) -> Result<Self> {
        let split = config.rope_split();
        // Angles in f64 as in the reference: a late position times a frequency has no digits to spare.
        let axes = [0, 1, 2].map(|axis| {
            let channels = split[axis];
            let frequency =
                |pair: usize| ROPE_THETA.powf((2 * pair) as f64 / channels as f64).recip();
            let frequencies: Vec<f64> = (0..channels / 2).map(frequency).collect();
            let row =
                |at: usize| frequencies.iter().map(move |f| at as f64 * f).collect::<Vec<f64>>();
            (0..grid[axis]).map(row).collect::<Vec<_>>()
        });
        let tokens: usize = grid.iter().product();
        let half = config.head_dim / 2;
        let (mut cos, mut sin) =
            (Vec::with_capacity(tokens * half), Vec::with_capacity(tokens * half));
        for t in &axes[0] {
            for y in &axes[1] {
                for x in &axes[2] {
                    for angle in t.iter().chain(y).chain(x) {
                        cos.push(angle.cos() as f32);
                        sin.push(angle.sin() as f32);
                    }
                }
            }
        }
        Ok(Self {
            cos: Tensor::from_vec(cos, (tokens, half), device)?,
            sin: Tensor::from_vec(sin, (tokens, half), device)?,
        })
    }

    /// Turns neighbouring channels of `[heads, tokens, head_dim]`, in float32.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let turned = rope_i(&x.to_dtype(DType::F32)?.unsqueeze(0)?, &self.cos, &self.sin)?;
        Ok(turned.squeeze(0)?.to_dtype(x.dtype())?)
    }
}

/// Self- or cross-attention.
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    heads: usize,
}

impl Attention {
    fn load(scope: &Scope<'_>, config: &TransformerConfig, dtype: DType) -> Result<Self> {
        let dim = config.dim();
        let linear = |name: &str| Linear::load(&scope.at(name), dim, dim, dtype);
        // One norm over all heads together.
        let norm = |name: &str| RmsNorm::load(&scope.at(name), dim, config.eps, dtype);
        Ok(Self {
            q: linear("to_q")?,
            k: linear("to_k")?,
            v: linear("to_v")?,
            out: linear("to_out.0")?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            heads: config.heads,
        })
    }

    /// `x` `[n, dim]` looks at `other` `[m, dim]`, or at itself.
    fn forward(
        &self,
        x: &Tensor,
        other: Option<&Tensor>,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor> {
        let other = other.unwrap_or(x);
        let turn = |x: Tensor| rotary.map_or(Ok(x.clone()), |rotary| rotary.apply(&x));
        let q = split_heads(&self.norm_q.forward(&self.q.forward(x)?)?, self.heads)?; // [h, n, d]
        let q = turn(q)?;
        let k = split_heads(&self.norm_k.forward(&self.k.forward(other)?)?, self.heads)?; // [h, m, d]
        let k = turn(k)?;
        let v = split_heads(&self.v.forward(other)?, self.heads)?; // [h, m, d]
        let scale = (q.dim(2)? as f64).powf(-0.5);
        self.out.forward(&attention(&q, &k, &v, scale, None)?) // [n, dim]
    }
}

/// One block: self-attention, cross-attention to the text, feed-forward.
pub(super) struct Block {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: Option<LayerNorm>,
    attn2: Attention,
    norm3: LayerNorm,
    up: Linear,
    down: Linear,
    /// `[6, dim]`: shift, scale, gate of self-attention, then of the feed-forward layers.
    table: Tensor,
}

impl Block {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &TransformerConfig,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let dim = config.dim();
        let norm2 = config.cross_attn_norm;
        let norm2 = norm2.then(|| LayerNorm::load(&scope.at("norm2"), dim, config.eps));
        Ok(Self {
            norm1: LayerNorm::plain(dim, config.eps, device)?,
            attn1: Attention::load(&scope.at("attn1"), config, dtype)?,
            norm2: norm2.transpose()?,
            attn2: Attention::load(&scope.at("attn2"), config, dtype)?,
            norm3: LayerNorm::plain(dim, config.eps, device)?,
            up: Linear::load(&scope.at("ffn.net.0.proj"), dim, config.ffn_dim, dtype)?,
            down: Linear::load(&scope.at("ffn.net.2"), config.ffn_dim, dim, dtype)?,
            table: scope.get("scale_shift_table", &[1, 6, dim], DType::F32)?.squeeze(0)?,
        })
    }

    /// `x` `[tokens, dim]`, `text` `[words, dim]`, `time` `[runs, 6, dim]` → `[tokens, dim]`.
    ///
    /// Each part is a function of its own so that what it needs is free again before the next: a
    /// matrix of all tokens in float32 is 671 MB for A14B at 832×480×81.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        text: &Tensor,
        time: &Tensor,
        steps: &TimeSteps,
        rotary: &Rotary,
    ) -> Result<Tensor> {
        let modulation = Modulation::new(&self.table, time)?;
        let x = self.self_attention(x, &modulation, steps, rotary)?;
        let x = self.cross_attention(&x, text)?;
        self.feed_forward(&x, &modulation, steps)
    }

    fn self_attention(
        &self,
        x: &Tensor,
        modulation: &Modulation,
        steps: &TimeSteps,
        rotary: &Rotary,
    ) -> Result<Tensor> {
        let normed = modulation.norm(&self.norm1, x, steps, [0, 1])?;
        let seen = self.attn1.forward(&normed, None, Some(rotary))?;
        drop(normed);
        modulation.add(x, &seen, steps, 2)
    }

    /// No rotary embedding, no modulation.
    fn cross_attention(&self, x: &Tensor, text: &Tensor) -> Result<Tensor> {
        let normed = match &self.norm2 {
            Some(norm) => norm.forward(x)?.to_dtype(x.dtype())?,
            None => x.clone(),
        };
        Ok((x + self.attn2.forward(&normed, Some(text), None)?)?)
    }

    fn feed_forward(
        &self,
        x: &Tensor,
        modulation: &Modulation,
        steps: &TimeSteps,
    ) -> Result<Tensor> {
        let normed = modulation.norm(&self.norm3, x, steps, [3, 4])?;
        let inner = self.up.forward(&normed)?.gelu()?; // [tokens, ffn_dim]
        let out = self.down.forward(&inner)?;
        drop((normed, inner));
        modulation.add(x, &out, steps, 5)
    }
}
