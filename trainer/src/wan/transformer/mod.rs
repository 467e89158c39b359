//! The diffusion transformer, diffusers' `WanTransformer3DModel`.

mod block;
mod config;
mod time;

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::error::{Error, Result};
use super::layers::{LayerNorm, Linear};
use super::weights::Weights;
use block::{Block, Rotary};
use time::Modulation;

pub use config::TransformerConfig;
pub use time::{Run, TimeSteps};

/// Longest period of the sinusoids that a time step becomes.
const TIME_PERIOD: f64 = 10_000.0;

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
