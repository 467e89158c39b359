//! Clips on disk that are abnormal somewhere, bags for the semantic detector: what `trainer synth run`
//! has made, and real abnormal videos where there are any.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use model_bundle::manifest::InputSpec;
use sha2::{Digest, Sha256};
use trainer::detector::Bag;
use trainer::footage;
use trainer::hash::hex;
use trainer::synthesis::plan::content_hash;
use trainer::synthesis::run::made_clips;
use video::{Clip, list_clips};

use super::go_on;
use super::progress::Progress;
use super::semantic::Features;
use crate::commands::Usage;

/// The clips of a folder. They are read one at a time, when their features are computed.
pub struct Abnormal {
    /// What the progress says.
    what: &'static str,
    clips: Vec<Clip>,
    /// SHA-256 over the files' contents, for the record.
    pub hash: String,
}

impl Abnormal {
    /// Videos, or folders of pictures, of which no more is known than that something happens.
    ///
    /// # Errors
    /// If there are none, or one cannot be read.
    pub fn videos(folder: &Path) -> Result<Self> {
        let clips = list_clips(folder)?;
        if clips.is_empty() {
            bail!(Usage(format!("{}: no clips", folder.display())));
        }
        let mut hash = Sha256::new();
        for clip in &clips {
            hash.update(content_hash(&clip.path)?);
        }
        Ok(Self { what: "features of abnormal clips", clips, hash: hex(&hash.finalize()) })
    }

    /// The clips in the output of `trainer synth run`.
    ///
    /// # Errors
    /// If there is no manifest, one of its lines is damaged, or a clip is not the one that it lists.
    pub fn synthesized(folder: &Path) -> Result<Self> {
        let mut hash = Sha256::new();
        let mut clips = Vec::new();
        for (record, path) in made_clips(folder)? {
            hash.update(record.clip.map_or_else(String::new, |clip| clip.sha256));
            clips.push(Clip { name: record.id, path });
        }
        if clips.is_empty() {
            bail!(Usage(format!("{}: all clips were rejected", folder.display())));
        }
        Ok(Self { what: "features of synthesized clips", clips, hash: hex(&hash.finalize()) })
    }

    /// One bag for each clip, at the model's size and rate and of up to `limit` model frames. Which of its
    /// snippets are abnormal is not asked for.
    ///
    /// # Errors
    /// If a clip cannot be read, or the backbone fails.
    pub fn bags(
        &self,
        features: &mut Features,
        input: &InputSpec,
        limit: usize,
        stop: &AtomicBool,
    ) -> Result<Vec<Bag>> {
        let progress = Progress::new(self.what, self.clips.len());
        let mut bags = Vec::new();
        for clip in &self.clips {
            go_on(stop)?;
            let clip = footage::read(clip, input, limit)?;
            if clip.frames.len() == limit {
                log::warn!(
                    "{}: the first {limit} model frames are used, no further ones",
                    clip.name
                );
            }
            bags.push(features.extract(&clip.name, &clip.frames)?);
            progress.step();
        }
        Ok(bags)
    }
}
