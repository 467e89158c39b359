//! The text encoder, transformers' `UMT5EncoderModel`.
//!
//! T5's encoder (arXiv 1910.10683) with a relative position bias in every layer (UniMax, arXiv
//! 2304.09151). No scaling of the scores, no biases, norms without mean.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::error::{Error, Result};
use super::fields::Fields;
use super::layers::{Linear, RmsNorm, attention, split_heads};
use super::weights::{Scope, Weights};

/// `text_encoder/config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Umt5Config {
    /// Tokens.
    pub vocab: usize,
    /// Width of the model, and of what it gives.
    pub d_model: usize,
    /// Channels of a head.
    pub d_kv: usize,
    /// Width of the feed-forward layers.
    pub d_ff: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Kinds of distance that have a bias of their own, half of them for each direction.
    pub buckets: usize,
    /// Distance from which on all are alike.
    pub max_distance: usize,
    /// Of all norms.
    pub eps: f64,
    /// Between the feed-forward layers.
    pub activation: Activation,
    /// Whether a second linear layer multiplies the activation.
    pub gated: bool,
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), by the approximation with tanh.
    GeluTanh,
    /// x · Φ(x).
    Gelu,
    /// max(x, 0).
    Relu,
    /// x · sigmoid(x).
    Silu,
}

impl Activation {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::GeluTanh => x.gelu()?,
            Self::Gelu => x.gelu_erf()?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
        })
    }
}

impl Umt5Config {
    /// Reads `config.json`. Fields that are not known are let pass: transformers writes dozens that
    /// have nothing to do with the encoder.
    ///
    /// # Errors
    /// Names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_fields(&Fields::read(path)?)
    }

    /// Parses what was read from `path`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::from_fields(&Fields::parse(path, bytes)?)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        let model = fields.text("model_type", "umt5")?;
        if model != "umt5" {
            return Err(fields.problem("model_type", format!("{model} is given, umt5 is expected")));
        }
        if fields.flag("is_decoder", false)? {
            return Err(fields.problem("is_decoder", "an encoder is expected"));
        }
        let kind = fields.text("feed_forward_proj", "gated-gelu")?;
        let (gated, name) = match kind.strip_prefix("gated-") {
            Some(name) => (true, name),
            None => (false, kind.as_str()),
        };
        let activation = match (gated, name) {
            (true, "gelu") | (_, "gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
            (false, "gelu") => Activation::Gelu,
            (_, "relu") => Activation::Relu,
            (_, "silu" | "swish") => Activation::Silu,
            _ => {
                let problem = format!("{kind} is not supported; gated-gelu, gelu, relu, silu are");
                return Err(fields.problem("feed_forward_proj", problem));
            }
        };
        let config = Self {
            vocab: fields.size("vocab_size", 250_112)?,
            d_model: fields.size("d_model", 512)?,
            d_kv: fields.size("d_kv", 64)?,
            d_ff: fields.size("d_ff", 1024)?,
            layers: fields.size("num_layers", 8)?,
            heads: fields.size("num_heads", 6)?,
            buckets: fields.size("relative_attention_num_buckets", 32)?,
            max_distance: fields.size("relative_attention_max_distance", 128)?,
            eps: fields.number("layer_norm_epsilon", 1e-6)?,
            activation,
            gated,
        };
        if config.buckets < 4 {
            let problem = "at least 4 is expected";
            return Err(fields.problem("relative_attention_num_buckets", problem));
        }
        if config.max_distance <= config.buckets / 4 {
            let problem = format!("more than {} is expected", config.buckets / 4);
            return Err(fields.problem("relative_attention_max_distance", problem));
        }
        Ok(config)
    }

    /// Which bias a key has that stands `distance` after the query.
    ///
    /// Small distances have one each, larger ones share them by their logarithm; half of the buckets
    /// are for keys after the query.
    fn bucket(&self, distance: i64) -> u32 {
        let half = self.buckets / 2;
        let offset = if distance > 0 { half } else { 0 };
        let distance = distance.unsigned_abs() as usize;
        let exact = half / 2;
        if distance < exact {
            return (offset + distance) as u32;
        }
        // In float32, as the reference: at the borders the last bit decides.
        let range = (self.max_distance as f64 / exact as f64).ln() as f32;
        let ratio = (distance as f32 / exact as f32).ln() / range * (half - exact) as f32;
        (offset + (exact + ratio as usize).min(half - 1)) as u32
    }
}

/// A block: self-attention, then feed-forward.
struct Block {
    norm1: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// `[buckets, heads]`.
    bias: Tensor,
    norm2: RmsNorm,
    up: Linear,
    gate: Option<Linear>,
    down: Linear,
}

impl Block {
    fn load(scope: &Scope<'_>, config: &Umt5Config, dtype: DType) -> Result<Self> {
        let (first, second) = (scope.at("layer.0"), scope.at("layer.1"));
        let (attention, dense) = (first.at("SelfAttention"), second.at("DenseReluDense"));
        let (width, inner) = (config.d_model, config.heads * config.d_kv);
        let linear = |scope: &Scope<'_>, name: &str, inputs, outputs| {
            Linear::load_plain(&scope.at(name), inputs, outputs, dtype)
        };
        let norm =
            |scope: &Scope<'_>| RmsNorm::load(&scope.at("layer_norm"), width, config.eps, dtype);
        let up = if config.gated { "wi_0" } else { "wi" };
        let gate = config.gated.then(|| linear(&dense, "wi_1", width, config.d_ff));
        Ok(Self {
            norm1: norm(&first)?,
            q: linear(&attention, "q", width, inner)?,
            k: linear(&attention, "k", width, inner)?,
            v: linear(&attention, "v", width, inner)?,
            o: linear(&attention, "o", inner, width)?,
            bias: attention.at("relative_attention_bias").get(
                "weight",
                &[config.buckets, config.heads],
                dtype,
            )?,
            norm2: norm(&second)?,
            up: linear(&dense, up, width, config.d_ff)?,
            gate: gate.transpose()?,
            down: linear(&dense, "wo", config.d_ff, width)?,
        })
    }

    /// `x` `[n, d_model]`, `buckets` `[n · n]` → `[n, d_model]`.
    fn forward(&self, x: &Tensor, buckets: &Tensor, config: &Umt5Config) -> Result<Tensor> {
        let n = x.dim(0)?;
        let normed = self.norm1.forward(x)?;
        let heads = |linear: &Linear| split_heads(&linear.forward(&normed)?, config.heads);
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?); // [h, n, d]
        let bias = self.bias.index_select(buckets, 0)?; // [n · n, h]
        let bias = bias.reshape((n, n, config.heads))?.permute((2, 0, 1))?; // [h, n, n]
        let x = (x + self.o.forward(&attention(&q, &k, &v, 1.0, Some(&bias))?)?)?;

        let normed = self.norm2.forward(&x)?;
        let mut inner = config.activation.apply(&self.up.forward(&normed)?)?; // [n, d_ff]
        if let Some(gate) = &self.gate {
            inner = (inner * gate.forward(&normed)?)?;
        }
        Ok((x + self.down.forward(&inner)?)?)
    }
}

/// The text encoder.
pub struct Umt5 {
    config: Umt5Config,
    device: Device,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
}

impl Umt5 {
    /// Loads a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// Names the file and the field or tensor.
    pub fn load(folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let config = Umt5Config::read(&folder.join("config.json"))?;
        let weights = Weights::open(folder, "model", device)?;
        let root = weights.root();
        let encoder = root.at("encoder");
        // The same tensor under either name; a file has one of them.
        let (shared, own) = (root.at("shared"), encoder.at("embed_tokens"));
        let embedding = if own.has("weight") && !shared.has("weight") { own } else { shared };
        let block = |i| Block::load(&encoder.at("block").at(i), &config, dtype);
        let norm = encoder.at("final_layer_norm");
        Ok(Self {
            embedding: embedding.get("weight", &[config.vocab, config.d_model], dtype)?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm: RmsNorm::load(&norm, config.d_model, config.eps, dtype)?,
            device: weights.device().clone(),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Umt5Config {
        &self.config
    }

    /// The last hidden states `[tokens, d_model]` of a text.
    ///
    /// Only of the text itself: padding is masked in the reference and so changes nothing.
    ///
    /// # Errors
    /// [`Error::Request`] for a token that the model does not know; what `go_on` returned.
    pub fn forward(&self, tokens: &[u32], go_on: &dyn Fn() -> Result<()>) -> Result<Tensor> {
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.config.vocab) {
            let problem = format!(
                "token {token} is beyond vocab_size {}: tokenizer and text encoder do not belong \
                 together",
                self.config.vocab
            );
            return Err(Error::Request { what: "text", problem });
        }
        let n = tokens.len();
        let at = |i: usize| i as i64;
        let buckets: Vec<u32> = (0..n)
            .flat_map(|query| (0..n).map(move |key| (query, key)))
            .map(|(query, key)| self.config.bucket(at(key) - at(query)))
            .collect();
        let buckets = Tensor::from_vec(buckets, n * n, &self.device)?;
        let tokens = Tensor::new(tokens, &self.device)?;
        let mut x = self.embedding.index_select(&tokens, 0)?; // [n, d_model]
        for block in &self.blocks {
            go_on()?;
            x = block.forward(&x, &buckets, &self.config)?;
        }
        self.norm.forward(&x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_the_published_sizes() {
        let fields = Fields::parse(Path::new("config.json"), b"{}").unwrap();
        let config = Umt5Config::from_fields(&fields).unwrap();
        // transformers 5.24, 32 buckets, distance 128: keys before and after the query.
        let before = [0, 1, 7, 8, 11, 12, 16, 23, 32, 64, 91, 127, 128, 511];
        let expected = [0, 1, 7, 8, 8, 9, 10, 11, 12, 14, 15, 15, 15, 15];
        for (distance, bucket) in before.into_iter().zip(expected) {
            assert_eq!(config.bucket(-distance), bucket, "{distance} before");
            if distance > 0 {
                assert_eq!(config.bucket(distance), bucket + 16, "{distance} after");
            }
        }
    }
}
