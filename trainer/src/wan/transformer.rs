//! The diffusion transformer, diffusers' `WanTransformer3DModel`.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb::rope_i;

use super::error::{Error, Result};
use super::fields::Fields;
use super::layers::{LayerNorm, Linear, RmsNorm, attention, split_heads};
use super::weights::{Scope, Weights};

/// Base of the rotary frequencies. No configuration has it; the reference sets it in the code.
const ROPE_THETA: f64 = 10_000.0;
/// Longest period of the sinusoids that a time step becomes.
const TIME_PERIOD: f64 = 10_000.0;

/// `transformer/config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// Latent frames, rows and columns of a token.
    pub patch: [usize; 3],
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head, even.
    pub head_dim: usize,
    /// Channels of the input: noise, and for I2V-A14B the condition.
    pub in_channels: usize,
    /// Channels of the velocity.
    pub out_channels: usize,
    /// Channels of the text encoder's states.
    pub text_dim: usize,
    /// Sinusoids that a time step becomes.
    pub freq_dim: usize,
    /// Width of the feed-forward layers.
    pub ffn_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Whether cross-attention has a layer norm of its own.
    pub cross_attn_norm: bool,
    /// Of all norms.
    pub eps: f64,
    /// Tokens that any one axis can have.
    pub rope_max: usize,
}

impl TransformerConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        Fields::read(path)?.whole(Self::from_fields)
    }

    /// Parses what was read from `path`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Fields::parse(path, bytes)?.whole(Self::from_fields)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        let patch = fields.sizes("patch_size", &[1, 2, 2])?;
        let patch: [usize; 3] = patch.try_into().map_err(|_| {
            fields.problem("patch_size", "three numbers are expected: frames, rows, columns")
        })?;
        for field in ["image_dim", "added_kv_proj_dim", "pos_embed_seq_len"] {
            fields.refuse(field, "the image encoder of Wan 2.1; Wan 2.2 has none")?;
        }
        // The reference norms queries and keys whatever this field says.
        let norm = fields.value("qk_norm").filter(|v| !v.is_null());
        if norm.is_some_and(|v| v.as_str() != Some("rms_norm_across_heads")) {
            let problem = "only `rms_norm_across_heads` is known";
            return Err(fields.problem("qk_norm", problem));
        }
        let in_channels = fields.size("in_channels", 16)?;
        let config = Self {
            patch,
            heads: fields.size("num_attention_heads", 40)?,
            head_dim: fields.size("attention_head_dim", 128)?,
            in_channels,
            out_channels: fields.optional_size("out_channels", Some(16))?.unwrap_or(in_channels),
            text_dim: fields.size("text_dim", 4096)?,
            freq_dim: fields.size("freq_dim", 256)?,
            ffn_dim: fields.size("ffn_dim", 13_824)?,
            layers: fields.size("num_layers", 40)?,
            cross_attn_norm: fields.flag("cross_attn_norm", true)?,
            eps: fields.number("eps", 1e-6)?,
            rope_max: fields.size("rope_max_seq_len", 1024)?,
        };
        if !config.head_dim.is_multiple_of(2) || config.head_dim < 6 {
            let problem =
                "an even number from 6 is expected: three axes share the rotary embedding";
            return Err(fields.problem("attention_head_dim", problem));
        }
        if config.freq_dim < 2 {
            return Err(fields.problem("freq_dim", "at least 2 is expected"));
        }
        Ok(config)
    }

    /// Width of the model.
    pub fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of a token's patch in one channel.
    fn patch_volume(&self) -> usize {
        self.patch.iter().product()
    }

    /// Tokens along each axis of latents of `frames × height × width`.
    fn grid(&self, size: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|i| size[i] / self.patch[i])
    }

    /// Channels of a head that each axis (frames, rows, columns) turns.
    fn rope_split(&self) -> [usize; 3] {
        let side = 2 * (self.head_dim / 6);
        [self.head_dim - 2 * side, side, side]
    }
}

/// Time steps of the tokens: runs of tokens with the same one, in token order.
///
/// Most models have one time step for all. TI2V-5B has time step 0 for the tokens of the given first
/// frame, which come first, so that two runs say it all; per-token tables of its modulation would be
/// 600 MB at 832×480×81.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSteps(pub Vec<Run>);

/// Tokens in a row that have the same time step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// How many.
    pub tokens: usize,
    /// Their time step, 0 to `num_train_timesteps`.
    pub step: f32,
}

impl TimeSteps {
    /// `f` of each run's rows of `x` `[tokens, channels]` and the run's number, put together again.
    fn each(&self, x: &Tensor, f: impl Fn(&Tensor, usize) -> Result<Tensor>) -> Result<Tensor> {
        if self.0.len() == 1 {
            return f(x, 0);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.0.len());
        for (i, run) in self.0.iter().enumerate() {
            parts.push(f(&x.narrow(0, first, run.tokens)?, i)?);
            first += run.tokens;
        }
        Ok(Tensor::cat(&parts, 0)?)
    }
}

/// Scale, shift and gate rows, `[runs, channels]` each, float32.
struct Modulation(Vec<Tensor>);

impl Modulation {
    /// `table` `[rows, channels]` plus the time's projection `[runs, rows, channels]`.
    fn new(table: &Tensor, time: &Tensor) -> Result<Self> {
        let rows = table.dim(0)?;
        let sum = time.to_dtype(DType::F32)?.broadcast_add(&table.unsqueeze(0)?)?;
        let row = |i| Ok(sum.narrow(1, i, 1)?.squeeze(1)?);
        (0..rows).map(row).collect::<Result<_>>().map(Self)
    }

    /// `norm(x) · (1 + scale) + shift` in float32, in the type of `x`; rows are those of shift and scale.
    fn norm(
        &self,
        norm: &LayerNorm,
        x: &Tensor,
        steps: &TimeSteps,
        [shift, scale]: [usize; 2],
    ) -> Result<Tensor> {
        let (shift, scale) = (&self.0[shift], (&self.0[scale] + 1.0)?);
        let scaled = steps.each(&norm.forward(x)?, |x, run| {
            let scaled = x.broadcast_mul(&scale.narrow(0, run, 1)?)?;
            Ok(scaled.broadcast_add(&shift.narrow(0, run, 1)?)?)
        })?;
        Ok(scaled.to_dtype(x.dtype())?)
    }

    /// `x + y · gate` in float32, in the type of `x`.
    fn add(&self, x: &Tensor, y: &Tensor, steps: &TimeSteps, gate: usize) -> Result<Tensor> {
        let gated = steps.each(&y.to_dtype(DType::F32)?, |y, run| {
            Ok(y.broadcast_mul(&self.0[gate].narrow(0, run, 1)?)?)
        })?;
        Ok((x.to_dtype(DType::F32)? + gated)?.to_dtype(x.dtype())?)
    }
}

/// Rotary embedding: cosine and sine for each token and pair of channels, `[tokens, head_dim / 2]`.
struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    fn new(config: &TransformerConfig, grid: [usize; 3], device: &Device) -> Result<Self> {
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
struct Block {
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
    fn load(
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
    fn forward(
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

/// The diffusion transformer: predicts the velocity of noisy latents.
pub struct Transformer {
    config: TransformerConfig,
    dtype: DType,
    device: Device,
    patch_embedding: Linear,
    time_1: Linear,
    time_2: Linear,
    time_projection: Linear,
    text_1: Linear,
    text_2: Linear,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
    projection: Linear,
    /// `[2, dim]`: shift and scale before the last projection.
    table: Tensor,
}

impl Transformer {
    /// Loads a folder with `config.json` and safetensors. Weights get the type `dtype`; the embedding
    /// of time, modulation tables and norms stay in float32, as the reference keeps them.
    ///
    /// # Errors
    /// Names the file and the field or tensor.
    pub fn load(folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let config = TransformerConfig::read(&folder.join("config.json"))?;
        let weights = Weights::open(folder, "diffusion_pytorch_model", device)?;
        let model = Self::of(config, &weights, device, dtype)?;
        weights.warn_of_unused();
        Ok(model)
    }

    /// A transformer without files, to measure time and memory, which do not depend on the values, and to
    /// compare devices: its weights are the same on all of them.
    ///
    /// # Errors
    /// What the device said.
    pub fn random(config: TransformerConfig, device: &Device, dtype: DType) -> Result<Self> {
        Self::of(config, &Weights::random(device)?, device, dtype)
    }

    fn of(
        config: TransformerConfig,
        weights: &Weights,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let root = weights.root();
        let dim = config.dim();
        let condition = root.at("condition_embedder");
        let (time, text) = (condition.at("time_embedder"), condition.at("text_embedder"));
        let [t, h, w] = config.patch;
        // A convolution whose stride is its kernel is a linear map of patches.
        let patch = root.at("patch_embedding");
        let kernel = patch.get("weight", &[dim, config.in_channels, t, h, w], dtype)?;
        let kernel = kernel.reshape((dim, config.in_channels * config.patch_volume()))?;
        let block = |i| Block::load(&root.at("blocks").at(i), &config, dtype, device);
        let out = config.out_channels * config.patch_volume();
        Ok(Self {
            patch_embedding: Linear::new(kernel, patch.get("bias", &[dim], dtype)?),
            time_1: Linear::load(&time.at("linear_1"), config.freq_dim, dim, DType::F32)?,
            time_2: Linear::load(&time.at("linear_2"), dim, dim, DType::F32)?,
            time_projection: Linear::load(&condition.at("time_proj"), dim, 6 * dim, dtype)?,
            text_1: Linear::load(&text.at("linear_1"), config.text_dim, dim, dtype)?,
            text_2: Linear::load(&text.at("linear_2"), dim, dim, dtype)?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm_out: LayerNorm::plain(dim, config.eps, device)?,
            projection: Linear::load(&root.at("proj_out"), dim, out, dtype)?,
            table: root.get("scale_shift_table", &[1, 2, dim], DType::F32)?.squeeze(0)?,
            device: device.clone(),
            dtype,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// The velocity of `latents`.
    ///
    /// `latents` `[in_channels, frames, height, width]`, `text` `[words, text_dim]` →
    /// `[out_channels, frames, height, width]` in the model's type. `go_on` is called before each
    /// block; its error ends the work.
    ///
    /// # Errors
    /// [`Error::Request`] if sizes do not fit; what `go_on` returned; what the device said.
    pub fn forward(
        &self,
        latents: &Tensor,
        steps: &TimeSteps,
        text: &Tensor,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Tensor> {
        let (channels, frames, height, width) = latents.dims4()?;
        let size = [frames, height, width];
        let grid = self.config.grid(size);
        let tokens: usize = grid.iter().product();
        self.check(channels, size, grid, steps, text)?;
        let rotary = Rotary::new(&self.config, grid, &self.device)?;

        let mut x = self.patch_embedding.forward(&self.patches(latents, grid)?)?; // [tokens, dim]
        let (time, projected) = self.time(steps)?; // [runs, dim], [runs, 6, dim]
        let text = self.text_1.forward(&text.to_dtype(self.dtype)?)?.gelu()?;
        let text = self.text_2.forward(&text)?; // [words, dim]
        for block in &self.blocks {
            go_on()?;
            x = block.forward(&x, &text, &projected, steps, &rotary)?;
        }
        // The last modulation has the time itself, not its projection, in both rows.
        let time = time.unsqueeze(1)?; // [runs, 1, dim]
        let modulation = Modulation::new(&self.table, &Tensor::cat(&[&time, &time], 1)?)?;
        let x = modulation.norm(&self.norm_out, &x, steps, [0, 1])?;
        let x = self.projection.forward(&x)?; // [tokens, patch · out_channels]
        debug_assert_eq!(x.dim(0)?, tokens);
        self.unpatch(&x, grid)
    }

    fn check(
        &self,
        channels: usize,
        size: [usize; 3],
        grid: [usize; 3],
        steps: &TimeSteps,
        text: &Tensor,
    ) -> Result<()> {
        let problem = |problem: String| Error::Request { what: "latents", problem };
        let config = &self.config;
        if channels != config.in_channels {
            let expected = config.in_channels;
            return Err(problem(format!(
                "{channels} channels, but the transformer takes {expected}: this pipeline and this \
                 transformer do not belong together"
            )));
        }
        if (0..3).any(|i| !size[i].is_multiple_of(config.patch[i]) || grid[i] == 0) {
            return Err(problem(format!(
                "{size:?} (frames, rows, columns) are no multiples of the patch {:?}",
                config.patch
            )));
        }
        if grid.iter().any(|&n| n > config.rope_max) {
            return Err(problem(format!(
                "{grid:?} tokens (frames, rows, columns), but an axis can have {} \
                 (rope_max_seq_len); make the clip smaller",
                config.rope_max
            )));
        }
        let tokens: usize = grid.iter().product();
        if steps.0.iter().map(|run| run.tokens).sum::<usize>() != tokens {
            return Err(problem(format!("{tokens} tokens, but time steps for another number")));
        }
        let (words, text_dim) = text.dims2()?;
        if text_dim != config.text_dim || words == 0 {
            let problem = format!(
                "[{words}, {text_dim}], but the transformer takes rows of {} (text_dim)",
                config.text_dim
            );
            return Err(Error::Request { what: "text embeddings", problem });
        }
        Ok(())
    }

    /// `[c, f, h, w]` → `[tokens, c · patch]`.
    fn patches(&self, latents: &Tensor, grid: [usize; 3]) -> Result<Tensor> {
        let [t, h, w] = self.config.patch;
        let channels = self.config.in_channels;
        let x = latents.to_dtype(self.dtype)?;
        let x = x.reshape(vec![channels, grid[0], t, grid[1], h, grid[2], w])?;
        let x = x.permute(vec![1, 3, 5, 0, 2, 4, 6])?.contiguous()?;
        let tokens: usize = grid.iter().product();
        Ok(x.reshape((tokens, channels * self.config.patch_volume()))?)
    }

    /// `[tokens, patch · c]` → `[c, f, h, w]`; here the channels come last in a patch.
    fn unpatch(&self, x: &Tensor, grid: [usize; 3]) -> Result<Tensor> {
        let [t, h, w] = self.config.patch;
        let channels = self.config.out_channels;
        let x = x.reshape(vec![grid[0], grid[1], grid[2], t, h, w, channels])?;
        let x = x.permute(vec![6, 0, 3, 1, 4, 2, 5])?.contiguous()?;
        Ok(x.reshape((channels, grid[0] * t, grid[1] * h, grid[2] * w))?)
    }

    /// Embedding `[runs, dim]` of the time steps and its projection `[runs, 6, dim]`.
    fn time(&self, steps: &TimeSteps) -> Result<(Tensor, Tensor)> {
        let half = self.config.freq_dim / 2;
        let frequency = |i: usize| (-(TIME_PERIOD.ln() as f32) * i as f32 / half as f32).exp();
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let mut rows = Vec::with_capacity(steps.0.len() * self.config.freq_dim);
        for run in &steps.0 {
            rows.extend(frequencies.iter().map(|f| (run.step * f).cos()));
            rows.extend(frequencies.iter().map(|f| (run.step * f).sin()));
            rows.extend(std::iter::repeat_n(0.0, self.config.freq_dim % 2));
        }
        let runs = steps.0.len();
        let x = Tensor::from_vec(rows, (runs, self.config.freq_dim), &self.device)?;
        let x = self.time_2.forward(&self.time_1.forward(&x)?.silu()?)?.to_dtype(self.dtype)?;
        let projected = self.time_projection.forward(&x.silu()?)?;
        Ok((x, projected.reshape((runs, 6, self.config.dim()))?))
    }
}
