//! The thread behind [`super::Publisher`], and the state it shares.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alert_wire::{Alert, Availability, Topics};

use super::link::{self, Event, Link, Sender};
use super::{Report, Spool};
use crate::config::MqttConfig;

/// Messages in flight. Small, so that little is sent twice after a break; large enough to drain a
/// full spool at the broker's pace rather than at that of round trips.
const WINDOW: usize = 16;
/// Waits between connection attempts: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// What a message in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// One of the two forms of an event.
    Event(u64),
    Online,
    Status,
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

struct State {
    spool: Spool,
    stage: Stage,
    status: Option<String>,
    /// The newest status has not been handed to the link.
    status_is_new: bool,
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
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub fn new(spool: Spool, topics: Topics) -> Self {
        let state = State {
            spool,
            stage: Stage::Running,
            status: None,
            status_is_new: false,
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
        Self { topics, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A panic elsewhere while the lock was held leaves counters at worst one step off.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn submit(&self, postcard: &[u8]) {
        let mut state = self.lock();
        state.spool.append(postcard);
        state.pump(&self.topics);
    }

    pub fn set_status(&self, json: String) {
        let mut state = self.lock();
        state.status = Some(json);
        state.status_is_new = true;
        state.pump(&self.topics);
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
                state.pump(&self.topics);
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
    fn pump(&mut self, topics: &Topics) {
        if !self.connected {
            return;
        }
        let stopping = matches!(self.stage, Stage::Stopping(_));
        // The last status goes out even if events fill the window.
        if self.status_is_new && (self.room() > 0 || stopping) {
            let payload = self.status.clone().unwrap_or_default().into_bytes();
            self.status_is_new = !self.send(Message::Status, &topics.status(), true, payload);
        }
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

    fn connected(&mut self, topics: &Topics) {
        self.connected = true;
        self.connections += 1;
        let word = Availability::Online.as_str().as_bytes().to_vec();
        self.send(Message::Online, &topics.availability(), true, word);
        self.status_is_new = self.status.is_some();
        self.pump(topics);
    }

    fn acknowledged(&mut self, id: u16, topics: &Topics) {
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
        self.pump(topics);
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
        self.stopped_sent = false;
        if let Stage::Stopping(_) = self.stage {
            // The broker went away during the goodbye; its last will speaks for us.
            self.stage = Stage::Ended;
        }
    }
}

/// Connects again and again until the publisher ends.
pub fn run(shared: &Shared, config: &MqttConfig) {
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
                run_once(shared, link)
            }
            Err(e) => e,
        };
        let accepted = {
            let mut state = shared.lock();
            state.disconnected();
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
fn run_once(shared: &Shared, mut link: Link) -> link::Error {
    loop {
        let event = match link.next() {
            Ok(event) => event,
            Err(e) => return e,
        };
        let mut state = shared.lock();
        match event {
            // The publisher was closed while this attempt was on its way.
            Event::Connected if state.stage == Stage::Ended => state.end(),
            Event::Connected => {
                log::info!("connected to the broker");
                state.connected(&shared.topics);
            }
            Event::Sent(id) => {
                if let Some(message) = state.queued.pop_front() {
                    state.in_flight.insert(id, message);
                }
            }
            Event::Acknowledged(id) => state.acknowledged(id, &shared.topics),
            Event::Refused(id, reason) => {
                let what = state.in_flight.remove(&id);
                // Kept and tried again after a wait: the cause (rights, quota) is at the broker.
                log::error!("the broker refused {what:?}: {reason}; check its access rules");
                state.sender = None;
                return link.refused(&reason);
            }
            // The goodbye is on the wire.
            Event::Disconnecting => return link.closed(),
            Event::Other => {}
        }
        if state.stage == Stage::Ended && state.sender.is_none() && !state.closing {
            // Abandoned: the broker is to announce the last will.
            return link.closed();
        }
        drop(state);
        shared.changed.notify_all();
    }
}
