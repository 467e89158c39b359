//! The subcommands, one file each, and what they share: exit codes, trust, writing files.

pub mod backbone;
pub mod inspect;
pub mod keygen;
pub mod pack;
pub mod quantize;
pub mod sign;
pub mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use model_bundle::{Bundle, PublicKey, Trust};
use model_export::pack::Error as PackError;
use model_export::{calibration, graphs, onnx, quantize as quantize_errors, weights};

/// Wrong usage that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code for an error: 1 the work failed, 2 wrong usage or configuration, 3 input damaged
/// or refused, 4 a backend is not available.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return 2;
        }
        if let Some(error) = cause.downcast_ref::<PackError>() {
            return match error {
                PackError::BackendUnavailable { .. } => 4,
                PackError::Checkpoint { .. } | PackError::Key { .. } => 2,
                PackError::Graph { .. }
                | PackError::Golden { .. }
                | PackError::Saturates { .. } => 3,
                PackError::Bundle(error) => bundle_code(error),
                PackError::Io { source, .. } => io_code(source),
                _ => 1,
            };
        }
        if let Some(error) = cause.downcast_ref::<model_bundle::Error>() {
            return bundle_code(error);
        }
        if let Some(error) = cause.downcast_ref::<inference::Error>() {
            use inference::Error::{NoBackend, NoLibrary};
            return if matches!(error, NoLibrary { .. } | NoBackend { .. }) { 4 } else { 3 };
        }
        if let Some(error) = cause.downcast_ref::<weights::Error>() {
            return weights_code(error);
        }
        match cause.downcast_ref() {
            Some(graphs::Error::Weights(error)) => return weights_code(error),
            Some(graphs::Error::Config { .. }) => return 2,
            _ => {}
        }
        if let Some(error) = cause.downcast_ref::<video::Error>() {
            use video::Error::{Io, Missing};
            return match error {
                Missing { .. } => 2,
                Io { .. } => 1,
                _ => 3,
            };
        }
        if let Some(error) = cause.downcast_ref::<quantize_errors::Error>() {
            use quantize_errors::Error::{Backend, EmptyCalibration, NothingToQuantize};
            match error {
                // Its cause, the engine's error, comes next.
                Backend(_) => {}
                EmptyCalibration | NothingToQuantize { .. } => return 2,
                _ => return 3,
            }
        }
        if cause.is::<calibration::Error>() {
            // A video's error comes next.
            if cause.source().is_none() {
                return 2;
            }
        }
        if cause.is::<onnx::Error>() {
            return 3;
        }
    }
    1
}

fn weights_code(error: &weights::Error) -> u8 {
    use weights::Error::{Io, NotFound};
    match error {
        NotFound { .. } => 4,
        Io { .. } => 1,
        _ => 3,
    }
}

/// A path that leads nowhere is a mistake in the command.
fn io_code(error: &std::io::Error) -> u8 {
    if error.kind() == std::io::ErrorKind::NotFound { 2 } else { 1 }
}

fn bundle_code(error: &model_bundle::Error) -> u8 {
    match error {
        model_bundle::Error::Io { source, .. } => io_code(source),
        model_bundle::Error::BadPublicKey => 2,
        _ => 3,
    }
}

/// The keys given on the command line.
#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    /// Accept bundles signed by this key only: a minisign `.pub` file or its base64 line. May be
    /// repeated. Without it the bundle's own key is used, which proves that the file is undamaged
    /// and nothing of where it comes from.
    #[arg(short, long, value_name = "KEY")]
    pub public_key: Vec<String>,
}

impl TrustArgs {
    /// The trust that the arguments ask for.
    pub fn trust(&self) -> anyhow::Result<Trust> {
        if self.public_key.is_empty() {
            return Ok(Trust::Embedded);
        }
        let keys: anyhow::Result<Vec<PublicKey>> =
            self.public_key.iter().map(|text| read_public_key(text)).collect();
        Ok(Trust::Keys(keys?))
    }
}

fn read_public_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let path = PathBuf::from(text);
    if !path.exists() {
        let message = format!("--public-key {text}: neither a minisign public key nor a file");
        return Err(Usage(message).into());
    }
    PublicKey::read(&path).with_context(|| format!("public key {text}"))
}

/// Opens a bundle; an error names the file.
pub fn open(path: &Path, trust: &Trust) -> anyhow::Result<Bundle> {
    Bundle::open(path, trust).with_context(|| path.display().to_string())
}

/// Writes a file whole or not at all: beside its place first, then renamed into it.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Prints to stdout; a reader that has gone away (`| head`) is not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
