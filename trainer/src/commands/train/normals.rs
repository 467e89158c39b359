//! The site's normal footage, and its split: most for training, some for calibration.

use std::path::Path;

use anyhow::{Result, bail};
use model_bundle::manifest::InputSpec;
use sha2::{Digest, Sha256};
use trainer::footage;
use trainer::hash::hex;
use trainer::synthesis::NormalClip;
use trainer::synthesis::composite::MIN_CLIP_FRAMES;
use video::{Reader, list_clips};

use super::config::TrainConfig;
use crate::commands::Usage;

/// Shortest run of frames that is of use, in model frames: a snippet.
const SHORTEST: usize = MIN_CLIP_FRAMES;

/// Normal footage at the model's size and rate.
pub struct Normals {
    pub input: InputSpec,
    pub training: Vec<NormalClip>,
    pub held_out: Vec<NormalClip>,
    /// SHA-256 over all frames read, for the record.
    pub hash: String,
}

/// Reads the footage of a folder and splits it.
pub fn read(folder: &Path, config: &TrainConfig) -> Result<Normals> {
    let found = list_clips(folder)?;
    let Some(first) = found.first() else {
        bail!(Usage(format!("{}: no clips", folder.display())));
    };
    let info = *Reader::open(&first.path)?.info();
    let input = footage::input_spec(info.width, info.height, config.input_height);
    let mut clips = Vec::new();
    let mut room = config.max_normal_frames;
    let mut hash = Sha256::new();
    for clip in &found {
        if room < SHORTEST {
            log::warn!("{} and later clips are left out: max_normal_frames is reached", clip.name);
            break;
        }
        let clip = footage::read(clip, &input, room)?;
        if clip.frames.len() < SHORTEST {
            let frames = clip.frames.len();
            log::warn!(
                "{} is left out: {frames} frames, at least {SHORTEST} are needed",
                clip.name
            );
            continue;
        }
        clip.frames.iter().for_each(|frame| hash.update(frame.rgb()));
        room -= clip.frames.len();
        clips.push(clip);
    }
    if clips.is_empty() {
        bail!(Usage(format!(
            "{}: no clip has {SHORTEST} frames at {} frames a second; record more normal footage",
            folder.display(),
            footage::MODEL_RATE
        )));
    }
    let (training, held_out) = split(clips, config.held_out);
    let frames = |clips: &[NormalClip]| clips.iter().map(|c| c.frames.len()).sum::<usize>();
    log::info!(
        "normal footage: {} frames for training, {} for calibration, {}x{}",
        frames(&training),
        frames(&held_out),
        input.width,
        input.height
    );
    let hash = hex(&hash.finalize());
    Ok(Normals { input, training, held_out, hash })
}

/// Keeps whole clips out, evenly spread; a single clip loses its end instead.
fn split(mut clips: Vec<NormalClip>, share: f64) -> (Vec<NormalClip>, Vec<NormalClip>) {
    if clips.len() == 1 {
        let clip = &mut clips[0];
        let total = clip.frames.len();
        let kept = ((total as f64 * (1.0 - share)) as usize).min(total - SHORTEST / 2);
        let tail = clip.frames.split_off(kept);
        let held_out = NormalClip {
            name: format!("{}-end", clip.name),
            frame_rate: clip.frame_rate,
            frames: tail,
        };
        return (clips, vec![held_out]);
    }
    let count = ((clips.len() as f64 * share).round() as usize).clamp(1, clips.len() - 1);
    let total = clips.len();
    let chosen: Vec<usize> = (0..count).map(|i| (2 * i + 1) * total / (2 * count)).collect();
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for (i, clip) in clips.into_iter().enumerate() {
        if chosen.contains(&i) { held_out.push(clip) } else { training.push(clip) }
    }
    (training, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use video::Frame;

    fn clip(name: &str, frames: usize) -> NormalClip {
        let frames = vec![Frame::new(8, 8); frames];
        NormalClip { name: name.into(), frame_rate: 10.0, frames }
    }

    #[test]
    fn whole_clips_are_held_out() {
        let clips = (0..16).map(|i| clip(&i.to_string(), 40)).collect();
        let (training, held_out) = split(clips, 0.15);
        assert_eq!((training.len(), held_out.len()), (14, 2));
        let names: Vec<_> = held_out.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["4", "12"]);
    }

    #[test]
    fn a_single_clip_loses_its_end() {
        let (training, held_out) = split(vec![clip("only", 100)], 0.2);
        assert_eq!((training[0].frames.len(), held_out[0].frames.len()), (80, 20));
    }

    #[test]
    fn two_clips_leave_one_for_each() {
        let (training, held_out) = split(vec![clip("a", 40), clip("b", 40)], 0.5);
        assert_eq!((training.len(), held_out.len()), (1, 1));
    }
}
