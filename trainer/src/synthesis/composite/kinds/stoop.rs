//! What people do and no alarm is wanted for: they stoop, crouch and sit down.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fall::{Course, act};
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::pose::Pose;
use crate::synthesis::composite::stage::{Stage, Walker};

/// A walker stops, bends down for something, crouches, or sits on something as high as a knee, takes 0.8–2 s
/// for it, stays for a moment, and comes up as slowly. It is normal, and so labelled.
pub(super) fn perform(stage: &Stage<'_>, canvas: &mut Canvas<'_>, rng: &mut ChaCha8Rng) {
    let Some(tube) = stage.person(rng) else {
        return;
    };
    let frames = |rng: &mut ChaCha8Rng, seconds: std::ops::Range<f32>| {
        ((rng.random_range(seconds) * stage.rate) as usize).max(3)
    };
    let (before, down) = (frames(rng, 0.2..2.0), frames(rng, 0.8..2.0));
    let (stay, up) = (frames(rng, 0.3..3.0), frames(rng, 0.8..2.0));
    let whole = (before + down + stay + up).min(stage.span);
    let about = |rng: &mut ChaCha8Rng, middle: f32, spread: f32| {
        rng.random_range(middle - spread..middle + spread)
    };
    let low = match rng.random_range(0..3) {
        0 => Pose::degrees(about(rng, 8.0, 8.0), about(rng, -15.0, 15.0), about(rng, 85.0, 25.0)),
        1 => Pose::degrees(about(rng, 30.0, 15.0), about(rng, -95.0, 15.0), about(rng, 35.0, 20.0)),
        _ => Pose::degrees(about(rng, 3.0, 10.0), about(rng, -85.0, 10.0), about(rng, 5.0, 15.0)),
    };
    let low = if rng.random() { low } else { low.mirrored() };
    let smooth = |part: f32| {
        let part = part.clamp(0.0, 1.0);
        part * part * (3.0 - 2.0 * part)
    };
    let course: Vec<Course> = (0..whole)
        .map(|i| {
            let bent = smooth((i as f32 - before as f32 + 1.0) / down as f32)
                - smooth((i as f32 + 1.0 - (before + down + stay) as f32) / up as f32);
            Course {
                walked: (i as f32).min(before as f32),
                pose: if bent > 0.0 { Pose::UPRIGHT.toward(low, bent) } else { Pose::UPRIGHT },
                mark: Mark::Benign,
            }
        })
        .collect();
    let period = stage.period_of(rng, whole, whole);
    act(stage, canvas, rng, &Walker::new(tube), period.start, &course);
}
