//! The places: what stands there, who comes, what they do, and what happens that never does.

mod corridor;
mod crowd;
mod far;
mod near;
mod night;
mod staged;
mod top_down;

use super::super::random::Random;
use super::backdrop::{Light, Setting};
use super::body::Posture;
use super::figure::Looks;
use super::script::{Actor, Planned, Step, Who};
use super::viewpoint::{Viewpoint, unit};

/// A place on the ground, in metres: right of the camera and away from it.
type Spot = (f32, f32);

/// Everybody who is there at the moment.
#[derive(Debug)]
pub struct Life {
    pub actors: Vec<Actor>,
    pub random: Random,
    /// Seconds until somebody else comes.
    until_next: f32,
}

impl Life {
    pub fn new(random: Random) -> Self {
        Self { actors: Vec::new(), random, until_next: 0.0 }
    }

    /// Everyday life goes on for `dt` seconds.
    pub fn step(&mut self, place: &dyn Place, dt: f32) {
        self.until_next -= dt;
        if self.until_next <= 0.0 {
            self.until_next = place.arrive(self);
        }
        let random = &mut self.random;
        for actor in &mut self.actors {
            if actor.steps.is_empty() && actor.resident {
                actor.steps.extend(place.more(actor, random));
            }
            actor.step(dt, random);
        }
        self.actors.retain(|actor| actor.resident || !actor.steps.is_empty());
    }

    /// Somebody new who does some steps.
    fn person(&mut self, at: Spot, steps: Vec<Planned>) -> Actor {
        let looks = Looks::new(&mut self.random);
        Actor::new(Who::Person(looks), at, steps, &mut self.random)
    }
}

/// What is particular to a place.
pub trait Place: std::fmt::Debug + Send + Sync {
    /// The kinds of event.
    fn events(&self) -> &'static [&'static str];

    /// Who is there from the beginning.
    fn open(&self, _life: &mut Life) {}

    /// Somebody may come; seconds until the next may.
    fn arrive(&self, life: &mut Life) -> f32;

    /// What somebody who lives here does next.
    fn more(&self, _actor: &Actor, _random: &mut Random) -> Vec<Planned> {
        Vec::new()
    }

    /// Something happens.
    fn stage(&self, event: &str, life: &mut Life);
}

/// The place of a name, with its camera and what stands there.
pub fn make(
    name: &str,
    size: (usize, usize),
    random: &mut Random,
) -> Option<(Box<dyn Place>, Viewpoint, Setting)> {
    match name {
        "near" => Some(near::make(size, random)),
        "far" => Some(far::make(size, random)),
        "top-down" => Some(top_down::make(size, random)),
        "corridor" => Some(corridor::make(size, random)),
        "night" => Some(night::make(size, random)),
        "crowd" => Some(crowd::make(size, random)),
        _ => None,
    }
}

/// Daylight from a side.
fn daylight(random: &mut Random) -> Light {
    let side = random.between(-0.9, 0.9);
    Light {
        ambient: 1.0,
        from: unit([side, random.between(-0.7, 0.2), 1.0]),
        shadow: random.between(0.35, 0.55),
        soft: 0.12,
        lamps: Vec::new(),
        noise: 2.2,
    }
}

/// Light from a ceiling.
fn indoors(random: &mut Random) -> Light {
    Light {
        ambient: random.between(0.85, 1.0),
        from: unit([random.between(-0.3, 0.3), random.between(-0.4, 0.1), 1.0]),
        shadow: 0.32,
        soft: 0.3,
        lamps: Vec::new(),
        noise: 2.6,
    }
}

fn go(to: Spot, speed: f32) -> Step {
    Step::Go { to, speed }
}

/// Takes a posture gently and keeps it.
fn hold(posture: Posture, seconds: f32) -> Step {
    Step::Hold { posture, blend: 0.8, seconds, lift: 0.0 }
}

/// A usual walking speed in metres a second.
fn pace(random: &mut Random) -> f32 {
    random.between(1.0, 1.5)
}

/// Bends down to the ground and up again.
fn bend(random: &mut Random) -> [Step; 2] {
    let low = if random.chance(0.5) { Posture::BEND } else { Posture::CROUCH };
    [hold(low, random.between(1.2, 2.5)), hold(Posture::STAND, 0.9)]
}

/// What people do who stop on their way; all of it normal.
fn pause(random: &mut Random) -> Vec<Step> {
    match random.below(5) {
        0 => vec![hold(Posture::PHONE, random.between(2.0, 7.0))],
        1 => bend(random).to_vec(),
        2 => vec![hold(Posture::CROUCH, random.between(2.0, 4.0)), hold(Posture::STAND, 0.8)],
        _ => vec![hold(Posture::STAND, random.between(1.0, 5.0))],
    }
}
