//! The local detector: a fully convolutional network trained on the pixels the synthesizer changed.
//!
//! A pooled clip feature does not see a bicycle of 10 × 25 pixels. The composite synthesizer knows
//! which pixels of a clip it changed and how, so a small network on a stack of frames can learn
//! *where* something moves or looks unlike the site's normal life: one logit map for each kind of
//! change. [`train`] makes it, [`forward_eval`] runs it for reference; the camera runs the exported
//! graph. It goes beyond PA-VAD (arXiv 2512.06845), whose detector sees pooled features only.

mod batch;
mod config;
pub(crate) mod conv;
pub(crate) mod gemm;
mod im2col;
mod jitter;
mod labels;
mod layer;
mod loss;
mod network;
mod norm;
pub(crate) mod optimizer;
pub(crate) mod state;
mod train;
mod view;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use candle_core::Device;
use video::{Frame, Resizer};

use crate::synthesis::LabelMap;

pub use config::{CropSize, LocalConfig, NetworkConfig};
pub use conv::{Steps, conv2d};
pub use labels::{CELL, IGNORED, to_cells};
pub use layer::layer;
pub use loss::{Loss, LossWeights, attach, loss};
pub use network::{Network, Parameter, Tensors};
pub use norm::BatchStats;
pub use train::{Progress, TrainedLocal, forward_eval, train};

/// A clip as the local detector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LumaClip {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Luma of each frame, `height · width` levels row by row.
    pub frames: Vec<Vec<u8>>,
    /// Labels of each frame's pixels: 0 normal, `k + 1` changed as kind `k` does, [`IGNORED`] left
    /// out of training. `None`: all normal.
    pub labels: Option<Vec<Vec<u8>>>,
}

impl LumaClip {
    /// The clip of some frames, all of one size, and the label maps of a pseudo clip.
    ///
    /// # Panics
    /// If there is no frame.
    #[must_use]
    pub fn new(frames: &[Frame], labels: Option<&[LabelMap]>) -> Self {
        let first = frames.first().expect("a clip has at least one frame");
        Self {
            width: first.width(),
            height: first.height(),
            frames: frames.iter().map(Frame::luma).collect(),
            labels: labels.map(|maps| maps.iter().map(|map| map.data.clone()).collect()),
        }
    }

    /// As [`LumaClip::new`], in pictures of `width` × `height` pixels, resized as the camera does it. A pixel
    /// has the label that most of the pixels have that it is made of.
    ///
    /// # Panics
    /// If there is no frame, or a size is 0.
    #[must_use]
    pub fn resized(
        frames: &[Frame],
        labels: Option<&[LabelMap]>,
        (width, height): (usize, usize),
    ) -> Self {
        let first = frames.first().expect("a clip has at least one frame");
        if (first.width(), first.height()) == (width, height) {
            return Self::new(frames, labels);
        }
        let mut resizer = Resizer::new();
        let mut small = Frame::new(width, height);
        let luma = |frame: &Frame| {
            resizer.resize(frame, &mut small).expect("neither size is 0");
            small.luma()
        };
        let frames = frames.iter().map(luma).collect();
        let labels = labels.map(|maps| maps.iter().map(|map| map.resized(width, height)).collect());
        Self { width, height, frames, labels }
    }

    /// What is wrong with the clip's sizes, if anything.
    fn validate(&self) -> Result<(), String> {
        let pixels = self.width * self.height;
        if self.frames.is_empty() || pixels == 0 {
            return Err("it has no frames or no pixels".to_owned());
        }
        if let Some(at) = self.frames.iter().position(|frame| frame.len() != pixels) {
            let found = self.frames[at].len();
            return Err(format!("frame {at} has {found} pixels where {pixels} belong"));
        }
        let Some(labels) = &self.labels else {
            return Ok(());
        };
        if labels.len() != self.frames.len() {
            return Err(format!("{} label maps for {} frames", labels.len(), self.frames.len()));
        }
        match labels.iter().position(|labels| labels.len() != pixels) {
            Some(at) => Err(format!("label map {at} does not have {pixels} pixels")),
            None => Ok(()),
        }
    }
}

/// Saves a trained network's tensors under their names.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn save(tensors: &Tensors, path: &Path) -> Result<(), Error> {
    candle_core::safetensors::save(tensors, path).map_err(|error| Error::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    })
}

/// Loads a trained network's tensors: those of a checkpoint whose names start with `local.`.
///
/// # Errors
/// [`Error::Damaged`] if the file is not a safetensors file or lacks a tensor of the network.
pub fn load(path: &Path, config: &LocalConfig, device: &Device) -> Result<Tensors, Error> {
    let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
    let mut tensors =
        candle_core::safetensors::load(path, device).map_err(|error| damaged(error.to_string()))?;
    tensors.retain(|name, _| name.starts_with("local."));
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    let statistics = network.statistics_names().flat_map(|(mean, variance)| [mean, variance]);
    for name in statistics {
        if !tensors.contains_key(&name) {
            return Err(damaged(format!("{name} is missing")));
        }
    }
    for Parameter { name, shape, .. } in network.parameters() {
        match tensors.get(&name) {
            Some(tensor) if tensor.dims() == shape => {}
            Some(tensor) => {
                let found = tensor.dims();
                return Err(damaged(format!(
                    "{name} has shape {found:?}, the configuration {shape:?}"
                )));
            }
            None => return Err(damaged(format!("{name} is missing"))),
        }
    }
    Ok(tensors)
}

/// What can go wrong in training the local detector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the configuration cannot be.
    #[error("local.{field} must be {wanted}; correct it in the configuration")]
    Config {
        /// The field.
        field: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
    /// There is nothing to train on.
    #[error("no pseudo-abnormal clips to train the local detector on; run the synthesis first")]
    NoClips,
    /// A clip cannot be used.
    #[error("{set} clip {index}: {why}; make the clips again")]
    Clip {
        /// Which clips.
        set: &'static str,
        /// Its place among them, from 0.
        index: usize,
        /// What is wrong.
        why: String,
    },
    /// A clip is smaller than the smallest crop.
    #[error("a clip of {width} × {height} pixels is too small: at least 8 × 8 are needed")]
    TooSmall {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// The state directory belongs to another run.
    #[error(
        "{}: holds the state of a run with another configuration, seed or clips; \
         remove it or choose another directory",
        directory.display()
    )]
    OtherRun {
        /// The directory.
        directory: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{}: {why}; remove the file and start again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The loss is no number any more.
    #[error("the loss is not a number at step {step}; lower local.learning_rate")]
    Diverged {
        /// The step, from 1.
        step: usize,
    },
    /// The run was asked to stop; its state was saved if it has a directory for it.
    #[error("interrupted after {step} of {steps} steps; run again to go on")]
    Interrupted {
        /// Steps taken.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
    },
    /// The tensor library failed.
    #[error("local detector: {0}")]
    Tensor(#[from] candle_core::Error),
}
