//! What a checkpoint says of itself, for the report.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::hash::hex;
use sha2::{Digest as _, Sha256};

/// Longest configuration that is shown.
const MAX_CONFIG: u64 = 1 << 20;

/// Files that make the checkpoint, in the order shown.
const CONFIG: &str = "config.toml";
const WEIGHTS: &str = "model.safetensors";

/// What a report shows of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// `config.toml`, as it is.
    pub configuration: String,
    /// The seed of the training, if the configuration has it.
    pub seed: Option<u64>,
    /// Names and SHA-256 of its files, and what the configuration says of the footage.
    pub hashes: Vec<(String, String)>,
}

/// Why a folder is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("{}: {source}; give the folder that 'trainer train' wrote", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The configuration is not TOML.
    #[error("{}: {reason}; train again", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, on one line.
        reason: String,
    },
}

/// Reads a checkpoint's configuration and hashes its files.
///
/// # Errors
/// [`CheckpointError`], which names the file.
pub fn read_checkpoint(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    let path = folder.join(CONFIG);
    let mut configuration = String::new();
    let read = File::open(&path)
        .and_then(|file| file.take(MAX_CONFIG + 1).read_to_string(&mut configuration))
        .map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
    let bad = |reason: String| CheckpointError::Config { path: path.clone(), reason };
    if read as u64 > MAX_CONFIG {
        return Err(bad(format!("longer than {MAX_CONFIG} bytes")));
    }
    let table: toml::Table =
        configuration.parse().map_err(|e: toml::de::Error| bad(e.message().replace('\n', " ")))?;
    let provenance = |key: &str| table.get("provenance")?.get(key)?.as_str();
    let seed = provenance("seed").and_then(|seed| seed.parse().ok());
    let mut hashes = Vec::new();
    for name in [WEIGHTS, CONFIG] {
        let path = folder.join(name);
        let hash = sha256(&path).map_err(|source| CheckpointError::Io { path, source })?;
        hashes.push((name.to_string(), hash));
    }
    let footage = provenance("normal_footage_sha256");
    hashes.extend(footage.map(|hash| ("normal footage".to_string(), hash.to_string())));
    Ok(Checkpoint { seed, hashes, configuration })
}

/// SHA-256 of a file in hexadecimal, read in pieces.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match reader.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[provenance]\nseed = \"7\"\nnormal_footage_sha256 = \"ab\"\n";
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        std::fs::write(folder.path().join(WEIGHTS), "abc").unwrap();
        let checkpoint = read_checkpoint(folder.path()).unwrap();
        assert_eq!((checkpoint.seed, checkpoint.configuration.as_str()), (Some(7), config));
        // SHA-256 of "abc", from FIPS 180-2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checkpoint.hashes[0], (WEIGHTS.to_string(), abc.to_string()));
        assert_eq!(checkpoint.hashes[1].0, CONFIG);
        assert_eq!(checkpoint.hashes[2], ("normal footage".to_string(), "ab".to_string()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let says = |what: &str| {
            let message = read_checkpoint(folder.path()).unwrap_err().to_string();
            assert!(message.contains(what) && !message.contains('\n'), "{message}");
        };
        says("config.toml");
        std::fs::write(folder.path().join(CONFIG), "seed = \n").unwrap();
        says("config.toml");
        std::fs::write(folder.path().join(CONFIG), "[training]\n").unwrap();
        says("model.safetensors");
        std::fs::write(folder.path().join(WEIGHTS), "abc").unwrap();
        assert_eq!(read_checkpoint(folder.path()).unwrap().seed, None);
    }
}
