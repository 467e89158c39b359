//! Errors of the whole program, by what the caller can do about them.

use std::path::PathBuf;

/// Why a command ended without doing its work. Each message is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or an argument is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The configuration asks for something that does not go together with the rest.
    #[error("{0}")]
    Usage(String),
    /// The bundle is damaged, not trusted or not for this device.
    #[error("{path}: {message}")]
    Bundle {
        /// The bundle, or a key.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A recorded input is damaged.
    #[error(transparent)]
    Input(video::Error),
    /// A camera, broker or inference library is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The work failed.
    #[error("{0}")]
    Failed(String),
    /// A file cannot be written.
    #[error("{path}: {source}; check permissions and free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] crate::publish::SpoolError),
    /// The evidence folder cannot be used.
    #[error(transparent)]
    Evidence(#[from] crate::evidence::Error),
}

impl Error {
    /// The exit code: 1 the work failed, 2 wrong usage or configuration, 3 input damaged or
    /// refused, 4 a device or service is not available.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Write { .. } | Self::Evidence(_) => 1,
            Self::Config(_) | Self::Usage(_) => 2,
            Self::Spool(crate::publish::SpoolError::InUse(_)) => 2,
            Self::Spool(_) => 1,
            Self::Bundle { .. } => 3,
            // A path that leads nowhere is a mistake in the command, not a damaged file.
            Self::Input(
                video::Error::Missing { .. }
                | video::Error::Empty { .. }
                | video::Error::DuplicateClip { .. },
            ) => 2,
            Self::Input(_) => 3,
            Self::Unavailable(_) => 4,
        }
    }
}

impl From<crate::capture::Error> for Error {
    fn from(error: crate::capture::Error) -> Self {
        match error {
            crate::capture::Error::Video(e) => Self::Input(e),
            wrong @ (crate::capture::Error::Password(_) | crate::capture::Error::NoRtsp(_)) => {
                Self::Usage(wrong.to_string())
            }
            device => Self::Unavailable(device.to_string()),
        }
    }
}
