//! `flash`: something flares up, smokes or sparks.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Look, Mark, Placement};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::Stage;

/// A noisy bright or dark blob of a quarter to three quarters of a walker's height in radius, for 0.8–2.3
/// seconds, ragged and flickering.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let frames = [0.8, 2.3].map(|s| ((s * stage.rate) as usize).clamp(6, stage.span));
    let period = stage.period_of(rng, frames[0], frames[1]);
    let foot = stage.foot(rng);
    let tall = stage.site.height_at(foot[1]);
    let radius = tall * rng.random_range(0.22..0.75);
    let at = [foot[0], foot[1] - tall * rng.random_range(0.0..1.0)];
    let rise = -tall * rng.random_range(0.0..0.04);
    let bright = rng.random_bool(0.65);
    let paint = stage.paint(rng, if bright { 215.0..255.0 } else { 5.0..60.0 });
    let patches = rng.random_range(8.0..16.0) / radius;
    let soft = rng.random_range(1.2..3.5);
    let (flicker, phase) = (rng.random_range(0.05..0.5f32), rng.random::<u32>());
    let look = Look::draw(rng, stage.site.background.noise);
    let edge = (2.6 * radius).ceil() as usize;
    let centre = edge as f32 / 2.0;
    for (i, t) in period.clone().enumerate() {
        // Up within two frames, down in the last three.
        let envelope = ((i + 1) as f32 / 2.0).min((period.len() - i) as f32 / 3.0).min(1.0);
        let strength = envelope * (1.0 - flicker * rng.random_range(0.0..1.0f32));
        let size = radius * (0.7 + 0.3 * strength) * rng.random_range(0.9..1.1);
        // The pattern boils: two layers of clouds drift apart.
        let drift = 2.0 * i as f32;
        let sprite = Sprite::paint(edge, edge, [centre; 2], |x, y| {
            let (u, v) = (patches * x, patches * y);
            let noise = stage.clouds.between(u + drift, v, phase)
                + stage.clouds.between(u - drift, v + drift, phase ^ 1);
            let r = (x - centre).hypot(y - centre) / size + 0.22 * noise;
            let alpha = strength * ((1.0 - r) * soft).clamp(0.0, 1.0);
            (paint.map(|p| (p + 12.0 * noise).clamp(0.0, 255.0)), alpha)
        });
        let place = Placement {
            at: [at[0], at[1] + rise * i as f32],
            scale: [1.0; 2],
            angle: 0.0,
            smear: [0.0; 2],
        };
        canvas.paste(t, &sprite, &place, &look, mark);
    }
}
