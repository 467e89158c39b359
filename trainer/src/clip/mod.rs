//! CLIP: pictures and texts as points of one space, for choosing the frames that suit a class.
//!
//! Loads any CLIP directory in Hugging Face's layout (`config.json`, `preprocessor_config.json`,
//! `tokenizer.json` or `vocab.json` with `merges.txt`, safetensors in one file or in shards) and gives
//! the embeddings of transformers' `CLIPModel`: projected, L2-normalised. Own model code, because
//! candle-transformers knows one activation and one way of pooling; sizes, activation and pooling
//! here are what the directory's files say.
//!
//! A. Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*, 2021,
//! arXiv 2103.00020.

mod config;
mod error;
mod model;
mod picture;
mod preprocess;
mod resample;
mod tokenizer;
mod weights;

use std::path::Path;

use candle_core::{D, Device, Tensor};
use video::Frame;

use config::Config;
pub use error::Error;
use model::{TextTower, VisionTower};
pub use picture::read_picture;
use preprocess::Preprocess;
pub use tokenizer::Tokenizer;
use weights::Weights;

/// Pictures that go through the model at once: enough to keep it busy, little memory.
const BATCH: usize = 8;

/// A CLIP model with its preprocessing and tokenizer.
pub struct Clip {
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    text: TextTower,
    vision: VisionTower,
    device: Device,
    fingerprint: String,
    /// Length of an embedding.
    size: usize,
}

impl Clip {
    /// Loads the directory; weights become float32 on `device`.
    ///
    /// # Errors
    /// [`Error`], which names the file and what is wrong with it.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, Error> {
        if !dir.is_dir() {
            return Err(Error::NoDirectory { path: dir.into() });
        }
        let config = Config::read(&dir.join("config.json"))?;
        let preprocess = Preprocess::read(dir, config.vision.image_size)?;
        let tokenizer = Tokenizer::read(dir, config.text.max_position_embeddings)?;
        let weights = Weights::open(dir, device)?;
        let text = TextTower::new(&config.text, config.projection_dim, &weights)?;
        let vision = VisionTower::new(&config.vision, config.projection_dim, &weights)?;
        if let Some(id) = tokenizer.largest_id().filter(|&id| id >= config.text.vocab_size) {
            return Err(Error::Damaged {
                path: dir.into(),
                problem: format!(
                    "the tokenizer has ids up to {id}, but config.json's text_config.vocab_size is \
                     {}; they belong to different models",
                    config.text.vocab_size
                ),
            });
        }
        Ok(Self {
            tokenizer,
            preprocess,
            text,
            vision,
            device: device.clone(),
            fingerprint: weights::fingerprint(dir)?,
            size: config.projection_dim,
        })
    }

    /// SHA-256, in hex, over everything in the directory that an embedding depends on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Length of an embedding.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// L2-normalised embeddings of pictures of any size, in order.
    ///
    /// # Errors
    /// [`Error::Picture`] if the preprocessing does not bring a picture to the model's size,
    /// [`Error::Compute`].
    pub fn images(&self, frames: &[&Frame]) -> Result<Vec<Vec<f32>>, Error> {
        let mut embeddings = Vec::with_capacity(frames.len());
        for chunk in frames.chunks(BATCH) {
            let side = self.preprocess.side();
            let mut pixels = Vec::with_capacity(chunk.len() * 3 * side * side);
            for frame in chunk {
                pixels.extend(self.preprocess.pixels(frame)?);
            }
            // [n, 3, side, side]
            let pixels = Tensor::from_vec(pixels, (chunk.len(), 3, side, side), &self.device)?;
            embeddings.extend(normalised(&self.vision.forward(&pixels)?)?);
        }
        Ok(embeddings)
    }

    /// The L2-normalised embedding of a text. What does not fit into the model's context is cut off,
    /// as transformers does with `truncation=True`.
    ///
    /// # Errors
    /// [`Error::Text`] if it cannot be tokenized, [`Error::Compute`].
    pub fn text(&self, text: &str) -> Result<Vec<f32>, Error> {
        let ids = self.tokenizer.ids(text)?;
        let embedding = self.text.forward(&ids, &self.device)?;
        Ok(normalised(&embedding.unsqueeze(0)?)?.remove(0))
    }
}

/// The rows of an `[n, d]` tensor, each of length 1.
fn normalised(rows: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
    let norm = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    rows.broadcast_div(&norm)?.to_vec2()
}
