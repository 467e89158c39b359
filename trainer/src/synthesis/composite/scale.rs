//! How near people are: the first thing to know of a site, because all else has to look at it so closely.

use rayon::prelude::*;
use video::Frame;

use super::{MIN_CLIP_FRAMES, check, site};
use crate::synthesis::NormalClip;

/// Height of the picture, at most, in which people are looked for: somebody near is in one piece there, and
/// somebody as far as cameras are of use still some pixels high.
const PICTURE: usize = 128;
/// Somebody taller than this, in pixels of that picture, is looked for again in half of it.
const NEAR: f32 = 64.0;
/// Smallest picture that is looked at.
const LEAST: usize = 48;
/// Frames that are looked at: stretches from all clips.
const FRAMES: usize = 2400;
/// Frames of a stretch: long enough that it has a background of its own.
const STRETCH: usize = 300;

/// Height in pixels of a usual person in `clips`: of those who walk, by the pixels that they cover, so that one
/// who is near counts more than several who are far. `None` if nobody is seen walking, or the
/// clips cannot be used.
pub fn person_height(clips: &[NormalClip]) -> Option<f32> {
    check(clips).ok()?;
    let mut zoom = 1.0;
    let mut small: Vec<NormalClip> = stretches(clips);
    while small[0].frames[0].height() > PICTURE {
        halve(&mut small);
        zoom *= 2.0;
    }
    loop {
        let (sites, _) = site::find(&small);
        for site in &sites {
            log::debug!("people at {zoom} times: {} movers, {:.0} pixels high", site.movers.len(), site.height);
        }
        let site = sites.iter().max_by_key(|site| site.movers.len())?;
        if site.movers.is_empty() {
            return None;
        }
        if site.height <= NEAR || small[0].frames[0].height() / 2 < LEAST {
            return Some(site.height * zoom);
        }
        halve(&mut small);
        zoom *= 2.0;
    }
}

/// Stretches from all over the clips, [`FRAMES`] in all.
fn stretches(clips: &[NormalClip]) -> Vec<NormalClip> {
    let total: usize = clips.iter().map(|clip| clip.frames.len()).sum();
    let every = total.div_ceil(FRAMES).max(1);
    let mut number = 0;
    let mut out = Vec::new();
    for clip in clips {
        for part in clip.frames.chunks(STRETCH) {
            number += 1;
            if (number - 1) % every == 0 && part.len() >= MIN_CLIP_FRAMES {
                let (name, frame_rate) = (clip.name.clone(), clip.frame_rate);
                out.push(NormalClip { name, frame_rate, frames: part.to_vec() });
            }
        }
    }
    if out.is_empty() { vec![clips[0].clone()] } else { out }
}

/// Averages squares of four pixels.
fn halve(clips: &mut [NormalClip]) {
    clips.par_iter_mut().for_each(|clip| clip.frames.iter_mut().for_each(|f| *f = half(f)));
}

fn half(frame: &Frame) -> Frame {
    let (w, h) = (frame.width() / 2, frame.height() / 2);
    let (stride, rgb) = (3 * frame.width(), frame.rgb());
    let mut out = Frame::new(w, h);
    for (i, byte) in out.rgb_mut().iter_mut().enumerate() {
        let (x, y) = (i / 3 % w, i / 3 / w);
        let at = 2 * y * stride + 6 * x + i % 3;
        let sum: u16 = [at, at + 3, at + stride, at + stride + 3].map(|at| u16::from(rgb[at])).iter().sum();
        *byte = ((sum + 2) / 4) as u8;
    }
    out
}
