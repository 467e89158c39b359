//! The broker's faults of the field, each by name.

use std::time::Duration;

use super::*;

/// A machine, its clock, and what it has put out.
struct Bench {
    machine: Machine,
    now: Duration,
    /// Messages that were handed to the link and not yet looked at.
    sent: Vec<(Token, String, Vec<u8>)>,
    words: Vec<(Level, String)>,
    removed: Vec<u64>,
    dialled: usize,
    broken: usize,
}

const STATUS: &str = "pavad/a/status";
const DISCOVERY: &str = "homeassistant/device/pavad_a/config";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Bench {
    fn new() -> Self {
        let topics = Topics::new("pavad/a").unwrap();
        let mut bench = Self {
            machine: Machine::new(topics, "pavad-a".into(), secs(30), false),
            now: Duration::ZERO,
            sent: Vec::new(),
            words: Vec::new(),
            removed: Vec::new(),
            dialled: 0,
            broken: 0,
        };
        bench.feed(Input::Tick);
        bench
    }

    /// One whose broker has accepted the connection, with these terms.
    fn connected(terms: Terms) -> Self {
        let mut bench = Self::new();
        bench.feed(Input::LinkUp(terms));
        bench.answer("pavad/a/availability");
        bench
    }

    fn feed(&mut self, input: Input) {
        let outputs = self.machine.handle(input, self.now);
        for output in outputs {
            match output {
                Output::Publish { token, topic, payload, .. } => {
                    self.sent.push((token, topic, payload));
                }
                // The disk answers at once.
                Output::Load { number } => {
                    let camera = if number.is_multiple_of(2) { "gate" } else { "door" };
                    let json = format!("{number:100}").into_bytes();
                    let postcard = format!("{number:50}").into_bytes();
                    let event = SpooledEvent { camera: camera.into(), json, postcard };
                    self.feed(Input::Loaded { number, event });
                }
                Output::Remove { number, .. } => self.removed.push(number),
                Output::Connect => self.dialled += 1,
                Output::Break => self.broken += 1,
                Output::Say(level, text) => self.words.push((level, text)),
                Output::Subscribe | Output::Disconnect => {}
            }
        }
    }

    /// Stores events of the camera `gate` (even numbers) or `door`.
    fn store(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let camera = if number.is_multiple_of(2) { "gate" } else { "door" }.into();
            self.feed(Input::Stored { number, camera });
        }
    }

    fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.feed(Input::Retain { topic: topic.into(), payload: payload.into() });
    }

    fn take(&mut self, topic: &str) -> Option<Token> {
        let at = self.sent.iter().position(|sent| sent.1 == topic)?;
        Some(self.sent.remove(at).0)
    }

    /// The broker acknowledges the oldest message of a topic.
    fn answer(&mut self, topic: &str) {
        let token = self.take(topic).unwrap_or_else(|| panic!("no {topic} in {:?}", self.sent));
        self.feed(Input::Acknowledged(token));
    }

    /// It refuses each message of these topics, and acknowledges all others, until none is left.
    fn serve(&mut self, refused: &[(&str, Refusal)]) {
        while let Some((token, topic, _)) = (!self.sent.is_empty()).then(|| self.sent.remove(0)) {
            match refused.iter().find(|(part, _)| topic.contains(part)) {
                Some((_, refusal)) => {
                    self.feed(Input::Refused(token, *refusal, "NotAuthorized".into()));
                }
                None => self.feed(Input::Acknowledged(token)),
            }
        }
    }

    fn end(&mut self, kind: EndKind) {
        self.sent.clear();
        self.feed(Input::LinkDown(End { kind, why: format!("broker a:1: {kind:?}") }));
    }

    /// Lets time pass, tick by tick as the machine asks.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let before = self.machine.timeout();
            self.feed(Input::Tick);
            assert_ne!(self.machine.timeout(), before, "asked again for a time that has passed");
        }
        self.now = end;
    }

    /// Lets time pass while the broker serves.
    fn pass_serving(&mut self, time: Duration, refused: &[(&str, Refusal)]) {
        let end = self.now + time;
        while self.now < end {
            self.pass(secs(10));
            self.serve(refused);
        }
    }

    /// The wait until the next attempt.
    fn wait(&mut self) -> Duration {
        let (before, start) = (self.dialled, self.now);
        let at = self.machine.timeout().expect("it connects again");
        self.pass(at - start);
        assert_eq!(self.dialled, before + 1);
        at - start
    }

    fn said(&self, level: Level, part: &str) -> usize {
        self.words.iter().filter(|(l, text)| *l == level && text.contains(part)).count()
    }
}

#[test]
fn a_refused_discovery_blocks_no_event_and_is_said_once() {
    let mut bench = Bench::connected(Terms::default());
    bench.retain(DISCOVERY, b"{}");
    bench.store(1..=20);
    for _ in 0..60 {
        bench.pass_serving(secs(60), &[("homeassistant", Refusal::Denied)]);
        bench.retain(STATUS, b"{}");
    }
    assert_eq!(bench.removed.len(), 20);
    assert!(bench.machine.is_connected());
    assert_eq!(bench.said(Level::Error, DISCOVERY), 1);
    assert_eq!(bench.said(Level::Error, "check the broker's access rules"), 1);
    // It was tried again, at growing intervals.
    let tries = bench.machine.totals().refused;
    assert!((6..=12).contains(&tries), "{tries}");
    // The rules are mended.
    bench.pass_serving(secs(600), &[]);
    assert_eq!(bench.said(Level::Info, "takes homeassistant"), 1);
}

#[test]
fn a_picture_beyond_the_brokers_limit_is_set_aside_and_events_go_on() {
    let terms = Terms { max_packet: Some(6000), ..Terms::default() };
    let mut bench = Bench::connected(terms);
    bench.retain("pavad/a/cameras/door/snapshot", &[0; 9000]);
    bench.store(1..=4);
    bench.serve(&[]);
    assert_eq!(bench.removed.len(), 4);
    assert_eq!(bench.said(Level::Error, "9000 bytes are more than its packets may have, 6000"), 1);
    bench.retain("pavad/a/cameras/door/snapshot", &[0; 9100]);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.said(Level::Error, "bytes are more"), 1, "said once");
    // A smaller one is taken at once.
    bench.retain("pavad/a/cameras/door/snapshot", &[0; 900]);
    bench.answer("pavad/a/cameras/door/snapshot");
}

#[test]
fn a_denied_camera_does_not_block_the_others() {
    let mut bench = Bench::connected(Terms::default());
    bench.store(1..=40);
    let denied = [("events/door", Refusal::Denied)];
    bench.serve(&denied);
    assert_eq!(bench.removed, (2..=40).step_by(2).collect::<Vec<_>>());
    assert_eq!(bench.said(Level::Error, "pavad/a/events/door"), 2, "one line for each form");
    bench.pass_serving(secs(6000), &denied);
    assert_eq!(bench.said(Level::Error, "pavad/a/events/door"), 2);
    // They are kept, and come in order once the rules are mended.
    bench.pass_serving(secs(600), &[]);
    assert_eq!(bench.removed[20..], (1..=39).step_by(2).collect::<Vec<_>>());
}

#[test]
fn a_form_that_is_denied_does_not_hold_the_other() {
    let mut bench = Bench::connected(Terms::default());
    bench.store([1, 3, 5]);
    bench.serve(&[("/postcard", Refusal::Denied)]);
    assert_eq!(bench.removed, [1, 3, 5]);
    assert_eq!(bench.said(Level::Error, "postcard"), 1);
}

#[test]
fn a_quota_holds_an_event_and_not_those_of_other_cameras() {
    let mut bench = Bench::connected(Terms::default());
    bench.store(1..=6);
    bench.serve(&[("events/door", Refusal::Quota)]);
    assert_eq!(bench.removed, [2, 4, 6]);
    assert!(bench.machine.is_connected());
    bench.pass(secs(2));
    bench.serve(&[]);
    assert_eq!(bench.removed, [2, 4, 6, 1, 3, 5]);
}

/// MQTT 3.1.1 has no answer for a message that is not taken: the broker can only end the link.
#[test]
fn a_message_that_ends_every_link_is_found_and_set_aside() {
    let mut bench = Bench::connected(Terms::default());
    bench.retain(DISCOVERY, b"{}");
    bench.retain(STATUS, b"{}");
    bench.store(1..=6);
    let mut links = 1;
    while bench.removed.len() < 6 {
        while let Some((token, topic, _)) = (!bench.sent.is_empty()).then(|| bench.sent.remove(0)) {
            bench.now += Duration::from_millis(5);
            if topic == DISCOVERY {
                bench.end(EndKind::Lost);
                bench.wait();
                bench.feed(Input::LinkUp(Terms::default()));
                links += 1;
                assert!(links < 10, "{:?}", bench.words);
            } else {
                bench.feed(Input::Acknowledged(token));
            }
        }
    }
    assert_eq!(bench.said(Level::Error, "seems to refuse homeassistant"), 1);
    // What is suspected is tried again alone, so that it takes nothing with it.
    bench.pass(secs(31));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].1, DISCOVERY);
    bench.store([7]);
    assert_eq!(bench.sent.len(), 1);
    bench.end(EndKind::Lost);
    bench.wait();
    bench.feed(Input::LinkUp(Terms::default()));
    bench.serve(&[]);
    assert_eq!(bench.removed.len(), 7);
}

/// As Mosquitto 2.0.11 does with `max_queued_messages 0`.
#[test]
fn a_broker_that_refuses_and_then_ends_the_link_blocks_no_event() {
    let mut bench = Bench::connected(Terms::default());
    bench.retain(DISCOVERY, b"{}");
    bench.store(1..=6);
    let discovery = bench.take(DISCOVERY).unwrap();
    bench.feed(Input::Refused(discovery, Refusal::Denied, "NotAuthorized".into()));
    bench.end(EndKind::Lost);
    bench.wait();
    bench.feed(Input::LinkUp(Terms::default()));
    bench.serve(&[("homeassistant", Refusal::Unspecified)]);
    assert_eq!((bench.removed.len(), bench.machine.totals().refused), (6, 1));
    // Tried again alone, it takes nothing with it.
    bench.pass_serving(secs(10), &[]);
    bench.pass(secs(20));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].1, DISCOVERY);
}

#[test]
fn a_broker_that_says_which_message_it_ends_the_link_for_is_believed() {
    let mut bench = Bench::connected(Terms::default());
    bench.retain("pavad/a/cameras/door/snapshot", &[0; 9000]);
    bench.end(EndKind::Blamed(Refusal::TooLarge));
    bench.wait();
    bench.feed(Input::LinkUp(Terms::default()));
    bench.serve(&[]);
    assert_eq!(bench.said(Level::Error, "snapshot"), 1);
    assert!(bench.machine.is_connected() && bench.sent.is_empty());
}

#[test]
fn back_off_is_reset_by_a_link_that_has_stayed_not_by_one_that_was_accepted() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for _ in 0..9 {
        bench.feed(Input::LinkUp(Terms::default()));
        bench.now += Duration::from_millis(50);
        bench.end(EndKind::Lost);
        waits.push(bench.wait().as_secs_f64());
    }
    assert_eq!(waits, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    // Said once, and what may be behind it: a message, another client. Not a line for each link.
    let loud = bench.words.iter().filter(|(level, _)| *level <= Level::Warn).count();
    assert_eq!(loud, 3, "{:?}", bench.words);
    bench.feed(Input::LinkUp(Terms::default()));
    bench.now += secs(10);
    bench.answer("pavad/a/availability");
    bench.end(EndKind::Lost);
    assert_eq!(bench.wait(), Duration::from_millis(250));
}

#[test]
fn a_broker_that_refuses_the_connection_is_not_asked_four_times_a_second() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for _ in 0..5 {
        bench.end(EndKind::Refused);
        waits.push(bench.wait().as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 30, 30]);
    assert_eq!(bench.said(Level::Warn, "Refused"), 1);
}

#[test]
fn another_client_with_our_id_is_backed_off_from() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.feed(Input::LinkUp(Terms::default()));
        bench.serve(&[]);
        bench.now += secs(15);
        bench.feed(Input::Heard);
        bench.end(EndKind::TakenOver);
        waits.push(bench.wait().as_secs());
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 600]);
    assert_eq!(bench.machine.totals().taken_over, 6);
}

/// As the brokers do that give no reason.
#[test]
fn links_that_end_without_a_reason_make_one_think_of_another_client() {
    let mut bench = Bench::new();
    for _ in 0..8 {
        bench.feed(Input::LinkUp(Terms::default()));
        bench.serve(&[]);
        bench.now += secs(1);
        bench.end(EndKind::Lost);
        bench.wait();
    }
    assert_eq!(bench.said(Level::Warn, "another client uses the id `pavad-a`"), 1);
}

#[test]
fn a_half_open_link_is_given_up() {
    let mut bench = Bench::connected(Terms::default());
    bench.pass(secs(100));
    assert_eq!(bench.broken, 0, "a link on which nothing is owed may be silent");
    bench.store([1]);
    bench.pass(secs(44));
    assert_eq!(bench.broken, 0);
    bench.pass(secs(1));
    assert_eq!(bench.broken, 1);
    assert_eq!(bench.said(Level::Warn, "nothing was heard from it for 45 s"), 1);
    bench.sent.clear();
    bench.wait();
    bench.feed(Input::LinkUp(Terms::default()));
    bench.serve(&[]);
    assert_eq!(bench.removed, [1]);
}

#[test]
fn a_broker_that_answers_pings_and_acknowledges_nothing_is_given_up() {
    let mut bench = Bench::connected(Terms::default());
    bench.store([1]);
    for _ in 0..12 {
        bench.pass(secs(10) - Duration::from_millis(1));
        bench.feed(Input::Heard);
        assert_eq!(bench.broken, 0);
    }
    bench.pass(secs(1));
    assert_eq!(bench.broken, 1);
    assert_eq!(bench.said(Level::Warn, "it acknowledges nothing for 120 s"), 1);
}

#[test]
fn a_slow_broker_is_waited_for() {
    let mut bench = Bench::connected(Terms::default());
    bench.store(1..=4);
    while bench.removed.len() < 4 {
        bench.pass(secs(20));
        let (token, ..) = bench.sent.remove(0);
        bench.feed(Input::Acknowledged(token));
    }
    assert_eq!(bench.broken, 0);
}

#[test]
fn a_broker_that_takes_one_message_at_a_time_gets_one_at_a_time() {
    let mut bench = Bench::connected(Terms { receive_max: Some(1), ..Terms::default() });
    bench.retain(STATUS, b"{}");
    bench.store(1..=4);
    let mut answered = 0;
    while let Some((token, ..)) = bench.sent.pop() {
        assert!(bench.sent.is_empty());
        bench.feed(Input::Acknowledged(token));
        answered += 1;
    }
    assert_eq!((bench.removed.len(), answered), (4, 9));
}

#[test]
fn of_each_camera_one_event_is_under_way() {
    let mut bench = Bench::connected(Terms::default());
    bench.store(1..=10);
    assert_eq!(bench.sent.len(), 4, "two cameras, two forms");
    bench.answer("pavad/a/events/door");
    assert_eq!(bench.sent.len(), 3, "the next one waits for both forms");
    bench.answer("pavad/a/events/door/postcard");
    assert_eq!((bench.removed.clone(), bench.sent.len()), (vec![1], 4));
}

#[test]
fn a_form_that_was_acknowledged_is_not_sent_again_over_the_next_link() {
    let mut bench = Bench::connected(Terms::default());
    bench.store([1]);
    bench.answer("pavad/a/events/door");
    bench.end(EndKind::Lost);
    bench.wait();
    bench.feed(Input::LinkUp(Terms::default()));
    bench.answer("pavad/a/availability");
    assert_eq!(bench.sent.len(), 1);
    bench.answer("pavad/a/events/door/postcard");
    assert_eq!(bench.removed, [1]);
}

#[test]
fn a_disk_that_does_not_give_an_event_is_asked_again() {
    let mut bench = Bench::connected(Terms::default());
    let stored = Input::Stored { number: 1, camera: "door".into() };
    let outputs = bench.machine.handle(stored, bench.now);
    assert_eq!(outputs, [Output::Load { number: 1 }]);
    bench.feed(Input::NotLoaded { number: 1 });
    bench.store([2]);
    bench.serve(&[]);
    assert_eq!(bench.removed, [2]);
    bench.pass(secs(5));
    bench.serve(&[]);
    assert_eq!(bench.removed, [2, 1]);
}

#[test]
fn a_broker_without_retained_messages_is_named() {
    let mut bench = Bench::new();
    let outputs =
        bench.machine.handle(Input::LinkUp(Terms { retain: false, ..Terms::default() }), bench.now);
    assert!(
        outputs.iter().any(|o| matches!(o, Output::Say(Level::Warn, t) if t.contains("retained")))
    );
    assert!(outputs.iter().any(|o| matches!(o, Output::Publish { retain: false, .. })));
}

#[test]
fn the_last_status_goes_out_before_the_goodbye() {
    let mut bench = Bench::connected(Terms::default());
    bench.store(1..=40);
    bench.retain(STATUS, b"running");
    bench.retain(STATUS, b"stopped");
    let deadline = bench.now + secs(5);
    bench.feed(Input::Stop { deadline });
    let mut order = Vec::new();
    while let Some((token, topic, payload)) = (!bench.sent.is_empty()).then(|| bench.sent.remove(0))
    {
        order.push((topic, String::from_utf8_lossy(&payload).into_owned()));
        bench.feed(Input::Acknowledged(token));
    }
    let at = |topic: &str, text: &str| order.iter().position(|o| o.0 == topic && o.1 == text);
    assert!(at(STATUS, "stopped").unwrap() < at("pavad/a/availability", "stopped").unwrap());
    assert!(bench.machine.is_ended());
}

#[test]
fn a_goodbye_that_nobody_answers_ends_at_its_deadline() {
    let mut bench = Bench::connected(Terms::default());
    let deadline = bench.now + secs(5);
    bench.feed(Input::Stop { deadline });
    bench.pass(secs(4));
    assert!(!bench.machine.is_ended());
    bench.pass(secs(1));
    assert!(bench.machine.is_ended());
}
