//! `bike`: somebody rides on two thin wheels.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::brush::{CLEAR, cover, ellipse, over, segment};
use crate::synthesis::composite::canvas::{Canvas, Mark};
use crate::synthesis::composite::sprite::Sprite;
use crate::synthesis::composite::stage::{Stage, Walker};

/// A frozen walker cut at 65–95 % of the height above two thin wheels with frame lines, a quarter of them at
/// 0.7–1.6 × walking speed, the others at up to 4.5 ×; seen from the side, or foreshortened.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.person(rng) else {
        return;
    };
    let n = tube.sprites.len();
    let poses = if rng.random_bool(0.4) { rng.random_range(2..=3.min(n)) } else { 1 };
    let first = rng.random_range(0..=n - poses);
    let design = Design::draw(stage, rng, tube.height);
    // Pedalling: the rider's pose goes to and fro over few frames of the walk.
    let bikes: Vec<Sprite> = (0..n)
        .map(|i| first + i % poses)
        .take(poses)
        .map(|i| design.build(&tube.sprites[i]))
        .collect();
    let sprites: Vec<Sprite> = (0..n).map(|i| bikes[i % poses].clone()).collect();
    let slow = rng.random_bool(0.25);
    let speed = if slow { rng.random_range(0.7..1.6) } else { rng.random_range(1.6..4.5) };
    let mut walker = Walker::new(tube).at_speed(stage, speed);
    walker.sprites = &sprites;
    walker.pace = if poses > 1 { rng.random_range(0.1..0.6) } else { 0.0 };
    walker.scale = rng.random_range(0.9..1.15);
    walker.lean = rng.random_range(-0.06..0.06);
    let period = stage.period(rng);
    walker.walk(stage, canvas, rng, period, mark);
}

/// Measures of a bicycle, in pixels.
struct Design {
    /// The rider's height, uncut.
    tall: f32,
    /// Where the rider is cut, from the top.
    cut: f32,
    /// How far the cut rider is moved up.
    lift: f32,
    /// Rider's forward lean: pixels of shift per pixel of height.
    shear: f32,
    wheel: [f32; 2],
    base: f32,
    tyre: f32,
    tube: f32,
    paint: [[f32; 3]; 2],
}

impl Design {
    fn draw(stage: &Stage<'_>, rng: &mut ChaCha8Rng, tall: f32) -> Self {
        let radius = tall * rng.random_range(0.17..0.27);
        // 1 from the side; a bicycle that comes head on shows hardly any wheelbase.
        let side = rng.random_range(0.3..1.0f32);
        let dark = rng.random_bool(0.75);
        let levels = if dark { 15.0..90.0 } else { 150.0..235.0 };
        Self {
            tall,
            cut: tall * rng.random_range(0.65..0.95),
            lift: tall * rng.random_range(0.0..0.12),
            shear: rng.random_range(-0.25..0.25),
            wheel: [radius * side.max(0.25), radius],
            base: tall * rng.random_range(0.5..0.72) * side,
            tyre: (0.045 * tall * rng.random_range(0.6..1.2)).max(0.8),
            tube: (0.035 * tall * rng.random_range(0.6..1.2)).max(0.7),
            paint: [stage.paint(rng, levels), stage.paint(rng, 20.0..220.0)],
        }
    }

    /// The rider's sprite on the bicycle; anchored where the walker's foot was.
    fn build(&self, rider: &Sprite) -> Sprite {
        let reach = self.base / 2.0 + self.wheel[0] + 3.0;
        let half = reach.max(rider.width as f32 / 2.0 + self.shear.abs() * self.tall + 2.0);
        let above = rider.anchor[1].max(self.tall) + self.lift + 3.0;
        let (width, height) = ((2.0 * half).ceil() as usize, above.ceil() as usize + 4);
        let anchor = [half, above];
        // Relative to the anchor, y down.
        let hub_y = -self.wheel[1];
        let hubs = [[-self.base / 2.0, hub_y], [self.base / 2.0, hub_y]];
        let saddle = [-0.18 * self.base, -0.5 * self.tall - self.lift];
        let bars = [0.42 * self.base, -0.58 * self.tall - self.lift];
        let crank = [-0.05 * self.base, hub_y + 0.1 * self.wheel[1]];
        let lines = [
            (hubs[0], saddle),
            (saddle, crank),
            (hubs[0], crank),
            (crank, bars),
            (hubs[1], bars),
            ([saddle[0], saddle[1] + 0.06 * self.tall], bars),
        ];
        let top = -self.tall;
        Sprite::paint(width, height, anchor, |x, y| {
            let p = [x - anchor[0], y - anchor[1]];
            let mut ink = CLEAR;
            for hub in hubs {
                let rim = ellipse(p, hub, self.wheel).abs() - self.tyre / 2.0;
                ink = over((self.paint[0], cover(rim)), ink);
            }
            for (a, b) in lines {
                ink = over((self.paint[1], cover(segment(p, a, b) - self.tube / 2.0)), ink);
            }
            // The rider, cut softly over two pixels.
            let y = p[1] + self.lift;
            let kept = ((top + self.cut - y) / 2.0 + 0.5).clamp(0.0, 1.0);
            if kept > 0.0 {
                let x = p[0] + self.shear * (y - top - self.cut);
                let (rgb, a) = rider.straight(x + rider.anchor[0], y + rider.anchor[1]);
                ink = over((rgb, a * kept), ink);
            }
            ink
        })
    }
}
