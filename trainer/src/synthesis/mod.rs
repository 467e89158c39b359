//! Synthesis of pseudo-abnormal clips from normal footage.
//!
//! A [`Synthesizer`] turns footage on which nothing happens into clips on which something does, and
//! says exactly where: every pixel of every frame is labelled. [`composite::Composite`] needs no
//! weights and no GPU.
//!
//! CA-PAG, the class-aware way: a class file ([`classes`]) and normal footage give a [`plan`], a line a
//! clip, and a [`run`] carries it out, here or on many machines.

pub mod classes;
pub mod composite;
mod glyphs;
pub mod plan;
pub mod refine;
pub mod run;
mod sheet;
pub mod store;

pub use composite::{Composite, CompositeConfig, KindRates};
pub use sheet::contact_sheet;
use video::Frame;

/// A run of normal footage, already at the size and rate the model works at.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalClip {
    /// Name of the clip, as errors and pseudo clips cite it.
    pub name: String,
    /// Frames per second.
    pub frame_rate: f64,
    /// The frames, all of one size.
    pub frames: Vec<Frame>,
}

/// A source of pseudo-abnormal clips.
///
/// Calls may come from any thread in any order: a clip depends on nothing but the synthesizer (with
/// its seed) and the index.
pub trait Synthesizer: Sync {
    /// Names of the kinds of anomaly that occur; label `k + 1` stands for kind `k`.
    fn kinds(&self) -> &[String];

    /// The pseudo clip number `index`.
    ///
    /// # Errors
    /// If the clip cannot be made; [`Composite`] never fails once it is built.
    fn synthesize(&self, index: u64) -> Result<PseudoClip, Error>;
}

/// A clip on which something abnormal happens, and where it does.
#[derive(Debug, Clone, PartialEq)]
pub struct PseudoClip {
    /// Name, unique in (synthesizer, index).
    pub name: String,
    /// The frames, of the size of the normal clips.
    pub frames: Vec<Frame>,
    /// One map for each frame.
    pub labels: Vec<LabelMap>,
    /// What happens when, sorted by first frame; only what the labels show.
    pub events: Vec<PseudoEvent>,
    /// The normal clip (its index) and the frame of it at which this clip starts.
    pub source: (usize, usize),
}

/// An abnormal event of a pseudo clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PseudoEvent {
    /// Index in [`Synthesizer::kinds`].
    pub kind: usize,
    /// First frame with labelled pixels.
    pub first: usize,
    /// Last frame with labelled pixels.
    pub last: usize,
}

/// What each pixel of a frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Row-major: [`LabelMap::NORMAL`], [`LabelMap::IGNORE`], or `k + 1` for kind `k`.
    pub data: Vec<u8>,
}

impl LabelMap {
    /// A normal pixel: as filmed, or part of a benign paste (normal motion, pasted like the rest, so
    /// that pasting alone gives nothing away; also how somebody walks before falling).
    pub const NORMAL: u8 = 0;
    /// A pixel that was touched but shows nothing certain: a soft edge, a change within the noise.
    pub const IGNORE: u8 = 255;

    /// The labels of a picture of `width` × `height` pixels: each is the one that most of the pixels have that
    /// it is made of, the lowest of equals.
    pub fn resized(&self, width: usize, height: usize) -> Vec<u8> {
        let span = |i: usize, from: usize, to: usize| {
            let first = i * from / to;
            first..((i + 1) * from / to).max(first + 1)
        };
        let mut out = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = span(y, self.height, height);
            for x in 0..width {
                let columns = span(x, self.width, width);
                let mut counts = [0u16; 256];
                for row in rows.clone() {
                    for &label in &self.data[row * self.width..][columns.clone()] {
                        counts[usize::from(label)] += 1;
                    }
                }
                let most = (0..=255u8).rev().max_by_key(|&label| counts[usize::from(label)]);
                out.push(most.unwrap_or(Self::NORMAL));
            }
        }
        out
    }

    /// An all-normal map.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![Self::NORMAL; width * height] }
    }
}

/// Why pseudo clips cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no normal footage.
    #[error("no normal clips: synthesis needs at least one")]
    NoClips,
    /// A clip is too short.
    #[error("clip {name}: {frames} frame(s), at least {needed} are needed; leave the clip out")]
    TooShort {
        /// Name of the clip.
        name: String,
        /// Frames it has.
        frames: usize,
        /// Frames needed.
        needed: usize,
    },
    /// A frame has another size than the first frame of the first clip.
    #[error(
        "clip {name}, frame {frame}: {width}x{height}, but the first clip is \
         {expected_width}x{expected_height}; resize all footage to the model's size"
    )]
    SizeDiffers {
        /// Name of the clip.
        name: String,
        /// Index of the frame.
        frame: usize,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// Width of the first clip.
        expected_width: usize,
        /// Height of the first clip.
        expected_height: usize,
    },
    /// The frames are too small to show anything.
    #[error("frames of {width}x{height} are too small, at least 32x32 is needed")]
    TooSmall {
        /// Width of the frames.
        width: usize,
        /// Height of the frames.
        height: usize,
    },
    /// A clip's frame rate is not a positive number.
    #[error("clip {name}: frame rate {rate} is not a positive number")]
    FrameRate {
        /// Name of the clip.
        name: String,
        /// The rate given.
        rate: f64,
    },
    /// A setting is out of range.
    #[error("synthesis setting {field}: {problem}")]
    Config {
        /// Name of the setting.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Nobody walks, and nothing else is allowed to happen.
    #[error(
        "synthesis setting kinds: all given kinds need a walker, and the footage shows none, or more room \
         than there is where people are near; give \
         cart, texture, flash or throw a rate"
    )]
    NoWalker,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resized_labels_are_those_of_most_pixels() {
        let mut map = LabelMap::new(6, 4);
        // A quarter of one square of four, three quarters of the next.
        for (x, y) in [(1, 0), (2, 0), (3, 0), (3, 1)] {
            map.data[y * 6 + x] = 7;
        }
        assert_eq!(map.resized(3, 2), [0, 7, 0, 0, 0, 0]);
        assert_eq!(map.resized(6, 4), map.data);
        // Enlarged, each pixel's own.
        assert_eq!(map.resized(12, 4)[2..4], [7, 7]);
    }
}
