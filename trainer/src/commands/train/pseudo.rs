//! Pseudo-abnormal clips for training: made, looked at by the backbone, kept as luma and labels.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use rayon::prelude::*;
use trainer::detector::Bag;
use trainer::local::LumaClip;
use trainer::synthesis::{PseudoClip, Synthesizer};

use super::go_on;
use super::progress::Progress;
use super::semantic::Features;

/// Clips made at once: their colour frames are in memory together.
const AT_ONCE: usize = 8;

/// Pseudo clips `0..count`: luma, of the model's `size`, with labels for the local detector and, where they are given, features
/// for the semantic one.
pub fn make(
    synthesizer: &dyn Synthesizer,
    count: usize,
    size: (usize, usize),
    mut features: Option<&mut Features>,
    stop: &AtomicBool,
) -> Result<(Vec<LumaClip>, Vec<Bag>)> {
    let progress = Progress::new("pseudo-abnormal clips", count);
    let (mut clips, mut bags) = (Vec::new(), Vec::new());
    for start in (0..count).step_by(AT_ONCE) {
        go_on(stop)?;
        let end = (start + AT_ONCE).min(count);
        let made: Vec<PseudoClip> = (start..end)
            .into_par_iter()
            .map(|index| synthesizer.synthesize(index as u64))
            .collect::<Result<_, _>>()?;
        for clip in made {
            if let Some(features) = &mut features {
                bags.push(features.pseudo(&clip)?);
            }
            clips.push(LumaClip::resized(&clip.frames, Some(&clip.labels), size));
            progress.step();
        }
    }
    Ok((clips, bags))
}
