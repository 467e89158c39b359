//! `loitering`: somebody walks to and fro and stands about.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Look, Mark};
use crate::synthesis::composite::stage::{Stage, Step, Walker};

/// Somebody walks a few steps at 0.4–0.9 of walking speed, stands for 0.5–2 s, walks back, and so on
/// for most of the clip. The first steps are anybody's, and so labelled; what shows is that they do
/// not lead anywhere.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.person(rng) else { return };
    let walker = Walker::new(tube);
    let period = stage.period_of(rng, stage.span * 2 / 3, stage.span);
    let frames = period.len();
    let (mut sin_cos, pace) = (stage.direction(rng).sin_cos(), rng.random_range(0.4..0.9));
    let seconds = |rng: &mut ChaCha8Rng, range: std::ops::Range<f32>| {
        ((rng.random_range(range) * stage.rate) as usize).max(2)
    };
    // Velocity in walking speeds, frame by frame.
    let mut velocity: Vec<[f32; 2]> = Vec::with_capacity(frames);
    let mut first_stop = frames;
    while velocity.len() < frames {
        let (sin, cos) = sin_cos;
        let steps = seconds(rng, 0.8..2.5);
        velocity.extend(std::iter::repeat_n([pace * cos, pace * sin], steps));
        first_stop = first_stop.min(velocity.len());
        velocity.extend(std::iter::repeat_n([0.0; 2], seconds(rng, 0.5..2.0)));
        let turned = rng.random_range(-0.4..0.4f32).sin_cos();
        // Back, within some twenty degrees.
        sin_cos = (-(sin * turned.1 + cos * turned.0), -(cos * turned.1 - sin * turned.0));
    }
    velocity.truncate(frames);
    let route = stage.route(rng, frames, |i| velocity[i].map(|v| v * stage.site.speed));
    let look = Look::draw(rng, stage.site.background.noise);
    let mut pose = rng.random_range(0.0..walker.sprites.len() as f32);
    let mut mirrored = false;
    let steps: Vec<Step> = route
        .into_iter()
        .enumerate()
        .map(|(i, at)| {
            let [x, y] = velocity[i];
            if x != 0.0 {
                mirrored = x * tube.velocity[0] < 0.0;
            }
            pose += x.hypot(y);
            let mark = if i < first_stop { Mark::Benign } else { mark };
            Step { at, pose, mirrored, mark }
        })
        .collect();
    walker.show(stage, canvas, &look, period.start, &steps);
}
