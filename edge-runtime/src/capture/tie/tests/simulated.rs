//! Cameras by seed. Each property is a function that says what is wrong with a run; each is shown to
//! be able to fail by a machine that is broken on purpose.

use super::super::*;
use super::TIMEOUT;
use crate::random::Random;
use crate::simulations::{Outcome, Plan, Simulation};

/// What is the matter with a camera from [`FROM`] to [`TO`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// One stamp is off by so many seconds.
    Once(f64),
    /// One stamp in so many is off.
    Now(u64, f64),
    /// All stamps are off, and stay so after the fault.
    Step(f64),
    /// Stamps stand still.
    Still,
    /// Stamps are anything.
    Mad,
    /// The camera's clock goes at this pace.
    Pace(f64),
    /// Nothing comes for a while, then all at once.
    Stall(f64),
    /// Nothing comes.
    Dead,
    /// Units are missing.
    Lossy,
    /// Units are damaged.
    Damaged,
}

const FROM: f64 = 20.0;
const TO: f64 = 35.0;
/// Where a run ends, unless it is cut short.
const END: f64 = 80.0;
/// From here on a camera that is sound again must be looked at without exception.
const SETTLED: f64 = 55.0;

#[derive(Debug, Clone, Copy)]
struct Camera {
    seed: u64,
    rate: f64,
    /// Frames from one key frame to the next.
    group: u64,
    /// Most that the network adds to a frame.
    jitter: f64,
    fault: Fault,
}

impl Camera {
    fn drawn(seed: u64) -> Self {
        let mut random = Random(seed);
        let rate = random.of(&[5.0, 10.0, 12.5, 25.0, 30.0]);
        let sign = random.of(&[1.0, -1.0]);
        let far = random.of(&[0.7, 3.0, 60.0, 7200.0, 4_294_967_296.0 / 90_000.0]) * sign;
        let fault = match random.next() % 11 {
            0 => Fault::None,
            1 => Fault::Once(far),
            2 => Fault::Now(1 + random.next() % 60, far),
            3 => Fault::Step(far),
            4 => Fault::Still,
            5 => Fault::Mad,
            6 => Fault::Pace(1.0 + sign * random.between(0.002, 0.2)),
            7 => Fault::Stall(random.between(0.5, 8.0)),
            8 => Fault::Dead,
            9 => Fault::Lossy,
            _ => Fault::Damaged,
        };
        let group = (rate * random.between(0.5, 3.0)) as u64;
        Self { seed, rate, group, jitter: random.of(&[0.0, 0.02, 0.1, 0.3]), fault }
    }

    /// Longest time from one key frame to the next.
    fn group_seconds(&self) -> f64 {
        self.group as f64 / self.rate
    }
}

/// What happens to the machine under test.
trait Machine {
    fn unit(&mut self, unit: &Unit, now: f64) -> Step;
    fn silence(&mut self, wanted: bool, now: f64) -> Step;
    fn shown(&mut self, now: f64);
    fn damaged(&mut self) -> bool;
}

impl Machine for Tie {
    fn unit(&mut self, unit: &Unit, now: f64) -> Step {
        Tie::unit(self, unit, now)
    }
    fn silence(&mut self, wanted: bool, now: f64) -> Step {
        Tie::silence(self, wanted, now)
    }
    fn shown(&mut self, now: f64) {
        Tie::shown(self, now);
    }
    fn damaged(&mut self) -> bool {
        Tie::damaged(self)
    }
}

/// A frame that was shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// When it was taken in truth, when it came, and when the machine says that it was taken.
    truth: f64,
    came: f64,
    taken: f64,
}

#[derive(Debug, Default)]
struct Run {
    shown: Vec<Shown>,
    gaps: Vec<(f64, Break)>,
    lost: Vec<f64>,
    /// Frames that came whole in the settled time, and those of them that were shown.
    sound: usize,
    sound_shown: usize,
    /// A frame was shown of which the decoder lacked something.
    unready: Option<f64>,
    /// Where it ended.
    end: f64,
    /// Frames that the camera took.
    frames: u64,
    story: Vec<String>,
}

/// Lets a camera play to its end; a lost connection is made anew at once.
fn run(camera: &Camera, plan: &Plan, make: &dyn Fn(f64) -> Box<dyn Machine>) -> Run {
    let mut random = Random(camera.seed ^ 0x5eed);
    let end = END.min(plan.steps as f64 / camera.rate);
    let mut run = Run { end, ..Run::default() };
    // What a part of a run does is told; a whole one is too long for that.
    let telling = plan.steps != u64::MAX;
    let mut machine = make(0.0);
    let (mut stamp, mut came, mut number, mut since_key) = (random.between(0.0, 1e5), 0.0, 0u64, 0);
    // Whether the decoder has all that it needs for the next frame.
    let (mut ready, mut missing, mut once) = (false, false, false);
    let mut shifted = 0.0;
    loop {
        let truth = number as f64 / camera.rate;
        run.frames = number;
        if truth > run.end {
            return run;
        }
        let faulty = (FROM..TO).contains(&truth);
        let pace = match camera.fault {
            Fault::Pace(pace) => pace,
            _ => 1.0,
        };
        if faulty && camera.fault == Fault::Still {
        } else if number > 0 {
            stamp += pace / camera.rate;
        }
        let mut told = stamp;
        match camera.fault {
            Fault::Once(by) if faulty && !once => {
                once = true;
                told += by;
            }
            Fault::Now(every, by) if faulty && number.is_multiple_of(every) => told += by,
            Fault::Step(by) if truth >= FROM => shifted = by,
            Fault::Mad if faulty => told = random.between(-1e6, 1e6),
            _ => {}
        }
        told += shifted;
        let mut arrives = truth + random.between(0.0, camera.jitter);
        if let Fault::Stall(by) = camera.fault
            && (FROM..FROM + by).contains(&truth)
        {
            arrives = FROM + by;
        }
        let before = came;
        came = f64::max(came, arrives);
        // Silence is noticed ten times a second.
        let mut tick = before + 0.1;
        while tick < came {
            if let Step::Lost(_) = machine.silence(true, tick) {
                run.lost.push(tick);
                machine = make(tick);
                ready = false;
            }
            tick += 0.1;
        }
        let key = since_key % camera.group.max(1) == 0;
        number += 1;
        since_key += 1;
        if faulty && camera.fault == Fault::Dead {
            came = before;
            missing = true;
            // Time goes on all the same.
            let mut tick = f64::max(before, truth - 1.0 / camera.rate);
            while tick < truth {
                if let Step::Lost(_) = machine.silence(true, tick) {
                    run.lost.push(tick);
                    machine = make(tick);
                    ready = false;
                }
                tick += 0.1;
            }
            came = f64::max(came, truth);
            continue;
        }
        if faulty && camera.fault == Fault::Lossy && random.part() < 0.05 {
            missing = true;
            continue;
        }
        let damaged = faulty && camera.fault == Fault::Damaged && random.part() < 0.1;
        let whole = !std::mem::take(&mut missing);
        let waited = came > before;
        let unit = Unit { stamp: told, key, whole, waited, wanted: true };
        let settled = truth >= SETTLED;
        run.sound += usize::from(settled);
        if !whole {
            ready = false;
        }
        for _ in 0..5 {
            let step = machine.unit(&unit, came);
            if telling {
                let (key, whole) =
                    (if key { " key" } else { "" }, if whole { "" } else { " behind a hole" });
                run.story.push(format!(
                    "{came:>6.2} s: frame {number}{key}{whole}, stamp {told:.2}: {step:?}"
                ));
            }
            match step {
                Step::TieAgain(why) => {
                    run.gaps.push((came, why));
                    continue;
                }
                Step::Lost(_) => {
                    run.lost.push(came);
                    machine = make(came);
                    ready = false;
                }
                Step::Skip => ready = false,
                Step::Undated => ready &= !damaged,
                Step::Deliver { taken, flush } => {
                    if key && flush {
                        ready = true;
                    }
                    if !ready {
                        run.unready.get_or_insert(came);
                    }
                    if damaged {
                        ready = false;
                        if machine.damaged() {
                            run.lost.push(came);
                            machine = make(came);
                        }
                    } else {
                        machine.shown(came);
                        run.shown.push(Shown { truth, came, taken });
                        run.sound_shown += usize::from(settled);
                    }
                }
            }
            break;
        }
    }
}

/// What is wrong with a run, by each property.
type Property = fn(&Camera, &Run) -> Option<String>;

/// As long as frames come the picture stands for a few seconds at most, whatever the stamps say.
fn never_blind(camera: &Camera, run: &Run) -> Option<String> {
    let silent = match camera.fault {
        Fault::Dead => TO - FROM,
        Fault::Stall(by) => by,
        // Every key frame may be damaged a few times in a row.
        Fault::Damaged | Fault::Lossy => 3.0 * camera.group_seconds(),
        _ => 0.0,
    };
    let bound = silent + 2.0 * PATIENCE + LATE + 2.0 * camera.group_seconds();
    let times = run.shown.iter().map(|s| s.came).chain([run.end]);
    let mut before = 0.0;
    for time in times {
        if time - before > bound {
            return Some(format!("blind from {before:.1} to {time:.1} s"));
        }
        before = time;
    }
    None
}

/// When the fault is over every frame is looked at again.
fn sound_again(_: &Camera, run: &Run) -> Option<String> {
    (run.sound_shown < run.sound)
        .then(|| format!("{} of {} sound frames shown", run.sound_shown, run.sound))
}

/// A frame was taken before it came, and not long before.
fn times_are_of_now(camera: &Camera, run: &Run) -> Option<String> {
    let wrong = run.shown.iter().find(|s| {
        let age = s.came - s.taken;
        !(-1e-6..=LATE + camera.jitter + 1e-6).contains(&age)
    });
    wrong.map(|s| format!("came {:.2}, taken {:.2}", s.came, s.taken))
}

/// Time goes as it does in truth, so that a model gets its frames a second.
fn time_goes_as_ours(camera: &Camera, run: &Run) -> Option<String> {
    let settled: Vec<&Shown> = run.shown.iter().filter(|s| s.truth >= SETTLED).collect();
    let (first, last) = (settled.first()?, settled.last()?);
    let (told, truth) = (last.taken - first.taken, last.truth - first.truth);
    let off = (told - truth).abs();
    (off > 0.2 + 2.0 * camera.jitter).then(|| format!("{told:.2} s told of {truth:.2} s"))
}

/// Nothing is shown that the decoder lacks something for.
fn begins_with_a_key_frame(_: &Camera, run: &Run) -> Option<String> {
    run.unready.map(|at| format!("shown at {at:.1} s without what it needs"))
}

/// A camera that is sound, slow, fast or behind a jittery network, or has one odd stamp, has no gap.
fn no_needless_gap(camera: &Camera, run: &Run) -> Option<String> {
    let harmless = match camera.fault {
        Fault::None | Fault::Pace(_) | Fault::Lossy | Fault::Damaged => true,
        Fault::Once(by) => by.abs() > 1.0,
        _ => false,
    };
    (harmless && !run.gaps.is_empty()).then(|| format!("{:?}", run.gaps))
}

/// A dead channel is lost within its timeout, a live one never.
fn lost_in_time(camera: &Camera, run: &Run) -> Option<String> {
    match camera.fault {
        Fault::Dead if run.end < FROM + TIMEOUT + 0.5 => None,
        Fault::Dead => {
            let within = |at: &f64| (FROM + TIMEOUT - 0.5..FROM + TIMEOUT + 0.5).contains(at);
            (!run.lost.iter().any(within)).then(|| format!("lost at {:?}", run.lost))
        }
        // A key frame may be missing for ten seconds, by bad luck.
        Fault::Damaged | Fault::Lossy => None,
        _ => (!run.lost.is_empty()).then(|| format!("lost at {:?}", run.lost)),
    }
}

const PROPERTIES: [(&str, Property); 7] = [
    ("never blind", never_blind),
    ("sound again", sound_again),
    ("times are of now", times_are_of_now),
    ("time goes as ours", time_goes_as_ours),
    ("begins with a key frame", begins_with_a_key_frame),
    ("no needless gap", no_needless_gap),
    ("lost in time", lost_in_time),
];

fn tie(now: f64) -> Box<dyn Machine> {
    Box::new(Tie::new(TIMEOUT, now))
}

#[test]
fn network_camera_by_seed() {
    let run = |seed: u64, plan: &Plan| {
        let camera = Camera::drawn(seed);
        let run = run(&camera, plan, &tie);
        let broken = PROPERTIES.iter().filter_map(|(name, property)| {
            property(&camera, &run).map(|what| format!("{name}: {what}; {camera:?}"))
        });
        Outcome { broken: broken.collect(), steps: run.frames, story: run.story }
    };
    Simulation { name: "network_camera", leaves_out: false, run }.every_seed(0..3000);
}

/// The tie as it once was: it is only ever lowered, and a frame that is late waits for a key frame
/// that is not.
struct OnlyLowered {
    tie: Option<f64>,
    seen: f64,
    waiting: bool,
}

impl Machine for OnlyLowered {
    fn unit(&mut self, unit: &Unit, now: f64) -> Step {
        let difference = now - unit.stamp;
        let loosened = self.tie.map_or(difference, |tie| tie + (now - self.seen) * 0.001);
        let tie = loosened.min(difference);
        (self.tie, self.seen) = (Some(tie), now);
        let late = difference - tie;
        self.waiting |= late > LATE || !unit.whole;
        if self.waiting && (!unit.key || late > LATE) {
            return Step::Skip;
        }
        let flush = std::mem::take(&mut self.waiting);
        Step::Deliver { taken: unit.stamp + tie, flush }
    }
    fn silence(&mut self, _: bool, now: f64) -> Step {
        if now > self.seen + TIMEOUT { Step::Lost("no frame".into()) } else { Step::Skip }
    }
    fn shown(&mut self, _: f64) {}
    fn damaged(&mut self) -> bool {
        self.waiting = true;
        false
    }
}

/// The tie with what it says changed.
struct Changed(Tie, fn(Step, &Unit, f64) -> Step);

impl Machine for Changed {
    fn unit(&mut self, unit: &Unit, now: f64) -> Step {
        (self.1)(self.0.unit(unit, now), unit, now)
    }
    fn silence(&mut self, wanted: bool, now: f64) -> Step {
        let unit = Unit { stamp: f64::NAN, key: false, whole: true, waited: false, wanted };
        (self.1)(self.0.silence(wanted, now), &unit, now)
    }
    fn shown(&mut self, now: f64) {
        self.0.shown(now);
    }
    fn damaged(&mut self) -> bool {
        self.0.damaged()
    }
}

fn changed(change: fn(Step, &Unit, f64) -> Step) -> impl Fn(f64) -> Box<dyn Machine> {
    move |now| Box::new(Changed(Tie::new(TIMEOUT, now), change))
}

/// The properties that some seed of a broken machine breaks.
fn broken(make: &dyn Fn(f64) -> Box<dyn Machine>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for seed in 0..300 {
        let camera = Camera::drawn(seed);
        let run = run(&camera, &Plan::WHOLE, make);
        for (name, property) in PROPERTIES {
            if !names.contains(&name) && property(&camera, &run).is_some() {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn each_property_is_broken_by_a_break_of_its_own() {
    let old = broken(&|now| Box::new(OnlyLowered { tie: None, seen: now, waiting: true }));
    assert!(old.contains(&"never blind") && old.contains(&"sound again"), "{old:?}");

    // Frames are dated by what the camera says alone.
    let dated = broken(&changed(|step, unit, now| match step {
        Step::Deliver { flush, .. } => {
            Step::Deliver { taken: now - 100.0 + unit.stamp % 1.0, flush }
        }
        step => step,
    }));
    assert!(dated.contains(&"times are of now"), "{dated:?}");

    // Time that goes at half our pace.
    let slow = broken(&changed(|step, _, now| match step {
        Step::Deliver { flush, .. } => Step::Deliver { taken: now - 0.01 * now, flush },
        step => step,
    }));
    assert!(slow.contains(&"time goes as ours"), "{slow:?}");

    // No wait for a key frame.
    let eager = broken(&changed(|step, _, now| match step {
        Step::Skip => Step::Deliver { taken: now, flush: false },
        step => step,
    }));
    assert!(eager.contains(&"begins with a key frame"), "{eager:?}");

    // Every hole of two tenths of a second is taken for a discontinuity.
    let nervous = broken(&|now| Box::new(Nervous(Tie::new(TIMEOUT, now), now)));
    assert!(nervous.contains(&"no needless gap"), "{nervous:?}");

    // Silence is not noticed.
    let deaf = broken(&changed(|step, unit, _| match step {
        Step::Lost(_) if unit.stamp.is_nan() => Step::Skip,
        step => step,
    }));
    assert!(deaf.contains(&"lost in time"), "{deaf:?}");
}

/// Ties again after every hole of two tenths of a second.
struct Nervous(Tie, f64);

impl Machine for Nervous {
    fn unit(&mut self, unit: &Unit, now: f64) -> Step {
        if now - std::mem::replace(&mut self.1, now) > 0.2 {
            return Step::TieAgain(Break::Jump(0.2));
        }
        self.0.unit(unit, now)
    }
    fn silence(&mut self, wanted: bool, now: f64) -> Step {
        self.0.silence(wanted, now)
    }
    fn shown(&mut self, now: f64) {
        self.0.shown(now);
    }
    fn damaged(&mut self) -> bool {
        self.0.damaged()
    }
}
