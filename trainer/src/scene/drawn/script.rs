//! What somebody does, one thing after another, and whether that is normal.

use std::collections::VecDeque;

use super::super::random::Random;
use super::body::{Joints, Posture, cadence, joints};
use super::figure::Looks;
use super::paint::Shapes;
use super::things::{Car, Load, Thing};

/// Radians a second by which somebody turns.
const TURN: f32 = 4.5;

/// One thing to do.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Goes to a place, at metres a second.
    Go { to: (f32, f32), speed: f32 },
    /// Goes there on hands and knees.
    Crawl { to: (f32, f32), speed: f32 },
    /// Takes a posture within `blend` seconds and keeps it until `seconds` have passed, so many metres
    /// above the ground, moving a little.
    Hold { posture: Posture, blend: f32, seconds: f32, lift: f32 },
    /// Climbs onto something, so many metres above the ground, or down from it.
    Climb { to: (f32, f32), lift: f32, seconds: f32 },
    /// Turns to a place.
    Face((f32, f32)),
    /// Hits and shoves about for so many seconds.
    Struggle(f32),
    /// Has something else in the hands from now on.
    Take(Load),
    /// Puts what is carried on the ground here.
    Put,
    /// Throws something so fast, ahead and up, in metres a second.
    Throw { ahead: f32, up: f32, half: f32 },
    /// Goes to what was put down or thrown.
    Fetch(f32),
    /// Picks it up, at once.
    PickUp,
    /// Is away, out of sight, for so many seconds.
    Away(f32),
}

/// A step, and whether it is part of an event.
pub type Planned = (Step, bool);

/// Makes all of some steps normal.
pub fn normal(steps: impl IntoIterator<Item = Step>) -> Vec<Planned> {
    steps.into_iter().map(|step| (step, false)).collect()
}

/// Makes all of some steps part of an event.
pub fn event(steps: impl IntoIterator<Item = Step>) -> Vec<Planned> {
    steps.into_iter().map(|step| (step, true)).collect()
}

/// A person or a car.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    Person(Looks),
    Car(Car),
}

/// Somebody who is there.
#[derive(Debug, Clone)]
pub struct Actor {
    pub who: Who,
    pub at: (f32, f32),
    pub heading: f32,
    pub load: Load,
    pub thing: Option<Thing>,
    pub steps: VecDeque<Planned>,
    /// Stays here for good: is given something else to do when the steps have run out.
    pub resident: bool,
    posture: Posture,
    before: Posture,
    lift: f32,
    lift_before: f32,
    phase: f32,
    rolled: f32,
    /// Seconds since the step began.
    since: f32,
    away: bool,
}

impl Actor {
    pub fn new(who: Who, at: (f32, f32), steps: Vec<Planned>, random: &mut Random) -> Self {
        let mut this = Self {
            who,
            at,
            heading: 0.0,
            load: Load::Nothing,
            thing: None,
            steps: steps.into(),
            resident: false,
            posture: Posture::STAND,
            before: Posture::STAND,
            lift: 0.0,
            lift_before: 0.0,
            phase: random.between(0.0, std::f32::consts::TAU),
            rolled: 0.0,
            since: 0.0,
            away: false,
        };
        if let Some(to) = this.steps.iter().find_map(|(step, _)| match step {
            Step::Go { to, .. } => Some(*to),
            _ => None,
        }) {
            this.heading = (to.1 - at.1).atan2(to.0 - at.0);
        }
        this
    }

    /// A person with something in the hands.
    pub fn with(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    /// Whether there is something of an event still to come.
    pub fn expected(&self) -> bool {
        self.steps.iter().any(|(_, abnormal)| *abnormal)
    }

    /// Whether the present step is part of an event.
    pub fn abnormal(&self) -> bool {
        self.steps.front().is_some_and(|(_, abnormal)| *abnormal)
    }

    pub fn is_away(&self) -> bool {
        self.away
    }

    /// Where the body is.
    pub fn body(&self) -> Joints {
        let tall = match self.who {
            Who::Person(looks) => looks.tall,
            Who::Car(_) => 1.5,
        };
        joints(&self.posture, self.at, self.heading, tall, self.lift)
    }

    /// Goes on for `dt` seconds.
    pub fn step(&mut self, dt: f32, random: &mut Random) {
        if let Some(thing) = &mut self.thing {
            thing.step(dt);
        }
        let mut left = dt;
        // What takes no time is done at once, and the next thing begun.
        for _ in 0..8 {
            let Some((step, _)) = self.steps.front().copied() else { return };
            if self.since == 0.0 {
                (self.before, self.lift_before) = (self.posture, self.lift);
            }
            self.since += left;
            if !self.perform(step, left, random) {
                return;
            }
            left = 0.0;
            self.since = 0.0;
            self.steps.pop_front();
        }
    }

    /// Whether the step is done.
    fn perform(&mut self, step: Step, dt: f32, random: &mut Random) -> bool {
        match step {
            Step::Go { to, speed } => self.go(to, speed, dt, false),
            Step::Crawl { to, speed } => self.go(to, speed, dt, true),
            Step::Hold { posture, blend, seconds, lift } => {
                // Falling speeds up, other movements begin and end gently.
                let t = (self.since / blend.max(0.01)).clamp(0.0, 1.0);
                let falls = posture.tip.abs().max(posture.roll.abs()) > 1.0 && blend < 1.0;
                let part = if falls { t * t } else { t * t * (3.0 - 2.0 * t) };
                self.posture = self.before.towards(posture, part);
                self.lift = self.lift_before + part * (lift - self.lift_before);
                let sway = 0.02 * (self.since * 1.7 + self.phase).sin();
                self.posture.side += sway;
                self.posture.nod += 0.12 * (self.since * 0.9 + 2.0 * self.phase).sin() * part;
                self.posture.elbows[1] += 0.12 * (self.since * 1.3 + self.phase).sin() * part;
                self.since >= seconds
            }
            Step::Climb { to, lift, seconds } => {
                let t = (self.since / seconds).clamp(0.0, 1.0);
                let rest = (seconds - self.since + dt).max(dt);
                self.at.0 += (to.0 - self.at.0) * dt / rest;
                self.at.1 += (to.1 - self.at.1) * dt / rest;
                self.lift = self.lift_before + t * (lift - self.lift_before);
                let wanted = if t < 0.75 { Posture::CLIMB } else { Posture::STAND };
                self.posture = self.posture.towards(wanted, 0.35);
                self.since >= seconds
            }
            Step::Face(to) => {
                let wanted = (to.1 - self.at.1).atan2(to.0 - self.at.0);
                self.posture = self.posture.towards(Posture::STAND, 0.4);
                self.turn(wanted, dt) < 0.05 || self.since > 1.5
            }
            Step::Struggle(seconds) => {
                let beat = self.since * 9.0 + self.phase;
                let (s, c) = (beat.sin(), (beat * 0.73).cos());
                let blow = Posture {
                    lean: 0.25 + 0.25 * c,
                    side: 0.2 * s,
                    splay: 0.2,
                    hips: [0.4 * c, -0.4 * c],
                    knees: [0.4, 0.4],
                    shoulders: [1.0 + 0.7 * s, 1.0 - 0.7 * s],
                    spread: [0.3, 0.3],
                    elbows: [0.7 - 0.6 * s, 0.7 + 0.6 * s],
                    ..Posture::STAND
                };
                self.posture = self.posture.towards(blow, 0.6);
                self.at.0 += random.between(-0.9, 0.9) * dt;
                self.at.1 += random.between(-0.9, 0.9) * dt;
                self.heading += random.between(-2.0, 2.0) * dt;
                self.since >= seconds
            }
            Step::Take(load) => {
                self.load = load;
                true
            }
            Step::Put => {
                let (half, colour) = match self.load {
                    Load::Bag(c) => (0.18, c),
                    Load::Box(c) => (0.2, c),
                    _ => (0.15, [60.0, 50.0, 45.0]),
                };
                let (s, c) = self.heading.sin_cos();
                let at = [self.at.0 + 0.45 * c, self.at.1 + 0.45 * s, 0.0];
                let load = self.load;
                self.thing = Some(Thing { at, velocity: [0.0; 3], half, colour, load });
                self.load = Load::Nothing;
                true
            }
            Step::Throw { ahead, up, half } => {
                let (s, c) = self.heading.sin_cos();
                let hand = self.body().hands[0];
                let tone = if random.chance(0.5) { 225.0 } else { 40.0 };
                let colour =
                    [tone, tone * random.between(0.5, 1.0), tone * random.between(0.4, 1.0)];
                self.thing = Some(Thing {
                    at: hand,
                    velocity: [ahead * c, ahead * s, up],
                    half,
                    colour,
                    load: Load::Bag(colour),
                });
                true
            }
            Step::Fetch(speed) => {
                let Some(thing) = self.thing else { return true };
                let (dx, dy) = (thing.at[0] - self.at.0, thing.at[1] - self.at.1);
                let far = (dx * dx + dy * dy).sqrt();
                if far < 0.55 {
                    return true;
                }
                self.go((thing.at[0], thing.at[1]), speed, dt, false)
            }
            Step::PickUp => {
                if let Some(thing) = self.thing.take() {
                    self.load = thing.load;
                }
                true
            }
            Step::Away(seconds) => {
                self.away = self.since < seconds;
                !self.away
            }
        }
    }

    /// Turns towards a heading; how far it is off, in radians.
    fn turn(&mut self, wanted: f32, dt: f32) -> f32 {
        let full = std::f32::consts::TAU;
        let off = (wanted - self.heading + full / 2.0).rem_euclid(full) - full / 2.0;
        let rate = if matches!(self.who, Who::Car(_)) { 1.2 } else { TURN };
        self.heading += off.clamp(-rate * dt, rate * dt);
        (off.abs() - rate * dt).max(0.0)
    }

    /// Goes towards a place; whether it is reached.
    fn go(&mut self, to: (f32, f32), speed: f32, dt: f32, crawling: bool) -> bool {
        let (dx, dy) = (to.0 - self.at.0, to.1 - self.at.1);
        let far = (dx * dx + dy * dy).sqrt();
        let distance = speed * dt;
        let off = if far > 0.05 { self.turn(dy.atan2(dx), dt) } else { 0.0 };
        // Who has to turn round does that first.
        let pace = if off > 1.0 { 0.25 } else { 1.0 } * distance;
        self.lift = (self.lift - 1.5 * dt).max(0.0);
        let moved = pace.min(far);
        if far > 1e-4 {
            self.at.0 += moved * dx / far;
            self.at.1 += moved * dy / far;
        }
        self.rolled += moved;
        let Who::Person(looks) = self.who else { return far <= distance };
        self.phase += moved * cadence(speed, looks.tall);
        let mut wanted = Posture::striding(self.phase, speed);
        match self.load {
            _ if crawling => {
                let s = (3.0 * self.rolled / 0.5).sin();
                wanted = Posture {
                    hips: [0.3 * s, -0.3 * s],
                    shoulders: [0.1 - 0.35 * s, 0.1 + 0.35 * s],
                    ..Posture::CRAWL
                };
            }
            Load::Bicycle(_) => {
                wanted = Posture::pedalling(self.rolled * 1.6);
                self.lift = 0.12;
            }
            Load::Box(_) => {
                (wanted.shoulders, wanted.elbows) = ([0.5, 0.5], [1.1, 1.1]);
                wanted.spread = [0.1, 0.1];
            }
            load if load.pushed() => {
                (wanted.shoulders, wanted.elbows) = ([0.7, 0.7], [0.7, 0.7]);
                wanted.lean += 0.06;
            }
            Load::Bag(_) => {
                wanted.shoulders[1] *= 0.3;
                wanted.elbows[1] = 0.05;
            }
            Load::Torch => (wanted.shoulders[1], wanted.elbows[1]) = (0.4, 1.0),
            _ => {}
        }
        self.posture = self.posture.towards(wanted, 0.65);
        far <= distance.max(0.03)
    }

    /// Draws whoever it is, with what belongs to it.
    pub fn draw(&self, shapes: &mut Shapes) {
        if let Some(thing) = &self.thing {
            thing.draw(shapes);
        }
        if self.away {
            return;
        }
        match self.who {
            Who::Car(car) => car.draw(self.at, self.heading, shapes),
            Who::Person(looks) => {
                let body = self.body();
                self.load.draw(self.at, self.heading, body.hands, self.rolled, shapes);
                looks.draw(&body, shapes);
            }
        }
    }
}
