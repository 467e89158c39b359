//! The thread behind [`super::Publisher`], and the state it shares.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alert_wire::{Alert, Availability, Topics};

use super::link::{self, Event, Incoming, Link, Sender};
use super::{Listener, Report, Spool};
use crate::config::MqttConfig;

/// Messages in flight. Small, so that little is sent twice after a break; large enough to drain a
/// full spool at the broker's pace rather than at that of round trips.
const WINDOW: usize = 16;
/// Waits between connection attempts: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// Time without commands after the broker has sent a message that is too large: it may be kept
/// there, and would end each link that asks for commands.
const DEAF: Duration = Duration::from_secs(600);

/// What a message in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// One of the two forms of an event.
    Event(u64),
    Online,
    Retained,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// `stopped` is to be published, or gave up at this time.
    Stopping(Instant),
    /// The thread is to end at once.
    Ended,
}

/// The newest content of a retained topic.
struct Retained {
    payload: Vec<u8>,
    /// It has not been handed to this link.
    new: bool,
}

struct State {
    spool: Spool,
    stage: Stage,
    /// By topic; as many as the configuration has cameras and settings.
    retained: BTreeMap<String, Retained>,
    /// Commands are not asked for until then.
    deaf_until: Option<Instant>,
    /// Commands have been asked for on this link.
    subscribed: bool,
    oversized: u64,
    sender: Option<Sender>,
    connected: bool,
    connections: u64,
    acknowledged: u64,
    /// Handed to the link, not yet given a packet id, in order.
    queued: VecDeque<Message>,
    /// On the wire, by packet id.
    in_flight: HashMap<u16, Message>,
    /// Acknowledgements that an event still needs.
    owed: HashMap<u64, u8>,
    /// The newest event handed to the link.
    cursor: Option<u64>,
    stopped_sent: bool,
    /// A disconnect has been queued.
    closing: bool,
}

pub struct Shared {
    topics: Topics,
    filters: Vec<String>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// `filters` are subscribed to on every link.
    pub fn new(spool: Spool, topics: Topics, filters: Vec<String>) -> Self {
        let state = State {
            spool,
            stage: Stage::Running,
            retained: BTreeMap::new(),
            deaf_until: None,
            subscribed: false,
            oversized: 0,
            sender: None,
            connected: false,
            connections: 0,
            acknowledged: 0,
            queued: VecDeque::new(),
            in_flight: HashMap::new(),
            owed: HashMap::new(),
            cursor: None,
            stopped_sent: false,
            closing: false,
        };
        Self { topics, filters, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A panic elsewhere while the lock was held leaves counters at worst one step off.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn submit(&self, postcard: &[u8]) {
        let mut state = self.lock();
        state.spool.append(postcard);
        state.pump(self);
    }

    pub fn set_retained(&self, topic: &str, payload: Vec<u8>) {
        let mut state = self.lock();
        state.retained.insert(topic.to_owned(), Retained { payload, new: true });
        state.pump(self);
    }

    pub fn report(&self) -> Report {
        self.lock().report()
    }

    /// Waits until `done` or the deadline; tells which.
    pub fn wait(&self, deadline: Instant, done: impl Fn(&Report) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if done(&state.report()) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks for a clean end, and waits for it until the deadline.
    pub fn stop(&self, deadline: Instant) {
        {
            let mut state = self.lock();
            if state.stage == Stage::Running {
                state.stage = Stage::Stopping(deadline);
                if !state.connected {
                    // Nobody to say goodbye to.
                    state.stage = Stage::Ended;
                }
                state.pump(self);
            }
        }
        self.changed.notify_all();
        let mut state = self.lock();
        while state.stage != Stage::Ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.end();
                break;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.changed.notify_all();
    }

    pub fn abandon(&self) {
        let mut state = self.lock();
        if state.stage != Stage::Ended {
            state.stage = Stage::Ended;
            // Dropping the last sender ends the link without a goodbye.
            state.sender = None;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn report(&self) -> Report {
        Report {
            connected: self.connected,
            connections: self.connections,
            acknowledged: self.acknowledged,
            depth: self.spool.len(),
            bytes: self.spool.bytes(),
            counters: self.spool.counters(),
            oversized: self.oversized,
        }
    }

    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.queued.len() + self.in_flight.len())
    }

    fn send(&mut self, what: Message, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        let sent = self.sender.as_ref().is_some_and(|s| s.publish(topic, retain, payload));
        if sent {
            self.queued.push_back(what);
        }
        sent
    }

    /// Hands to the link whatever may go out now.
    fn pump(&mut self, shared: &Shared) {
        let topics = &shared.topics;
        if !self.connected {
            return;
        }
        let stopping = matches!(self.stage, Stage::Stopping(_));
        self.subscribe(&shared.filters);
        self.send_retained(stopping);
        if stopping {
            if !self.stopped_sent {
                let word = Availability::Stopped.as_str().as_bytes().to_vec();
                self.stopped_sent = self.send(Message::Stopped, &topics.availability(), true, word);
            }
            return;
        }
        while self.room() >= 2 {
            let Some((number, bytes)) = self.spool.next_after(self.cursor) else {
                return;
            };
            let forms = Alert::from_postcard(&bytes).ok().and_then(|alert| {
                let json = alert.to_json().ok()?;
                Some((topics.events(&alert.camera)?, topics.events_postcard(&alert.camera)?, json))
            });
            self.cursor = Some(number);
            let Some((topic, topic_postcard, json)) = forms else {
                log::error!("a spooled event is of another version of this program; dropped");
                self.spool.remove(number);
                continue;
            };
            self.owed.insert(number, 2);
            let sent = self.send(Message::Event(number), &topic, false, json.into_bytes())
                && self.send(Message::Event(number), &topic_postcard, false, bytes);
            if !sent {
                // The link has ended; the next one starts again at the oldest event.
                return;
            }
        }
    }

    /// Asks for commands, once on each link.
    fn subscribe(&mut self, filters: &[String]) {
        if self.subscribed || self.deaf_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let Some(sender) = &self.sender else { return };
        self.subscribed = filters.iter().all(|filter| sender.subscribe(filter));
    }

    /// Hands retained messages that are new to the link, as many as fit. The last status goes out
    /// even if events fill the window.
    fn send_retained(&mut self, stopping: bool) {
        while self.room() > 0 || stopping {
            let Some((topic, entry)) = self.retained.iter_mut().find(|(_, entry)| entry.new) else {
                return;
            };
            let sent =
                self.sender.as_ref().is_some_and(|s| s.publish(topic, true, entry.payload.clone()));
            if !sent {
                return;
            }
            entry.new = false;
            self.queued.push_back(Message::Retained);
        }
    }

    fn connected(&mut self, shared: &Shared) {
        self.connected = true;
        self.connections += 1;
        let word = Availability::Online.as_str().as_bytes().to_vec();
        self.send(Message::Online, &shared.topics.availability(), true, word);
        // The broker may have lost what it kept.
        self.retained.values_mut().for_each(|entry| entry.new = true);
        self.pump(shared);
    }

    /// What follows from the way in which a link ended.
    fn learn(&mut self, failure: &link::Error) {
        match failure {
            link::Error::Oversized { .. } => {
                self.oversized += 1;
                self.deaf_until = Some(Instant::now() + DEAF);
            }
            link::Error::BrokerLimit { limit, .. } => {
                // Only pictures are large; sent again they would end every link.
                let before = self.retained.len();
                self.retained.retain(|topic, r| topic.len() + r.payload.len() + 64 <= *limit);
                if self.retained.len() == before {
                    log::error!("{failure}; raise the broker's limit");
                }
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, id: u16, shared: &Shared) {
        match self.in_flight.remove(&id) {
            Some(Message::Event(number)) => {
                if let Some(owed) = self.owed.get_mut(&number) {
                    *owed -= 1;
                    if *owed == 0 {
                        self.owed.remove(&number);
                        self.spool.remove(number);
                        self.acknowledged += 1;
                    }
                }
            }
            Some(Message::Stopped) => self.end(),
            _ => {}
        }
        self.pump(shared);
    }

    /// Closes the link cleanly, if there is one.
    fn end(&mut self) {
        self.stage = Stage::Ended;
        if let Some(sender) = self.sender.take() {
            sender.disconnect();
            self.closing = true;
        }
    }

    fn disconnected(&mut self) {
        self.sender = None;
        self.connected = false;
        self.queued.clear();
        self.in_flight.clear();
        self.owed.clear();
        self.cursor = None;
        self.subscribed = false;
        self.stopped_sent = false;
        if let Stage::Stopping(_) = self.stage {
            // The broker went away during the goodbye; its last will speaks for us.
            self.stage = Stage::Ended;
        }
    }
}

/// Connects again and again until the publisher ends.
pub fn run(shared: &Shared, config: &MqttConfig, listener: &Listener) {
    let mut wait = FIRST_WAIT;
    // The same failure is reported once, not every 30 seconds for a week.
    let mut last_failure = String::new();
    loop {
        if shared.lock().stage == Stage::Ended {
            return;
        }
        let connections = shared.lock().connections;
        let failure = match link::open(config) {
            Ok((sender, link)) => {
                shared.lock().sender = Some(sender);
                run_once(shared, link, listener)
            }
            Err(e) => e,
        };
        let accepted = {
            let mut state = shared.lock();
            state.disconnected();
            state.learn(&failure);
            state.connections > connections
        };
        shared.changed.notify_all();
        if shared.lock().stage == Stage::Ended {
            return;
        }
        if accepted {
            wait = FIRST_WAIT;
            last_failure.clear();
        }
        let failure = failure.to_string();
        if failure == last_failure {
            log::debug!("{failure}; next attempt in {:.1} s", wait.as_secs_f64());
        } else {
            log::warn!("{failure}; events are kept, next attempt in {:.1} s", wait.as_secs_f64());
            last_failure = failure;
        }
        let state = shared.lock();
        let _ = shared
            .changed
            .wait_timeout_while(state, wait, |s| s.stage == Stage::Running)
            .unwrap_or_else(PoisonError::into_inner);
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Serves one connection to its end and says why it ended.
fn run_once(shared: &Shared, mut link: Link, listener: &Listener) -> link::Error {
    loop {
        let event = match link.next() {
            Ok(event) => event,
            Err(e) => return e,
        };
        // Without the lock: the listener may publish.
        if let Event::Message(message) = &event {
            hear(listener, message);
        }
        let mut state = shared.lock();
        match event {
            // The publisher was closed while this attempt was on its way.
            Event::Connected if state.stage == Stage::Ended => state.end(),
            Event::Connected => {
                log::info!("connected to the broker");
                state.connected(shared);
            }
            Event::Sent(id) => {
                if let Some(message) = state.queued.pop_front() {
                    state.in_flight.insert(id, message);
                }
            }
            Event::Acknowledged(id) => state.acknowledged(id, shared),
            Event::Refused(id, reason) => {
                let what = state.in_flight.remove(&id);
                // Kept and tried again after a wait: the cause (rights, quota) is at the broker.
                log::error!("the broker refused {what:?}: {reason}; check its access rules");
                state.sender = None;
                return link.refused(&reason);
            }
            // The goodbye is on the wire.
            Event::Disconnecting => return link.closed(),
            Event::Message(_) | Event::Other => {}
        }
        if state.stage == Stage::Ended && state.sender.is_none() && !state.closing {
            // Abandoned: the broker is to announce the last will.
            return link.closed();
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// A panic of the listener must not end the link that events need.
fn hear(listener: &Listener, message: &Incoming) {
    let heard = std::panic::AssertUnwindSafe(|| listener(message));
    if std::panic::catch_unwind(heard).is_err() {
        log::error!("a message on {} was not understood in an unforeseen way", message.topic);
    }
}
