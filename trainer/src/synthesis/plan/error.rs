//! What can go wrong with a plan.

use std::path::PathBuf;

/// An error of making or reading a plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A plan's file says what cannot be.
    #[error("{file}{}: {problem}", line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Damaged {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: Option<usize>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The normal footage has no frame that could be chosen.
    #[error("{}: no usable frame: all are black or of one colour; record other footage", path.display())]
    NoFrames {
        /// The folder.
        path: PathBuf,
    },
    /// A video cannot be read.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// CLIP cannot be run.
    #[error(transparent)]
    Clip(#[from] crate::clip::Error),
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] crate::npy::Error),
    /// The work was interrupted.
    #[error("interrupted; run again to go on")]
    Interrupted,
}
