//! The machine and the real spool against a simulated broker, disk and clock, faults drawn by seed.
//!
//! Each property is a check by name. `Fault` lists the deliberate mistakes of the driver and the
//! disk by which each is shown to be able to fail.

mod broker;
mod disk;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alert_wire::Topics;

use super::backoff::{FIRST, LAST, REFUSED, STAYED, TAKEN_FIRST, TAKEN_LAST};
use super::*;
use crate::publish::{Loaded, Spool};
use crate::random::Random;
use crate::simulations::{Outcome, Plan, Simulation};
use broker::{Answer, Broker, Door};
use disk::Disk;

const CAMERAS: [&str; 3] = ["door", "gate", "yard"];
/// Milliseconds in which faults come and go, and in which, one after the other, all but a denied
/// camera and then everything must have arrived.
const TROUBLE: u64 = 300_000;
const OTHERS: u64 = 900_000;
const REST: u64 = 1_500_000;

/// What is deliberately wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A refusal is told as an acknowledgement.
    RefusalIsYes,
    /// The disk says that it has synced, and has not.
    DiskLies,
    /// The spool's thread tells of two events in the wrong order.
    Swapped,
    /// Acknowledgements are told before the broker has answered.
    EarlyYes,
    /// The machine's clock runs four times as fast.
    FastClock,
    /// Every event is told as one of the first camera.
    OneQueue,
    /// What the machine says reaches nobody.
    Mute,
    /// Retained messages are told as acknowledged and never sent.
    RetainedDropped,
}

#[derive(Debug)]
enum Happening {
    /// An event is announced.
    Announce,
    Retain,
    Trouble,
    DiskTurn,
    /// A message reaches the broker.
    Arrives {
        link: u64,
        token: Token,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
    },
    /// Something reaches the machine over the link.
    Comes {
        link: u64,
        input: Input,
    },
}

struct Scheduled(u64, u64, Happening);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The earliest first.
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

#[derive(Debug)]
enum Job {
    Store(SpooledEvent, u64),
    Load(u64),
    Remove(u64, bool),
}

struct World {
    mistake: Mistake,
    seed: u64,
    plan: Plan,
    /// Announcements, retained messages and faults so far, those left out included.
    steps: u64,
    story: Vec<String>,
    random: Random,
    now: u64,
    scheduled: BinaryHeap<Scheduled>,
    count: u64,
    machine: Machine,
    spool: Spool,
    disk: Arc<Disk>,
    broker: Broker,
    topics: Topics,
    jobs: VecDeque<Job>,
    /// Milliseconds that the disk takes for each.
    disk_slowness: u64,
    disk_busy: bool,
    link: u64,
    link_ends: bool,
    last_arrival: u64,
    last_answer: u64,
    accepted_at: Option<u64>,
    heard_at: u64,
    /// Under way at the broker, by link.
    unanswered: usize,
    /// When the newest link ended, how, and how long it was heard.
    ended: Option<(u64, EndKind, u64)>,
    last_wait: Duration,
    next_event: u64,
    next_retained: u64,
    /// Events that must arrive: camera and number of each.
    announced: BTreeSet<(usize, u64)>,
    /// Those among them that the disk has refused.
    volatile: BTreeSet<(usize, u64)>,
    by_number: BTreeMap<u64, (usize, u64)>,
    retained: BTreeMap<String, Vec<u8>>,
    refused: BTreeSet<String>,
    words: Vec<(Level, String)>,
    draws: usize,
    broken: Vec<String>,
}

impl World {
    fn new(seed: u64, plan: &Plan, mistake: Mistake) -> Self {
        let disk = Arc::new(Disk::default());
        disk.set_lies(mistake == Mistake::DiskLies);
        let topics = Topics::new("pavad/a").unwrap();
        let mut random = Random(seed);
        let room = if random.one_in(4) { 2_000 } else { 1 << 20 };
        let mut world = Self {
            mistake,
            seed,
            plan: plan.clone(),
            steps: 0,
            story: Vec::new(),
            now: 0,
            scheduled: BinaryHeap::new(),
            count: 0,
            machine: machine(&topics),
            spool: Spool::on(Arc::<Disk>::clone(&disk), Path::new("/spool"), room).unwrap(),
            disk,
            broker: Broker::new(),
            topics,
            jobs: VecDeque::new(),
            disk_slowness: 2,
            disk_busy: false,
            link: 0,
            link_ends: false,
            last_arrival: 0,
            last_answer: 0,
            accepted_at: None,
            heard_at: 0,
            unanswered: 0,
            ended: None,
            last_wait: Duration::ZERO,
            next_event: 0,
            next_retained: 0,
            announced: BTreeSet::new(),
            volatile: BTreeSet::new(),
            by_number: BTreeMap::new(),
            retained: BTreeMap::new(),
            refused: BTreeSet::new(),
            words: Vec::new(),
            draws: 0,
            broken: Vec::new(),
            random,
        };
        for first in [Happening::Announce, Happening::Retain, Happening::Trouble] {
            world.schedule(1, first);
        }
        world
    }

    fn schedule(&mut self, at: u64, what: Happening) {
        self.count += 1;
        self.scheduled.push(Scheduled(at, self.count, what));
    }

    fn broke(&mut self, property: &str, what: impl std::fmt::Display) {
        if self.broken.len() < 5 {
            self.broken.push(format!("{property}: at {} ms: {what}", self.now));
        }
    }

    /// Begins a step; whether it is taken. What it draws is its own, so that another can be left out.
    fn step(&mut self) -> bool {
        self.steps += 1;
        self.random = Random(self.seed ^ self.steps.wrapping_mul(0xd6e8_feb8_6659_fd93));
        self.plan.has(self.steps)
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.story.push(format!("{:>7} ms, step {:>3}: {what}", self.now, self.steps));
    }

    fn clock(&self) -> Duration {
        let speed = if self.mistake == Mistake::FastClock { 4 } else { 1 };
        Duration::from_millis(self.now * speed)
    }

    fn feed(&mut self, input: Input) {
        if let Input::LinkDown(end) = &input {
            self.link_over(end.kind);
        }
        let outputs = self.machine.handle(input, self.clock());
        for output in outputs {
            self.perform(output);
        }
        if self.machine.under_way() > WINDOW || self.machine.in_memory() > WINDOW {
            self.broke("bounds", self.machine.under_way());
        }
    }

    fn link_over(&mut self, kind: EndKind) {
        let heard = self.accepted_at.map_or(0, |at| self.heard_at.saturating_sub(at));
        self.ended = Some((self.now, kind, heard));
        self.accepted_at = None;
        self.link += 1;
        self.unanswered = 0;
        self.link_ends = false;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => self.connect(),
            Output::Publish { token, topic, retain, payload } => {
                if self.mistake == Mistake::RetainedDropped && topic.ends_with("/status") {
                    let (link, input) = (self.link, Input::Acknowledged(token));
                    return self.schedule(self.now + 1, Happening::Comes { link, input });
                }
                self.unanswered += 1;
                if self.unanswered > WINDOW {
                    self.broke("bounds", format!("{} messages under way", self.unanswered));
                }
                self.last_arrival = self.last_arrival.max(self.now + self.broker.slowness / 2);
                let link = self.link;
                let what = Happening::Arrives { link, token, topic, retain, payload };
                self.schedule(self.last_arrival, what);
                if self.mistake == Mistake::EarlyYes {
                    let input = Input::Acknowledged(token);
                    self.schedule(self.now, Happening::Comes { link, input });
                }
            }
            Output::Subscribe => {
                let (link, input) = (self.link, Input::Subscribed { granted: true });
                if !self.broker.half_open {
                    self.schedule(self.now + 5, Happening::Comes { link, input });
                }
            }
            Output::Load { number } => self.job(Job::Load(number)),
            Output::Remove { number, synced } => {
                let event = self.by_number.get(&number).copied();
                let arrived = event.is_none_or(|(camera, number)| {
                    self.broker.events.iter().any(|(topic, payload)| {
                        is_of(topic, camera) && number_in(payload) == Some(number)
                    })
                });
                if !arrived {
                    self.broke("removed only when acknowledged", number);
                }
                self.job(Job::Remove(number, synced));
            }
            Output::Break => self.link_over(EndKind::Lost),
            Output::Disconnect => self.broke("no goodbye unasked", ""),
            Output::Say(level, text) => {
                if self.mistake != Mistake::Mute {
                    self.words.push((level, text));
                }
            }
        }
    }

    fn connect(&mut self) {
        self.check_wait();
        let link = self.link;
        let end = |kind| Input::LinkDown(End { kind, why: format!("{kind:?}") });
        let input = match self.broker.door {
            Door::Down => end(EndKind::Unreachable),
            Door::Refuses => end(EndKind::Refused),
            Door::Open => Input::LinkUp(self.broker.terms()),
        };
        self.last_arrival = self.now + 20;
        self.last_answer = self.now + 20;
        self.schedule(self.now + 20, Happening::Comes { link, input });
    }

    /// The documented back-off.
    fn check_wait(&mut self) {
        let Some((at, kind, heard)) = self.ended else { return };
        let wait = Duration::from_millis(self.now - at);
        let stayed = Duration::from_millis(heard) >= STAYED;
        let (least, most) = match kind {
            EndKind::TakenOver => (TAKEN_FIRST, TAKEN_LAST),
            EndKind::Refused => (REFUSED, LAST),
            _ if stayed => (FIRST, FIRST),
            _ => ((self.last_wait * 2).clamp(FIRST, LAST), LAST),
        };
        if wait < least || wait > most {
            self.broke("back-off", format!("{wait:?} after {kind:?}, not {least:?} to {most:?}"));
        }
        if kind != EndKind::TakenOver {
            self.last_wait = wait;
        } else if stayed {
            self.last_wait = Duration::ZERO;
        }
    }

    fn job(&mut self, job: Job) {
        self.jobs.push_back(job);
        if self.jobs.len() > 400 {
            self.broke("bounds", "jobs of the disk");
        }
        if !self.disk_busy {
            self.disk_busy = true;
            self.schedule(self.now + self.disk_slowness, Happening::DiskTurn);
        }
    }

    fn disk_turn(&mut self) {
        match self.jobs.pop_front() {
            Some(Job::Store(event, number)) => self.store(&event, number),
            Some(Job::Load(number)) => {
                let input = match self.spool.load(number) {
                    Loaded::Event(event) => Input::Loaded { number, event },
                    Loaded::Gone => Input::Gone { number },
                    Loaded::Failed(_) => Input::NotLoaded { number },
                };
                self.feed(input);
            }
            Some(Job::Remove(number, true)) => self.spool.remove_synced(number),
            Some(Job::Remove(number, false)) => self.spool.remove(number),
            None => {}
        }
        self.disk_busy = !self.jobs.is_empty();
        if self.disk_busy {
            self.schedule(self.now + self.disk_slowness, Happening::DiskTurn);
        }
    }

    fn store(&mut self, event: &SpooledEvent, number: u64) {
        let refused_before = self.spool.counters().write_errors;
        let done = self.spool.append(event).expect("a valid event");
        let camera = CAMERAS.iter().position(|id| *id == event.camera).unwrap();
        self.announced.insert((camera, number));
        if self.spool.counters().write_errors > refused_before {
            self.volatile.insert((camera, number));
        }
        self.by_number.insert(done.number, (camera, number));
        for number in done.dropped {
            // Counted, and said by the spool.
            if let Some(event) = self.by_number.get(&number) {
                self.announced.remove(event);
            }
            self.feed(Input::Gone { number });
        }
        let one_queue = self.mistake == Mistake::OneQueue;
        let camera = if one_queue { CAMERAS[0] } else { CAMERAS[camera] }.to_owned();
        self.feed(Input::Stored { number: done.number, camera });
    }

    fn announce(&mut self) {
        let camera = self.random.below(3) as usize;
        let number = self.next_event;
        self.next_event += 1;
        let size = 20 + self.random.below(120) as usize;
        self.tell(format_args!("event {number} of {} is announced", CAMERAS[camera]));
        let event = SpooledEvent {
            camera: CAMERAS[camera].into(),
            json: format!("{number:<size$}").into_bytes(),
            postcard: format!("{number:<w$}", w = size / 2).into_bytes(),
        };
        self.job(Job::Store(event, number));
        if self.mistake == Mistake::Swapped
            && let [.., Job::Store(a, _), Job::Store(b, _)] = self.jobs.make_contiguous()
            && a.camera == b.camera
        {
            let last = self.jobs.len() - 1;
            self.jobs.swap(last - 1, last);
        }
    }

    fn retain(&mut self) {
        self.next_retained += 1;
        let name = ["status", "telemetry", "cameras/door/snapshot"][self.random.below(3) as usize];
        let topic = format!("{}/{name}", self.topics.root());
        let size = if name.ends_with("snapshot") { 300 } else { 30 };
        let payload = format!("{:<size$}", self.next_retained).into_bytes();
        self.retained.insert(topic.clone(), payload.clone());
        let number = self.next_retained;
        self.tell(format_args!("{topic} is {number}"));
        self.feed(Input::Retain { topic, payload });
    }

    fn trouble(&mut self) {
        self.draws += 1;
        let mut topics: Vec<String> = self.retained.keys().cloned().collect();
        topics.push(self.topics.availability().to_string());
        for camera in CAMERAS {
            topics.push(self.topics.events(camera).unwrap().to_string());
            topics.push(self.topics.events_postcard(camera).unwrap().to_string());
        }
        let what = match self.random.below(14) {
            0 => {
                self.disk.set_full(true);
                "the disk is full".to_owned()
            }
            1 => {
                self.disk.set_full(false);
                "the disk has room".to_owned()
            }
            2 => {
                self.disk.set_unreadable(true);
                "the disk cannot be read".to_owned()
            }
            3 => {
                self.disk.set_unreadable(false);
                "the disk can be read".to_owned()
            }
            4 => {
                self.disk_slowness = [2, 2, 300, 4000][self.random.below(4) as usize];
                format!("the disk takes {} ms", self.disk_slowness)
            }
            5 => {
                self.power_cut();
                "the power is cut".to_owned()
            }
            6 => {
                self.end_link(EndKind::Lost);
                "the link is lost".to_owned()
            }
            7 => {
                self.end_link(EndKind::TakenOver);
                "another client has our id".to_owned()
            }
            _ => {
                self.broker.draw(&mut self.random, &topics);
                format!("the broker: {}", self.broker.describe())
            }
        };
        self.tell(format_args!("{what}"));
    }

    fn end_link(&mut self, kind: EndKind) {
        if self.accepted_at.is_some() {
            let (link, why) = (self.link, format!("{kind:?}"));
            let input = Input::LinkDown(End { kind, why });
            self.schedule(self.now + 1, Happening::Comes { link, input });
        }
    }

    fn power_cut(&mut self) {
        self.jobs.clear();
        self.disk.power_cut(&mut self.random);
        self.announced = &self.announced - &self.volatile;
        self.volatile.clear();
        self.link += 1;
        (self.accepted_at, self.ended, self.unanswered) = (None, None, 0);
        self.link_ends = false;
        self.last_wait = Duration::ZERO;
        let room = 1 << 20;
        let files = Arc::<Disk>::clone(&self.disk);
        self.spool = Spool::on(files, Path::new("/spool"), room).unwrap();
        self.machine = machine(&self.topics);
        self.by_number.clear();
        let waiting: Vec<(u64, String)> =
            self.spool.waiting().map(|(n, camera)| (n, camera.unwrap().to_owned())).collect();
        for (number, camera) in waiting {
            self.feed(Input::Stored { number, camera });
        }
        for (topic, payload) in self.retained.clone() {
            self.feed(Input::Retain { topic, payload });
        }
    }

    /// A message is at the broker.
    fn arrives(&mut self, link: u64, token: Token, topic: &str, retain: bool, payload: &[u8]) {
        if link != self.link || self.link_ends {
            return;
        }
        let answer = self.broker.take(topic, retain, payload, &mut self.random);
        let input = match answer {
            Answer::Taken => Input::Acknowledged(token),
            Answer::Refused(_) if self.mistake == Mistake::RefusalIsYes => {
                Input::Acknowledged(token)
            }
            Answer::Refused(refusal) => Input::Refused(token, refusal, topic.to_owned()),
            Answer::Ends(kind) => Input::LinkDown(End { kind, why: "ended".into() }),
            Answer::Silence => return,
        };
        self.link_ends = matches!(input, Input::LinkDown(_));
        if self.mistake == Mistake::EarlyYes && matches!(input, Input::Acknowledged(_)) {
            self.unanswered -= 1;
            return;
        }
        self.last_answer = self.last_answer.max(self.now + self.broker.slowness.div_ceil(2));
        let refused = matches!(input, Input::Refused(..));
        self.schedule(self.last_answer, Happening::Comes { link, input });
        if refused && self.broker.refuses_and_ends {
            self.link_ends = true;
            let input = Input::LinkDown(End { kind: EndKind::Lost, why: "ended".into() });
            self.schedule(self.last_answer + 1, Happening::Comes { link, input });
        }
    }

    fn comes(&mut self, link: u64, input: Input) {
        if link != self.link {
            return;
        }
        match &input {
            Input::LinkUp(_) => self.accepted_at = Some(self.now),
            Input::Acknowledged(_) | Input::Refused(..) if self.mistake != Mistake::EarlyYes => {
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            _ => {}
        }
        if let Input::Refused(_, _, topic) = &input {
            self.refused.insert(topic.clone());
        }
        if !matches!(input, Input::LinkDown(_)) {
            self.heard_at = self.now;
        }
        self.feed(input);
    }

    /// Lets time pass until `end`; with `troubled` faults are drawn and events announced.
    fn run(&mut self, end: u64, troubled: bool) {
        loop {
            let speed = if self.mistake == Mistake::FastClock { 4 } else { 1 };
            let tick = self.machine.timeout().map(|at| {
                u64::try_from(at.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).div_ceil(speed)
            });
            let next = self.scheduled.peek().map_or(u64::MAX, |scheduled| scheduled.0);
            let at = next.min(tick.map_or(u64::MAX, |at| at.max(self.now)));
            if at > end {
                self.now = end;
                return;
            }
            self.now = at;
            if next > at {
                let before = self.machine.timeout();
                self.feed(Input::Tick);
                if self.machine.timeout() == before && tick == Some(at) && before.is_some() {
                    self.broke("time goes on", format!("{before:?} is asked for again"));
                    return;
                }
                continue;
            }
            let Some(Scheduled(_, _, what)) = self.scheduled.pop() else { return };
            match what {
                Happening::Announce if troubled => {
                    if self.step() {
                        self.announce();
                    }
                    let next = self.now + 1 + self.random.below(2000);
                    self.schedule(next, Happening::Announce);
                }
                Happening::Retain if troubled => {
                    if self.step() {
                        self.retain();
                    }
                    let next = self.now + 1 + self.random.below(4000);
                    self.schedule(next, Happening::Retain);
                }
                Happening::Trouble if troubled => {
                    if self.step() {
                        self.trouble();
                    }
                    let next = self.now + 1 + self.random.below(8000);
                    self.schedule(next, Happening::Trouble);
                }
                Happening::Announce | Happening::Retain | Happening::Trouble => {}
                Happening::DiskTurn => self.disk_turn(),
                Happening::Arrives { link, token, topic, retain, payload } => {
                    self.arrives(link, token, &topic, retain, &payload);
                }
                Happening::Comes { link, input } => self.comes(link, input),
            }
        }
    }

    fn missing(&self, of: impl Fn(usize) -> bool) -> Vec<(usize, u64)> {
        let mut arrived = BTreeSet::new();
        for (topic, payload) in &self.broker.events {
            let camera = (0..CAMERAS.len()).find(|camera| is_of(topic, *camera));
            if let (Some(camera), Some(number)) = (camera, number_in(payload)) {
                arrived.insert((camera, number));
            }
        }
        self.announced.iter().filter(|e| of(e.0) && !arrived.contains(*e)).copied().collect()
    }

    fn check_order(&mut self) {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut wrong = None;
        for (topic, payload) in &self.broker.events {
            let Some(number) = number_in(payload) else { continue };
            // One that comes again is dropped by its id and sequence.
            if !seen.insert((topic.as_str(), number)) {
                continue;
            }
            if newest.insert(topic, number).is_some_and(|before| before > number) {
                wrong = Some(format!("{topic}: {number} after a later one"));
            }
        }
        if let Some(wrong) = wrong {
            self.broke("in order per camera", wrong);
        }
    }

    fn check_words(&mut self) {
        let silent = self.refused.iter().find(|topic| {
            !self.words.iter().any(|(l, text)| *l == Level::Error && text.contains(*topic))
        });
        if let Some(topic) = silent.cloned() {
            self.broke("set aside with a word", format!("nothing was said of {topic}"));
        }
        let loud = self.words.iter().filter(|(level, _)| *level <= Level::Warn).count();
        // Every fault may be told, and told again as the next one.
        if loud > 20 + self.draws * 6 {
            self.broke("said once", format!("{loud} lines for {} faults", self.draws));
        }
    }

    fn check_retained(&mut self) {
        let old = self
            .retained
            .iter()
            .find(|(topic, payload)| self.broker.retained.get(*topic) != Some(*payload));
        if let Some((topic, _)) = old {
            let topic = topic.clone();
            self.broke("the newest retained message is there", topic);
        }
    }
}

fn machine(topics: &Topics) -> Machine {
    Machine::new(topics.clone(), "a".into(), Duration::from_secs(30), true)
}

fn is_of(topic: &str, camera: usize) -> bool {
    let id = CAMERAS[camera];
    topic.ends_with(&format!("/events/{id}")) || topic.ends_with(&format!("/{id}/postcard"))
}

fn number_in(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

/// Runs one seed, or a part of it; what does not hold.
fn simulate(seed: u64, plan: &Plan, mistake: Mistake) -> Outcome {
    let mut world = World::new(seed, plan, mistake);
    world.run(TROUBLE, true);
    world.disk.set_full(false);
    world.disk.set_unreadable(false);
    world.disk_slowness = 2;
    let denied = world.random.below(3) as usize;
    // A limit holds for a link: the broker starts anew.
    world.broker.heal();
    world.end_link(EndKind::Lost);
    world.broker.denied.clear();
    let id = CAMERAS[denied];
    world.broker.denied.insert(world.topics.events(id).unwrap().to_string());
    world.broker.denied.insert(world.topics.events_postcard(id).unwrap().to_string());
    world.broker.ends_links = seed.is_multiple_of(3);
    world.broker.refuses_and_ends = seed % 3 == 1;
    world.run(TROUBLE + OTHERS, false);
    let others = world.missing(|camera| camera != denied);
    if !others.is_empty() {
        world.broke("a denied camera blocks no other", format!("{others:?} have not arrived"));
    }
    world.broker.denied.clear();
    world.run(TROUBLE + OTHERS + REST, false);
    let missing = world.missing(|_| true);
    if !missing.is_empty() {
        world.broke("every announced event arrives", format!("{missing:?} have not"));
    }
    if !world.spool.is_empty() || world.machine.waiting() != 0 {
        world.broke("the spool empties", world.spool.len());
    }
    world.check_order();
    world.check_words();
    world.check_retained();
    Outcome { broken: world.broken, steps: world.steps, story: world.story }
}

#[test]
fn publisher_by_seed() {
    let run = |seed: u64, plan: &Plan| simulate(seed, plan, Mistake::None);
    Simulation { name: "publisher", leaves_out: true, run }.every_seed(0..300);
}

/// The property that a mistake breaks, in one of the first seeds.
fn breaks(mistake: Mistake, property: &str) {
    let found = (0..30).find_map(|seed| {
        let broken = simulate(seed, &Plan::WHOLE, mistake).broken;
        broken.into_iter().find(|broken| broken.starts_with(property))
    });
    assert!(found.is_some(), "{mistake:?} does not break {property:?}");
}

#[test]
fn each_property_can_fail() {
    breaks(Mistake::RefusalIsYes, "every announced event arrives");
    breaks(Mistake::RefusalIsYes, "removed only when acknowledged");
    breaks(Mistake::DiskLies, "every announced event arrives");
    breaks(Mistake::Swapped, "in order per camera");
    breaks(Mistake::EarlyYes, "bounds");
    breaks(Mistake::FastClock, "back-off");
    breaks(Mistake::OneQueue, "a denied camera blocks no other");
    breaks(Mistake::Mute, "set aside with a word");
    breaks(Mistake::RetainedDropped, "the newest retained message is there");
}
