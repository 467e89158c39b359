//! What can go wrong between a model directory and a clip.

use std::path::PathBuf;

/// Why a model cannot be loaded or a clip not be generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model directory, or one that the request names, is not there.
    #[error("{}: not found; {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Where it should come from.
        hint: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A configuration has a value that is not known or not supported.
    #[error("{}: {field}: {problem}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with its value and what would be right.
        problem: String,
    },
    /// A tensor is missing, or is not what the configuration says.
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    Tensor {
        /// The weights file, or the folder of a sharded model.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// The request does not fit the model.
    #[error("{what}: {problem}")]
    Request {
        /// Which part of the request.
        what: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The tensor library failed: as a rule the device's memory is exhausted.
    #[error("computing: {0}")]
    Compute(#[from] candle_core::Error),
}

/// Short for results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
