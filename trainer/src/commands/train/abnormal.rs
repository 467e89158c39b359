//! Real abnormal videos, where there are any: bags for the semantic detector.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use model_bundle::manifest::InputSpec;
use sha2::{Digest, Sha256};
use trainer::detector::Bag;
use trainer::footage;
use trainer::synthesis::NormalClip;
use video::list_clips;

use super::go_on;
use super::progress::Progress;
use super::semantic::Features;
use crate::commands::Usage;

/// Videos that are abnormal somewhere, at the model's size and rate.
pub struct Abnormal {
    clips: Vec<NormalClip>,
    /// SHA-256 over all frames read, for the record.
    pub hash: String,
}

/// Reads the videos of a folder, each up to `limit` model frames.
pub fn read(folder: &Path, input: &InputSpec, limit: usize) -> Result<Abnormal> {
    let found = list_clips(folder)?;
    if found.is_empty() {
        bail!(Usage(format!("{}: no clips", folder.display())));
    }
    let mut hash = Sha256::new();
    let mut clips = Vec::new();
    for clip in &found {
        let clip = footage::read(clip, input, limit)?;
        clip.frames.iter().for_each(|frame| hash.update(frame.rgb()));
        clips.push(clip);
    }
    let hash = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Abnormal { clips, hash })
}

impl Abnormal {
    /// One bag for each video. Which of its snippets are abnormal is not asked for.
    pub fn bags(&self, features: &mut Features, stop: &AtomicBool) -> Result<Vec<Bag>> {
        let progress = Progress::new("features of abnormal clips", self.clips.len());
        let mut bags = Vec::new();
        for clip in &self.clips {
            go_on(stop)?;
            bags.push(features.extract(&clip.name, &clip.frames)?);
            progress.step();
        }
        Ok(bags)
    }
}
