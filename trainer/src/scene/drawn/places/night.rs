//! A street at night: lamps, head lights, and a fenced yard in which nobody ever is.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Lamp, Light, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::script::{Actor, Step, Who, normal};
use super::super::things::{Car, Load};
use super::super::viewpoint::{Viewpoint, unit};
use super::{Life, Place, Spot, go, hold, pace, pause, staged};

/// The pavement, the road's two lanes and the far pavement, in metres from the camera.
const PAVEMENT: (f32, f32) = (5.2, 7.6);
const LANES: [f32; 2] = [16.2, 19.4];
const BEYOND: f32 = 22.8;
/// The fence is in front of the yard.
const FENCE: f32 = 8.6;
const YARD: (Spot, Spot) = ((0.5, 9.4), (6.5, 12.6));

#[derive(Debug)]
struct Night;

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [0.0, 0.0, random.between(4.6, 5.4)];
    let view = Viewpoint::new(size, at, random.between(-0.1, 0.1), random.between(0.4, 0.46), 1.2);
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let wall = tone(random, 90.0, 150.0, 0.15);
    let mut solids = vec![
        solid([-40.0, 25.0, 0.0], [40.0, 30.0, 9.0], wall, Finish::Windows(2.6)),
        // The shed in the yard.
        solid([6.8, 9.4, 0.0], [9.6, 12.0, 2.4], wall.map(|c| c * 0.8), Finish::Bricks(0.5)),
        solid([3.6, 12.6, 0.0], [4.8, 13.4, 0.9], [95.0, 85.0, 70.0], Finish::Bricks(0.4)),
    ];
    // Rails and posts, through which one sees.
    for z in [0.35, 0.8, 1.25, 1.7] {
        solids.push(solid(
            [0.0, FENCE, z],
            [10.5, FENCE + 0.03, z + 0.04],
            [110.0; 3],
            Finish::Plain,
        ));
        solids.push(solid([0.0, FENCE, z], [0.03, 13.6, z + 0.04], [110.0; 3], Finish::Plain));
    }
    for i in 0..8 {
        let x = 1.4 * i as f32;
        solids.push(solid(
            [x, FENCE, 0.0],
            [x + 0.06, FENCE + 0.06, 1.8],
            [105.0; 3],
            Finish::Plain,
        ));
    }
    let lamps: Vec<Lamp> = [(-5.0, 8.2), (3.0, 14.0), (-3.0, 22.0), (9.0, 22.0)]
        .into_iter()
        .map(|(x, y)| Lamp {
            at: [x + random.between(-0.6, 0.6), y, 4.6],
            reach: 5.4,
            strength: random.between(0.85, 1.2),
        })
        .collect();
    for lamp in &lamps {
        let [x, y, z] = lamp.at;
        solids.push(solid([x - 0.05, y, 0.0], [x + 0.05, y + 0.1, z], [70.0; 3], Finish::Plain));
        solids.push(solid(
            [x - 0.2, y - 0.2, z],
            [x + 0.2, y + 0.2, z + 0.12],
            [255.0; 3],
            Finish::Plain,
        ));
    }
    let patch = |low, high, level: f32| Patch {
        low,
        high,
        colour: [level, level, level * 1.03],
        finish: Finish::Rough,
    };
    let patches = vec![
        patch((-60.0, 14.4), (60.0, 21.2), 70.0),
        patch((-60.0, 14.2), (60.0, 14.4), 140.0),
        patch((-60.0, 17.7), (60.0, 17.8), 170.0),
        patch((0.0, FENCE), (10.5, 13.6), 85.0),
    ];
    let setting = Setting {
        ground: tone(random, 105.0, 130.0, 0.05),
        finish: Finish::Tiles(0.5),
        patches,
        solids,
        light: Light {
            ambient: 0.2,
            from: unit([random.between(-0.5, 0.5), 0.2, 1.0]),
            shadow: 0.3,
            soft: 0.25,
            lamps,
            noise: 6.0,
        },
        sky: [14.0, 15.0, 20.0],
    };
    (Box::new(Night), view, setting)
}

fn along(random: &mut Random) -> (Spot, Spot) {
    let side = if random.chance(0.5) { 1.0 } else { -1.0 };
    let y = random.between(PAVEMENT.0, PAVEMENT.1);
    ((-side * 8.5, y), (side * 8.5, y + random.between(-0.3, 0.3)))
}

fn in_yard(random: &mut Random) -> Spot {
    (random.between(YARD.0.0, YARD.1.0), random.between(YARD.0.1, YARD.1.1))
}

impl Place for Night {
    fn events(&self) -> &'static [&'static str] {
        &["climb", "intruder", "run", "vehicle", "fall", "struggle"]
    }

    fn arrive(&self, life: &mut Life) -> f32 {
        if life.actors.len() > 8 {
            return 2.0;
        }
        let random = &mut life.random;
        match random.below(10) {
            0..=3 => {
                // A car on the road.
                let lane = random.below(2);
                let side = if lane == 0 { 1.0 } else { -1.0 };
                let y = LANES[lane] + random.between(-0.2, 0.2);
                let speed = random.between(6.0, 11.0);
                let body = tone(random, 40.0, 200.0, 0.3);
                let who = Who::Car(Car { body, lights: true });
                let steps = normal([go((side * 26.0, y), speed)]);
                let car = Actor::new(who, (-side * 26.0, y), steps, random);
                life.actors.push(car);
            }
            4 | 5 => {
                let side = if random.chance(0.5) { 22.0 } else { -22.0 };
                let speed = pace(random);
                let y = BEYOND + random.between(-0.8, 0.8);
                let actor = life.person((-side, y), normal([go((side, y), speed)]));
                life.actors.push(actor);
            }
            _ => {
                let (from, to) = along(random);
                let speed = pace(random);
                let mut steps = Vec::new();
                if random.chance(0.3) {
                    steps.push(go((random.between(-3.0, 3.0), from.1), speed));
                    steps.extend(pause(random));
                }
                steps.push(go(to, speed));
                let load = match random.below(6) {
                    0 => Load::Bag(tone(random, 40.0, 200.0, 0.3)),
                    1 => Load::Pram(tone(random, 40.0, 140.0, 0.3)),
                    2 => Load::Trolley(tone(random, 60.0, 160.0, 0.3)),
                    _ => Load::Nothing,
                };
                let pair = random.chance(0.25);
                let actor = life.person(from, normal(steps.clone())).with(load);
                life.actors.push(actor);
                if pair {
                    let steps = steps.iter().map(|step| match step {
                        Step::Go { to, speed } => go((to.0, to.1 + 0.6), *speed),
                        other => *other,
                    });
                    let own = normal(steps.collect::<Vec<_>>());
                    let actor = life.person((from.0, from.1 + 0.6), own);
                    life.actors.push(actor);
                }
            }
        }
        life.random.between(2.0, 6.0)
    }

    fn stage(&self, event: &str, life: &mut Life) {
        let (from, to) = along(&mut life.random);
        let at = (life.random.between(-3.0, 3.0), from.1);
        match event {
            "run" => staged::run(life, from, to),
            "vehicle" => staged::vehicle(life, (1.3 * from.0, 6.4), (1.3 * to.0, 6.4), true),
            "fall" => staged::fall(life, ((at.0 - 4.0).max(-8.0), from.1), at, to),
            "struggle" => {
                staged::struggle(life, [(at.0 - 4.0, at.1), (at.0 + 4.0, at.1)], at, [from, to]);
            }
            "climb" => {
                // Over the fence into the yard, and back.
                let x = life.random.between(1.0, 6.0);
                let (front, back) = ((x, FENCE - 0.45), (x, FENCE + 0.5));
                let wait = life.random.between(1.5, 3.0);
                let over = |to, other: Spot| {
                    let top = (f32::midpoint(to, other.0), FENCE);
                    [
                        Step::Climb { to: top, lift: 1.5, seconds: 1.6 },
                        Step::Climb { to: other, lift: 0.0, seconds: 0.9 },
                    ]
                };
                let mut steps = normal([go(front, 1.3), Step::Face((x, 20.0))]);
                let mut deeds = over(x, back).to_vec();
                deeds.extend([go(in_yard(&mut life.random), 1.3), hold(Posture::CROUCH, wait)]);
                deeds.extend([go(back, 1.6), Step::Face((x, 0.0))]);
                deeds.extend(over(x, front));
                steps.extend(super::super::script::event(deeds));
                steps.extend(normal([go(to, 1.5)]));
                let actor = life.person((x - 4.0, from.1), steps);
                life.actors.push(actor);
            }
            _ => {
                // Comes out from behind the shed with a torch.
                let hidden = (8.4, 12.6);
                let mut steps = vec![go((6.2, 12.8), 1.0)];
                for _ in 0..2 {
                    steps.push(go(in_yard(&mut life.random), 0.9));
                    steps.push(hold(Posture::HANDS, life.random.between(1.0, 2.0)));
                }
                steps.extend([go((6.2, 12.8), 1.2), go(hidden, 1.2)]);
                staged::intruder(life, hidden, steps, Load::Torch);
            }
        }
    }
}
