//! A corridor: people come towards the camera and go away from it, and doors open on both sides.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Lamp, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::script::normal;
use super::super::things::Load;
use super::super::viewpoint::Viewpoint;
use super::{Life, Place, Spot, go, hold, indoors, pace, pause, staged};

/// Half of the corridor's width and its length, in metres.
const HALF: f32 = 1.6;
const LONG: f32 = 24.0;

#[derive(Debug)]
struct Corridor {
    /// Doors: the side and how far away.
    doors: Vec<(f32, f32)>,
}

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [random.between(-0.6, 0.6), 0.0, random.between(2.5, 2.8)];
    let view = Viewpoint::new(size, at, -0.03 * at[0], random.between(0.24, 0.3), 1.08);
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let wall = tone(random, 140.0, 200.0, 0.08);
    let doors: Vec<(f32, f32)> = [(-1.0, 6.5), (1.0, 9.0), (-1.0, 13.0), (1.0, 17.0)]
        .map(|(side, y)| (side, y + random.between(-0.8, 0.8)))
        .to_vec();
    let mut solids = vec![
        solid([-HALF, LONG, 0.0], [HALF, LONG + 0.3, 3.2], wall.map(|c| c * 0.9), Finish::Plain),
        solid([-9.0, -2.0, 2.9], [9.0, LONG, 3.2], [205.0; 3], Finish::Tiles(0.6)),
    ];
    for side in [-1.0_f32, 1.0] {
        // The wall in pieces, with openings where doors are.
        let mut own: Vec<f32> = doors.iter().filter(|d| d.0 == side).map(|d| d.1).collect();
        own.push(LONG + 0.5);
        let mut from = -2.0;
        let (a, b) = (side * HALF, side * (HALF + 0.25));
        for y in own {
            let low = [a.min(b), from, 0.0];
            solids.push(solid(low, [a.max(b), y - 0.5, 2.9], wall, Finish::Plain));
            solids.push(solid(
                [a.min(b), y - 0.5, 2.1],
                [a.max(b), y + 0.5, 2.9],
                wall,
                Finish::Plain,
            ));
            from = y + 0.5;
        }
        let outer = (side * (HALF + 1.6), side * (HALF + 1.8));
        let low = [outer.0.min(outer.1), -2.0, 0.0];
        let dim = wall.map(|c| c * 0.55);
        solids.push(solid(low, [outer.0.max(outer.1), LONG, 2.9], dim, Finish::Plain));
    }
    // A bench and a plant along the wall.
    solids.push(solid([1.15, 11.0, 0.35], [HALF, 13.0, 0.42], [110.0, 80.0, 55.0], Finish::Plain));
    solids.push(solid([-HALF, 10.0, 0.0], [-1.25, 10.35, 0.9], [60.0, 95.0, 50.0], Finish::Rough));
    let mut light = indoors(random);
    light.ambient *= 0.62;
    light.lamps = (0..5)
        .map(|i| Lamp { at: [0.0, 2.0 + 5.0 * i as f32, 2.8], reach: 2.6, strength: 0.38 })
        .collect();
    let strip = Patch {
        low: (-0.55, -2.0),
        high: (0.55, LONG),
        colour: tone(random, 90.0, 150.0, 0.2),
        finish: Finish::Tiles(0.5),
    };
    let setting = Setting {
        ground: tone(random, 110.0, 170.0, 0.08),
        finish: Finish::Tiles(0.5),
        patches: vec![strip],
        solids,
        light,
        sky: wall,
    };
    (Box::new(Corridor { doors }), view, setting)
}

impl Corridor {
    /// Where somebody comes from or goes to, with the way through the door if there is one: in the order
    /// of leaving.
    fn end(&self, random: &mut Random) -> Vec<Spot> {
        match random.below(6) {
            0 | 1 => vec![(random.between(-0.9, 0.9), 1.2)],
            2 => vec![(random.between(-0.9, 0.9), LONG - 0.6)],
            _ => {
                let (side, y) = self.doors[random.below(self.doors.len())];
                vec![(0.6 * side, y), (side * (HALF + 1.2), y)]
            }
        }
    }
}

fn inside(random: &mut Random) -> Spot {
    (random.between(-0.7, 0.7), random.between(5.0, 12.0))
}

impl Place for Corridor {
    fn events(&self) -> &'static [&'static str] {
        &["run", "fall", "bicycle-slow", "left", "struggle", "crawl"]
    }

    fn arrive(&self, life: &mut Life) -> f32 {
        if life.actors.len() > 6 {
            return 2.0;
        }
        let random = &mut life.random;
        let (from, to) = (self.end(random), self.end(random));
        let Some(&start) = from.last() else { return 1.0 };
        let speed = pace(random);
        let mut steps: Vec<_> = from.iter().rev().skip(1).map(|p| go(*p, speed)).collect();
        if random.chance(0.35) {
            steps.push(go(inside(random), speed));
            steps.extend(pause(random));
        }
        if random.chance(0.08) {
            // Sits down on the bench for a while.
            steps.extend([go((0.85, 12.0), speed), super::Step::Face((-2.0, 12.0))]);
            steps.push(hold(Posture::SIT, random.between(5.0, 12.0)));
            steps.push(hold(Posture::STAND, 1.2));
        }
        steps.extend(to.iter().map(|p| go(*p, speed)));
        let load = match random.below(8) {
            0 => Load::Trolley(tone(random, 90.0, 200.0, 0.2)),
            1 => Load::Box([150.0, 115.0, 75.0]),
            2 | 3 => Load::Bag(tone(random, 30.0, 200.0, 0.3)),
            _ => Load::Nothing,
        };
        let pair = random.chance(0.2);
        for i in 0..if pair { 2 } else { 1 } {
            let shift = 0.55 * i as f32;
            let moved = steps.iter().map(|step| match step {
                super::Step::Go { to, speed } => go((to.0, to.1 + shift), *speed),
                other => *other,
            });
            let own = normal(moved.collect::<Vec<_>>());
            let actor = life.person((start.0, start.1 + shift), own);
            life.actors.push(if i == 0 { actor.with(load) } else { actor });
        }
        life.random.between(2.0, 8.0)
    }

    fn stage(&self, event: &str, life: &mut Life) {
        let random = &mut life.random;
        let (near, far) =
            ((random.between(-0.5, 0.5), 1.5), (random.between(-0.5, 0.5), LONG - 1.0));
        let (from, to) = if random.chance(0.5) { (near, far) } else { (far, near) };
        let at = (random.between(-0.6, 0.6), random.between(5.0, 9.0));
        let (side, y) = self.doors[random.below(2)];
        let door = (side * (HALF + 1.2), y);
        match event {
            "run" => staged::run(life, from, to),
            "bicycle-slow" => {
                // A few metres of the corridor, or the ride would outlast its clip.
                let there = (0.0, 15.0);
                let ends = if from.1 < to.1 { (near, there) } else { (there, near) };
                staged::bicycle(life, ends.0, ends.1, true);
            }
            "fall" => staged::fall(life, door, (0.4 * at.0, y), near),
            "left" => {
                staged::leave(life, door, (0.2 * at.0, y - 0.4), Load::Bag([60.0, 55.0, 50.0]));
            }
            "crawl" => staged::crawl(life, door, (0.0, y), (at.0, y - 2.5), near),
            _ => staged::struggle(life, [door, near], (0.0, y - 1.0), [far, near]),
        }
    }
}
