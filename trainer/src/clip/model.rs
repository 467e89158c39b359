//! The two towers of CLIP: a causal text transformer and a vision transformer, each with a projection.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::Error;
use super::config::{Activation, TextConfig, VisionConfig};
use super::weights::Weights;

/// Text to embedding.
pub(super) struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    last_norm: Norm,
    projection: Tensor,
    eos_token_id: u32,
}

impl TextTower {
    pub fn new(
        config: &TextConfig,
        projection: usize,
        weights: &Weights,
    ) -> std::result::Result<Self, Error> {
        let (d, root) = (config.hidden_size, "text_model");
        let embedding = |name: &str, rows: usize| {
            weights.get(&format!("{root}.embeddings.{name}_embedding.weight"), &[rows, d])
        };
        Ok(Self {
            tokens: embedding("token", config.vocab_size)?,
            positions: embedding("position", config.max_position_embeddings)?,
            layers: layers(
                weights,
                root,
                config.num_hidden_layers,
                &LayerSize {
                    hidden: d,
                    feed_forward: config.intermediate_size,
                    heads: config.num_attention_heads,
                    activation: config.hidden_act,
                    eps: config.layer_norm_eps,
                },
            )?,
            last_norm: Norm::new(weights, "text_model.final_layer_norm", d, config.layer_norm_eps)?,
            projection: weights.get("text_projection.weight", &[projection, d])?,
            eos_token_id: config.eos_token_id,
        })
    }

    /// The projected, not yet normalised embedding `[projection]` of a text's ids.
    pub fn forward(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        let n = ids.len();
        let tokens = self.tokens.index_select(&Tensor::from_slice(ids, n, device)?, 0)?;
        let mut x = (tokens + self.positions.narrow(0, 0, n)?)?.unsqueeze(0)?; // [1, n, d]
        let mask: Vec<f32> =
            (0..n * n).map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (1, 1, n, n), device)?;
        for layer in &self.layers {
            x = layer.forward(&x, Some(&mask))?;
        }
        let pooled = self.last_norm.forward(&x)?.squeeze(0)?.narrow(0, self.pooled(ids), 1)?;
        pooled.matmul(&self.projection.t()?)?.squeeze(0)
    }

    /// The place that stands for the whole text.
    fn pooled(&self, ids: &[u32]) -> usize {
        if self.eos_token_id == 2 {
            // Files from before transformers' correction: the end of text had the largest id.
            let largest = ids.iter().max();
            return ids.iter().position(|id| Some(id) == largest).unwrap_or(0);
        }
        ids.iter().position(|&id| id == self.eos_token_id).unwrap_or(0)
    }
}

/// Picture to embedding.
pub(super) struct VisionTower {
    class: Tensor,
    patches: Tensor,
    positions: Tensor,
    first_norm: Norm,
    layers: Vec<Layer>,
    last_norm: Norm,
    projection: Tensor,
    patch: usize,
}

impl VisionTower {
    pub fn new(
        config: &VisionConfig,
        projection: usize,
        weights: &Weights,
    ) -> std::result::Result<Self, Error> {
        let (d, patch, root) = (config.hidden_size, config.patch_size, "vision_model");
        let side = config.image_size / patch;
        let eps = config.layer_norm_eps;
        let embedding =
            |name: &str, shape: &[usize]| weights.get(&format!("{root}.embeddings.{name}"), shape);
        Ok(Self {
            class: embedding("class_embedding", &[d])?,
            patches: embedding("patch_embedding.weight", &[d, 3, patch, patch])?,
            positions: embedding("position_embedding.weight", &[side * side + 1, d])?,
            // The published name has this spelling.
            first_norm: Norm::new(weights, "vision_model.pre_layrnorm", d, eps)?,
            layers: layers(
                weights,
                root,
                config.num_hidden_layers,
                &LayerSize {
                    hidden: d,
                    feed_forward: config.intermediate_size,
                    heads: config.num_attention_heads,
                    activation: config.hidden_act,
                    eps,
                },
            )?,
            last_norm: Norm::new(weights, "vision_model.post_layernorm", d, eps)?,
            projection: weights.get("visual_projection.weight", &[projection, d])?,
            patch,
        })
    }

    /// Projected, not yet normalised embeddings `[n, projection]` of pictures `[n, 3, side, side]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (n, ..) = pixels.dims4()?;
        let d = self.class.dim(0)?;
        let patches = pixels.conv2d(&self.patches, 0, self.patch, 1, 1)?; // [n, d, rows, columns]
        let patches = patches.flatten_from(2)?.transpose(1, 2)?; // [n, rows * columns, d]
        let class = self.class.reshape((1, 1, d))?.expand((n, 1, d))?;
        let x = Tensor::cat(&[&class, &patches], 1)?; // [n, 1 + rows * columns, d]
        let mut x = self.first_norm.forward(&x.broadcast_add(&self.positions)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, None)?;
        }
        let class = x.narrow(1, 0, 1)?.squeeze(1)?; // [n, d]
        self.last_norm.forward(&class)?.matmul(&self.projection.t()?)
    }
}

/// What the layers of a tower have in common.
struct LayerSize {
    hidden: usize,
    feed_forward: usize,
    heads: usize,
    activation: Activation,
    eps: f64,
}

fn layers(
    weights: &Weights,
    root: &str,
    count: usize,
    size: &LayerSize,
) -> std::result::Result<Vec<Layer>, Error> {
    (0..count).map(|i| Layer::new(weights, &format!("{root}.encoder.layers.{i}"), size)).collect()
}

/// A pre-norm transformer layer.
struct Layer {
    norms: [Norm; 2],
    qkv: [Linear; 3],
    out: Linear,
    feed_forward: [Linear; 2],
    heads: usize,
    activation: Activation,
}

impl Layer {
    fn new(weights: &Weights, root: &str, size: &LayerSize) -> std::result::Result<Self, Error> {
        let (d, wide) = (size.hidden, size.feed_forward);
        let linear = |name: &str, n, out| Linear::new(weights, &format!("{root}.{name}"), n, out);
        let norm = |name: &str| Norm::new(weights, &format!("{root}.{name}"), d, size.eps);
        Ok(Self {
            norms: [norm("layer_norm1")?, norm("layer_norm2")?],
            qkv: [
                linear("self_attn.q_proj", d, d)?,
                linear("self_attn.k_proj", d, d)?,
                linear("self_attn.v_proj", d, d)?,
            ],
            out: linear("self_attn.out_proj", d, d)?,
            feed_forward: [linear("mlp.fc1", d, wide)?, linear("mlp.fc2", wide, d)?],
            heads: size.heads,
            activation: size.activation,
        })
    }

    /// `[n, tokens, d]` to the same; the mask is added to the attention's logits.
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (n, tokens, d) = x.dims3()?;
        let normed = self.norms[0].forward(x)?;
        let split = |linear: &Linear| {
            // [n, heads, tokens, d / heads]
            let parts =
                linear.forward(&normed)?.reshape((n, tokens, self.heads, d / self.heads))?;
            parts.transpose(1, 2)?.contiguous()
        };
        let scale = ((d / self.heads) as f64).powf(-0.5);
        let [q, k, v] = [split(&self.qkv[0])?, split(&self.qkv[1])?, split(&self.qkv[2])?];
        let logits = ((q * scale)?.matmul(&k.t()?))?; // [n, heads, tokens, tokens]
        let logits = match mask {
            Some(mask) => logits.broadcast_add(mask)?,
            None => logits,
        };
        let seen = softmax_last_dim(&logits)?.matmul(&v)?; // [n, heads, tokens, d / heads]
        let seen = seen.transpose(1, 2)?.reshape((n, tokens, d))?;
        let x = (x + self.out.forward(&seen)?)?;
        let wide = self.feed_forward[0].forward(&self.norms[1].forward(&x)?)?;
        x + self.feed_forward[1].forward(&activate(&wide, self.activation)?)?
    }
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluNew => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(
        weights: &Weights,
        name: &str,
        n: usize,
        out: usize,
    ) -> std::result::Result<Self, Error> {
        Ok(Self {
            weight: weights.get(&format!("{name}.weight"), &[out, n])?,
            bias: weights.get(&format!("{name}.bias"), &[out])?,
        })
    }

    /// `[n, tokens, in]` to `[n, tokens, out]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, tokens, d) = x.dims3()?;
        let flat = x.reshape((n * tokens, d))?.matmul(&self.weight.t()?)?;
        flat.broadcast_add(&self.bias)?.reshape((n, tokens, ()))
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    fn new(weights: &Weights, name: &str, d: usize, eps: f64) -> std::result::Result<Self, Error> {
        Ok(Self {
            weight: weights.get(&format!("{name}.weight"), &[d])?,
            bias: weights.get(&format!("{name}.bias"), &[d])?,
            eps,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}
