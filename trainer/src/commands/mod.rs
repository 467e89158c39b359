//! One file for each subcommand.

pub mod ablate;
pub mod clip;
pub mod cross;
pub mod dataset;
pub mod distill;
pub mod evaluate;
pub mod features;
pub mod report;
pub mod reproduce;
pub mod scene;
pub mod score;
pub mod select;
pub mod site;
pub mod synth;
pub mod train;
pub mod wan;

use std::path::Path;

use anyhow::Context as _;
use trainer::evaluation::report::CheckpointError;
use trainer::evaluation::{FilesError, LabelsError, RegionsError, UnknownClip};
use trainer::{files, npy};

/// Wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A device is not there: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoDevice(pub String);

/// Writes a file whole or not at all.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    files::replace(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// What is wrong with a configuration, and in which line.
pub fn toml_problem(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// The exit code of the documented table: 1 the work failed, 2 wrong usage or configuration, 3
/// input damaged, 4 a device or service is not available.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Usage>()
            || cause.is::<LabelsError>()
            || cause.is::<FilesError>()
            || cause.is::<UnknownClip>()
        {
            return 2;
        }
        if let Some(error) = cause.downcast_ref::<trainer::dataset::Error>() {
            return dataset::exit_code(error);
        }
        if let Some(error) = cause.downcast_ref::<RegionsError>() {
            return match error {
                RegionsError::Video(error) => video_code(error),
                RegionsError::Maps { .. } => 3,
                _ => 2,
            };
        }
        if cause.is::<CheckpointError>() {
            return 3;
        }
        if cause.is::<trainer::device::Error>() {
            return 4;
        }
        if let Some(error) = cause.downcast_ref::<video::Error>() {
            return video_code(error);
        }
        if let Some(error) = cause.downcast_ref::<model_export::weights::Error>() {
            return match error {
                model_export::weights::Error::NotFound { .. } => 4,
                // A file that was named.
                model_export::weights::Error::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    2
                }
                _ => 3,
            };
        }
        if let Some(error) = cause.downcast_ref::<npy::Error>() {
            return match error {
                npy::Error::Read { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    2
                }
                npy::Error::Damaged { .. } => 3,
                _ => 1,
            };
        }
        if let Some(error) = cause.downcast_ref::<trainer::student::Error>() {
            return student_code(error);
        }
        if cause.is::<NoDevice>() {
            return 4;
        }
        if let Some(code) = synth_code(cause) {
            return code;
        }
        if let Some(error) = cause.downcast_ref::<trainer::clip::Error>() {
            return clip_code(error);
        }
        if let Some(error) = cause.downcast_ref::<trainer::features::Error>() {
            return match error {
                trainer::features::Error::Missing { .. } => 2,
                trainer::features::Error::Damaged { .. }
                | trainer::features::Error::Shape { .. } => 3,
                _ => 1,
            };
        }
        if let Some(error) = cause.downcast_ref::<trainer::detector::Error>() {
            return match error {
                trainer::detector::Error::Config { .. } => 2,
                trainer::detector::Error::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    2
                }
                trainer::detector::Error::Damaged { .. }
                | trainer::detector::Error::Tensor { .. }
                | trainer::detector::Error::Features(_) => 3,
                _ => 1,
            };
        }
        if let Some(error) = cause.downcast_ref::<trainer::wan::Error>() {
            return match error {
                trainer::wan::Error::Missing { .. } | trainer::wan::Error::Request { .. } => 2,
                trainer::wan::Error::Damaged { .. }
                | trainer::wan::Error::Config { .. }
                | trainer::wan::Error::Tensor { .. } => 3,
                _ => 1,
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

/// The exit code of an error of distillation.
fn student_code(error: &trainer::student::Error) -> u8 {
    use trainer::local::Error as StateError;
    use trainer::student::Error;
    match error {
        Error::Config { .. } | Error::NoClips { .. } => 2,
        Error::Weights(model_export::weights::Error::NotFound { .. }) => 4,
        Error::Weights(_) | Error::Clip { .. } | Error::State(StateError::Damaged { .. }) => 3,
        _ => 1,
    }
}

/// The exit code of an error of synthesis; none if it is another error.
fn synth_code(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    use trainer::synthesis::plan::Error as PlanError;
    use trainer::synthesis::refine::RefineError;
    use trainer::synthesis::run::RunError;
    use trainer::synthesis::store::StoreError;

    if cause.is::<trainer::synthesis::classes::ClassesError>() {
        return Some(2);
    }
    if let Some(error) = cause.downcast_ref::<PlanError>() {
        return match error {
            PlanError::Damaged { .. } | PlanError::NoFrames { .. } => Some(3),
            PlanError::Io { .. } | PlanError::Interrupted => Some(1),
            PlanError::Cache(_) => Some(1),
            PlanError::Video(error) => Some(video_code(error)),
            PlanError::Clip(error) => Some(clip_code(error)),
        };
    }
    if let Some(error) = cause.downcast_ref::<RunError>() {
        return match error {
            RunError::Input { .. } | RunError::Record { .. } => Some(3),
            RunError::NoDevice(_) | RunError::Busy { .. } => Some(4),
            RunError::Failed { .. } | RunError::Interrupted => Some(1),
            RunError::Video { source, .. } => Some(video_code(source)),
            RunError::Store(error) => Some(store_code(error)),
        };
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(store_code(error));
    }
    cause.downcast_ref::<RefineError>().map(|error| match error {
        RefineError::Refused(_) => 2,
        RefineError::Unavailable(_) | RefineError::Unusable(_) => 4,
    })
}

/// The exit code of a CLIP error.
fn clip_code(error: &trainer::clip::Error) -> u8 {
    match error {
        trainer::clip::Error::NoDirectory { .. } | trainer::clip::Error::Text { .. } => 2,
        trainer::clip::Error::Read { .. } | trainer::clip::Error::Compute(_) => 1,
        _ => 3,
    }
}

/// The exit code of a store's error.
fn store_code(error: &trainer::synthesis::store::StoreError) -> u8 {
    match error {
        trainer::synthesis::store::StoreError::Local { .. } => 1,
        trainer::synthesis::store::StoreError::Remote { .. } => 4,
        trainer::synthesis::store::StoreError::Address { .. } => 2,
    }
}

/// The exit code of a video's error.
fn video_code(error: &video::Error) -> u8 {
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
