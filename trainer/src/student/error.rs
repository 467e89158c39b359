//! What can go wrong in a distillation.

use std::path::PathBuf;

/// What can go wrong in a distillation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the configuration cannot be.
    #[error("student.{field} must be {wanted}; correct it in the configuration")]
    Config {
        /// The field.
        field: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
    /// There is nothing to learn from, or nothing to choose by.
    #[error(
        "{training} snippets for training and {validation} kept out: both must have some; give more \
         footage, or set held_out"
    )]
    NoClips {
        /// Snippets for training.
        training: usize,
        /// Snippets kept out.
        validation: usize,
    },
    /// A clip cannot be used.
    #[error("clip {name}: {why}; remove the cache and run again")]
    Clip {
        /// The clip.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A frame cannot be resized.
    #[error(transparent)]
    Frame(#[from] video::Error),
    /// The weights to start from are not those of the network.
    #[error(transparent)]
    Weights(#[from] model_export::weights::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The saved state of the run cannot be used.
    #[error(transparent)]
    State(#[from] crate::local::Error),
    /// The loss is no number any more.
    #[error("the loss is not a number at step {step}; lower student.learning_rate")]
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
    #[error("student: {0}")]
    Tensor(#[from] candle_core::Error),
}
