//! `cart`: a vehicle among walkers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::brush::{CLEAR, cover, ellipse, over, rounded, segment};
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::Stage;

/// A rigid body 0.8–2.4 times a walker's height wide, mostly on dark wheels, some with a roof on
/// posts or windows and a driver, a quarter of them at
/// 0.3–1.3 × walking speed, the others at up to 4 ×.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let sprite = build(stage, rng);
    let period = stage.period(rng);
    let slow = rng.random_bool(0.25);
    let speed = if slow { rng.random_range(0.3..1.3) } else { rng.random_range(1.3..4.0) };
    let direction = stage.direction(rng);
    let route = stage.straight(rng, period.len(), speed, direction);
    stage.ride(canvas, rng, period.start, &sprite, &route, mark);
}

fn build(stage: &Stage<'_>, rng: &mut ChaCha8Rng) -> Sprite {
    let tall = stage.site.height;
    let [frame_width, frame_height] = stage.size();
    let width = (tall * rng.random_range(0.8..2.4)).min(0.6 * frame_width);
    let height = (width * rng.random_range(0.3..0.75)).clamp(0.4 * tall, 1.6 * tall);
    let height = height.min(0.6 * frame_height);
    let roofed = rng.random_bool(0.4);
    let above = if roofed { tall * rng.random_range(0.4..0.8) } else { 0.0 };
    let wheel = tall * rng.random_range(0.1..0.24);
    let wheels = if rng.random_bool(0.8) { rng.random_range(2..=3) } else { 0 };
    let lift = if wheels > 0 { 0.8 * wheel } else { 0.0 };

    let margin = 3.0;
    let half = width / 2.0;
    let anchor = [half + margin, above + height + lift + margin];
    let size = [(2.0 * anchor[0]).ceil() as usize, (anchor[1] + 2.0 * margin).ceil() as usize];
    // Relative to the anchor, on the ground below the middle; y down.
    let body = [0.0, -lift - height / 2.0];
    let corner = height * rng.random_range(0.05..0.4);
    let top = -lift - height;
    let windowed = !roofed && rng.random_bool(0.5);
    let window_half = [half * rng.random_range(0.4..0.8), height * 0.18];
    let window = [half * rng.random_range(-0.15..0.15), top + height * 0.3];
    let seat = [half * rng.random_range(-0.4..0.4), top];

    let paint = stage.paint(rng, 30.0..245.0);
    let trim = stage.paint(rng, 20.0..235.0);
    let tyre = stage.paint(rng, 8.0..45.0);
    let glass = if rng.random_bool(0.7) { 20.0..80.0 } else { 170.0..230.0 };
    let glass = stage.paint(rng, glass);
    let texture = stage.texture(rng);
    let share = rng.random_range(0.1..0.5);
    let driver = stage
        .person(rng)
        .map(|t| (&t.sprites[rng.random_range(0..t.sprites.len())], stage.usual_size(t)))
        .filter(|_| rng.random_bool(0.5));
    Sprite::paint(size[0], size[1], anchor, |x, y| {
        let p = [x - anchor[0], y - anchor[1]];
        // A soft shadow on the ground.
        let shadow = ellipse(p, [0.0, 0.0], [0.95 * half, (0.12 * tall).max(1.5)]);
        let mut ink = ([8.0; 3], 0.35 * (0.5 - shadow / 3.0).clamp(0.0, 1.0));
        if let Some((sprite, scale)) = driver {
            // Sits with the lower half in the body.
            let u = (p[0] - seat[0]) / scale + sprite.anchor[0];
            let v = (p[1] - seat[1]) / scale + sprite.anchor[1] - 0.5 * tall / scale;
            ink = over(sprite.straight(u, v), ink);
        }
        if roofed {
            for side in [-0.85 * half, 0.85 * half] {
                let post = segment(p, [side, top], [0.9 * side, top - above]);
                ink = over((trim, cover(post - (0.03 * tall).max(0.7))), ink);
            }
            let roof = [0.0, top - above + 0.05 * tall];
            let plate = rounded(p, roof, [0.95 * half, (0.05 * tall).max(1.0)], 1.0);
            ink = over((trim, cover(plate)), ink);
        }
        // Lighter above, darker below, as anything solid outdoors.
        let shade = 1.0 - 0.3 * (p[1] - body[1]) / height;
        let filled = texture(x, y);
        let rgb = [0, 1, 2]
            .map(|c| ((paint[c] * (1.0 - share) + filled[c] * share) * shade).clamp(0.0, 255.0));
        ink = over((rgb, cover(rounded(p, body, [half, height / 2.0], corner))), ink);
        if windowed {
            ink = over((glass, cover(rounded(p, window, window_half, 1.0))), ink);
        }
        for i in 0..wheels {
            let along = if wheels > 1 { i as f32 / (wheels - 1) as f32 - 0.5 } else { 0.0 };
            let hub = [along * 1.4 * half, -wheel];
            ink = over((tyre, cover(ellipse(p, hub, [wheel, wheel]))), ink);
            let cap = ellipse(p, hub, [0.4 * wheel; 2]);
            ink = over((trim, 0.7 * cover(cap)), ink);
        }
        if ink.1 > 0.0 { ink } else { CLEAR }
    })
}
