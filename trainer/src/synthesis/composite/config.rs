//! Settings of the composite synthesizer.

use serde::{Deserialize, Serialize};

use crate::synthesis::Error;

/// Shortest normal clip that can be used, in frames.
pub const MIN_CLIP_FRAMES: usize = 16;

/// Settings of the composite synthesizer. Sizes are not here: they follow from the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompositeConfig {
    /// How often each kind is drawn, relative to the others.
    pub kinds: KindRates,
    /// Frames in a pseudo clip; a shorter normal clip is used whole. Default 64.
    pub frames: usize,
    /// Different kinds of events in a clip. Default 3.
    pub events: usize,
    /// Shortest and longest event in frames (flash, fall and throw have their own length).
    /// Default `[28, 64]`.
    pub event_frames: [usize; 2],
    /// Least and most normal walkers pasted as hard negatives into a clip. Default `[1, 2]`.
    pub benign: [usize; 2],
}

impl Default for CompositeConfig {
    fn default() -> Self {
        Self {
            kinds: KindRates::default(),
            frames: 64,
            events: 3,
            event_frames: [28, 64],
            benign: [1, 2],
        }
    }
}

/// How often each kind is drawn, relative to the others; 0 leaves a kind out. The kinds from `fast` to
/// `throw` default to 1. Those after them default to 0: most of what they show only its course or its
/// company makes abnormal, which the two detectors look at little, and recorded results go without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KindRates {
    /// A walker that runs, or glides with a slow or frozen pose, at 1–4.5 × walking speed. Default 1.
    pub fast: f64,
    /// A rider on two thin wheels. Default 1.
    pub bike: f64,
    /// A rigid body, mostly on dark wheels. Default 1.
    pub cart: f64,
    /// A walker 1.5–2.6 × larger and faster. Default 1.
    pub scale: f64,
    /// A walker inverted or of foreign texture. Default 1.
    pub texture: f64,
    /// A walker across the usual direction. Default 1.
    pub cross: f64,
    /// A region played 3–5 × faster. Default 1.
    pub skip: f64,
    /// A region whose frames are permuted in short blocks. Default 1.
    pub shuffle: f64,
    /// A flickering bright or dark blob. Default 1.
    pub flash: f64,
    /// A walker that falls, lies and may get up again. Default 1.
    pub fall: f64,
    /// A small thing thrown through the air. Default 1.
    pub throw: f64,
    /// Somebody who walks to and fro and stands about. Default 0.
    pub loitering: f64,
    /// Somebody against the direction in which everybody goes there. Default 0.
    pub wrong_way: f64,
    /// Many who run the same way at once. Default 0.
    pub crowd_rush: f64,
    /// A bag or box that somebody leaves behind. Default 0.
    pub left_object: f64,
}

impl Default for KindRates {
    fn default() -> Self {
        Self {
            fast: 1.0,
            bike: 1.0,
            cart: 1.0,
            scale: 1.0,
            texture: 1.0,
            cross: 1.0,
            skip: 1.0,
            shuffle: 1.0,
            flash: 1.0,
            fall: 1.0,
            throw: 1.0,
            loitering: 0.0,
            wrong_way: 0.0,
            crowd_rush: 0.0,
            left_object: 0.0,
        }
    }
}

impl KindRates {
    /// Name and rate of every kind, in the order of labels.
    pub fn entries(&self) -> [(&'static str, f64); 15] {
        [
            ("fast", self.fast),
            ("bike", self.bike),
            ("cart", self.cart),
            ("scale", self.scale),
            ("texture", self.texture),
            ("cross", self.cross),
            ("skip", self.skip),
            ("shuffle", self.shuffle),
            ("flash", self.flash),
            ("fall", self.fall),
            ("throw", self.throw),
            ("loitering", self.loitering),
            ("wrong_way", self.wrong_way),
            ("crowd_rush", self.crowd_rush),
            ("left_object", self.left_object),
        ]
    }

    /// The rate of the kind `name`, to be changed; `None` if there is no such kind.
    pub fn rate_mut(&mut self, name: &str) -> Option<&mut f64> {
        Some(match name {
            "fast" => &mut self.fast,
            "bike" => &mut self.bike,
            "cart" => &mut self.cart,
            "scale" => &mut self.scale,
            "texture" => &mut self.texture,
            "cross" => &mut self.cross,
            "skip" => &mut self.skip,
            "shuffle" => &mut self.shuffle,
            "flash" => &mut self.flash,
            "fall" => &mut self.fall,
            "throw" => &mut self.throw,
            "loitering" => &mut self.loitering,
            "wrong_way" => &mut self.wrong_way,
            "crowd_rush" => &mut self.crowd_rush,
            "left_object" => &mut self.left_object,
            _ => return None,
        })
    }
}

impl CompositeConfig {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let fail = |field, problem: String| Err(Error::Config { field, problem });
        for (name, rate) in self.kinds.entries() {
            if !(rate.is_finite() && rate >= 0.0) {
                return fail("kinds", format!("rate {rate} of {name} must be 0 or more"));
            }
        }
        if self.kinds.entries().iter().all(|(_, rate)| *rate == 0.0) {
            return fail("kinds", "every rate is 0; give at least one kind a rate".into());
        }
        if !(MIN_CLIP_FRAMES..=4096).contains(&self.frames) {
            return fail("frames", format!("{} must be {MIN_CLIP_FRAMES} to 4096", self.frames));
        }
        if !(1..=16).contains(&self.events) {
            return fail("events", format!("{} must be 1 to 16", self.events));
        }
        let [shortest, longest] = self.event_frames;
        if shortest < 4 || shortest > longest {
            return fail(
                "event_frames",
                format!("[{shortest}, {longest}] must be at least 4 and in order"),
            );
        }
        let [least, most] = self.benign;
        if least > most || most > 16 {
            return fail("benign", format!("[{least}, {most}] must be in order and at most 16"));
        }
        Ok(())
    }
}
