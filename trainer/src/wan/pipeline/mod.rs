//! Image to video, diffusers' `WanImageToVideoPipeline`.

mod request;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use super::error::{Error, Result};
use super::index::ModelIndex;
use super::scheduler::{SchedulerConfig, UniPc};
use super::tokenizer::Tokenizer;
use super::transformer::{Run, TimeSteps, Transformer, TransformerConfig};
use super::umt5::{Umt5, Umt5Config};
use super::vae::{Vae, VaeConfig};
use super::{clean, image};

pub use request::{Clip, MAX_SEQUENCE_LENGTH, Options, Progress, Prompt, Request};

/// The sizes of a clip once they fit the model.
#[derive(Debug, Clone, Copy)]
struct Size {
    frames: usize,
    height: usize,
    width: usize,
    /// Latent frames, rows, columns.
    latent: [usize; 3],
}

/// An image-to-video pipeline, loaded from a directory in diffusers' layout.
///
/// Weights are read when they are first needed; configurations are read and checked at once.
pub struct Pipeline {
    folder: PathBuf,
    device: Device,
    dtype: DType,
    options: Options,
    index: ModelIndex,
    scheduler: SchedulerConfig,
    vae_config: VaeConfig,
    transformer_config: TransformerConfig,
    tokenizer: Option<Tokenizer>,
    text_encoder: Option<Umt5>,
    transformers: [Option<Transformer>; 2],
}

/// Folders of the two transformers: of high noise (or the only one), of low noise.
const TRANSFORMERS: [&str; 2] = ["transformer", "transformer_2"];

impl Pipeline {
    /// Reads `model_index.json` and all configurations.
    ///
    /// `dtype` is the type of text encoder and transformers (bf16 on a GPU, float32 on the CPU);
    /// autoencoder and scheduler are always in float32.
    ///
    /// # Errors
    /// Names the file and the field.
    pub fn load(folder: &Path, device: &Device, dtype: DType, options: Options) -> Result<Self> {
        let index = folder.join("model_index.json");
        if !index.exists() {
            let hint = "a model directory in diffusers' layout is expected, such as \
                        Wan-AI/Wan2.2-TI2V-5B-Diffusers"
                .into();
            return Err(Error::Missing { path: index, hint });
        }
        let index = ModelIndex::read(&index)?;
        let scheduler = folder.join("scheduler").join("scheduler_config.json");
        let config = |part: &str| folder.join(part).join("config.json");
        let used: Vec<&str> = [(index.transformer, 0), (index.transformer_2, 1)]
            .into_iter()
            .filter_map(|(there, i)| there.then_some(TRANSFORMERS[i]))
            .collect();
        let configs: Vec<TransformerConfig> = used
            .iter()
            .map(|part| TransformerConfig::read(&config(part)))
            .collect::<Result<_>>()?;
        let pipeline = Self {
            scheduler: SchedulerConfig::read(&scheduler)?,
            vae_config: VaeConfig::read(&config("vae"))?,
            transformer_config: configs[0].clone(),
            folder: folder.into(),
            device: device.clone(),
            dtype,
            options,
            index,
            tokenizer: None,
            text_encoder: None,
            transformers: [None, None],
        };
        let text = Umt5Config::read(&config("text_encoder"))?;
        for (part, transformer) in used.iter().zip(&configs) {
            pipeline.check_parts(&config(part), transformer, &text)?;
        }
        Ok(pipeline)
    }

    /// Whether the parts of the pipeline fit each other.
    fn check_parts(
        &self,
        path: &Path,
        transformer: &TransformerConfig,
        text: &Umt5Config,
    ) -> Result<()> {
        let problem = |field: &str, problem| {
            Err(Error::Config { path: path.into(), field: field.into(), problem })
        };
        let (vae, z) = (&self.vae_config, self.vae_config.z_dim);
        let (expected, of) = if self.index.expand_timesteps {
            (z, "the autoencoder's z_dim".to_string())
        } else {
            let t = vae.temporal_factor;
            (2 * z + t, format!("noise, a mask of {t} and the picture, z_dim {z}"))
        };
        if transformer.in_channels != expected {
            let given = transformer.in_channels;
            return problem(
                "in_channels",
                format!("{given} is given; an image-to-video model has {expected}: {of}"),
            );
        }
        if transformer.out_channels != z {
            let given = transformer.out_channels;
            return problem("out_channels", format!("{given} is given, the autoencoder has {z}"));
        }
        if transformer.text_dim != text.d_model {
            let (given, d_model) = (transformer.text_dim, text.d_model);
            return problem(
                "text_dim",
                format!("{given} is given, the text encoder has {d_model}"),
            );
        }
        if transformer.patch != self.transformer_config.patch {
            return problem("patch_size", "differs from that of the other transformer".into());
        }
        Ok(())
    }

    /// What `model_index.json` says.
    pub fn index(&self) -> &ModelIndex {
        &self.index
    }

    /// The autoencoder's configuration.
    pub fn vae_config(&self) -> &VaeConfig {
        &self.vae_config
    }

    /// Frames per second that the model was made for: 24 for TI2V-5B, 16 for I2V-A14B. No
    /// configuration says it.
    pub fn frame_rate(&self) -> f64 {
        if self.index.expand_timesteps { 24.0 } else { 16.0 }
    }

    /// Generates a clip.
    ///
    /// `progress` is told of each piece of work. The work ends with [`Error::Interrupted`] soon after
    /// `stop` is set: between two blocks of a network, at the latest.
    ///
    /// # Errors
    /// [`Error::Request`] if the request does not fit the model; those of loading; what the device
    /// said.
    pub fn generate(
        &mut self,
        request: &Request,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Clip> {
        let go_on = || match stop.load(Ordering::Relaxed) {
            true => Err(Error::Interrupted),
            false => Ok(()),
        };
        let size = self.check(request)?;
        let noise = self.noise(request, size)?; // [z, t, h, w]
        let (text, negative) = self.texts(request, &go_on, progress)?; // [words, text_dim]

        progress(Progress::Loading("vae"));
        let vae = Vae::load(&self.folder.join("vae"), &self.device)?;
        let condition = self.condition(&vae, request, size, &mut |done, total| {
            progress(Progress::Encoding { done, total });
            go_on()
        })?;
        drop(vae);

        let latents =
            self.denoise(request, noise, &condition, &text, &negative, &go_on, progress)?;
        if !self.options.keep_transformers {
            self.transformers = [None, None];
        }
        progress(Progress::Loading("vae"));
        let vae = Vae::load(&self.folder.join("vae"), &self.device)?;
        let latents = self.denormalise(&latents)?.transpose(0, 1)?.contiguous()?; // [t, z, h, w]
        let video = vae.decode(&latents, self.options.tiling.as_ref(), &mut |done, total| {
            progress(Progress::Decoding { done, total });
            go_on()
        })?;
        let frames = ((video * 0.5)? + 0.5)?.clamp(0f32, 1f32)?;
        Ok(Clip { frames, frame_rate: self.frame_rate() })
    }

    /// Checks a request and rounds its sizes as the reference does.
    fn check(&self, request: &Request) -> Result<Size> {
        let problem = |what, problem: String| Err(Error::Request { what, problem });
        let (width, height) = (request.width, request.height);
        if !width.is_multiple_of(16) || !height.is_multiple_of(16) || width * height == 0 {
            return problem("size", format!("{width}x{height}; multiples of 16 are needed"));
        }
        let vae = &self.vae_config;
        let [_, rows, columns] = self.transformer_config.patch.map(|p| p * vae.spatial_factor);
        let (h, w) = (height / rows * rows, width / columns * columns);
        if h * w == 0 {
            return problem(
                "size",
                format!("{width}x{height}; at least {columns}x{rows} is needed"),
            );
        }
        if (h, w) != (height, width) {
            log::warn!(
                "{width}x{height} is made {w}x{h}, the next multiples of {columns} and {rows}"
            );
        }
        let t = vae.temporal_factor;
        let frames = request.frames;
        let rounded = if frames % t == 1 % t { frames } else { frames / t * t + 1 }.max(1);
        if rounded != frames {
            log::warn!("{frames} frames are made {rounded}, one more than a multiple of {t}");
        }
        if request.guidance_2.is_some() && self.index.boundary_ratio.is_none() {
            let text = "a second value is given, but the model has one transformer";
            return problem("guidance", text.into());
        }
        if !request.guidance.is_finite() || !request.guidance_2.unwrap_or(1.0).is_finite() {
            return problem("guidance", "a number is expected".into());
        }
        if request.flow_shift.is_some_and(|s| !(s > 0.0 && s.is_finite())) {
            return problem("flow shift", "a positive number is expected".into());
        }
        if request.max_sequence_length == 0 {
            return problem("text", "at least one token is needed".into());
        }
        let side = vae.spatial_factor;
        let latent = [vae.latent_frames(rounded), h / side, w / side];
        Ok(Size { frames: rounded, height: h, width: w, latent })
    }

    /// The initial noise `[z, t, h, w]`: given, or drawn from the seed alone, on any device the same.
    fn noise(&self, request: &Request, size: Size) -> Result<Tensor> {
        let [t, h, w] = size.latent;
        let shape = [1, self.vae_config.z_dim, t, h, w];
        if let Some(latents) = &request.latents {
            if latents.dims() != shape {
                let given = latents.dims();
                let problem = format!("{given:?} are given, {shape:?} are needed");
                return Err(Error::Request { what: "latents", problem });
            }
            let latents = latents.squeeze(0)?.to_dtype(DType::F32)?;
            return Ok(latents.to_device(&self.device)?);
        }
        let mut random = ChaCha12Rng::seed_from_u64(request.seed);
        let count: usize = shape.iter().product();
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            // Box and Muller's pair; 1 - u is never 0.
            let (u, v): (f64, f64) = (random.random(), random.random());
            let radius = (-2.0 * (1.0 - u).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
            values.extend([(radius * cos) as f32, (radius * sin) as f32]);
        }
        values.truncate(count);
        Ok(Tensor::from_vec(values, &shape[1..], &self.device)?)
    }

    /// States `[words, text_dim]` of prompt and, where guidance needs it, negative prompt.
    fn texts(
        &mut self,
        request: &Request,
        go_on: &dyn Fn() -> Result<()>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Tensor, Option<Tensor>)> {
        let guided = request.guidance > 1.0;
        let given = |name, tensor: &Tensor| match tensor.dims() {
            &[1, words, dim] if words > 0 && dim == self.transformer_config.text_dim => {
                Ok(tensor.squeeze(0)?.to_device(&self.device)?.to_dtype(self.dtype)?)
            }
            dims => {
                let dim = self.transformer_config.text_dim;
                let problem = format!("{name} is {dims:?}, [1, tokens, {dim}] is needed");
                Err(Error::Request { what: "text embeddings", problem })
            }
        };
        let (positive, negative) = match &request.prompt {
            Prompt::Text { prompt, negative } => (Err(prompt), Err(negative.as_str())),
            Prompt::Embeddings { prompt, negative } => (
                Ok(given("prompt_embeds", prompt)?),
                match negative {
                    Some(negative) => Ok(given("negative_prompt_embeds", negative)?),
                    None => Err(""),
                },
            ),
        };
        let longest = request.max_sequence_length;
        let mut encode = |text: &str| self.encode_text(text, longest, go_on, progress);
        let positive = positive.or_else(|text: &String| encode(text))?;
        let negative = guided.then(|| negative.or_else(&mut encode)).transpose()?;
        if !self.options.keep_text_encoder {
            self.text_encoder = None;
        }
        Ok((positive, negative))
    }

    /// `[longest, text_dim]`: states of the text's tokens, then zeros.
    fn encode_text(
        &mut self,
        text: &str,
        longest: usize,
        go_on: &dyn Fn() -> Result<()>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tensor> {
        let tokenizer = match self.tokenizer.take() {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::load(&self.folder.join("tokenizer"))?,
        };
        let tokenizer = self.tokenizer.insert(tokenizer);
        let tokens = tokenizer.encode(&clean::prompt(text), longest)?;
        let encoder = match self.text_encoder.take() {
            Some(encoder) => encoder,
            None => {
                progress(Progress::Loading("text_encoder"));
                Umt5::load(&self.folder.join("text_encoder"), &self.device, self.dtype)?
            }
        };
        progress(Progress::Text);
        let states = self.text_encoder.insert(encoder).forward(&tokens, go_on)?;
        Ok(states.pad_with_zeros(0, 0, longest - tokens.len())?)
    }

    /// What the transformer is told of the picture, normalised.
    ///
    /// TI2V-5B: the picture's latents `[z, 1, h, w]`. I2V-A14B: a mask of the frames that are given and
    /// the latents of a video of which only the first frame is not grey, `[factor + z, t, h, w]`.
    fn condition(
        &self,
        vae: &Vae,
        request: &Request,
        size: Size,
        chunks: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Tensor> {
        let picture = image::preprocess(&request.image, size.width, size.height)?.unsqueeze(0)?;
        let tiling = self.options.tiling.as_ref();
        if self.index.expand_timesteps {
            let latents = vae.encode(&picture, tiling, chunks)?; // [1, z, h, w]
            return self.normalise(&latents.transpose(0, 1)?);
        }
        let video = picture.pad_with_zeros(0, 0, size.frames - 1)?; // [f, 3, height, width]
        let latents = vae.encode(&video, tiling, chunks)?.transpose(0, 1)?; // [z, t, h, w]
        let latents = self.normalise(&latents)?;
        let [t, h, w] = size.latent;
        if latents.dims() != [self.vae_config.z_dim, t, h, w] {
            let problem = format!(
                "the autoencoder makes {:?} of {} frames, not {t} latent frames: \
                 scale_factor_temporal does not belong to it",
                latents.dims(),
                size.frames
            );
            return Err(Error::Request { what: "vae/config.json", problem });
        }
        let factor = self.vae_config.temporal_factor;
        let first = Tensor::ones((factor, 1, h, w), DType::F32, &self.device)?;
        let mask = first.pad_with_zeros(1, 0, t - 1)?;
        Ok(Tensor::cat(&[mask, latents.to_device(&self.device)?], 0)?)
    }

    /// The loop: from noise to latents, both `[z, t, h, w]`, normalised.
    #[expect(clippy::too_many_arguments, reason = "each is one independent thing the loop needs")]
    fn denoise(
        &mut self,
        request: &Request,
        noise: Tensor,
        condition: &Tensor,
        text: &Tensor,
        negative: &Option<Tensor>,
        go_on: &dyn Fn() -> Result<()>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tensor> {
        let mut scheduler = self.scheduler.clone();
        scheduler.flow_shift = request.flow_shift.unwrap_or(scheduler.flow_shift);
        let mut solver = UniPc::new(&scheduler, request.steps)?;
        let boundary = self.index.boundary_ratio.map(|b| b * scheduler.train_timesteps as f64);
        let total = request.steps;
        let mut latents = noise;
        progress(Progress::Denoising { done: 0, total });
        for (i, t) in solver.timesteps().to_vec().into_iter().enumerate() {
            let high = boundary.is_none_or(|boundary| t as f64 >= boundary);
            let (which, guidance) = if high {
                (0, request.guidance)
            } else {
                (1, request.guidance_2.unwrap_or(request.guidance))
            };
            let input = if self.index.expand_timesteps {
                with_first_frame(&latents, condition)?
            } else {
                Tensor::cat(&[&latents, condition], 0)?
            };
            let steps = self.time_steps(t as f32, input.dims());
            let transformer = self.transformer(which, progress)?;
            let mut velocity = transformer.forward(&input, &steps, text, go_on)?; // [z, t, h, w]
            if let Some(negative) = negative {
                let without = transformer.forward(&input, &steps, negative, go_on)?;
                velocity = (&without + ((velocity - &without)? * guidance)?)?;
            }
            latents = solver.step(&velocity, &latents)?;
            progress(Progress::Denoising { done: i + 1, total });
        }
        if self.index.expand_timesteps {
            latents = with_first_frame(&latents, condition)?;
        }
        Ok(latents)
    }

    /// Time steps of the tokens of latents `[c, t, h, w]`: one for all, or 0 for the first frame's.
    fn time_steps(&self, t: f32, size: &[usize]) -> TimeSteps {
        let [pt, ph, pw] = self.transformer_config.patch;
        let (frames, area) = (size[1] / pt, (size[2] / ph) * (size[3] / pw));
        if !self.index.expand_timesteps {
            return TimeSteps(vec![Run { tokens: frames * area, step: t }]);
        }
        let runs = [Run { tokens: area, step: 0.0 }, Run { tokens: (frames - 1) * area, step: t }];
        TimeSteps(runs.into_iter().filter(|run| run.tokens > 0).collect())
    }

    /// A transformer, loaded if it is not there; the other one makes room for it.
    fn transformer(
        &mut self,
        which: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<&Transformer> {
        if self.transformers[which].is_none() && !self.options.keep_transformers {
            self.transformers = [None, None];
        }
        let transformer = match self.transformers[which].take() {
            Some(transformer) => transformer,
            None => {
                let part = TRANSFORMERS[which];
                if ![self.index.transformer, self.index.transformer_2][which] {
                    let problem = "there is none, but boundary_ratio needs it".into();
                    let path = self.folder.join("model_index.json");
                    return Err(Error::Config { path, field: part.into(), problem });
                }
                progress(Progress::Loading(part));
                Transformer::load(&self.folder.join(part), &self.device, self.dtype)?
            }
        };
        Ok(self.transformers[which].insert(transformer))
    }

    /// `(latents - mean) / std` of `[z, t, h, w]`, in float32.
    fn normalise(&self, latents: &Tensor) -> Result<Tensor> {
        let [mean, inverse] = self.statistics(latents.device())?;
        Ok(latents.broadcast_sub(&mean)?.broadcast_mul(&inverse)?)
    }

    /// The inverse of [`Pipeline::normalise`].
    fn denormalise(&self, latents: &Tensor) -> Result<Tensor> {
        let [mean, inverse] = self.statistics(latents.device())?;
        Ok(latents.broadcast_div(&inverse)?.broadcast_add(&mean)?)
    }

    /// Mean and the inverse of the standard deviation, `[z, 1, 1, 1]`.
    fn statistics(&self, device: &Device) -> Result<[Tensor; 2]> {
        let z = self.vae_config.z_dim;
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (z, 1, 1, 1), device);
        let mean = self.vae_config.latents_mean.iter().map(|m| *m as f32).collect();
        let inverse = self.vae_config.latents_std.iter().map(|s| 1.0 / *s as f32).collect();
        Ok([tensor(mean)?, tensor(inverse)?])
    }
}

/// The first latent frame of `condition`, the others of `latents`.
fn with_first_frame(latents: &Tensor, condition: &Tensor) -> Result<Tensor> {
    let first = condition.narrow(1, 0, 1)?.to_device(latents.device())?;
    let rest = latents.narrow(1, 1, latents.dim(1)? - 1)?;
    Ok(Tensor::cat(&[first, rest], 1)?)
}
