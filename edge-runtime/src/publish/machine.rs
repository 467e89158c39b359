//! What the publisher decides, without doing any of it: order, window, refusals, back-off.
//!
//! The machine does no I/O, starts no thread and asks no clock. What happens goes in with the time
//! at which it happens, [`Machine::handle`]; what is to be done comes out as plain values,
//! [`Output`]. The driver (`driver.rs`) owns the link, the spool and the threads.
//!
//! ```text
//!            Connect            LinkUp                     stays 10 s
//!  Waiting ──────────► Dialling ───────► Up (greeting first) ─────────► Up, back-off reset
//!     ▲                   │               │
//!     └───── LinkDown, Break: wait 0.25 to 30 s, by what ended the link ◄──────────┘
//! ```

mod backoff;
mod holds;
mod queues;
mod words;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alert_wire::{Availability, Topics};
use log::Level;

use super::SpooledEvent;
use backoff::{Backoff, STAYED};
use holds::Holds;
use queues::Queues;

/// Messages under way, events and retained ones together. Small, so that little is sent twice after
/// a break.
pub const WINDOW: usize = 16;
/// Longest wait for a message's acknowledgement on a link that otherwise lives.
const PATIENCE: Duration = Duration::from_secs(120);
/// Shortest silence that counts as the end of a link on which an answer is owed.
const LEAST_SILENCE: Duration = Duration::from_secs(10);
/// Time without commands after the broker has sent a message that is too large: it may be kept
/// there, and would end each link that asks for commands.
pub const DEAF: Duration = Duration::from_secs(600);
/// Wait before the disk is asked again for an event that it did not give.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// Short links in a row, ended without a reason, after which another client of the same id is named
/// as a possible cause.
const UNEXPLAINED: u32 = 4;
/// Time after a refusal in which the end of the link is laid at its door.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// Name under which the subscription is held, beside the topics.
const SUBSCRIPTION: &str = "(subscription)";

/// One message that was handed to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The two forms in which an event is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people and home automation.
    Json,
    /// For microcontrollers.
    Postcard,
}

/// Why the broker does not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its access rules, or it does not like the topic.
    Denied,
    /// It is larger than the broker takes.
    TooLarge,
    /// A quota is used up, or the broker is busy.
    Quota,
    /// It does not say.
    Unspecified,
}

impl Refusal {
    /// Whether the next attempt is likely to meet the same answer.
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Denied | Self::TooLarge)
    }
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// No connection came about.
    Unreachable,
    /// The broker has answered, and refused.
    Refused,
    /// Another client has connected with our id.
    TakenOver,
    /// The broker sent a message that is larger than is ever taken.
    Oversized,
    /// The broker ended the link because of a message.
    Blamed(Refusal),
    /// It broke, or the broker closed it for a reason of its own or none.
    Lost,
}

/// The end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// What kind of end.
    pub kind: EndKind,
    /// What happened, with the remedy if there is one, for the log.
    pub why: String,
}

/// What the broker has said of itself when it accepted the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Largest packet that it takes, in bytes.
    pub max_packet: Option<usize>,
    /// Most messages that it wants to have under way.
    pub receive_max: Option<u16>,
    /// Whether it keeps retained messages.
    pub retain: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { max_packet: None, receive_max: None, retain: true }
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An event is in the spool. Numbers rise.
    Stored {
        /// Its number there.
        number: u64,
        /// Its camera.
        camera: String,
    },
    /// An event is no longer in the spool: it gave way to newer ones or was damaged.
    Gone {
        /// Its number.
        number: u64,
    },
    /// An event that was asked for.
    Loaded {
        /// Its number.
        number: u64,
        /// The event.
        event: SpooledEvent,
    },
    /// The disk does not give an event now.
    NotLoaded {
        /// Its number.
        number: u64,
    },
    /// The newest content of a retained topic; an empty one removes what the broker keeps.
    Retain {
        /// The topic.
        topic: String,
        /// The content.
        payload: Vec<u8>,
    },
    /// The broker has accepted the connection.
    LinkUp(Terms),
    /// The broker has acknowledged a message.
    Acknowledged(Token),
    /// The broker has refused a message; the text is its own.
    Refused(Token, Refusal, String),
    /// The broker has answered the subscription.
    Subscribed {
        /// Whether it was granted.
        granted: bool,
    },
    /// Something else has come from the broker: it lives.
    Heard,
    /// The link, or the attempt, has ended.
    LinkDown(End),
    /// A time that [`Machine::timeout`] asked for has come.
    Tick,
    /// `stopped` is to be published and the link closed, until this time.
    Stop {
        /// When to give up.
        deadline: Duration,
    },
    /// The link is to end without a goodbye, so that the broker announces the last will.
    Abandon,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Try to connect; answered by `LinkUp` or `LinkDown`.
    Connect,
    /// Hand a message to the link, behind those before it.
    Publish {
        /// Names the message in the answer.
        token: Token,
        /// Its topic.
        topic: String,
        /// Whether the broker is to keep it.
        retain: bool,
        /// Its content.
        payload: Vec<u8>,
    },
    /// Ask for commands; answered by `Subscribed`.
    Subscribe,
    /// Read an event from the spool; answered by `Loaded`, `NotLoaded` or `Gone`.
    Load {
        /// Its number.
        number: u64,
    },
    /// Delete an event from the spool.
    Remove {
        /// Its number.
        number: u64,
        /// Whether that must outlive a power cut: it was sent in one form only, and the other must
        /// not come after those of later events.
        synced: bool,
    },
    /// Say goodbye and end the link; nothing follows.
    Disconnect,
    /// Drop the link at once, without a goodbye and without telling of its end.
    Break,
    /// Something for the log.
    Say(Level, String),
}

/// What a message under way is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Online,
    Stopped,
    Retained,
    Event(u64, Form),
}

#[derive(Debug)]
struct Flight {
    message: Message,
    topic: String,
    sent: Duration,
}

/// The newest content of a retained topic.
#[derive(Debug)]
struct Retained {
    payload: Vec<u8>,
    /// This content has not been handed to this link.
    new: bool,
    /// One is under way.
    sent: Option<Token>,
}

impl Retained {
    /// Of a topic one message is under way at a time: a later one must not be overtaken.
    fn is_due(&self) -> bool {
        self.new && self.sent.is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Stopping(Duration),
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Waiting(Duration),
    Dialling,
    Up { since: Duration, heard: Duration, terms: Terms },
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that the broker accepted.
    pub connections: u64,
    /// Events acknowledged.
    pub acknowledged: u64,
    /// Messages that the broker refused, and topics that it seems to end links for.
    pub refused: u64,
    /// Messages from the broker that were too large to be taken.
    pub oversized: u64,
    /// Links that another client with our id has ended.
    pub taken_over: u64,
}

/// The publisher's decisions.
#[derive(Debug)]
pub struct Machine {
    topics: Topics,
    client_id: String,
    /// Longest silence of the broker on a link on which it owes an answer.
    silence: Duration,
    /// Whether commands are asked for at all.
    listens: bool,
    stage: Stage,
    link: Link,
    backoff: Backoff,
    queues: Queues,
    /// By topic; as many as the configuration has cameras and settings.
    retained: BTreeMap<String, Retained>,
    holds: Holds,
    flights: BTreeMap<Token, Flight>,
    next_token: u64,
    /// `online` has been handed to this link.
    greeted: bool,
    said_stopped: bool,
    subscribed: bool,
    /// The broker owes an answer to the subscription.
    subscribing: Option<Duration>,
    deaf_until: Option<Duration>,
    /// One message at a time, to find the one that ends links.
    careful: bool,
    /// A suspected message is under way: nothing else is sent until it is answered.
    alone: bool,
    /// Retained messages and events take turns.
    retained_turn: bool,
    /// The topic that this link has refused last, and when.
    last_refused: Option<(String, Duration)>,
    /// Short links in a row that ended without a reason.
    unexplained: u32,
    /// The newest link had not stayed when it ended.
    flapping: bool,
    last_end: String,
    /// Words that are said once.
    said: BTreeSet<&'static str>,
    totals: Totals,
    /// The time of the newest input.
    now: Duration,
    outputs: Vec<Output>,
}

impl Machine {
    /// A publisher that is about to connect. With `listens` it asks for commands on each link.
    pub fn new(topics: Topics, client_id: String, keep_alive: Duration, listens: bool) -> Self {
        Self {
            queues: Queues::new(topics.clone()),
            topics,
            client_id,
            silence: keep_alive.max(LEAST_SILENCE) + keep_alive / 2,
            listens,
            stage: Stage::Running,
            link: Link::Waiting(Duration::ZERO),
            backoff: Backoff::new(),
            retained: BTreeMap::new(),
            holds: Holds::default(),
            flights: BTreeMap::new(),
            next_token: 0,
            greeted: false,
            said_stopped: false,
            subscribed: false,
            subscribing: None,
            deaf_until: None,
            careful: false,
            alone: false,
            retained_turn: false,
            last_refused: None,
            unexplained: 0,
            flapping: false,
            last_end: String::new(),
            said: BTreeSet::new(),
            totals: Totals::default(),
            now: Duration::ZERO,
            outputs: Vec::new(),
        }
    }

    /// Takes in what has happened at `now`, a time since any fixed moment that never goes back, and
    /// gives what is to be done, in order.
    #[must_use = "what is to be done is to be done"]
    pub fn handle(&mut self, input: Input, now: Duration) -> Vec<Output> {
        self.now = now;
        if self.stage != Stage::Ended {
            self.take_in(input, now);
            self.look_at_clock(now);
            self.pump(now);
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn timeout(&self) -> Option<Duration> {
        let deadline = match self.stage {
            Stage::Ended => return None,
            Stage::Stopping(deadline) => Some(deadline),
            Stage::Running => None,
        };
        let link = match self.link {
            Link::Waiting(until) => Some(until),
            Link::Dialling => None,
            Link::Up { heard, .. } => {
                let owed = self.owed_since();
                let silence = owed.map(|owed| owed.max(heard) + self.silence);
                let patience = owed.map(|owed| owed + PATIENCE);
                let deaf = self.deaf_until.filter(|until| *until > self.now);
                let read = self.queues.next().filter(|again| *again > self.now);
                let holds = self.holds.next(self.now);
                [silence, patience, holds, deaf, read].into_iter().flatten().min()
            }
        };
        [deadline, link].into_iter().flatten().min()
    }

    /// Whether the broker has accepted the connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Whether the machine has come to its end.
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Events that wait or are under way.
    pub fn waiting(&self) -> usize {
        self.queues.len()
    }

    /// Messages under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// Events in memory.
    pub fn in_memory(&self) -> usize {
        self.queues.in_memory()
    }

    /// Topics that the broker does not take at this time.
    pub fn held(&self, now: Duration) -> usize {
        self.holds.count(now)
    }

    fn say(&mut self, level: Level, text: impl Into<String>) {
        self.outputs.push(Output::Say(level, text.into()));
    }

    fn say_once(&mut self, level: Level, text: &'static str) {
        if self.said.insert(text) {
            self.say(level, text);
        }
    }

    fn take_in(&mut self, input: Input, now: Duration) {
        match input {
            Input::Stored { number, camera } => self.queues.stored(number, &camera),
            Input::Gone { number } => self.queues.gone(number),
            Input::Loaded { number, event } => self.queues.loaded(number, event),
            Input::NotLoaded { number } => self.queues.not_loaded(number, now + READ_AGAIN),
            Input::Retain { topic, payload } => self.retain(topic, payload, now),
            Input::LinkUp(terms) => self.link_up(terms, now),
            Input::Acknowledged(token) => self.acknowledged(token, now),
            Input::Refused(token, refusal, text) => self.refused(token, refusal, &text, now),
            Input::Subscribed { granted } => self.answered(granted, now),
            Input::Heard => self.heard(now),
            Input::LinkDown(end) => self.link_down(&end, now),
            Input::Tick => {}
            Input::Stop { deadline } => self.stop(deadline),
            Input::Abandon => {
                self.stage = Stage::Ended;
                self.outputs.push(Output::Break);
            }
        }
    }

    fn retain(&mut self, topic: String, payload: Vec<u8>, now: Duration) {
        self.holds.renewed(&topic, now);
        let entry = self.retained.entry(topic);
        let entry = entry.or_insert(Retained { payload: Vec::new(), new: true, sent: None });
        (entry.payload, entry.new) = (payload, true);
    }

    fn stop(&mut self, deadline: Duration) {
        if self.is_connected() {
            self.stage = Stage::Stopping(deadline);
        } else {
            // Nobody to say goodbye to.
            self.end();
        }
    }

    /// Closes the link cleanly, if there is one.
    fn end(&mut self) {
        self.stage = Stage::Ended;
        self.outputs.push(if self.is_connected() { Output::Disconnect } else { Output::Break });
    }

    fn heard(&mut self, now: Duration) {
        if let Link::Up { heard, .. } = &mut self.link {
            *heard = now;
        }
    }

    fn link_up(&mut self, terms: Terms, now: Duration) {
        self.link = Link::Up { since: now, heard: now, terms };
        self.totals.connections += 1;
        self.last_refused = None;
        // What the broker has refused before, it may take now; but not if that may have ended the
        // link.
        if !self.flapping {
            self.holds.new_link(now);
        }
        // The broker may have lost what it kept.
        self.retained.values_mut().for_each(|entry| entry.new = true);
        // Of links that are merely accepted nothing is said again and again.
        let level = if self.flapping { Level::Debug } else { Level::Info };
        self.say(level, "connected to the broker");
        if !terms.retain {
            self.say_once(Level::Warn, words::NO_RETAIN);
        }
    }

    /// A link has stayed: what was learned of bad ones is over.
    fn stayed(&mut self) {
        if self.flapping {
            self.say(Level::Info, "the link to the broker holds");
        }
        self.flapping = false;
        self.last_end.clear();
        self.careful = false;
        self.unexplained = 0;
        self.holds.forget_strikes();
    }

    fn acknowledged(&mut self, token: Token, now: Duration) {
        self.heard(now);
        let Some(flight) = self.land(token) else { return };
        if self.holds.open(&flight.topic) {
            self.say(Level::Info, words::taken_again(&flight.topic));
        }
        match flight.message {
            Message::Event(number, form) => self.queues.acknowledged(number, form),
            Message::Stopped => self.end(),
            Message::Online | Message::Retained => {}
        }
    }

    fn refused(&mut self, token: Token, refusal: Refusal, text: &str, now: Duration) {
        self.heard(now);
        let Some(flight) = self.land(token) else { return };
        match flight.message {
            Message::Event(number, form) => self.queues.owed(number, form),
            Message::Stopped => self.end(),
            Message::Retained => {
                // A newer content may have come meanwhile; either way it is still to be sent.
                if let Some(entry) = self.retained.get_mut(&flight.topic) {
                    entry.new = true;
                }
            }
            Message::Online => self.greeted = false,
        }
        self.set_aside(&flight.topic, refusal, false, text, now);
        self.last_refused = Some((flight.topic, now));
    }

    /// Takes a message off those under way.
    fn land(&mut self, token: Token) -> Option<Flight> {
        let flight = self.flights.remove(&token)?;
        self.alone &= !self.flights.is_empty();
        if flight.message == Message::Retained
            && let Some(entry) = self.retained.get_mut(&flight.topic)
        {
            entry.sent = None;
        }
        Some(flight)
    }

    /// Leaves a topic alone for a while. That is said once, until the broker takes it again.
    fn set_aside(
        &mut self,
        topic: &str,
        refusal: Refusal,
        suspected: bool,
        text: &str,
        now: Duration,
    ) {
        self.totals.refused += 1;
        let news = self.holds.close(topic, refusal, suspected, now);
        let level = if news { Level::Error } else { Level::Debug };
        self.say(level, words::set_aside(topic, refusal, suspected, text));
    }

    fn answered(&mut self, granted: bool, now: Duration) {
        self.heard(now);
        self.subscribing = None;
        self.alone &= !self.flights.is_empty();
        if granted {
            self.holds.open(SUBSCRIPTION);
        } else if self.holds.close(SUBSCRIPTION, Refusal::Denied, false, now) {
            self.say(Level::Error, words::NO_COMMANDS);
        }
    }

    fn link_down(&mut self, end: &End, now: Duration) {
        let heard = match self.link {
            Link::Up { since, heard, .. } => heard.saturating_sub(since),
            _ => Duration::ZERO,
        };
        let accepted = self.is_connected();
        if heard >= STAYED {
            self.stayed();
        }
        if accepted {
            self.flapping = heard < STAYED;
            self.learn(end, heard, now);
        }
        let wait = self.backoff.after(end.kind, heard);
        self.link = Link::Waiting(now + wait);
        self.flights.clear();
        self.retained.values_mut().for_each(|entry| entry.sent = None);
        self.queues.link_ended();
        (self.greeted, self.said_stopped, self.subscribed) = (false, false, false);
        (self.subscribing, self.alone) = (None, false);
        // The same end is reported once, not every 30 seconds for a week.
        let level = if self.last_end == end.why { Level::Debug } else { Level::Warn };
        self.say(level, words::link_ended(&end.why, wait));
        self.last_end.clone_from(&end.why);
        if self.unexplained == UNEXPLAINED {
            self.say(Level::Warn, words::unexplained(&self.client_id));
        }
        if matches!(self.stage, Stage::Stopping(_)) {
            // The broker went away during the goodbye; its last will speaks for us.
            self.stage = Stage::Ended;
        }
    }

    /// What follows from the way in which an accepted link ended.
    fn learn(&mut self, end: &End, heard: Duration, now: Duration) {
        match end.kind {
            EndKind::TakenOver => self.totals.taken_over += 1,
            EndKind::Oversized => {
                self.totals.oversized += 1;
                self.deaf_until = Some(now + DEAF);
            }
            EndKind::Blamed(refusal) => self.suspect(Some(refusal), now),
            EndKind::Lost if heard < STAYED => {
                self.unexplained += 1;
                self.suspect(None, now);
            }
            _ => {}
        }
    }

    /// Looks for the message that has ended the link. Several under way: the next link carries one
    /// at a time. A single one: it is taken for the cause if the broker says that there was one, or
    /// if it happens again and again.
    fn suspect(&mut self, blamed: Option<Refusal>, now: Duration) {
        // Some brokers answer with a refusal and then end the link all the same.
        if let Some((topic, when)) = &self.last_refused
            && now.saturating_sub(*when) < AFTER_REFUSAL
        {
            self.holds.suspect(topic);
            return;
        }
        let mut topics: BTreeSet<String> =
            self.flights.values().map(|flight| flight.topic.clone()).collect();
        if self.subscribing.is_some() {
            topics.insert(SUBSCRIPTION.to_owned());
        }
        if topics.len() > 1 {
            self.careful = true;
            return;
        }
        let Some(topic) = topics.pop_first() else { return };
        if blamed.is_some() || self.holds.strike(&topic) {
            let refusal = blamed.unwrap_or(Refusal::Denied);
            self.set_aside(&topic, refusal, true, "it ends the link", now);
        } else {
            self.careful = true;
        }
    }

    fn look_at_clock(&mut self, now: Duration) {
        if let Stage::Stopping(deadline) = self.stage
            && now >= deadline
        {
            return self.end();
        }
        match self.link {
            Link::Waiting(until) if now >= until && self.stage == Stage::Running => {
                self.link = Link::Dialling;
                self.outputs.push(Output::Connect);
            }
            Link::Up { since, heard, .. } => {
                if heard >= since + STAYED && (self.careful || !self.last_end.is_empty()) {
                    self.stayed();
                }
                let Some(owed) = self.owed_since() else { return };
                let silent = now.saturating_sub(owed.max(heard));
                if silent >= self.silence || now >= owed + PATIENCE {
                    self.outputs.push(Output::Break);
                    let why = if silent >= self.silence {
                        words::silent("nothing was heard from it", self.silence)
                    } else {
                        words::silent("it acknowledges nothing", PATIENCE)
                    };
                    self.link_down(&End { kind: EndKind::Lost, why }, now);
                }
            }
            _ => {}
        }
    }

    /// Since when the broker owes its oldest answer.
    fn owed_since(&self) -> Option<Duration> {
        let flights = self.flights.values().map(|flight| flight.sent);
        flights.chain(self.subscribing).min()
    }

    /// Hands to the link whatever may go out now.
    fn pump(&mut self, now: Duration) {
        let Link::Up { terms, .. } = self.link else { return };
        if self.stage == Stage::Ended {
            return;
        }
        self.settle(now);
        let window = terms.receive_max.map_or(WINDOW, |most| WINDOW.min(most.max(1).into()));
        let window = if self.careful { 1 } else { window };
        while !self.alone && self.flights.len() + usize::from(self.careful_subscription()) < window
        {
            // What may end the link goes alone: for that the others stop until all are answered.
            let sent = if self.is_idle() {
                self.send_one(true, &terms, now) || self.send_one(false, &terms, now)
            } else {
                !self.suspect_waits(now) && self.send_one(false, &terms, now)
            };
            if !sent {
                break;
            }
            self.settle(now);
        }
        for number in self.queues.begin_loading(WINDOW, now) {
            self.outputs.push(Output::Load { number });
        }
    }

    /// While one message at a time is sent, the subscription counts as one.
    fn careful_subscription(&self) -> bool {
        self.careful && self.subscribing.is_some()
    }

    /// Takes out what needs nothing more.
    fn settle(&mut self, now: Duration) {
        for camera in self.queues.take_stuck() {
            for form in [Form::Json, Form::Postcard] {
                let topic = self.queues.topic(&camera, form);
                self.set_aside(&topic, Refusal::TooLarge, false, words::NO_ROOM, now);
            }
        }
        for (number, whole) in self.queues.take_delivered(&self.holds, now) {
            self.totals.acknowledged += 1;
            self.outputs.push(Output::Remove { number, synced: !whole });
        }
    }

    /// Sends the next message, of the suspected topics or of the others; false if there is none.
    fn send_one(&mut self, suspects: bool, terms: &Terms, now: Duration) -> bool {
        if self.may_greet(suspects, now) {
            self.greeted = true;
            let word = Availability::Online.as_str().as_bytes().to_vec();
            let topic = self.topics.availability().to_string();
            self.publish(Message::Online, topic, true, word, terms, now);
            return true;
        }
        if let Stage::Stopping(_) = self.stage {
            return self.send_retained(suspects, terms, now) || self.send_stopped(terms, now);
        }
        if self.may_subscribe(suspects, now) {
            (self.subscribed, self.subscribing) = (true, Some(now));
            self.alone = suspects;
            self.outputs.push(Output::Subscribe);
            return true;
        }
        self.retained_turn = !self.retained_turn;
        if self.retained_turn && self.send_retained(suspects, terms, now) {
            return true;
        }
        self.send_event(suspects, terms, now) || self.send_retained(suspects, terms, now)
    }

    fn may_greet(&self, suspects: bool, now: Duration) -> bool {
        let topic = self.topics.availability();
        !self.greeted && !self.said_stopped && self.holds.may_send(&topic, suspects, now)
    }

    /// Commands are asked for once on each link.
    fn may_subscribe(&self, suspects: bool, now: Duration) -> bool {
        let deaf = self.deaf_until.is_some_and(|until| now < until);
        let open = self.holds.may_send(SUBSCRIPTION, suspects, now);
        self.listens && !self.subscribed && !deaf && open
    }

    /// Whether a message that may end the link is due.
    fn suspect_waits(&self, now: Duration) -> bool {
        let due = |topic: &str| self.holds.may_send(topic, true, now);
        self.may_greet(true, now)
            || self.may_subscribe(true, now)
            || self.retained.iter().any(|(topic, entry)| entry.is_due() && due(topic))
            || self.queues.candidate(due).is_some()
    }

    /// Whether the broker owes no answer.
    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.subscribing.is_none()
    }

    /// The last word; before it the last status goes out, even if events fill the window.
    fn send_stopped(&mut self, terms: &Terms, now: Duration) -> bool {
        let open = |topic: &String| self.holds.is_open(topic, now);
        if self.said_stopped || self.retained.iter().any(|(topic, e)| e.new && open(topic)) {
            return false;
        }
        self.said_stopped = true;
        let word = Availability::Stopped.as_str().as_bytes().to_vec();
        let topic = self.topics.availability().to_string();
        self.publish(Message::Stopped, topic, true, word, terms, now);
        true
    }

    fn send_retained(&mut self, suspects: bool, terms: &Terms, now: Duration) -> bool {
        let mut large = Vec::new();
        let mut next = None;
        for (topic, entry) in &self.retained {
            if !entry.is_due() || !self.holds.may_send(topic, suspects, now) {
                continue;
            }
            if terms.takes(topic, &entry.payload) {
                next = Some(topic.clone());
                break;
            }
            large.push((topic.clone(), words::too_large(entry.payload.len(), terms)));
        }
        for (topic, text) in large {
            self.set_aside(&topic, Refusal::TooLarge, false, &text, now);
        }
        let Some(topic) = next else { return false };
        let Some(entry) = self.retained.get_mut(&topic) else { return false };
        entry.new = false;
        entry.sent = Some(Token(self.next_token));
        let payload = entry.payload.clone();
        self.publish(Message::Retained, topic, true, payload, terms, now);
        true
    }

    fn send_event(&mut self, suspects: bool, terms: &Terms, now: Duration) -> bool {
        let may = |holds: &Holds, topic: &str| holds.may_send(topic, suspects, now);
        while let Some(next) = self.queues.candidate(|topic| may(&self.holds, topic)) {
            let payload = self.queues.payload(&next).unwrap_or_default();
            if !terms.takes(&next.topic, payload) {
                let text = words::too_large(payload.len(), terms);
                self.queues.too_large(next.number, next.form);
                self.totals.refused += 1;
                self.say(Level::Debug, words::event_too_large(&next.topic, &text));
                self.say_once(Level::Error, words::EVENT_TOO_LARGE);
                continue;
            }
            let payload = payload.to_vec();
            self.queues.sent(next.number, next.form, Token(self.next_token));
            let message = Message::Event(next.number, next.form);
            self.publish(message, next.topic, false, payload, terms, now);
            return true;
        }
        false
    }

    fn publish(
        &mut self,
        message: Message,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
        terms: &Terms,
        now: Duration,
    ) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.alone = self.holds.is_suspected(&topic);
        self.flights.insert(token, Flight { message, topic: topic.clone(), sent: now });
        let retain = retain && terms.retain;
        self.outputs.push(Output::Publish { token, topic, retain, payload });
    }
}

impl Terms {
    /// Whether the broker takes a message of this size.
    fn takes(&self, topic: &str, payload: &[u8]) -> bool {
        self.max_packet.is_none_or(|most| packet_size(topic, payload) <= most)
    }
}

/// Bytes of a message on the wire: MQTT 5, quality of service 1, no properties.
fn packet_size(topic: &str, payload: &[u8]) -> usize {
    let rest = 2 + topic.len() + 2 + 1 + payload.len();
    // Seven bits a byte.
    let length = (1..4).find(|bytes| rest < 1 << (7 * bytes)).unwrap_or(4);
    1 + length + rest
}
