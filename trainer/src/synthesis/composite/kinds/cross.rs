//! `cross`: somebody walks across the usual direction.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::{Stage, Walker};

/// A walker whose path is turned by 0.9–2.24 radians either way, at 1–2.5 × its speed.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.mover(rng) else { return };
    let multiple = rng.random_range(1.0..2.5);
    let mut walker = Walker::new(tube).at_speed(stage, multiple);
    walker.turn = rng.random_range(0.9..2.24) * if rng.random() { 1.0 } else { -1.0 };
    walker.pace = multiple * rng.random_range(0.7..1.0);
    let period = stage.period(rng);
    walker.walk(stage, canvas, rng, period, mark);
}
