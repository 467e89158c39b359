//! `throw`: small things fly through the air.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::brush::{cover, ellipse, rounded};
use crate::synthesis::composite::canvas::{Canvas, Look, Mark, Placement};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::Stage;

/// Gravity in heights of a walker (1.7 m) per second squared.
const GRAVITY: f32 = 9.81 / 1.7;

/// Things of 0.15–0.4 of a walker's height, thrown one after the other on ballistic arcs from chest
/// height at 3–12 m/s; each bounces until it rests.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let mut period = stage.period(rng);
    while !period.is_empty() {
        let frames = throw(stage, canvas, rng, period.clone(), mark);
        // A moment until the next.
        period.start += frames + rng.random_range(0..6);
    }
}

/// One throw from the start of `period` on; returns the frames it took.
fn throw(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    period: std::ops::Range<usize>,
    mark: Mark,
) -> usize {
    let [width, _] = stage.size();
    let foot = stage.foot(rng);
    let tall = stage.site.height_at(foot[1]);
    let size = tall * rng.random_range(0.15..0.4);
    let sprite = thing(stage, rng, size);
    let look = Look::draw(rng, stage.site.background.noise);
    let spin = rng.random_range(-0.8..0.8);
    let lands = foot[1] - 0.4 * size;
    // Towards the farther side of the picture. Velocities in pixels a frame.
    let sign = if foot[0] < width / 2.0 { 1.0 } else { -1.0 };
    let scale = tall / stage.rate;
    let mut velocity =
        [sign * scale * rng.random_range(1.8..7.0), -scale * rng.random_range(0.0..2.2)];
    let gravity = GRAVITY * tall / (stage.rate * stage.rate);
    let mut at = [foot[0], foot[1] - tall * rng.random_range(0.6..1.0)];
    let mut bounces = 0;
    for (i, t) in period.clone().enumerate() {
        let place = Placement {
            at,
            scale: [1.0; 2],
            angle: spin * i as f32,
            smear: velocity.map(|v| v * (look.exposure + 0.2)),
        };
        canvas.paste(t, &sprite, &place, &look, mark);
        at = [at[0] + velocity[0], at[1] + velocity[1] + 0.5 * gravity];
        velocity[1] += gravity;
        if at[1] >= lands {
            bounces += 1;
            if bounces == 3 {
                return i + 1;
            }
            at[1] = lands - 0.4 * (at[1] - lands);
            velocity = [0.6 * velocity[0], -0.4 * velocity[1].abs()];
        }
        if !(-size..width + size).contains(&at[0]) {
            return i + 1;
        }
    }
    period.len()
}

/// A ball or a box, `size` pixels large.
fn thing(stage: &Stage<'_>, rng: &mut ChaCha8Rng, size: f32) -> Sprite {
    let edge = (size * 1.5).ceil() as usize + 4;
    let centre = [edge as f32 / 2.0; 2];
    let half = [size / 2.0, size / 2.0 * rng.random_range(0.5..1.0)];
    let dark = rng.random_bool(0.5);
    let paint = stage.paint(rng, if dark { 10.0..70.0 } else { 170.0..245.0 });
    let round = rng.random_bool(0.5);
    Sprite::paint(edge, edge, centre, |x, y| {
        let distance = if round {
            ellipse([x, y], centre, half)
        } else {
            rounded([x, y], centre, half, 0.15 * size)
        };
        // Light comes from above.
        let shade = 1.0 - 0.25 * (y - centre[1]) / half[1];
        (paint.map(|p| (p * shade).clamp(0.0, 255.0)), cover(distance))
    })
}
