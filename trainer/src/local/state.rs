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
use serde::Serialize;

use super::config::LocalConfig;
use super::optimizer::Optimizer;
use super::{Error, LumaClip};
use crate::files;

/// What must be equal for a run of the local detector to be resumed.
#[derive(Debug, Serialize)]
pub(crate) struct Identity<'a> {
    format: u32,
    seed: u64,
    /// Fingerprint of the clips, in hexadecimal.
    clips: String,
    config: &'a LocalConfig,
}

impl<'a> Identity<'a> {
    pub fn new(
        config: &'a LocalConfig,
        seed: u64,
        normals: &[LumaClip],
        pseudo: &[LumaClip],
    ) -> Self {
        let clips = format!("{:016x}", fingerprint(normals, pseudo));
        Self { format: 1, seed, clips, config }
    }
}

/// The directory of a run's state.
pub(crate) struct StateDir {
    directory: PathBuf,
}

/// A saved state apart from the optimizer's: the loss of each step, and what else the run keeps.
pub(crate) type Saved = (Vec<f32>, HashMap<String, Tensor>);

impl StateDir {
    /// Opens or starts the state of a run.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if the directory holds the state of another run.
    pub fn open(directory: &Path, identity: &impl Serialize) -> Result<Self, Error> {
        let io = |source| Error::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(io)?;
        let text = serde_json::to_string_pretty(identity)
            .expect("a configuration without maps of odd keys always serializes");
        let path = directory.join("state.json");
        if path.exists() {
            if fs::read_to_string(&path).map_err(io)? != text {
                return Err(Error::OtherRun { directory: directory.to_owned() });
            }
        } else {
            files::replace(&path, text.as_bytes()).map_err(io)?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn tensors(&self) -> PathBuf {
        self.directory.join("state.safetensors")
    }

    /// Whether a state was saved.
    pub fn has_state(&self) -> bool {
        self.tensors().exists()
    }

    /// Saves the run after the optimizer's latest step; `losses` has one entry a step, `more` is what
    /// else the run keeps, under names that begin with no part of the optimizer's.
    pub fn save(
        &self,
        optimizer: &Optimizer,
        losses: &[f32],
        more: HashMap<String, Tensor>,
    ) -> Result<(), Error> {
        let mut state = optimizer.state();
        state.extend(more);
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

    /// Restores the saved state, if there is one.
    pub fn load(&self, optimizer: &mut Optimizer) -> Result<Saved, Error> {
        let path = self.tensors();
        if !path.exists() {
            return Ok(Saved::default());
        }
        let damaged = |error: candle_core::Error| Error::Damaged {
            path: path.clone(),
            why: error.to_string(),
        };
        let mut state: HashMap<String, Tensor> =
            candle_core::safetensors::load(&path, &Device::Cpu).map_err(damaged)?;
        let losses: Vec<f32> = match state.remove("losses") {
            Some(losses) => losses.to_vec1().map_err(damaged)?,
            None => {
                return Err(damaged(candle_core::Error::Msg("losses are missing".to_owned())));
            }
        };
        optimizer.restore(&state, losses.len()).map_err(damaged)?;
        state.retain(|name, _| !Optimizer::owns(name));
        Ok((losses, state))
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
