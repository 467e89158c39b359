//! What a pipeline is asked for, what it tells meanwhile, and what it gives.

use candle_core::Tensor;
use video::Frame;

use crate::wan::error::Result;
use crate::wan::vae::Tiling;

/// Longest text in tokens, unless the request says otherwise.
pub const MAX_SEQUENCE_LENGTH: usize = 512;

/// What stays in the device's memory between clips.
///
/// The default keeps nothing that is not at work: text encoder, then one transformer at a time, then
/// the autoencoder. That is the least memory, and right for a single clip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep the text encoder (umT5-XXL: 11.4 GB in bf16).
    pub keep_text_encoder: bool,
    /// Keep all transformers (A14B: 2 × 28.6 GB in bf16; 5B: 10 GB).
    pub keep_transformers: bool,
    /// Encode and decode pictures larger than a tile in tiles.
    pub tiling: Option<Tiling>,
}

/// Text that a clip follows.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// A prompt and what to stay away from, in words.
    Text {
        /// What shall happen.
        prompt: String,
        /// What shall not be seen; may be empty.
        negative: String,
    },
    /// States of the text encoder, `[1, tokens, text_dim]` each.
    Embeddings {
        /// Of the prompt.
        prompt: Tensor,
        /// Of the negative prompt; the text encoder is asked for that of the empty text if it is
        /// needed and not given.
        negative: Option<Tensor>,
    },
}

/// What to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first frame; stretched to the clip's size.
    pub image: Frame,
    /// The text.
    pub prompt: Prompt,
    /// Pixels, rounded down to what the model can do.
    pub width: usize,
    /// Pixels, rounded down to what the model can do.
    pub height: usize,
    /// Frames, rounded down to one more than a multiple of the autoencoder's compression.
    pub frames: usize,
    /// Denoising steps.
    pub steps: usize,
    /// Weight of the prompt against the negative prompt; the latter is not computed up to 1.
    pub guidance: f64,
    /// The same for the transformer of low noise; without it as `guidance`.
    pub guidance_2: Option<f64>,
    /// Instead of the scheduler's.
    pub flow_shift: Option<f64>,
    /// Of the noise.
    pub seed: u64,
    /// The noise itself, `[1, z_dim, latent frames, height / s, width / s]`; the seed is then not used.
    pub latents: Option<Tensor>,
    /// Longest text in tokens.
    pub max_sequence_length: usize,
}

impl Request {
    /// A request with the values that most models are published with: 832×480, 81 frames, 40 steps,
    /// guidance 5, no negative prompt.
    pub fn new(image: Frame, prompt: impl Into<String>) -> Self {
        Self {
            image,
            prompt: Prompt::Text { prompt: prompt.into(), negative: String::new() },
            width: 832,
            height: 480,
            frames: 81,
            steps: 40,
            guidance: 5.0,
            guidance_2: None,
            flow_shift: None,
            seed: 0,
            latents: None,
            max_sequence_length: MAX_SEQUENCE_LENGTH,
        }
    }
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A part of the model is being loaded: its folder.
    Loading(&'static str),
    /// The text is being encoded.
    Text,
    /// Chunks of the picture that are encoded, of all.
    Encoding {
        /// Chunks done.
        done: usize,
        /// Chunks in all.
        total: usize,
    },
    /// Denoising steps that are done, of all.
    Denoising {
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Latent frames that are decoded, of all (times tiles).
    Decoding {
        /// Chunks done.
        done: usize,
        /// Chunks in all.
        total: usize,
    },
}

/// A generated clip.
#[derive(Debug, Clone)]
pub struct Clip {
    /// `[frames, 3, height, width]` from 0 to 1, float32, in main memory.
    pub frames: Tensor,
    /// Frames per second that the model was made for.
    pub frame_rate: f64,
}

impl Clip {
    /// The frames in 8 bits, rounded to the nearest level, half to even.
    ///
    /// # Errors
    /// What the tensor library said.
    pub fn pictures(&self) -> Result<Vec<Frame>> {
        let (frames, _, height, width) = self.frames.dims4()?;
        let picture = |i| {
            let planes = self.frames.get(i)?.permute((1, 2, 0))?.flatten_all()?; // [h · w · 3]
            let levels = planes.to_vec1::<f32>()?;
            let rgb = levels.iter().map(|v| (v * 255.0).round_ties_even() as u8).collect();
            Ok(Frame::from_rgb(width, height, rgb).unwrap_or_default())
        };
        (0..frames).map(picture).collect()
    }
}
