//! A square seen from a roof: people are small.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::script::{Actor, Planned, normal};
use super::super::things::Load;
use super::super::viewpoint::Viewpoint;
use super::{Life, Place, Spot, daylight, go, hold, pace, pause, staged};

#[derive(Debug)]
struct Far {
    /// Rows along which people cross, in metres from the camera.
    lanes: Vec<f32>,
    bench: Spot,
}

/// Half of the width of the square, beyond what is seen.
const EDGE: f32 = 24.0;

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [0.0, 0.0, random.between(15.0, 17.0)];
    let yaw = random.between(-0.15, 0.15);
    let view = Viewpoint::new(size, at, yaw, random.between(0.68, 0.74), 0.87);
    let lanes: Vec<f32> = [13.5, 18.5, 24.0, 31.0].map(|y| y + random.between(-1.0, 1.0)).to_vec();
    let bench = (random.between(-5.0, 5.0), lanes[1] + 2.6);
    let ground = tone(random, 110.0, 160.0, 0.06);
    let mut patches: Vec<Patch> = lanes
        .iter()
        .map(|y| Patch {
            low: (-60.0, y - 1.6),
            high: (60.0, y + 1.6),
            colour: ground.map(|c| c + 14.0),
            finish: Finish::Tiles(0.8),
        })
        .collect();
    patches.push(Patch {
        low: (random.between(-18.0, -8.0), 26.5),
        high: (random.between(-4.0, 2.0), 28.6),
        colour: [70.0, 105.0, 60.0],
        finish: Finish::Rough,
    });
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let wall = tone(random, 90.0, 170.0, 0.15);
    let mut solids = vec![
        solid([-60.0, 37.0, 0.0], [60.0, 45.0, 12.0], wall, Finish::Windows(2.4)),
        solid(
            [bench.0 - 0.9, bench.1, 0.0],
            [bench.0 + 0.9, bench.1 + 0.45, 0.45],
            [110.0, 80.0, 55.0],
            Finish::Plain,
        ),
    ];
    // Planted tubs and posts between the lanes.
    for _ in 0..6 {
        let x = random.between(-12.0, 12.0);
        let y = lanes[random.below(3)] + 2.2;
        let green = [50.0, random.between(80.0, 115.0), 45.0];
        solids.push(solid([x, y, 0.0], [x + 0.8, y + 0.8, 0.5], [120.0; 3], Finish::Plain));
        solids.push(solid([x - 0.1, y - 0.1, 0.5], [x + 0.9, y + 0.9, 1.3], green, Finish::Rough));
    }
    let setting = Setting {
        ground,
        finish: Finish::Tiles(1.2),
        patches,
        solids,
        light: daylight(random),
        sky: [190.0, 200.0, 210.0],
    };
    (Box::new(Far { lanes, bench }), view, setting)
}

impl Far {
    /// The two ends of a way across, in either direction.
    fn way(&self, random: &mut Random) -> (Spot, Spot) {
        let lane = |random: &mut Random| {
            self.lanes[random.below(self.lanes.len())] + random.between(-1.2, 1.2)
        };
        let y = lane(random);
        let end = if random.chance(0.3) { lane(random) } else { y };
        let side = if random.chance(0.5) { EDGE } else { -EDGE };
        ((-side, y), (side, end))
    }

    /// A place on a way that is seen.
    fn on_way(random: &mut Random, from: Spot, to: Spot) -> Spot {
        let part = random.between(0.4, 0.6);
        (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1))
    }
}

impl Place for Far {
    fn events(&self) -> &'static [&'static str] {
        &["run", "bicycle", "bicycle-slow", "vehicle", "fall", "struggle"]
    }

    fn open(&self, life: &mut Life) {
        for _ in 0..2 {
            let at = (self.bench.0 + life.random.between(-0.6, 0.6), self.bench.1 - 0.4);
            let mut actor = life.person(at, Vec::new());
            actor.heading = -1.6;
            actor.resident = true;
            life.actors.push(actor);
        }
    }

    fn arrive(&self, life: &mut Life) -> f32 {
        if life.actors.len() > 22 {
            return 1.0;
        }
        let (from, to) = self.way(&mut life.random);
        let speed = pace(&mut life.random);
        let stops = life.random.chance(0.35);
        let mut steps = Vec::new();
        if stops {
            steps.push(go(Self::on_way(&mut life.random, from, to), speed));
            steps.extend(pause(&mut life.random));
        }
        steps.push(go(to, speed));
        let load = match life.random.below(9) {
            0 => Load::Pram(tone(&mut life.random, 30.0, 160.0, 0.3)),
            1 => Load::Trolley(tone(&mut life.random, 60.0, 200.0, 0.3)),
            2 | 3 => Load::Bag(tone(&mut life.random, 30.0, 200.0, 0.3)),
            _ => Load::Nothing,
        };
        // Some come together.
        let count = if life.random.chance(0.25) { 2 } else { 1 };
        for i in 0..count {
            let aside = 0.7 * i as f32;
            let shifted = steps.iter().map(|step| match step {
                super::Step::Go { to, speed } => go((to.0, to.1 + aside), *speed),
                other => *other,
            });
            let own = normal(shifted.collect::<Vec<_>>());
            let actor = life.person((from.0, from.1 + aside), own);
            life.actors.push(if i == 0 { actor.with(load) } else { actor });
        }
        life.random.between(1.2, 4.0)
    }

    fn more(&self, actor: &Actor, random: &mut Random) -> Vec<Planned> {
        let seat = (actor.at.0, self.bench.1 - 0.4);
        if random.chance(0.3) {
            let to = (random.between(-8.0, 8.0), self.lanes[1]);
            return normal([hold(Posture::STAND, 1.0), go(to, 1.2), go(seat, 1.2)]);
        }
        normal([super::Step::Face((seat.0, 0.0)), hold(Posture::SIT, random.between(6.0, 20.0))])
    }

    fn stage(&self, event: &str, life: &mut Life) {
        let (mut from, mut to) = self.way(&mut life.random);
        // Near the edge of what is seen.
        from.0 *= 0.8;
        to.0 *= 0.8;
        let at = Self::on_way(&mut life.random, from, to);
        match event {
            "run" => staged::run(life, from, to),
            "bicycle" => staged::bicycle(life, from, to, false),
            "bicycle-slow" => staged::bicycle(life, from, to, true),
            "vehicle" => staged::vehicle(life, from, to, false),
            "fall" => staged::fall(life, (at.0 - 4.0, from.1), at, to),
            _ => staged::struggle(life, [(at.0 - 6.0, from.1), (at.0 + 6.0, to.1)], at, [from, to]),
        }
    }
}
