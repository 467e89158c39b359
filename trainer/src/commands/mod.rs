//! One file for each subcommand.

pub mod dataset;
pub mod evaluate;
pub mod report;
pub mod scene;
pub mod train;

use trainer::evaluation::{FilesError, LabelsError};

/// Wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of the documented table: 1 the work failed, 2 wrong usage or configuration, 3
/// input damaged, 4 a device or service is not available.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Usage>() || cause.is::<LabelsError>() || cause.is::<FilesError>() {
            return 2;
        }
        if let Some(error) = cause.downcast_ref::<trainer::dataset::Error>() {
            return dataset::exit_code(error);
        }
        if let Some(error) = cause.downcast_ref::<video::Error>() {
            return video_exit_code(error);
        }
        if let Some(error) = cause.downcast_ref::<model_export::weights::Error>() {
            return match error {
                model_export::weights::Error::NotFound { .. } => 4,
                _ => 3,
            };
        }
        if let Some(inference::Error::NoLibrary { .. } | inference::Error::NoBackend { .. }) =
            cause.downcast_ref::<inference::Error>()
        {
            return 4;
        }
    }
    1
}

/// The exit code of a video's error.
fn video_exit_code(error: &video::Error) -> u8 {
    match error {
        video::Error::Missing { .. }
        | video::Error::Empty { .. }
        | video::Error::DuplicateClip { .. } => 2,
        video::Error::Unreadable { .. }
        | video::Error::Truncated { .. }
        | video::Error::Corrupt { .. }
        | video::Error::SizeChanged { .. } => 3,
        _ => 1,
    }
}
