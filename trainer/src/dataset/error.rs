//! Why a data set cannot be used.

use std::path::{Path, PathBuf};

use super::Name;
use crate::evaluation::LabelsError;
use crate::npy;

/// Longest piece of a file that an error quotes, in characters.
const QUOTED: usize = 60;

/// Why a data set cannot be used. Every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such folder.
    #[error("{}: no such folder; check the path", path.display())]
    NoFolder {
        /// The path asked for.
        path: PathBuf,
    },
    /// A piece that the protocol needs is not there.
    #[error("{}: {what} of {dataset} not found; the layout is: {}", path.display(), dataset.layout())]
    Missing {
        /// The data set.
        dataset: Name,
        /// What is missing.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}; check permissions", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line of an annotation is not what it should be.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A file is damaged, or of another format.
    #[error("{}: {reason}; copy or convert the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Labels and video do not belong together.
    #[error("clip {clip}: {labels} frame labels for {frames} frames; they are not of one video")]
    Length {
        /// The clip.
        clip: String,
        /// Labels.
        labels: u64,
        /// Frames of the video.
        frames: u64,
    },
    /// A video or picture cannot be read.
    #[error(transparent)]
    Video(#[from] video::Error),
}

impl Error {
    pub(super) fn missing(dataset: Name, what: &str, path: &Path) -> Self {
        Self::Missing { dataset, what: what.into(), path: path.into() }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into() }
    }

    /// The error of a labels file, by what can be done about it.
    pub(super) fn labels(error: LabelsError) -> Self {
        match error {
            LabelsError::Io { path, source } => Self::Io { path, source },
            LabelsError::Format { path, reason } => Self::Damaged { path, reason },
            LabelsError::Range { path, clip, first, last } => {
                let clip = quote(&clip);
                let reason =
                    format!("clip {clip}: range [{first}, {last}] is none, from 1 upwards");
                Self::Damaged { path, reason }
            }
            LabelsError::NoClip { path, names, .. } => {
                let reason = format!("names no clip: {}", quote(&names.join(", ")));
                Self::Damaged { path, reason }
            }
            LabelsError::BeyondEnd { clip, last, frames } => {
                Self::Length { clip, labels: last, frames }
            }
        }
    }
}

impl From<npy::Error> for Error {
    fn from(error: npy::Error) -> Self {
        match error {
            npy::Error::Read { path, source } | npy::Error::Write { path, source } => {
                Self::Io { path, source }
            }
            npy::Error::Damaged { path, problem } => Self::Damaged { path, reason: problem },
        }
    }
}

/// A piece of a file as an error shows it: escaped, so that it stays on one line, and cut.
pub(super) fn quote(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED).collect();
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("'{}{dots}'", cut.escape_debug())
}
