//! A busy square: many people, alone and in groups, who walk, stop and stand about.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::script::{Actor, Planned, Step, normal};
use super::super::things::Load;
use super::super::viewpoint::Viewpoint;
use super::{Life, Place, Spot, daylight, go, hold, pace, pause, staged};

/// Most people.
const MOST: usize = 34;

#[derive(Debug)]
struct Crowd {
    /// Where groups stand.
    stands: Vec<Spot>,
}

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [0.0, 0.0, random.between(6.5, 7.5)];
    let yaw = random.between(-0.2, 0.2);
    let view = Viewpoint::new(size, at, yaw, random.between(0.46, 0.54), 1.13);
    let ground = tone(random, 100.0, 150.0, 0.08);
    let patches = (0..3)
        .map(|i| {
            let x = -9.0 + 7.0 * i as f32 + random.between(-1.0, 1.0);
            Patch {
                low: (x, 3.0),
                high: (x + 1.2, 22.0),
                colour: ground.map(|c| c * 0.85),
                finish: Finish::Tiles(0.4),
            }
        })
        .collect();
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let wall = tone(random, 90.0, 170.0, 0.15);
    let mut solids =
        vec![solid([-40.0, 23.0, 0.0], [40.0, 30.0, 10.0], wall, Finish::Windows(2.0))];
    // Stalls under the wall.
    for i in 0..4 {
        let x = -13.0 + 7.0 * i as f32 + random.between(-1.0, 1.0);
        let cloth = tone(random, 60.0, 200.0, 0.5);
        solids.push(solid(
            [x, 20.5, 0.0],
            [x + 3.0, 21.5, 1.0],
            [120.0, 90.0, 60.0],
            Finish::Goods,
        ));
        solids.push(solid([x - 0.2, 20.2, 2.1], [x + 3.2, 22.0, 2.25], cloth, Finish::Bricks(0.4)));
    }
    let stands = (0..4)
        .map(|i| {
            let x = -6.0 + 4.0 * i as f32 + random.between(-0.7, 0.7);
            (x, random.between(8.0, 16.0))
        })
        .collect();
    let setting = Setting {
        ground,
        finish: Finish::Tiles(0.6),
        patches,
        solids,
        light: daylight(random),
        sky: [185.0, 195.0, 205.0],
    };
    (Box::new(Crowd { stands }), view, setting)
}

/// The ends of a way across: from side to side, or from the front to the stalls.
fn way(random: &mut Random) -> (Spot, Spot) {
    let side = if random.chance(0.5) { 1.0 } else { -1.0 };
    if random.chance(0.3) {
        let (a, b) = (random.between(-4.0, 4.0), random.between(-9.0, 9.0));
        let (near, far) = ((a, 2.5), (b, 19.8));
        return if side > 0.0 { (near, far) } else { (far, near) };
    }
    let y = random.between(7.0, 19.0);
    let wide = 0.62 * y + 5.0;
    ((-side * wide, y), (side * wide, y + random.between(-2.0, 2.0)))
}

fn between(from: Spot, to: Spot, part: f32) -> Spot {
    (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1))
}

impl Place for Crowd {
    fn events(&self) -> &'static [&'static str] {
        &["run", "bicycle", "bicycle-slow", "vehicle", "fall", "struggle", "throw"]
    }

    fn open(&self, life: &mut Life) {
        for &(x, y) in &self.stands {
            let count = 1 + life.random.below(4);
            for i in 0..count {
                let angle = std::f32::consts::TAU * i as f32 / count as f32;
                let at = (x + 0.6 * angle.cos(), y + 0.6 * angle.sin());
                let mut actor = life.person(at, Vec::new());
                actor.heading = angle + std::f32::consts::PI;
                actor.resident = true;
                life.actors.push(actor);
            }
        }
    }

    fn arrive(&self, life: &mut Life) -> f32 {
        if life.actors.len() >= MOST {
            return 0.5;
        }
        let (from, to) = way(&mut life.random);
        let speed = pace(&mut life.random);
        let count = match life.random.below(10) {
            0..=5 => 1,
            6..=7 => 2,
            8 => 3,
            _ => 4,
        };
        let stop = life.random.between(0.3, 0.7);
        let pauses = life.random.chance(0.4).then(|| pause(&mut life.random));
        for i in 0..count {
            // Side by side, the third and fourth behind.
            let shift = (0.65 * (i / 2) as f32, 0.7 * (i % 2) as f32);
            let moved = |p: Spot| (p.0 + shift.0, p.1 + shift.1);
            let mut steps = Vec::new();
            if let Some(pauses) = &pauses {
                steps.push(go(moved(between(from, to, stop)), speed));
                steps.extend(pauses);
            }
            steps.push(go(moved(to), speed));
            let load = match life.random.below(12) {
                0 if i == 0 => Load::Pram(tone(&mut life.random, 30.0, 160.0, 0.3)),
                1 if i == 0 => Load::Trolley(tone(&mut life.random, 60.0, 200.0, 0.3)),
                2 => Load::Box([150.0, 115.0, 75.0]),
                3 | 4 => Load::Bag(tone(&mut life.random, 30.0, 200.0, 0.3)),
                _ => Load::Nothing,
            };
            let actor = life.person(moved(from), normal(steps)).with(load);
            life.actors.push(actor);
        }
        life.random.between(0.6, 1.6)
    }

    fn more(&self, actor: &Actor, random: &mut Random) -> Vec<Planned> {
        let posture = match random.below(6) {
            0 | 1 => Posture::TALK,
            2 => Posture::PHONE,
            3 => Posture::CROUCH,
            _ => Posture::STAND,
        };
        let mut steps = vec![hold(posture, random.between(1.5, 6.0))];
        if random.chance(0.1) {
            // Takes a few steps and comes back.
            let at = actor.at;
            let to = (at.0 + random.between(-2.0, 2.0), at.1 + random.between(-2.0, 2.0));
            steps.extend([go(to, 1.0), Step::Face(at), hold(Posture::STAND, 2.0), go(at, 1.0)]);
        }
        normal(steps)
    }

    fn stage(&self, event: &str, life: &mut Life) {
        let y = life.random.between(8.0, 15.0);
        let side = if life.random.chance(0.5) { 1.0 } else { -1.0 };
        let wide = 0.62 * y + 3.0;
        let (from, to) = ((-side * wide, y), (side * wide, y + life.random.between(-1.5, 1.5)));
        let at = (life.random.between(-2.5, 2.5), y);
        match event {
            "run" => staged::run(life, from, to),
            "bicycle" => staged::bicycle(life, from, to, false),
            "bicycle-slow" => staged::bicycle(life, from, to, true),
            "vehicle" => staged::vehicle(life, from, to, false),
            "fall" => staged::fall(life, (at.0 - 3.5 * side, y), at, to),
            "throw" => {
                let toward = (at.0 + 3.5 * side, y + 0.5);
                staged::throw(life, (at.0 - 3.0 * side, y), at, toward, to, 0.22);
            }
            _ => staged::struggle(life, [(at.0 - 4.0, y), (at.0 + 4.0, y)], at, [from, to]),
        }
    }
}
