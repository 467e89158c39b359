//! The state of a training run on disk, so that it can be interrupted at any moment.
//!
//! `state.json` says which run it is: its configuration, its seed and a fingerprint of its clips.
//! `state.safetensors` holds weights, moments, average, losses and the number of steps taken; the
//! random streams follow from seed and step. Each file is written under another name and then
//! renamed, so a power cut leaves the old one or the new one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::config::LocalConfig;
use super::optimizer::Optimizer;
use super::{Error, LumaClip};
use crate::files;

/// What must be equal for a run to be resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    format: u32,
    seed: u64,
    /// Fingerprint of the clips, in hexadecimal.
    clips: String,
    config: LocalConfig,
}

/// The directory of a run's state.
pub(crate) struct StateDir {
    directory: PathBuf,
}

impl StateDir {
    /// Opens or starts the state of a run.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if the directory holds the state of another run.
    pub fn open(
        directory: &Path,
        config: &LocalConfig,
        seed: u64,
        normals: &[LumaClip],
        pseudo: &[LumaClip],
    ) -> Result<Self, Error> {
        let io = |source| Error::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(io)?;
        let clips = format!("{:016x}", fingerprint(normals, pseudo));
        let identity = Identity { format: 1, seed, clips, config: config.clone() };
        let path = directory.join("state.json");
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(io)?;
            match serde_json::from_str::<Identity>(&text) {
                Ok(found) if found == identity => {}
                _ => {
                    return Err(Error::OtherRun { directory: directory.to_owned() });
                }
            }
        } else {
            let text = serde_json::to_string_pretty(&identity)
                .expect("a configuration without maps of odd keys always serializes");
            files::replace(&path, text.as_bytes()).map_err(io)?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn tensors(&self) -> PathBuf {
        self.directory.join("state.safetensors")
    }

    /// Saves the run after the optimizer's latest step; `losses` has one entry a step.
    pub fn save(&self, optimizer: &Optimizer, losses: &[f32]) -> Result<(), Error> {
        let mut state = optimizer.state();
        let losses = Tensor::new(losses, &Device::Cpu)?;
        state.insert("losses".to_owned(), losses);
        let mut named: Vec<_> = state
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)))
            .collect::<Result<_, candle_core::Error>>()?;
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let bytes = safetensors::serialize(named, None)
            .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        let path = self.tensors();
        files::replace(&path, &bytes).map_err(|source| Error::Io { path, source })
    }

    /// Restores the saved state, if there is one, and gives the losses so far.
    pub fn load(&self, optimizer: &mut Optimizer) -> Result<Vec<f32>, Error> {
        let path = self.tensors();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let damaged = |error: candle_core::Error| Error::Damaged {
            path: path.clone(),
            why: error.to_string(),
        };
        let state: HashMap<String, Tensor> =
            candle_core::safetensors::load(&path, &Device::Cpu).map_err(damaged)?;
        let losses: Vec<f32> = match state.get("losses") {
            Some(losses) => losses.to_vec1().map_err(damaged)?,
            None => {
                return Err(damaged(candle_core::Error::Msg("losses are missing".to_owned())));
            }
        };
        optimizer.restore(&state, losses.len()).map_err(damaged)?;
        Ok(losses)
    }
}

/// FNV-1a over the shape of every clip and a sample of each one's pixels and labels: enough to
/// notice that clips were made anew, without reading gigabytes.
fn fingerprint(normals: &[LumaClip], pseudo: &[LumaClip]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(&(normals.len() as u64).to_le_bytes());
    for clip in normals.iter().chain(pseudo) {
        for number in [clip.width, clip.height, clip.frames.len(), clip.labels.iter().len()] {
            add(&(number as u64).to_le_bytes());
        }
        let middle = clip.frames.len() / 2;
        let sampled = clip.frames.get(middle).into_iter();
        for plane in sampled.chain(clip.labels.iter().filter_map(|labels| labels.get(middle))) {
            add(plane);
        }
    }
    hash
}
