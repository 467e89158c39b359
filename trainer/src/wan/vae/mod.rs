//! The causal video autoencoders of Wan 2.1 and 2.2, diffusers' `AutoencoderKLWan`.
//!
//! A video is encoded in chunks of one frame and then of four, and decoded one latent frame at a time;
//! what a chunk needs of earlier ones is remembered by the causal layers (`conv.rs`). So memory does not
//! grow with the length of the video, and the result is that of the whole.

mod blocks;
mod conv;
mod decoder;
mod encoder;
mod tiling;

use std::path::Path;

use candle_core::{Device, Tensor};

use self::conv::Memory;
use self::decoder::Decoder;
use self::encoder::Encoder;
use super::error::{Error, Result};
use super::fields::Fields;
use super::weights::Weights;
pub use tiling::Tiling;

/// Frames that become one latent frame, after the first. Fixed in the reference, whatever the
/// configuration's compression is.
const CHUNK: usize = 4;

/// `vae/config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// Channels of the encoder's first layer.
    pub base_dim: usize,
    /// Channels of the decoder's last layer.
    pub decoder_dim: usize,
    /// Channels of the latents.
    pub z_dim: usize,
    /// Channels of each level, in units of the above.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub res_blocks: usize,
    /// Which levels of the encoder halve the number of frames.
    pub temporal_downsample: Vec<bool>,
    /// Mean and standard deviation of each channel of the latents.
    pub latents_mean: Vec<f64>,
    /// See `latents_mean`.
    pub latents_std: Vec<f64>,
    /// Wan 2.2: levels have a way around.
    pub residual: bool,
    /// Channels of the encoder's input: three, times the patch's area.
    pub in_channels: usize,
    /// Channels of the decoder's output: three, times the patch's area.
    pub out_channels: usize,
    /// Side of the squares of pixels that are stacked as channels.
    pub patch: usize,
    /// Frames to latent frames.
    pub temporal_factor: usize,
    /// Pixels to latent places, along each side.
    pub spatial_factor: usize,
}

/// The statistics that the reference has as defaults, those of Wan 2.1.
const LATENTS_MEAN: [f64; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
    -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
];
const LATENTS_STD: [f64; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
];

impl VaeConfig {
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
        let base_dim = fields.size("base_dim", 96)?;
        let config = Self {
            base_dim,
            decoder_dim: fields.optional_size("decoder_base_dim", None)?.unwrap_or(base_dim),
            z_dim: fields.size("z_dim", 16)?,
            dim_mult: fields.sizes("dim_mult", &[1, 2, 4, 4])?,
            res_blocks: fields.size("num_res_blocks", 2)?,
            // The reference's spelling.
            temporal_downsample: fields.flags("temperal_downsample", &[false, true, true])?,
            latents_mean: fields.numbers("latents_mean", &LATENTS_MEAN)?,
            latents_std: fields.numbers("latents_std", &LATENTS_STD)?,
            residual: fields.flag("is_residual", false)?,
            in_channels: fields.size("in_channels", 3)?,
            out_channels: fields.size("out_channels", 3)?,
            patch: fields.optional_size("patch_size", None)?.unwrap_or(1),
            temporal_factor: fields.optional_size("scale_factor_temporal", Some(4))?.unwrap_or(4),
            spatial_factor: fields.optional_size("scale_factor_spatial", Some(8))?.unwrap_or(8),
        };
        // Inference has no dropout.
        fields.ignore(&["dropout"]);
        config.check(fields)?;
        Ok(config)
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let levels = self.dim_mult.len();
        if levels == 0 || levels > 8 {
            return Err(fields.problem("dim_mult", "one to eight levels are expected"));
        }
        if self.temporal_downsample.len() + 1 < levels {
            let problem = format!("{} values are expected, one less than dim_mult has", levels - 1);
            return Err(fields.problem("temperal_downsample", problem));
        }
        // Level i of Wan 2.1's encoder is at scale 2⁻ⁱ.
        let scales = fields.numbers("attn_scales", &[])?;
        let hit = |scale: &f64| (0..levels).any(|i| *scale == 0.5f64.powi(i as i32));
        if !self.residual && scales.iter().any(hit) {
            let problem = "attention in the encoder's levels is not supported (nor can the \
                           reference run it); [] is";
            return Err(fields.problem("attn_scales", problem));
        }
        for (field, values) in
            [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)]
        {
            if values.len() != self.z_dim {
                let problem = format!("{} values are given, z_dim is {}", values.len(), self.z_dim);
                return Err(fields.problem(field, problem));
            }
        }
        if self.latents_std.contains(&0.0) {
            return Err(fields.problem("latents_std", "a standard deviation is 0"));
        }
        let area = self.patch * self.patch;
        for (field, channels) in
            [("in_channels", self.in_channels), ("out_channels", self.out_channels)]
        {
            if channels != 3 * area {
                let problem = format!(
                    "{channels} is given, {} is expected: three colours times patch_size squared",
                    3 * area
                );
                return Err(fields.problem(field, problem));
            }
        }
        let factor = self.patch << (levels - 1);
        if self.spatial_factor != factor {
            let problem = format!(
                "{} is given, but dim_mult and patch_size make it {factor}",
                self.spatial_factor
            );
            return Err(fields.problem("scale_factor_spatial", problem));
        }
        if self.residual { self.check_ways_around(fields) } else { Ok(()) }
    }

    /// Wan 2.2's ways around need channel numbers that divide.
    fn check_ways_around(&self, fields: &Fields) -> Result<()> {
        let last = self.dim_mult.len() - 1;
        let widths = self.widths(self.base_dim);
        let mut inputs = self.base_dim;
        for (i, &outputs) in widths.iter().enumerate() {
            let time = if i != last && self.temporal_downsample[i] { 2 } else { 1 };
            let factor = if i == last { 1 } else { 4 * time };
            if !(inputs * factor).is_multiple_of(outputs) {
                let problem = format!(
                    "{inputs} channels times {factor} of the encoder's level {i} are no multiple of \
                     {outputs}"
                );
                return Err(fields.problem("dim_mult", problem));
            }
            inputs = outputs;
        }
        let widths: Vec<usize> = self.widths(self.decoder_dim).into_iter().rev().collect();
        let mut inputs = widths[0];
        for (i, &outputs) in widths[..last].iter().enumerate() {
            let factor = if self.temporal_upsample(i) { 8 } else { 4 };
            if !(outputs * factor).is_multiple_of(inputs) {
                let problem = format!(
                    "{outputs} channels times {factor} of the decoder's level {i} are no multiple of \
                     {inputs}"
                );
                return Err(fields.problem("dim_mult", problem));
            }
            inputs = outputs;
        }
        Ok(())
    }

    /// Channels of each level.
    fn widths(&self, unit: usize) -> Vec<usize> {
        self.dim_mult.iter().map(|m| m * unit).collect()
    }

    /// Whether the decoder's level doubles the frames: the encoder's order reversed.
    fn temporal_upsample(&self, level: usize) -> bool {
        self.temporal_downsample[self.temporal_downsample.len() - 1 - level]
    }

    /// Latent frames of `frames` frames.
    pub fn latent_frames(&self, frames: usize) -> usize {
        (frames - 1) / self.temporal_factor + 1
    }
}

/// The autoencoder, in float32: in bf16 its pictures show.
pub struct Vae {
    config: VaeConfig,
    encoder: Encoder,
    decoder: Decoder,
    device: Device,
}

/// Told how many of how many chunks are done; its error ends the work.
pub type Chunks<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

impl Vae {
    /// Loads a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// Names the file and the field or tensor.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = VaeConfig::read(&folder.join("config.json"))?;
        let weights = Weights::open(folder, "diffusion_pytorch_model", device)?;
        let root = weights.root();
        let encoder = Encoder::load(&root, &config)?;
        let decoder = Decoder::load(&root, &config)?;
        weights.warn_of_unused();
        Ok(Self { config, encoder, decoder, device: device.clone() })
    }

    /// The configuration.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Mean of the latents of a video, not normalised.
    ///
    /// `[frames, 3, height, width]` from -1 to 1, sides multiples of `spatial_factor` →
    /// `[latent frames, z_dim, height / s, width / s]`.
    ///
    /// # Errors
    /// [`Error::Request`] if the size does not fit; what `chunks` returned; what the device said.
    pub fn encode(
        &self,
        video: &Tensor,
        tiling: Option<&Tiling>,
        chunks: Chunks<'_>,
    ) -> Result<Tensor> {
        let (frames, _, height, width) = video.dims4()?;
        let side = self.config.spatial_factor;
        if !height.is_multiple_of(side) || !width.is_multiple_of(side) || height * width == 0 {
            let problem = format!("{width}x{height}; multiples of {side} are needed");
            return Err(Error::Request { what: "size", problem });
        }
        let x = patch(video, self.config.patch)?; // [f, in_channels, h, w]
        if let Some(tiling) = tiling.filter(|t| t.needed(height, width)) {
            return self.encode_tiles(&x, tiling, chunks);
        }
        let total = 1 + (frames - 1) / CHUNK;
        self.encode_whole(&x, &mut |done| chunks(done, total))
    }

    /// One picture or tile; `done` is told the chunks done.
    fn encode_whole(
        &self,
        x: &Tensor,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Tensor> {
        let mut memory = Memory::default();
        let mut latents = Vec::new();
        for i in 0..1 + (x.dim(0)? - 1) / CHUNK {
            let (first, length) = if i == 0 { (0, 1) } else { (1 + CHUNK * (i - 1), CHUNK) };
            let chunk = x.narrow(0, first, length)?.to_device(&self.device)?;
            let both = self.encoder.forward(&chunk, &mut memory)?; // [f', 2z, h', w']
            latents.push(both.narrow(1, 0, self.config.z_dim)?);
            done(i + 1)?;
        }
        Ok(Tensor::cat(&latents, 0)?)
    }

    /// The video of latents that are not normalised, in main memory.
    ///
    /// `[latent frames, z_dim, h, w]` → `[frames, 3, h · s, w · s]` from -1 to 1.
    ///
    /// # Errors
    /// What `chunks` returned; what the device said.
    pub fn decode(
        &self,
        latents: &Tensor,
        tiling: Option<&Tiling>,
        chunks: Chunks<'_>,
    ) -> Result<Tensor> {
        let (frames, _, height, width) = latents.dims4()?;
        let side = self.config.spatial_factor;
        let video = match tiling.filter(|t| t.needed(height * side, width * side)) {
            Some(tiling) => self.decode_tiles(latents, tiling, chunks)?,
            None => self.decode_whole(latents, &mut |done| chunks(done, frames))?,
        };
        Ok(unpatch(&video, self.config.patch)?.clamp(-1f32, 1f32)?)
    }

    /// One picture or tile, its pixels still stacked; `done` is told the latent frames done.
    fn decode_whole(
        &self,
        latents: &Tensor,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Tensor> {
        let mut memory = Memory::default();
        let mut video = Vec::new();
        for i in 0..latents.dim(0)? {
            let z = latents.narrow(0, i, 1)?.contiguous()?;
            let frames = self.decoder.forward(&z, &mut memory)?; // [f, out_channels, h, w]
            video.push(frames.to_device(&Device::Cpu)?);
            done(i + 1)?;
        }
        Ok(Tensor::cat(&video, 0)?)
    }
}

/// Stacks squares of pixels as channels, columns before rows:
/// `[f, c, h · p, w · p]` → `[f, c · p · p, h, w]`.
fn patch(x: &Tensor, p: usize) -> Result<Tensor> {
    if p == 1 {
        return Ok(x.clone());
    }
    let (f, c, h, w) = x.dims4()?;
    let x = x.reshape(vec![f, c, h / p, p, w / p, p])?;
    let x = x.permute(vec![0, 1, 5, 3, 2, 4])?.contiguous()?;
    Ok(x.reshape((f, c * p * p, h / p, w / p))?)
}

/// The inverse of [`patch`].
fn unpatch(x: &Tensor, p: usize) -> Result<Tensor> {
    if p == 1 {
        return Ok(x.clone());
    }
    let (f, stacked, h, w) = x.dims4()?;
    let c = stacked / (p * p);
    let x = x.reshape(vec![f, c, p, p, h, w])?;
    let x = x.permute(vec![0, 1, 4, 3, 5, 2])?.contiguous()?;
    Ok(x.reshape((f, c, h * p, w * p))?)
}
