//! What came of a plan's lines: a record for each clip, and the manifest, which is all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunError;
use super::quality::Quality;
use crate::synthesis::plan::{PlanLine, content_hash};

/// What came of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The line's id.
    pub id: String,
    /// Whether there is a clip.
    pub status: Status,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `composite` or `diffusion`.
    pub synthesizer: String,
    /// SHA-256 of what made it besides the line, by name: the model's folder.
    pub models: BTreeMap<String, String>,
    /// The clip; none if rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipFile>,
    /// Labels of every pixel, relative to the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Names of the kinds: label `k + 1` stands for kind `k`. Empty without labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// What happens when; frames from 0, both ends included. Empty without labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// Figures of the decoded clip.
    pub quality: Quality,
    /// Where it was made: `cpu`, `cuda:0`.
    pub device: String,
    /// Seconds that it took.
    pub seconds: Seconds,
    /// The plan's line.
    pub line: PlanLine,
}

/// Whether there is a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is.
    Made,
    /// It was made, was broken and is not kept.
    Rejected,
}

/// A clip's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipFile {
    /// Relative to the output.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Frames per second.
    pub frame_rate: f64,
    /// Frame of the line's video at which it starts, from 0.
    pub start: u64,
}

/// Something that happens in a clip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The kind's name.
    pub kind: String,
    /// First frame.
    pub first: usize,
    /// Last frame.
    pub last: usize,
}

/// Seconds that a clip took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// Making the frames.
    pub synthesis: f64,
    /// Coding, writing, decoding and looking at them.
    pub writing: f64,
}

/// The clips that are in a run's output, a local folder, by its manifest, each with its file's path. What
/// was rejected is left out.
///
/// # Errors
/// [`RunError::Record`] naming the manifest's line, [`RunError::Input`] for a clip that is not the one that
/// it lists.
pub fn made_clips(folder: &Path) -> Result<Vec<(Record, PathBuf)>, RunError> {
    let manifest = folder.join("manifest.jsonl");
    let name = manifest.display();
    let text = std::fs::read_to_string(&manifest).map_err(|e| RunError::Input {
        id: "manifest".into(),
        problem: format!("{name}: {e}; the output of 'trainer synth run' has one"),
    })?;
    let mut clips = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let record: Record = serde_json::from_str(line).map_err(|e| RunError::Record {
            name: format!("{name}, line {number}"),
            problem: e.to_string(),
        })?;
        let Some(clip) = &record.clip else { continue };
        let path = folder.join(&clip.path);
        let input = |problem: String| RunError::Input { id: record.id.clone(), problem };
        if content_hash(&path).map_err(|e| input(e.to_string()))? != clip.sha256 {
            let problem = "is not the clip that the manifest lists; remove it and run again";
            return Err(input(format!("{}: {problem}", path.display())));
        }
        clips.push((record, path));
    }
    Ok(clips)
}
