//! `wrong_way`: somebody against the direction in which everybody goes there.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Look, Mark};
use crate::synthesis::composite::stage::{Stage, Step, Walker};
use crate::synthesis::composite::tubes::Tube;

/// Walkers whose lane is looked at.
const TRIES: usize = 12;
/// Mean cosine with the others of a lane from which on it has a direction.
const ONE_WAY: f32 = 0.6;

/// Somebody walks the way of a tube back, where the others all go one way, at 0.9–1.5 of its speed.
/// Where people go both ways there is no wrong way, and nothing happens.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    if !std::ptr::eq(stage.site, stage.lender) {
        return;
    }
    let lanes = (0..TRIES).filter_map(|_| stage.mover(rng));
    let best = lanes.map(|tube| (agreement(stage, tube), tube)).max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, tube)) = best.filter(|(agreement, _)| *agreement >= ONE_WAY) else { return };
    let speed = rng.random_range(0.9..1.5);
    let last = tube.path.len() - 1;
    let longest = (last as f32 / speed) as usize;
    let period = stage.period_of(rng, longest.min(stage.event_frames[0]), longest);
    let walker = Walker::new(tube);
    let reach = 0.15 * stage.site.height;
    let aside = [0, 1].map(|_| rng.random_range(-reach..reach));
    let look = Look::draw(rng, stage.site.background.noise);
    let steps: Vec<Step> = (0..period.len())
        .map(|i| {
            let at = (last as f32 - speed * i as f32).max(0.0);
            let (before, part) = (at as usize, at.fract());
            let (a, b) = (tube.path[before], tube.path[(before + 1).min(last)]);
            Step {
                at: [0, 1].map(|k| a[k] + part * (b[k] - a[k]) + aside[k]),
                pose: speed * i as f32,
                // The sprites look where the tube went.
                mirrored: true,
                mark,
            }
        })
        .collect();
    walker.show(stage, canvas, &look, period.start, &steps);
}

/// Mean cosine between the tube's direction and that of others whose way passes near its own; -1
/// where nobody else does.
fn agreement(stage: &Stage<'_>, tube: &Tube) -> f32 {
    let site = stage.site;
    let (mut sum, mut others) = (0.0, 0);
    for other in site.movers.iter().map(|&i| &site.tubes[i]).filter(|o| !std::ptr::eq(*o, tube)) {
        let middle = other.path[other.path.len() / 2];
        let near = tube
            .path
            .iter()
            .step_by(4)
            .any(|p| (p[0] - middle[0]).hypot(p[1] - middle[1]) < site.height_at(p[1]));
        if near {
            let dot = tube.velocity[0] * other.velocity[0] + tube.velocity[1] * other.velocity[1];
            sum += dot / (tube.speed() * other.speed()).max(1e-6);
            others += 1;
        }
    }
    if others == 0 { -1.0 } else { sum / others as f32 }
}
