//! `texture`: something of a walker's size that looks like none.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::brush::{cover, ellipse};
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::{Stage, Walker};

/// A walker inverted or filled with a piece of the scene, with noise or with one colour; where
/// nobody walks, an oval of such stuff.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let period = stage.period(rng);
    let speed = rng.random_range(0.7..2.0);
    let Some(tube) = stage.mover(rng) else {
        let fill = fill(stage, rng);
        let tall = stage.site.height * rng.random_range(0.6..1.3);
        let radius = [tall * rng.random_range(0.2..0.4), tall * 0.5];
        let (w, h) = ((2.0 * radius[0]) as usize + 4, tall as usize + 4);
        let centre = [w as f32 / 2.0, h as f32 / 2.0];
        let sprite = Sprite::paint(w, h, [centre[0], centre[1] + radius[1]], |x, y| {
            (fill(x, y, [128.0; 3]), cover(ellipse([x, y], centre, radius)))
        });
        let direction = stage.direction(rng);
        let route = stage.straight(rng, period.len(), speed, direction);
        stage.ride(canvas, rng, period.start, &sprite, &route, mark);
        return;
    };
    let fill = fill(stage, rng);
    let sprites: Vec<Sprite> = tube
        .sprites
        .iter()
        .map(|s| s.recolour(|x, y, rgb| fill(x - s.anchor[0], y - s.anchor[1], rgb)))
        .collect();
    let mut walker = Walker::new(tube).at_speed(stage, speed);
    walker.sprites = &sprites;
    walker.pace = rng.random_range(0.0..1.5);
    walker.walk(stage, canvas, rng, period, mark);
}

/// From a position about the foot and the colour there to another colour.
fn fill<'a>(
    stage: &Stage<'a>,
    rng: &mut ChaCha8Rng,
) -> impl Fn(f32, f32, [f32; 3]) -> [f32; 3] + use<'a> {
    let way = rng.random_range(0..4);
    let texture = stage.texture(rng);
    let paint = stage.paint(rng, 20.0..235.0);
    let contrast = rng.random_range(0.8..1.8);
    let patches = 3.0 / stage.site.height * rng.random_range(3.0..12.0);
    let (clouds, phase) = (stage.clouds, rng.random());
    move |x, y, rgb| match way {
        0 => rgb.map(|v| 255.0 - v),
        1 => texture(x, y).map(|v| 128.0 + contrast * (v - 128.0)),
        2 => paint.map(|v| v + 40.0 * contrast * clouds.between(patches * x, patches * y, phase)),
        _ => [0, 1, 2].map(|c| 0.75 * paint[c] + 0.25 * rgb[c]),
    }
}
