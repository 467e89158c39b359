use std::path::PathBuf;

/// What can go wrong while the detector is configured, trained, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration is out of its range.
    #[error("detector configuration: {field} {problem}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What it must be and what it is.
        problem: String,
    },
    /// One side of the training set has no bag.
    #[error("no {0} bags: training needs at least one")]
    NoBags(&'static str),
    /// Too few bags to keep one out of training.
    #[error(
        "{count} {kind} bags: with validation.every at least 2 are needed, one of them to validate on"
    )]
    TooFewToValidate {
        /// `normal` or `pseudo-abnormal`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A bag cannot be used.
    #[error("{kind} bag `{name}` [{snippets}, {cells}, {d}]: {problem}")]
    Bag {
        /// `normal` or `pseudo-abnormal`.
        kind: &'static str,
        /// Name of the bag.
        name: String,
        /// Snippets it declares.
        snippets: usize,
        /// Cells it declares.
        cells: usize,
        /// Length of a feature vector it declares.
        d: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Features given for scoring have the wrong shape or values.
    #[error("features: {0}")]
    Features(String),
    /// Tensors do not form a UR-DMU model.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Name in the public checkpoint.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The loss or the activations became infinite or not a number.
    #[error(
        "training diverged at step {step}: {what} is {value}; lower `lr` or check the features' scale"
    )]
    Diverged {
        /// Step, from 1.
        step: usize,
        /// What was not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// Training was asked to stop; call again with the same state folder to go on.
    #[error("interrupted after step {step}{}", saved.as_ref().map(|p| format!("; state saved in {}", p.display())).unwrap_or_default())]
    Interrupted {
        /// Steps done.
        step: usize,
        /// Where the state lies, if a state folder was given.
        saved: Option<PathBuf>,
    },
    /// The saved state belongs to another run.
    #[error("{}: saved by a run with another {what}; remove the folder or use the same {what}", path.display())]
    StateMismatch {
        /// The state file.
        path: PathBuf,
        /// `configuration`, `seed` or `data`.
        what: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor operation failed, most often for lack of memory on the device.
    #[error("tensor operation failed: {0}")]
    Tensors(#[from] candle_core::Error),
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}
