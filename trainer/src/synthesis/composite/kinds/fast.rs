//! `fast`: somebody runs, skates or glides.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::{Stage, Walker};

/// A runner (the pose cycles faster), a skater (the pose slowed or frozen, 1.4–4.5 × walking speed)
/// or a slow glider: hardly faster than a walker, only the legs do not walk. The last is the hard
/// case of real footage.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.mover(rng) else { return };
    let mut walker;
    match rng.random_range(0..10) {
        0..3 => {
            let multiple = rng.random_range(1.8..4.5);
            walker = Walker::new(tube).at_speed(stage, multiple);
            walker.pace = (multiple * rng.random_range(0.6..1.0)).min(3.0);
        }
        3..6 => {
            walker = Walker::new(tube).at_speed(stage, rng.random_range(1.4..4.5));
            walker.pace = if rng.random_bool(0.6) { 0.0 } else { rng.random_range(0.05..0.35) };
            walker.lean = rng.random_range(-0.12..0.12);
        }
        _ => {
            walker = Walker::new(tube).at_speed(stage, rng.random_range(1.0..1.6));
            walker.pace = if rng.random_bool(0.7) { 0.0 } else { rng.random_range(0.03..0.12) };
            walker.lean = rng.random_range(-0.1..0.1);
        }
    }
    let period = stage.period(rng);
    walker.walk(stage, canvas, rng, period, mark);
}
