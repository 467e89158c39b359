//! A region of the clip shown at other times than it happened.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Mark, Region};
use crate::synthesis::composite::stage::Stage;

/// Shows in `period`, in a region about somebody, the footage from another start on: frame `order(i)`
/// after it in the i-th frame of the period.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    period: Range<usize>,
    mark: Mark,
    order: impl Fn(usize) -> usize,
) {
    let needed = (0..period.len()).map(&order).max().unwrap_or(0);
    // Footage that is too short is played forth and back.
    let last = stage.footage.len() - 1;
    let start = rng.random_range(0..=last.saturating_sub(needed));
    let frame = |i: usize| {
        let at = (start + order(i)) % (2 * last);
        &stage.footage[if at > last { 2 * last - at } else { at }]
    };
    let foot = stage.foot(rng);
    let tall = stage.site.height_at(foot[1]);
    let region = Region {
        centre: [foot[0], foot[1] - 0.5 * tall],
        radius: [tall * rng.random_range(1.0..2.4), tall * rng.random_range(0.9..1.6)],
    };
    let n = period.len();
    for i in 0..n {
        let around = [frame(i.saturating_sub(1)), frame((i + 1).min(n - 1))];
        canvas.replay(period.start + i, frame(i), around, &region, mark);
    }
}
