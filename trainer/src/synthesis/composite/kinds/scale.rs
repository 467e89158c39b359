//! `scale`: somebody too large, and faster.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::{Stage, Walker};

/// Where a usual person is a third of the picture high, one who passes close by is as large, and normal.
pub(super) const ROOM: f32 = 1.0 / 3.0;

/// A walker 1.5–2.6 times as large, up to three times as fast.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.mover(rng) else { return };
    let mut walker = Walker::new(tube).at_speed(stage, rng.random_range(1.0..3.0));
    walker.scale = rng.random_range(1.5..2.6);
    walker.pace = rng.random_range(0.3..1.5);
    let period = stage.period(rng);
    walker.walk(stage, canvas, rng, period, mark);
}
