//! Events that can happen anywhere; each place says where.

use super::super::super::random::Random;
use super::super::backdrop::tone;
use super::super::body::Posture;
use super::super::figure::Looks;
use super::super::script::{Actor, Planned, Step, Who, event, normal};
use super::super::things::{Car, Load};
use super::{Life, Spot, go, hold, pace};

/// Somebody crosses from a place to another, all of it an event; at `speed` metres a second.
pub fn cross(life: &mut Life, from: Spot, to: Spot, speed: f32, load: Load) {
    let actor = life.person(from, event([go(to, speed)])).with(load);
    life.actors.push(actor);
}

/// Somebody runs.
pub fn run(life: &mut Life, from: Spot, to: Spot) {
    let speed = life.random.between(3.2, 4.8);
    cross(life, from, to, speed, Load::Nothing);
}

/// Somebody rides a bicycle, as slow as people walk or fast.
pub fn bicycle(life: &mut Life, from: Spot, to: Spot, slow: bool) {
    let speed = if slow { life.random.between(1.1, 1.6) } else { life.random.between(3.5, 5.0) };
    let colour = tone(&mut life.random, 30.0, 200.0, 0.4);
    cross(life, from, to, speed, Load::Bicycle(colour));
}

/// A car drives where none does.
pub fn vehicle(life: &mut Life, from: Spot, to: Spot, lights: bool) {
    let speed = life.random.between(3.0, 5.5);
    let body = tone(&mut life.random, 40.0, 220.0, 0.3);
    let who = Who::Car(Car { body, lights });
    let actor = Actor::new(who, from, event([go(to, speed)]), &mut life.random);
    life.actors.push(actor);
}

/// Falls, lies, and gets up in the end.
pub fn falling(random: &mut Random) -> Vec<Planned> {
    let lying = Posture::lying(random.below(3));
    let down = Step::Hold {
        posture: lying,
        blend: random.between(0.5, 0.8),
        seconds: random.between(4.0, 8.0),
        lift: 0.0,
    };
    let sits = Step::Hold { posture: Posture::FLOOR, blend: 1.2, seconds: 2.0, lift: 0.0 };
    let kneels = Step::Hold { posture: Posture::CROUCH, blend: 1.0, seconds: 1.2, lift: 0.0 };
    event([down, sits, kneels, hold(Posture::STAND, 1.0)])
}

/// Somebody on the way falls at `at`.
pub fn fall(life: &mut Life, from: Spot, at: Spot, to: Spot) {
    let speed = pace(&mut life.random);
    let mut steps = normal([go(at, speed)]);
    steps.extend(falling(&mut life.random));
    steps.extend(normal([go(to, 0.8 * speed)]));
    let actor = life.person(from, steps);
    life.actors.push(actor);
}

/// Two who meet at `at` go for each other.
pub fn struggle(life: &mut Life, from: [Spot; 2], at: Spot, to: [Spot; 2]) {
    let seconds = life.random.between(4.0, 7.0);
    // Both arrive at the same time.
    let far = from.map(|f| ((f.0 - at.0).powi(2) + (f.1 - at.1).powi(2)).sqrt());
    let time = far[0].max(far[1]) / 1.4;
    for (i, side) in [-0.28_f32, 0.28].into_iter().enumerate() {
        let own = (at.0 + side, at.1 + 0.15 * side);
        let mut steps = normal([go(own, (far[i] / time).max(0.3))]);
        steps.extend(event([Step::Face((at.0 - side, at.1)), Step::Struggle(seconds)]));
        let away = if i == 0 { 3.0 } else { 1.4 };
        steps.push((go(to[i], away), i == 0));
        let actor = life.person(from[i], steps);
        life.actors.push(actor);
    }
}

/// Somebody stops at `at`, throws something ahead, and fetches it.
pub fn throw(life: &mut Life, from: Spot, at: Spot, toward: Spot, to: Spot, half: f32) {
    let speed = pace(&mut life.random);
    let far = ((toward.0 - at.0).powi(2) + (toward.1 - at.1).powi(2)).sqrt();
    let mut steps = normal([go(at, speed), Step::Face(toward)]);
    steps.extend(throwing(far, half, &mut life.random));
    steps.extend(normal([go(to, speed)]));
    let actor = life.person(from, steps);
    life.actors.push(actor);
}

/// Throws so far, walks there and picks it up.
pub fn throwing(far: f32, half: f32, random: &mut Random) -> Vec<Planned> {
    let back = Posture { shoulders: [-1.2, 0.2], elbows: [1.2, 0.2], ..Posture::STAND };
    let ahead = Posture { shoulders: [1.7, 0.0], lean: 0.3, ..Posture::STAND };
    let quick = |posture, seconds| Step::Hold { posture, blend: 0.25, seconds, lift: 0.0 };
    // In the air for about 0.9 s.
    let throw = Step::Throw { ahead: far / 1.1, up: random.between(2.5, 3.6), half };
    let mut steps = event([quick(back, 0.4), quick(ahead, 0.15), throw, quick(ahead, 0.5)]);
    steps.extend(event([hold(Posture::STAND, 1.0), Step::Fetch(1.3), hold(Posture::BEND, 1.0)]));
    steps.extend([(Step::PickUp, true), (hold(Posture::STAND, 0.8), false)]);
    steps
}

/// Somebody puts a thing down at `at`, leaves, and comes back for it.
pub fn leave(life: &mut Life, from: Spot, at: Spot, load: Load) {
    let speed = pace(&mut life.random);
    let mut steps = normal([go(at, speed)]);
    steps.extend(event([
        hold(Posture::BEND, 0.9),
        Step::Put,
        hold(Posture::STAND, 0.8),
        go(from, 1.2 * speed),
        Step::Away(3.0),
        Step::Fetch(speed),
        hold(Posture::BEND, 0.9),
        Step::PickUp,
    ]));
    steps.extend(normal([hold(Posture::STAND, 0.8), go(from, speed)]));
    let actor = life.person(from, steps).with(load);
    life.actors.push(actor);
}

/// Somebody goes on hands and knees from a place to another.
pub fn crawl(life: &mut Life, from: Spot, at: Spot, end: Spot, to: Spot) {
    let speed = pace(&mut life.random);
    let mut steps = normal([go(at, speed)]);
    steps.extend(event([
        hold(Posture::CRAWL, 1.0),
        Step::Crawl { to: end, speed: 0.5 },
        hold(Posture::STAND, 1.0),
    ]));
    steps.extend(normal([go(to, speed)]));
    let actor = life.person(from, steps);
    life.actors.push(actor);
}

/// Somebody dark who does only what is an event.
pub fn intruder(life: &mut Life, from: Spot, steps: Vec<Step>, load: Load) {
    let who = Who::Person(Looks::dark(&mut life.random));
    let actor = Actor::new(who, from, event(steps), &mut life.random).with(load);
    life.actors.push(actor);
}
