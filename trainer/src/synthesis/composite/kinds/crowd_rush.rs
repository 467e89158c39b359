//! `crowd_rush`: many run the same way at once.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Look, Mark};
use crate::synthesis::composite::stage::{Stage, Step, Walker};

/// Five to ten people within some walkers' heights of each other run in one direction at 2–4 × walking
/// speed, none exactly like the other. Those farther away are drawn first.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let period = stage.period(rng);
    let (multiple, direction) = (rng.random_range(2.0..4.0), stage.direction(rng));
    let route = stage.straight(rng, period.len(), multiple, direction);
    let tall = stage.site.height_at(route[period.len() / 2][1]);
    let mut runners: Vec<[f32; 2]> = (0..rng.random_range(5..=10))
        .map(|_| [rng.random_range(-3.0..3.0) * tall, rng.random_range(-0.8..0.8) * tall])
        .collect();
    runners.sort_by(|a, b| a[1].total_cmp(&b[1]));
    for [x, y] in runners {
        let Some(tube) = stage.person(rng) else { return };
        let walker = Walker::new(tube);
        let look = Look::draw(rng, stage.site.background.noise);
        let (own, pose) = (rng.random_range(0.85..1.15), rng.random_range(0.0..64.0));
        let pace = (multiple * rng.random_range(0.6..1.0)).min(3.0);
        let mirrored = direction.cos() * tube.velocity[0] < 0.0;
        let (start, sway) = (route[0], rng.random_range(0.0..0.06) * tall);
        let steps: Vec<Step> = route
            .iter()
            .enumerate()
            .map(|(i, at)| {
                let sway = sway * (0.9 * i as f32 + pose).sin();
                Step {
                    at: [
                        start[0] + own * (at[0] - start[0]) + x,
                        start[1] + own * (at[1] - start[1]) + y + sway,
                    ],
                    pose: pose + pace * i as f32,
                    mirrored,
                    mark,
                }
            })
            .collect();
        walker.show(stage, canvas, &look, period.start, &steps);
    }
}
