//! Whether a finished clip is one: figures of its decoded frames, and why it is refused.

use serde::{Deserialize, Serialize};
use video::Frame;

/// A pixel has changed from one frame to the next if its luma has by more than so many levels, and a
/// pair of frames is still if fewer pixels than so many have: coded, a repeated frame is the same frame.
const CHANGED: u8 = 4;
const STILL_PIXELS: usize = 4;
/// Share of still pairs from which on a clip is frozen.
const FROZEN: f64 = 0.8;
/// Luma up to which a pixel is black.
const BLACK: u8 = 20;
/// Share of black pixels from which on a frame is black, and of such frames, a clip.
const BLACK_PIXELS: f64 = 0.98;
const BLACK_FRAMES: f64 = 0.1;
/// A cut changes the picture by so many levels, and so many times as much as the clip's median change.
const CUT_LEVELS: f64 = 20.0;
const CUT_TIMES: f64 = 6.0;
/// Share of pixels with a channel at either end of the range, above that of the initial frame, from
/// which on a clip is saturated.
const SATURATED: f64 = 0.35;

/// Figures of a clip; all 0 of one that could not be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Frames that could be decoded.
    pub frames: usize,
    /// Mean luma, in levels.
    pub luma: f64,
    /// Mean absolute change of the luma between two frames, in levels.
    pub motion: f64,
    /// The largest change of all pairs, in levels.
    pub largest_change: f64,
    /// Share of pairs of frames that are alike.
    pub still: f64,
    /// Share of black frames.
    pub black: f64,
    /// Share of pixels with a channel below 3 or above 252.
    pub saturated: f64,
}

/// Takes in a clip's frames one by one.
#[derive(Debug, Default)]
pub struct Inspector {
    before: Vec<u8>,
    changes: Vec<f64>,
    still: usize,
    frames: usize,
    luma: f64,
    black: usize,
    saturated: f64,
}

impl Inspector {
    /// Takes in the next frame.
    pub fn add(&mut self, frame: &Frame) {
        let luma = frame.luma();
        let n = luma.len().max(1) as f64;
        self.frames += 1;
        self.luma += luma.iter().map(|&v| u64::from(v)).sum::<u64>() as f64 / n;
        let black = luma.iter().filter(|&&v| v <= BLACK).count() as f64;
        self.black += (black >= BLACK_PIXELS * n) as usize;
        self.saturated += saturated(frame);
        if self.before.len() == luma.len() {
            let pairs = luma.iter().zip(&self.before);
            let (mut sum, mut changed) = (0u64, 0);
            for difference in pairs.map(|(a, b)| a.abs_diff(*b)) {
                sum += u64::from(difference);
                changed += (difference > CHANGED) as usize;
            }
            self.changes.push(sum as f64 / n);
            self.still += (changed < STILL_PIXELS) as usize;
        }
        self.before = luma;
    }

    /// The figures.
    pub fn quality(&self) -> Quality {
        let pairs = self.changes.len().max(1) as f64;
        let frames = self.frames.max(1) as f64;
        Quality {
            frames: self.frames,
            luma: self.luma / frames,
            motion: self.changes.iter().sum::<f64>() / pairs,
            largest_change: self.changes.iter().copied().fold(0.0, f64::max),
            still: self.still as f64 / pairs,
            black: self.black as f64 / frames,
            saturated: self.saturated / frames,
        }
    }

    /// Why the clip is refused, if it is; `initial` is the frame that it was made from.
    pub fn refuse(&self, initial: Option<&Frame>) -> Option<String> {
        let quality = self.quality();
        if self.frames < 2 {
            return Some(format!("short: {} frame(s)", self.frames));
        }
        if quality.black >= BLACK_FRAMES {
            return Some(format!("black: {:.0} % of the frames", 100.0 * quality.black));
        }
        if quality.still >= FROZEN {
            return Some(format!(
                "frozen: {:.0} % of the frames are repeated",
                100.0 * quality.still
            ));
        }
        let mut sorted = self.changes.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let cut = |c: &f64| *c >= CUT_LEVELS && *c >= CUT_TIMES * median;
        if let Some(at) = self.changes.iter().position(cut) {
            let change = self.changes[at];
            return Some(format!("cut: frame {} differs by {change:.0} levels", at + 1));
        }
        let before = initial.map_or(0.0, saturated);
        if quality.saturated >= before + SATURATED {
            return Some(format!(
                "saturated: {:.0} % of the pixels, {:.0} % of the initial frame's",
                100.0 * quality.saturated,
                100.0 * before
            ));
        }
        None
    }
}

/// Share of pixels with a channel at either end of the range.
fn saturated(frame: &Frame) -> f64 {
    let pixels = frame.rgb().chunks_exact(3);
    let n = pixels.len().max(1) as f64;
    pixels.filter(|p| p.iter().any(|v| !(3..=252).contains(v))).count() as f64 / n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp that moves on by a column a frame.
    fn moving(t: usize) -> Frame {
        let luma: Vec<u8> = (0..32 * 32).map(|i| 60 + ((i % 32 + t) % 16 * 8) as u8).collect();
        Frame::from_luma(32, 32, &luma).unwrap()
    }

    fn verdict(frames: impl IntoIterator<Item = Frame>) -> Option<String> {
        let mut inspector = Inspector::default();
        frames.into_iter().for_each(|frame| inspector.add(&frame));
        inspector.refuse(Some(&moving(0)))
    }

    fn of(level: u8) -> Frame {
        Frame::from_luma(32, 32, &[level; 32 * 32]).unwrap()
    }

    #[test]
    fn broken_clips_are_refused_with_the_reason() {
        assert_eq!(verdict((0..20).map(moving)), None);
        let reason = |frames: Vec<Frame>| verdict(frames).unwrap();
        assert!(reason(vec![moving(0); 20]).starts_with("frozen: 100 %"));
        assert!(
            reason((0..20).map(|t| if t < 17 { moving(t) } else { of(4) }).collect())
                .starts_with("black: 15 %")
        );
        let cut = (0..20).map(|t| if t < 9 { moving(0) } else { of(230) });
        let cut: Vec<Frame> = cut
            .enumerate()
            .map(|(t, mut f)| {
                f.rgb_mut()[..3 * (8 * t + 8)].fill(100);
                f
            })
            .collect();
        assert!(reason(cut).starts_with("cut: frame 9 differs by"));
        let blown = (0..20).map(|t| {
            let mut frame = moving(t);
            frame.rgb_mut()[..32 * 32 * 2].iter_mut().step_by(2).for_each(|v| *v = 255);
            frame
        });
        assert!(reason(blown.collect::<Vec<_>>()).starts_with("saturated:"), "blown");
        assert!(reason(vec![moving(0)]).starts_with("short: 1 frame"));
        // An overexposed camera's clip is as bright as the camera.
        let mut inspector = Inspector::default();
        let bright = |t: usize| {
            let mut frame = moving(t);
            frame.rgb_mut()[..32 * 32 * 2].fill(255);
            frame
        };
        (0..20).for_each(|t| inspector.add(&bright(t)));
        assert_eq!(inspector.refuse(Some(&bright(0))), None);
    }
}
