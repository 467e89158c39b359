//! `shuffle`: a region whose frames are out of order.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::replay;
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::Stage;

/// Frames that are permuted among each other.
const BLOCK: usize = 6;

/// A region whose frames are permuted in blocks of [`BLOCK`].
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let period = stage.period(rng);
    let mut order: Vec<usize> = (0..period.len()).collect();
    order.chunks_mut(BLOCK).for_each(|block| block.shuffle(rng));
    // Between blocks time may jump: nothing else tells them from footage.
    let jump = if rng.random() { 0 } else { BLOCK };
    replay::perform(stage, canvas, rng, period, mark, |i| order[i] + i / BLOCK * jump);
}
