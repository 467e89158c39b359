//! A room in which one person lives, close to the camera.

use super::super::super::random::Random;
use super::super::backdrop::{Finish, Patch, Setting, Solid, tone};
use super::super::body::Posture;
use super::super::figure::Looks;
use super::super::script::{Actor, Planned, Step, Who, event, normal};
use super::super::things::Load;
use super::super::viewpoint::Viewpoint;
use super::{Life, Place, Spot, bend, go, hold, indoors, staged};

/// Walking speed at home, in metres a second.
const SPEED: f32 = 0.9;
/// The middle of the room, from which everything can be reached.
const MIDDLE: Spot = (0.0, 3.0);
const DOOR: Spot = (-3.3, 4.6);
/// Where the feet are of who sits on the chair or the sofa, and what is looked at from there.
const CHAIR: (Spot, Spot) = ((1.42, 3.5), (1.2, 1.0));
const SOFA: (Spot, Spot) = ((1.5, 2.4), (-1.0, 2.4));
const SHELF: (Spot, Spot) = ((-1.75, 2.6), (-3.0, 2.6));
const TABLE: (Spot, Spot) = ((-0.1, 4.0), (-0.1, 5.0));

#[derive(Debug)]
struct Near;

pub fn make(size: (usize, usize), random: &mut Random) -> (Box<dyn Place>, Viewpoint, Setting) {
    let at = [random.between(-0.5, 0.5), 0.0, random.between(2.15, 2.4)];
    let view = Viewpoint::new(size, at, -0.1 * at[0], random.between(0.4, 0.48), 1.2);
    let wood = |r: &mut Random| {
        let c = r.between(80.0, 150.0);
        [c, c * 0.75, c * 0.52]
    };
    let wall = tone(random, 120.0, 190.0, 0.08);
    let solid = |low, high, colour, finish| Solid { low, high, colour, finish };
    let (table, chair, sofa) = (wood(random), wood(random), tone(random, 50.0, 150.0, 0.3));
    let mut solids = vec![
        solid([-3.2, 5.1, 0.0], [3.2, 5.4, 2.9], wall, Finish::Plain),
        solid([-2.9, -1.0, 0.0], [-2.6, 4.2, 2.9], wall.map(|c| c * 0.95), Finish::Plain),
        solid([-2.9, 4.2, 2.1], [-2.6, 5.1, 2.9], wall, Finish::Plain),
        solid([-3.8, 4.1, 0.0], [-3.6, 5.1, 2.2], [45.0, 42.0, 40.0], Finish::Plain),
        solid([2.6, -1.0, 0.0], [2.9, 5.1, 2.9], wall.map(|c| c * 0.9), Finish::Plain),
        // The screen on the wall, and what stands around.
        solid([-0.55, 5.02, 1.05], [0.65, 5.1, 1.75], [30.0; 3], Finish::Plain),
        solid([-0.5, 5.0, 1.1], [0.6, 5.03, 1.7], [120.0; 3], Finish::Screen),
        solid([-2.6, 2.0, 0.0], [-2.25, 3.2, 1.9], wood(random), Finish::Goods),
        solid([-0.75, 4.4, 0.7], [0.55, 5.0, 0.75], table, Finish::Bricks(0.6)),
        solid([1.2, 3.65, 0.4], [1.65, 4.1, 0.45], chair, Finish::Plain),
        solid([1.2, 4.08, 0.45], [1.65, 4.15, 0.95], chair, Finish::Plain),
        solid([1.7, 1.6, 0.0], [2.6, 3.2, 0.4], sofa, Finish::Rough),
        solid([2.35, 1.6, 0.4], [2.6, 3.2, 0.8], sofa, Finish::Rough),
    ];
    for (x, y) in [(-0.74, 4.42), (0.48, 4.42), (-0.74, 4.92), (0.48, 4.92)] {
        solids.push(solid([x, y, 0.0], [x + 0.06, y + 0.06, 0.7], table, Finish::Plain));
    }
    for (x, y) in [(1.2, 3.65), (1.6, 3.65), (1.2, 4.05), (1.6, 4.05)] {
        solids.push(solid([x, y, 0.0], [x + 0.05, y + 0.05, 0.4], chair, Finish::Plain));
    }
    let rug = Patch {
        low: (-1.1, 1.9),
        high: (1.1, 3.4),
        colour: tone(random, 70.0, 160.0, 0.35),
        finish: Finish::Tiles(0.35),
    };
    let setting = Setting {
        ground: wood(random).map(|c| c * 1.1),
        finish: Finish::Bricks(0.9),
        patches: vec![rug],
        solids,
        light: indoors(random),
        sky: wall,
    };
    (Box::new(Near), view, setting)
}

fn anywhere(random: &mut Random) -> Spot {
    (random.between(-1.0, 1.0), random.between(2.1, 3.6))
}

/// Goes somewhere by way of the middle, and looks at what is there.
fn visit((feet, looked): (Spot, Spot), random: &mut Random) -> Vec<Step> {
    let speed = SPEED * random.between(0.85, 1.2);
    vec![go(MIDDLE, speed), go(feet, speed), Step::Face(looked)]
}

fn sit(spot: (Spot, Spot), seconds: f32, random: &mut Random) -> Vec<Step> {
    let mut steps = visit(spot, random);
    let sitting = Posture { lean: random.between(0.0, 0.3), ..Posture::SIT };
    let blend = random.between(0.8, 1.4);
    steps.push(Step::Hold { posture: sitting, blend, seconds, lift: 0.0 });
    if random.chance(0.4) {
        steps.push(hold(Posture { lean: 0.7, nod: 0.3, ..sitting }, random.between(1.5, 3.0)));
        steps.push(hold(sitting, random.between(2.0, 4.0)));
    }
    steps.push(Step::Hold { posture: Posture::STAND, blend: 1.1, seconds: 1.3, lift: 0.0 });
    steps
}

impl Place for Near {
    fn events(&self) -> &'static [&'static str] {
        &["fall", "faint", "climb", "throw", "crawl", "struggle"]
    }

    fn open(&self, life: &mut Life) {
        let mut actor = life.person(MIDDLE, Vec::new());
        if let Who::Person(looks) = &mut actor.who {
            looks.backpack = false;
        }
        actor.resident = true;
        life.actors.push(actor);
    }

    fn arrive(&self, _: &mut Life) -> f32 {
        60.0
    }

    fn more(&self, actor: &Actor, random: &mut Random) -> Vec<Planned> {
        let carried = Load::Box([150.0, 115.0, 75.0]);
        let mut steps = match random.below(10) {
            0 | 1 => sit(CHAIR, random.between(4.0, 14.0), random),
            2 => sit(SOFA, random.between(5.0, 18.0), random),
            3 => {
                let mut steps = visit(SHELF, random);
                let high = if random.chance(0.5) { Posture::REACH } else { Posture::CROUCH };
                steps.extend([hold(high, random.between(1.5, 4.0)), hold(Posture::STAND, 0.8)]);
                steps
            }
            4 => {
                let mut steps = visit(TABLE, random);
                steps.extend([hold(Posture::HANDS, random.between(3.0, 9.0))]);
                steps
            }
            5 => {
                // Carries a box from the shelf to the table, or back.
                let mut steps = visit(SHELF, random);
                steps.extend([hold(Posture::HANDS, 1.2), Step::Take(carried)]);
                steps.extend(visit(TABLE, random));
                steps.extend([hold(Posture::HANDS, 1.2), Step::Take(Load::Nothing)]);
                steps
            }
            6 => {
                let mut steps = vec![go(anywhere(random), SPEED)];
                steps.extend(bend(random));
                steps
            }
            7 => vec![
                go(MIDDLE, SPEED),
                go((-1.6, 4.6), SPEED),
                go(DOOR, SPEED),
                Step::Away(random.between(3.0, 12.0)),
                go((-1.6, 4.6), SPEED),
                go(MIDDLE, SPEED),
            ],
            8 => vec![go(anywhere(random), SPEED), hold(Posture::PHONE, random.between(2.0, 6.0))],
            _ => (0..3).map(|_| go(anywhere(random), SPEED * 1.1)).collect(),
        };
        if actor.load != Load::Nothing {
            steps.insert(0, Step::Take(Load::Nothing));
        }
        normal(steps)
    }

    fn stage(&self, event_name: &str, life: &mut Life) {
        let random = &mut life.random;
        let mut steps =
            normal([Step::Take(Load::Nothing), go(MIDDLE, SPEED), go(anywhere(random), SPEED)]);
        match event_name {
            "fall" => steps.extend(staged::falling(random)),
            "faint" => {
                // Sinks from the chair to the floor and stays there.
                steps = normal(visit(CHAIR, random));
                let sitting =
                    Step::Hold { posture: Posture::SIT, blend: 1.0, seconds: 3.0, lift: 0.0 };
                steps.push((sitting, false));
                let slid = Posture { side: 0.7, nod: 0.7, ..Posture::FLOOR };
                let sinks = Step::Hold { posture: slid, blend: 1.6, seconds: 1.8, lift: 0.0 };
                let lies = Step::Hold {
                    posture: Posture::lying(2),
                    blend: 1.1,
                    seconds: random.between(4.0, 7.0),
                    lift: 0.0,
                };
                steps.extend(event([
                    sinks,
                    lies,
                    hold(Posture::FLOOR, 2.0),
                    hold(Posture::STAND, 1.5),
                ]));
            }
            "climb" => {
                steps = normal(visit(TABLE, random));
                let up = (-0.1, 4.65);
                steps.extend(event([
                    Step::Climb { to: up, lift: 0.75, seconds: 1.8 },
                    Step::Hold {
                        posture: Posture::REACH,
                        blend: 0.7,
                        seconds: random.between(2.5, 5.0),
                        lift: 0.75,
                    },
                    Step::Climb { to: TABLE.0, lift: 0.0, seconds: 1.5 },
                ]));
            }
            "throw" => {
                let side = if random.chance(0.5) { 1.2 } else { -1.2 };
                steps = normal([go(MIDDLE, SPEED), Step::Face((side, 2.4))]);
                steps.extend(staged::throwing(1.4, random.between(0.09, 0.15), random));
                steps.push((Step::Take(Load::Nothing), false));
            }
            "crawl" => {
                steps.extend(event([
                    hold(Posture::CRAWL, 1.2),
                    Step::Crawl { to: anywhere(random), speed: 0.4 },
                    Step::Crawl { to: anywhere(random), speed: 0.4 },
                    hold(Posture::STAND, 1.2),
                ]));
            }
            _ => {
                // Somebody comes in who never was here.
                let seconds = random.between(3.5, 6.0);
                let comes = vec![
                    go((-1.6, 4.6), 1.3),
                    go((MIDDLE.0 - 0.45, MIDDLE.1), 1.3),
                    Step::Struggle(seconds),
                    go((-1.6, 4.6), 2.0),
                    go(DOOR, 2.0),
                ];
                steps = normal([
                    Step::Take(Load::Nothing),
                    go((MIDDLE.0 + 0.3, MIDDLE.1), SPEED),
                    Step::Face(DOOR),
                    hold(Posture::STAND, 2.0),
                ]);
                steps.push((Step::Struggle(seconds), true));
                steps.push((hold(Posture::STAND, 1.0), false));
                let who = Who::Person(Looks::dark(random));
                let mut wait = event(comes);
                wait.insert(0, (Step::Away(1.0), false));
                let intruder = Actor::new(who, DOOR, wait, random);
                life.actors.push(intruder);
            }
        }
        if let Some(resident) = life.actors.iter_mut().find(|actor| actor.resident) {
            // What is under way is brought to its end first.
            resident.steps.truncate(1);
            resident.steps.push_back((hold(Posture::STAND, 0.8), false));
            resident.steps.extend(steps);
        }
    }
}
