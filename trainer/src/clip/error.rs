//! What can go wrong with a CLIP directory.

use std::path::{Path, PathBuf};

/// An error of loading or running CLIP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model is not there.
    #[error("{}: no such folder; give the folder of a CLIP model in Hugging Face's layout", path.display())]
    NoDirectory {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A file of the directory is not there.
    #[error("{}: {what} is missing; copy the model's folder again", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The file, or the files of which one is needed.
        what: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file says what cannot be, or does not fit the others.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// The preprocessing gives pictures that the model cannot take.
    #[error(
        "{}: a picture of {} x {} pixels becomes {} x {}, but the model takes {side} x {side}; check \
         size and crop_size", path.display(), from.0, from.1, to.0, to.1
    )]
    Picture {
        /// The preprocessing's file.
        path: PathBuf,
        /// Width and height of the picture.
        from: (usize, usize),
        /// What it becomes.
        to: (usize, usize),
        /// What the model takes.
        side: usize,
    },
    /// A text cannot be tokenized.
    #[error("text {text:?}: {problem}")]
    Text {
        /// The text.
        text: String,
        /// What the tokenizer said.
        problem: String,
    },
    /// The model could not be run.
    #[error("CLIP: {0}")]
    Compute(#[from] candle_core::Error),
}

impl Error {
    /// Reads a file as text.
    pub(super) fn read_text(path: &Path) -> Result<String, Self> {
        let bytes = Self::read_bytes(path)?;
        String::from_utf8(bytes).map_err(|_| Self::damaged(path, "is not UTF-8 text"))
    }

    /// Reads a file.
    pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, Self> {
        std::fs::read(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing {
                dir: path.parent().unwrap_or(Path::new("")).into(),
                what: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            },
            _ => Self::Read { path: path.into(), source },
        })
    }

    pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), problem: problem.into() }
    }
}
