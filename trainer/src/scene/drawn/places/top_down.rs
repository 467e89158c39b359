//! A shop seen from its ceiling.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::script::{Step, normal};
use super::super::things::Load;
use super::super::viewpoint::Viewpoint;
use super::{Life, Place, Spot, bend, go, hold, indoors, staged};

#[derive(Debug)]
struct TopDown;

/// Ways in and out, beyond the picture's upper edge.
const IN: Spot = (-1.5, 3.6);
const OUT: Spot = (1.6, 3.6);
/// In front of the counter, and behind it, where nobody goes.
const TILL: Spot = (1.5, 0.3);
const BEHIND: Spot = (1.2, -0.75);

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [random.between(-0.1, 0.1), 0.0, random.between(3.5, 3.8)];
    let view = Viewpoint::new(size, at, random.between(-0.06, 0.06), 1.45, 1.48);
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let shelf = tone(random, 120.0, 190.0, 0.2);
    let counter = tone(random, 70.0, 160.0, 0.25);
    let mut solids = vec![
        solid([-3.5, -2.6, 0.0], [-2.55, 2.4, 1.5], shelf, Finish::Goods),
        solid([2.6, 0.8, 0.0], [3.5, 2.4, 1.5], shelf, Finish::Goods),
        solid([-0.5, 0.5, 0.0], [0.45, 2.0, 0.85], shelf, Finish::Goods),
        solid([0.8, -0.45, 0.0], [3.4, -0.1, 0.95], counter, Finish::Bricks(0.5)),
        solid([1.7, -0.4, 0.95], [2.1, -0.15, 1.15], [45.0, 45.0, 50.0], Finish::Plain),
        solid([-3.6, 2.9, 0.0], [-2.3, 3.2, 2.2], [150.0; 3], Finish::Plain),
    ];
    solids.push(solid(
        [-2.2, -2.3, 0.0],
        [-1.5, -1.8, 0.7],
        tone(random, 60.0, 180.0, 0.5),
        Finish::Goods,
    ));
    let mat = Patch {
        low: (-2.2, 2.3),
        high: (-0.8, 3.4),
        colour: tone(random, 45.0, 90.0, 0.2),
        finish: Finish::Rough,
    };
    let setting = Setting {
        ground: tone(random, 140.0, 190.0, 0.06),
        finish: Finish::Tiles(0.45),
        patches: vec![mat],
        solids,
        light: indoors(random),
        sky: [128.0; 3],
    };
    (Box::new(TopDown), view, setting)
}

/// Looks at a shelf: takes something, crouches, reads.
fn browse(toward: Spot, random: &mut Random) -> Vec<Step> {
    let mut steps = vec![Step::Face(toward)];
    match random.below(4) {
        0 => steps.extend([hold(Posture::REACH, random.between(1.5, 3.0))]),
        1 => steps.extend(bend(random)),
        2 => steps.extend([hold(Posture::CROUCH, random.between(2.0, 5.0))]),
        _ => steps.extend([hold(Posture::HANDS, random.between(2.0, 6.0))]),
    }
    steps.push(hold(Posture::STAND, 0.8));
    steps
}

impl Place for TopDown {
    fn events(&self) -> &'static [&'static str] {
        &["fall", "run", "climb", "throw", "struggle", "intruder"]
    }

    fn arrive(&self, life: &mut Life) -> f32 {
        if life.actors.len() > 3 {
            return 2.0;
        }
        let random = &mut life.random;
        let speed = random.between(0.7, 1.2);
        let aside = random.between(-0.25, 0.25);
        let mut steps = vec![go((-1.55 + aside, 2.2), speed)];
        for _ in 0..1 + random.below(3) {
            let left = random.chance(0.6);
            let y = random.between(-0.8, 1.9);
            steps.push(go((-1.5 + aside, y), speed));
            steps.extend(browse(if left { (-4.0, y) } else { (0.0, y) }, random));
        }
        if random.chance(0.25) {
            // Only had a look.
            steps.extend([go((-1.2 + aside, 2.2), speed), go(IN, speed)]);
        } else {
            steps.extend([go((-1.2 + aside, -0.4), speed), go((0.3, 0.0), speed), go(TILL, speed)]);
            steps.extend([Step::Face((1.5, -2.0)), hold(Posture::HANDS, random.between(3.0, 7.0))]);
            steps.extend([go((1.55 + aside, 1.2), speed), go(OUT, speed)]);
        }
        let load = match random.below(6) {
            0 => Load::Trolley(tone(random, 100.0, 200.0, 0.2)),
            1 | 2 => Load::Bag(tone(random, 40.0, 200.0, 0.4)),
            3 => Load::Box([150.0, 115.0, 75.0]),
            _ => Load::Nothing,
        };
        let actor = life.person((IN.0 + aside, IN.1), normal(steps)).with(load);
        life.actors.push(actor);
        life.random.between(4.0, 11.0)
    }

    fn stage(&self, event: &str, life: &mut Life) {
        let aisle = (-1.5 + life.random.between(-0.3, 0.3), life.random.between(-0.4, 1.4));
        let corner = (-0.4, -1.0);
        match event {
            "fall" => staged::fall(life, IN, aisle, IN),
            "run" => {
                let mut steps = vec![go((-1.5, 1.8), 2.8), go((-1.2, -0.7), 3.2)];
                steps.extend([go((0.3, -0.1), 3.0), go((1.5, 0.5), 3.2), go(OUT, 4.0)]);
                let actor = life.person(IN, super::super::script::event(steps));
                life.actors.push(actor);
            }
            "throw" => {
                let toward = (aisle.0, aisle.1 - 1.6);
                staged::throw(life, IN, aisle, toward, IN, 0.14);
            }
            "struggle" => staged::struggle(life, [IN, OUT], corner, [IN, OUT]),
            "climb" => {
                // Over the counter and back.
                let steps = vec![
                    Step::Climb { to: (1.15, -0.28), lift: 0.95, seconds: 1.4 },
                    hold_up(life.random.between(1.0, 2.0)),
                    Step::Climb { to: BEHIND, lift: 0.0, seconds: 1.0 },
                    hold(Posture::HANDS, life.random.between(2.0, 4.0)),
                    Step::Climb { to: (1.15, -0.28), lift: 0.95, seconds: 1.2 },
                    Step::Climb { to: (1.15, 0.3), lift: 0.0, seconds: 1.0 },
                ];
                let mut all = normal([go((1.55, 1.2), 1.1), go((1.15, 0.3), 1.1)]);
                all.extend(super::super::script::event(steps));
                all.extend(normal([go(OUT, 1.3)]));
                let actor = life.person(OUT, all);
                life.actors.push(actor);
            }
            _ => {
                let steps = vec![
                    go((0.3, -0.8), 1.2),
                    go(BEHIND, 1.0),
                    Step::Face((1.5, 0.0)),
                    hold(Posture::HANDS, life.random.between(3.0, 6.0)),
                    hold(Posture::CROUCH, life.random.between(1.5, 3.0)),
                    go((0.3, -0.8), 1.2),
                ];
                let mut all = normal([go((-1.5, 1.8), 1.2), go((-1.1, -0.8), 1.2)]);
                all.extend(super::super::script::event(steps));
                all.extend(normal([go((-1.2, -0.6), 1.2), go((-1.4, 1.8), 1.2), go(IN, 1.2)]));
                let actor = life.person(IN, all);
                life.actors.push(actor);
            }
        }
    }
}

/// Kneels on the counter.
fn hold_up(seconds: f32) -> Step {
    Step::Hold { posture: Posture::CROUCH, blend: 0.5, seconds, lift: 0.95 }
}
