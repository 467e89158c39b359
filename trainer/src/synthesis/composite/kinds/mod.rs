//! The kinds of anomaly, one file each.

mod bike;
mod cart;
mod cross;
mod crowd_rush;
mod fall;
mod fast;
mod flash;
mod left_object;
mod loitering;
mod replay;
mod scale;
mod shuffle;
mod skip;
mod stoop;
mod texture;
mod throw;
mod wrong_way;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Mark};
use super::stage::{Stage, Walker};

/// Lets a kind happen once; does nothing where the stage has not what it takes.
pub(super) type Perform = fn(&Stage<'_>, &mut Canvas<'_>, &mut ChaCha8Rng, Mark);

/// A kind of anomaly.
pub(super) struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Whether it needs a walker.
    pub needs_walker: bool,
    /// Part of the picture's height that a usual person has at most where there is room for it.
    pub room: f32,
    /// How it happens.
    pub perform: Perform,
}

/// All kinds, in the order of labels.
pub(super) const KINDS: [Kind; 15] = [
    Kind { name: "fast", needs_walker: true, room: 1.0, perform: fast::perform },
    Kind { name: "bike", needs_walker: true, room: 1.0, perform: bike::perform },
    Kind { name: "cart", needs_walker: false, room: 1.0, perform: cart::perform },
    Kind { name: "scale", needs_walker: true, room: scale::ROOM, perform: scale::perform },
    Kind { name: "texture", needs_walker: false, room: 1.0, perform: texture::perform },
    Kind { name: "cross", needs_walker: true, room: 1.0, perform: cross::perform },
    Kind { name: "skip", needs_walker: true, room: 1.0, perform: skip::perform },
    Kind { name: "shuffle", needs_walker: true, room: 1.0, perform: shuffle::perform },
    Kind { name: "flash", needs_walker: false, room: 1.0, perform: flash::perform },
    Kind { name: "fall", needs_walker: true, room: 1.0, perform: fall::perform },
    Kind { name: "throw", needs_walker: false, room: 1.0, perform: throw::perform },
    Kind { name: "loitering", needs_walker: true, room: 1.0, perform: loitering::perform },
    Kind { name: "wrong_way", needs_walker: true, room: 1.0, perform: wrong_way::perform },
    Kind { name: "crowd_rush", needs_walker: true, room: 1.0, perform: crowd_rush::perform },
    Kind { name: "left_object", needs_walker: true, room: 1.0, perform: left_object::perform },
];

/// Normal motion pasted like an anomaly: a walker at its own pace, somebody who bends down or sits, or a region of another time. It
/// stays labelled normal, so that seams, blending and noise tell nothing.
pub(super) fn benign(stage: &Stage<'_>, canvas: &mut Canvas<'_>, rng: &mut ChaCha8Rng) {
    let what = rng.random_range(0.0..1.0);
    if what < 0.2 {
        let period = stage.period(rng);
        replay::perform(stage, canvas, rng, period, Mark::Benign, |i| i);
    } else if what < 0.35 {
        stoop::perform(stage, canvas, rng);
    } else if let Some(tube) = stage.mover(rng) {
        let mut walker = Walker::new(tube);
        walker.speed = rng.random_range(0.85..1.15);
        walker.pace = walker.speed;
        walker.scale = rng.random_range(0.92..1.08);
        let period = stage.period(rng);
        walker.walk(stage, canvas, rng, period, Mark::Benign);
    }
}
