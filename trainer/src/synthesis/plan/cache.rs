//! What need not be computed again: embeddings of a video's candidates, and refined prompts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::hash::hex;
use crate::{files, npy};

/// A folder of small files, each named by what it depends on. What is damaged or half there counts as
/// absent.
pub(super) struct Cache {
    folder: PathBuf,
}

/// A refined prompt.
#[derive(Debug, Serialize, Deserialize)]
struct Prompt {
    description: String,
}

impl Cache {
    /// Opens or creates the folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: folder.into(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        Ok(Self { folder: folder.into() })
    }

    fn path(&self, key: &[&str], extension: &str) -> PathBuf {
        let mut hash = Sha256::new();
        for part in key {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        self.folder.join(format!("{}.{extension}", &hex(&hash.finalize())[..32]))
    }

    /// The `count` embeddings of length `size` that were stored under `key`.
    pub fn embeddings(&self, key: &[&str], count: usize, size: usize) -> Option<Vec<Vec<f32>>> {
        let array = npy::read(&self.path(key, "npy")).ok()?;
        let rows = || array.values.chunks_exact(size).map(<[f32]>::to_vec).collect();
        (array.shape == [count, size]).then(rows)
    }

    /// Stores embeddings of length `size`.
    pub fn store_embeddings(
        &self,
        key: &[&str],
        embeddings: &[Vec<f32>],
        size: usize,
    ) -> Result<(), Error> {
        let values: Vec<f32> = embeddings.concat();
        Ok(npy::write(&self.path(key, "npy"), &[embeddings.len(), size], &values)?)
    }

    /// The description that was stored under `key`.
    pub fn description(&self, key: &[&str]) -> Option<String> {
        let text = std::fs::read(self.path(key, "json")).ok()?;
        serde_json::from_slice::<Prompt>(&text).ok().map(|p| p.description)
    }

    /// Stores a description.
    pub fn store_description(&self, key: &[&str], description: &str) -> Result<(), Error> {
        let path = self.path(key, "json");
        let prompt = Prompt { description: description.to_owned() };
        let text = serde_json::to_vec(&prompt).expect("a string");
        files::replace(&path, &text).map_err(|source| Error::Io { path, source })
    }
}
