//! Reading a site's footage at the size and rate that the model works at.

use std::path::Path;

use inference::{Sampling, sampled_rate};
use model_bundle::manifest::InputSpec;
use video::{Clip, Frame, Reader, Resizer};

use crate::synthesis::NormalClip;

/// Input sizes are multiples of this: the local detector's maps have a quarter of the resolution,
/// and a multiple of eight keeps them even.
const MULTIPLE: usize = 8;

/// Frames per second that a model works at, about: what a source delivers beyond is thinned out.
/// People move little in a tenth of a second, and the camera's time for a frame is precious.
pub const MODEL_RATE: f64 = 10.0;

/// The model's input for a source of the given size: no taller than `height`, sides rounded to
/// multiples of eight.
pub fn input_spec(width: usize, height: usize, model_height: usize) -> InputSpec {
    let scale = (model_height as f64 / height as f64).min(1.0);
    let round = |n: usize| {
        let scaled = n as f64 * scale / MULTIPLE as f64;
        (scaled.round().max(1.0) as usize * MULTIPLE) as u32
    };
    InputSpec { width: round(width), height: round(height), frame_rate: MODEL_RATE }
}

/// Reads a clip, thinned and resized to the model's input; at most `limit` model frames.
///
/// # Errors
/// [`video::Error`], which names the file and the frame.
pub fn read(clip: &Clip, input: &InputSpec, limit: usize) -> Result<NormalClip, video::Error> {
    read_numbered(clip, input, limit).map(|(clip, _)| clip)
}

/// As [`read`], with the number in the video, from 0, of each of the frames.
///
/// # Errors
/// As [`read`].
pub fn read_numbered(
    clip: &Clip,
    input: &InputSpec,
    limit: usize,
) -> Result<(NormalClip, Vec<usize>), video::Error> {
    let (mut frames, mut numbers) = (Vec::new(), Vec::new());
    let rate = each_numbered(&clip.path, input, |number, frame| {
        frames.push(frame.clone());
        numbers.push(number);
        frames.len() < limit
    })?;
    Ok((NormalClip { name: clip.name.clone(), frame_rate: rate, frames }, numbers))
}

/// Calls `take` with each model frame of a video until it returns false; the model frame rate of
/// this source. Which frames these are, the camera decides by the same rule ([`Sampling`]).
///
/// # Errors
/// [`video::Error`].
pub fn each(
    path: &Path,
    input: &InputSpec,
    mut take: impl FnMut(&Frame) -> bool,
) -> Result<f64, video::Error> {
    each_numbered(path, input, |_, frame| take(frame))
}

fn each_numbered(
    path: &Path,
    input: &InputSpec,
    mut take: impl FnMut(usize, &Frame) -> bool,
) -> Result<f64, video::Error> {
    let mut reader = Reader::open(path)?;
    let source_rate = reader.info().frame_rate;
    let mut sampling = Sampling::new(input.frame_rate, source_rate);
    let mut resizer = Resizer::new();
    let mut source = Frame::default();
    let mut resized = Frame::new(input.width as usize, input.height as usize);
    let mut number = 0;
    while reader.read(&mut source)? {
        if sampling.takes(reader.time()) {
            resizer.resize(&source, &mut resized)?;
            if !take(number, &resized) {
                break;
            }
        }
        number += 1;
    }
    Ok(sampled_rate(input.frame_rate, source_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_keeps_the_aspect_and_never_enlarges() {
        let spec = input_spec(360, 240, 240);
        assert_eq!((spec.width, spec.height), (360, 240));
        let spec = input_spec(1920, 1080, 240);
        assert_eq!((spec.width, spec.height), (424, 240));
        let spec = input_spec(160, 120, 240);
        assert_eq!((spec.width, spec.height), (160, 120));
    }
}
