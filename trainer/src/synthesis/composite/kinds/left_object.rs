//! `left_object`: a bag or box that somebody leaves behind.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::brush::{cover, rounded, segment};
use crate::synthesis::composite::canvas::{Canvas, Look, Mark, Placement};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::{Stage, Step, Walker};

/// Places that are tried; the quietest is taken, for the object cannot go behind who passes.
const PLACES: usize = 12;

/// Somebody walks past a place (normally, and so labelled), and from then on to the end of the clip
/// an object of 0.25–0.5 of a walker's height stands there.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.person(rng) else { return };
    let put = rng.random_range(stage.span / 8..=stage.span / 2);
    let [width, height] = stage.size();
    let quiet = (0..PLACES)
        .map(|_| {
            let foot = stage.foot(rng);
            let tall = stage.site.height_at(foot[1]);
            let inside = [foot[0] / width, (foot[1] - 0.3 * tall) / height];
            let out = inside.iter().any(|part| !(0.02..0.98).contains(part));
            let motion = motion(stage, canvas, put..stage.span, foot, 0.4 * tall);
            (if out { f32::MAX } else { motion }, foot)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, foot)) = quiet else { return };
    let tall = stage.site.height_at(foot[1]);
    let size = tall * rng.random_range(0.25..0.5);
    let sprite = object(stage, rng, size);
    let look = Look::draw(rng, stage.site.background.noise);
    let place = Placement { at: foot, scale: [1.0; 2], angle: 0.0, smear: [0.0; 2] };
    for t in put..stage.span {
        canvas.paste(t, &sprite, &place, &look, mark);
    }

    let walker = Walker::new(tube);
    let size = stage.usual_size(tube);
    let (aside, look) = (0.25 * tall, Look::draw(rng, stage.site.background.noise));
    let away = ((2.5 * stage.rate) as usize).max(8);
    let frames = put.saturating_sub(away)..(put + away).min(stage.span);
    let steps: Vec<Step> = frames
        .clone()
        .map(|t| {
            let walked = t as f32 - put as f32;
            Step {
                at: [0, 1]
                    .map(|k| foot[k] + size * tube.velocity[k] * walked + aside * [0.8, 0.2][k]),
                pose: away as f32 + walked,
                mirrored: false,
                mark: Mark::Benign,
            }
        })
        .collect();
    walker.show(stage, canvas, &look, frames.start, &steps);
}

/// The largest mean difference from the background, in levels, of a box on `foot` over the frames.
fn motion(
    stage: &Stage<'_>,
    canvas: &Canvas<'_>,
    frames: Range<usize>,
    foot: [f32; 2],
    edge: f32,
) -> f32 {
    let still = &stage.site.background.frame;
    let range = |low: f32, high: f32, n: usize| {
        low.clamp(0.0, n as f32) as usize..high.clamp(0.0, n as f32) as usize
    };
    let columns = range(foot[0] - edge / 2.0, foot[0] + edge / 2.0, still.width());
    let rows = range(foot[1] - edge, foot[1], still.height());
    let pixels = (columns.len() * rows.len()).max(1);
    let mut most = 0.0f32;
    for t in frames.step_by(3) {
        let mut sum = 0;
        for y in rows.clone() {
            let span =
                (y * still.width() + columns.start) * 3..(y * still.width() + columns.end) * 3;
            let (a, b) = (&canvas.frames[t].rgb()[span.clone()], &still.rgb()[span]);
            sum += a.iter().zip(b).map(|(a, b)| a.abs_diff(*b) as u64).sum::<u64>();
        }
        most = most.max(sum as f32 / (3 * pixels) as f32);
    }
    most
}

/// A bag with a handle, or a box, `tall` pixels high, standing on its anchor.
fn object(stage: &Stage<'_>, rng: &mut ChaCha8Rng, tall: f32) -> Sprite {
    let wide = tall * rng.random_range(0.7..1.5);
    let (w, h) = (wide.ceil() as usize + 6, (1.3 * tall).ceil() as usize + 4);
    let foot = [w as f32 / 2.0, h as f32 - 2.0];
    let dark = rng.random_bool(0.6);
    let paint = stage.paint(rng, if dark { 12.0..70.0 } else { 150.0..230.0 });
    let handle = rng.random_bool(0.5);
    let centre = [foot[0], foot[1] - tall / 2.0];
    let corner = tall * rng.random_range(0.05..0.25);
    Sprite::paint(w, h, foot, |x, y| {
        let body = rounded([x, y], centre, [wide / 2.0, tall / 2.0], corner);
        let top = foot[1] - tall;
        let distance = if handle {
            let bow = segment(
                [x, y],
                [foot[0] - 0.2 * wide, top - 0.12 * tall],
                [foot[0] + 0.2 * wide, top - 0.12 * tall],
            );
            body.min(bow - 0.04 * tall)
        } else {
            body
        };
        // Light comes from above, and the sides are in shade.
        let shade = 1.0 - 0.2 * (y - centre[1]) / tall - 0.15 * ((x - foot[0]) / wide).abs();
        (paint.map(|p| (p * shade).clamp(0.0, 255.0)), cover(distance))
    })
}
