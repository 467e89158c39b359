//! `skip`: a region where time runs faster.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::replay;
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::Stage;

/// A region played 3–5 × faster.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let period = stage.period(rng);
    let speed = rng.random_range(3.0..5.0f32);
    replay::perform(stage, canvas, rng, period, mark, |i| (i as f32 * speed) as usize);
}
