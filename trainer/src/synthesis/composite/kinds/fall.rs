//! `fall`: somebody falls and lies, and may get up again.

use std::f32::consts::FRAC_PI_2;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::stage::{Stage, Walker};

/// Lean in radians up to which a walker still looks like one: about twenty degrees. Labelled as a
/// fall, such frames would only teach that walking is one.
const UPRIGHT: f32 = 0.35;

/// A walker walks (normally, and so labelled), falls within 0.4–1 s, lies for 1–4 s and, two times
/// in three, gets up within 0.8–2 s, as the clip allows. Somebody who lies on the ground is an event,
/// moving or not.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.person(rng) else {
        return;
    };
    let fall = ((rng.random_range(0.4..1.0) * stage.rate) as usize).clamp(4, stage.span / 2);
    let lie = ((rng.random_range(1.0..4.0) * stage.rate) as usize).clamp(3, stage.span - fall);
    let rise = if rng.random_bool(2.0 / 3.0) {
        ((rng.random_range(0.8..2.0) * stage.rate) as usize).min(stage.span - fall - lie)
    } else {
        0
    };
    let spare = stage.span - fall - lie - rise;
    let before = rng.random_range(0..=spare.min((2.0 * stage.rate) as usize));
    let frames = before + fall + lie + rise;
    let period = stage.period_of(rng, frames, frames);
    let down = FRAC_PI_2 * rng.random_range(0.85..1.05) * if rng.random() { 1.0 } else { -1.0 };
    let mut walker = Walker::new(tube);
    walker.pace = 1.0;
    walker.walk(stage, canvas, rng, period, |i| {
        let part = (i as f32 - before as f32 + 1.0).max(0.0) / fall as f32;
        // A tree falls like this: slowly at first. The walk ends with the first half of the fall.
        let risen = (i as f32 + 1.0 - (before + fall + lie) as f32).max(0.0) / rise.max(1) as f32;
        let angle = down * part.min(1.0).powi(2) * (1.0 - risen).max(0.0);
        let walked = (i as f32).min(before as f32 + 0.3 * fall as f32);
        let mark = if angle.abs() < UPRIGHT { Mark::Benign } else { mark };
        (walked, angle, mark)
    });
}
