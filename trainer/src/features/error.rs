use std::path::{Path, PathBuf};

use crate::npy;

/// Why features could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backbone failed.
    #[error("features of clip {clip}: {source}")]
    Inference {
        /// The clip.
        clip: String,
        /// What the engine said.
        source: inference::Error,
    },
    /// The clip has no frames.
    #[error("clip {clip} has no frames to compute features of; leave it out")]
    Empty {
        /// The clip.
        clip: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}; check the folder and the free space", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// What was named is not there, or not to be told apart: wrong usage.
    #[error("{}: {problem}", path.display())]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// What is not there and what to do.
        problem: String,
    },
    /// A file is not what its name says.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An array is whole, but not features of the kind that is asked for.
    #[error("{} {shape:?}: {problem}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        shape: Vec<usize>,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Error {
    /// An error of the operating system: what is not there is the caller's mistake.
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => {
                Self::Missing { path, problem: "not there; check the path".into() }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl From<npy::Error> for Error {
    fn from(error: npy::Error) -> Self {
        match error {
            npy::Error::Read { path, source } => Self::io(&path, source),
            npy::Error::Write { path, source } => Self::Io { path, source },
            npy::Error::Damaged { path, problem } => Self::Damaged { path, problem },
        }
    }
}
