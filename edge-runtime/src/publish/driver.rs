//! What carries out the machine's decisions: the state it shares, and its two threads.
//!
//! ```text
//! submit ──► jobs ──► thread `spool`: writes, reads, deletes ──► Stored, Loaded, Gone ─┐
//! set_retained ────────────────────────────────────────────────► Retain ───────────────┤
//! thread `mqtt`: connects, sends, hears ───────────────────────► LinkUp, Acknowledged ─┤
//!                                                                                  Machine
//!            jobs ◄── Load, Remove          link ◄── Connect, Publish, Break ◄─────────┘
//! ```
//!
//! The machine stands behind one lock, which is never held while the disk or the network is waited
//! for: a disk that stands still keeps neither the link nor the frames from going on.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::link::{self, Event, Incoming, Link, Sender};
use super::machine::{End, Input, Machine, Output, Token};
use super::{Counters, Listener, Loaded, Report, Spool, SpooledEvent};
use crate::config::{MqttConfig, Protocol};

/// Events that wait for the disk; beyond, the oldest of them are dropped and counted.
pub const MAX_UNSTORED: usize = 256;
/// Longest wait of the caller for the disk. Usually it takes some milliseconds; one that stands
/// still costs this once, and nothing until it has caught up.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for a goodbye to be on the wire.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the disk is to do.
#[derive(Debug)]
enum Job {
    Store(SpooledEvent),
    Load(u64),
    Remove { number: u64, synced: bool },
}

/// The spool as its thread has left it.
#[derive(Debug, Clone, Copy, Default)]
struct Stock {
    depth: usize,
    bytes: u64,
    counters: Counters,
}

/// What the link's thread is to do.
#[derive(Debug, Default)]
struct Orders {
    dial: bool,
    drop: bool,
    goodbye: bool,
}

struct State {
    machine: Machine,
    jobs: VecDeque<Job>,
    /// Events that are not in the spool yet, the one being written included.
    unstored: usize,
    /// Events handed in, and events written or given up.
    submitted: u64,
    stored: u64,
    /// The disk did not keep up: nobody waits for it until it has.
    late: bool,
    /// Events dropped before they were in the spool.
    overflowed: u64,
    stock: Stock,
    /// The disk's thread has ended.
    disk_done: bool,
    orders: Orders,
    sender: Option<Sender>,
    /// Answers to subscriptions that are still to come, and whether all so far were yes.
    subscribing: (usize, bool),
    /// Handed to the link, not yet given a packet id, in order.
    queued: VecDeque<Token>,
    /// On the wire, by packet id.
    on_wire: HashMap<u16, Token>,
}

/// What the publisher and its threads share.
pub struct Shared {
    start: Instant,
    filters: Vec<String>,
    state: Mutex<State>,
    /// Something has changed that a caller may wait for.
    changed: Condvar,
    /// There is work for the disk.
    work: Condvar,
    /// There are orders for the link.
    orders: Notify,
}

impl Shared {
    /// `filters` are subscribed to on every link.
    pub fn new(config: &MqttConfig, spool: &Spool, filters: Vec<String>) -> Self {
        let keep_alive = Duration::from_secs(config.keep_alive.into());
        let id = config.client_id.clone();
        let state = State {
            machine: Machine::new(config.topics(), id, keep_alive, !filters.is_empty()),
            jobs: VecDeque::new(),
            unstored: 0,
            submitted: 0,
            stored: 0,
            late: false,
            overflowed: 0,
            stock: Stock::of(spool),
            disk_done: false,
            orders: Orders::default(),
            sender: None,
            subscribing: (0, true),
            queued: VecDeque::new(),
            on_wire: HashMap::new(),
        };
        Self {
            start: Instant::now(),
            filters,
            state: Mutex::new(state),
            changed: Condvar::new(),
            work: Condvar::new(),
            orders: Notify::new(),
        }
    }

    /// A panic elsewhere while the lock was held leaves counters at worst one step off.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state, at most until the deadline; `None` once that has passed.
    fn wait_on<'a>(
        condvar: &Condvar,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> Option<MutexGuard<'a, State>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        Some(condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Tells the machine what has happened, and does what it says.
    fn feed(&self, input: Input) {
        let mut state = self.lock();
        self.feed_locked(&mut state, input);
        drop(state);
        self.changed.notify_all();
    }

    fn feed_locked(&self, state: &mut State, input: Input) {
        let outputs = state.machine.handle(input, self.start.elapsed());
        for output in outputs {
            self.perform(state, output);
        }
        // The time at which the machine wants to be asked again may be another now.
        self.orders.notify_one();
    }

    fn perform(&self, state: &mut State, output: Output) {
        match output {
            Output::Connect => state.orders.dial = true,
            Output::Publish { token, topic, retain, payload } => {
                // If the link has ended just now, that is told next, and all of it is owed again.
                if state.sender.as_ref().is_some_and(|s| s.publish(&topic, retain, payload)) {
                    state.queued.push_back(token);
                }
            }
            Output::Subscribe => {
                state.subscribing = (self.filters.len(), true);
                if let Some(sender) = &state.sender {
                    let sent = self.filters.iter().all(|filter| sender.subscribe(filter));
                    log::debug!("subscribed to {} filters: {sent}", self.filters.len());
                }
            }
            Output::Load { number } => state.job(Job::Load(number), &self.work),
            Output::Remove { number, synced } => {
                state.job(Job::Remove { number, synced }, &self.work);
            }
            Output::Disconnect => {
                if let Some(sender) = state.sender.take() {
                    sender.disconnect();
                }
                state.orders.goodbye = true;
                self.work.notify_all();
            }
            Output::Break => {
                state.forget_link();
                state.orders.drop = true;
                self.work.notify_all();
            }
            Output::Say(level, text) => log::log!(level, "{text}"),
        }
    }

    /// Hands an event to the disk and waits until it is there, but not for a disk that stands still.
    pub fn submit(&self, event: SpooledEvent) {
        let mut state = self.lock();
        if state.unstored >= MAX_UNSTORED {
            state.drop_oldest();
        }
        state.unstored += 1;
        state.submitted += 1;
        let ticket = state.submitted;
        state.job(Job::Store(event), &self.work);
        let deadline = Instant::now() + STORE_PATIENCE;
        while state.stored < ticket && !state.late && !state.disk_done {
            let Some(next) = Self::wait_on(&self.changed, state, deadline) else {
                state = self.lock();
                if state.stored < ticket {
                    state.late = true;
                    log::error!(
                        "the spool's disk has not answered for {} ms; events wait in memory, and \
                         are lost if the power is cut meanwhile",
                        STORE_PATIENCE.as_millis()
                    );
                }
                return;
            };
            state = next;
        }
    }

    /// The newest content of a retained topic.
    pub fn set_retained(&self, topic: &str, payload: Vec<u8>) {
        self.feed(Input::Retain { topic: topic.to_owned(), payload });
    }

    /// How things stand.
    pub fn report(&self) -> Report {
        self.lock().report(self.start.elapsed())
    }

    /// Waits until `done` or the deadline; tells which.
    pub fn wait(&self, deadline: Instant, done: impl Fn(&Report) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if done(&state.report(self.start.elapsed())) {
                return true;
            }
            let Some(next) = Self::wait_on(&self.changed, state, deadline) else { return false };
            state = next;
        }
    }

    /// Asks for a clean end, and waits for it, and for the disk, until the deadline. False if the
    /// disk does not come to an end.
    pub fn stop(&self, deadline: Instant) -> bool {
        let deadline_of_machine = deadline.saturating_duration_since(self.start);
        self.feed(Input::Stop { deadline: deadline_of_machine });
        self.wait_for_disk(deadline)
    }

    /// Ends the link without a goodbye.
    pub fn abandon(&self, patience: Duration) {
        self.feed(Input::Abandon);
        self.wait_for_disk(Instant::now() + patience);
    }

    fn wait_for_disk(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.disk_done {
            let Some(next) = Self::wait_on(&self.changed, state, deadline) else { return false };
            state = next;
        }
        true
    }
}

impl Stock {
    fn of(spool: &Spool) -> Self {
        Self { depth: spool.len(), bytes: spool.bytes(), counters: spool.counters() }
    }
}

impl State {
    fn report(&self, now: Duration) -> Report {
        let totals = self.machine.totals();
        let mut counters = self.stock.counters;
        counters.dropped += self.overflowed;
        Report {
            connected: self.machine.is_connected(),
            connections: totals.connections,
            acknowledged: totals.acknowledged,
            depth: self.stock.depth + self.unstored,
            bytes: self.stock.bytes,
            counters,
            oversized: totals.oversized,
            refused: totals.refused,
            held: self.machine.held(now),
            taken_over: totals.taken_over,
        }
    }

    fn job(&mut self, job: Job, work: &Condvar) {
        if !self.disk_done {
            self.jobs.push_back(job);
            work.notify_all();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.jobs.iter().position(|job| matches!(job, Job::Store(_)));
        if let Some(at) = oldest {
            self.jobs.remove(at);
            self.unstored -= 1;
            self.stored += 1;
            self.overflowed += 1;
            if self.overflowed.is_power_of_two() {
                log::error!("{} events dropped while the disk stands still", self.overflowed);
            }
        }
    }

    fn forget_link(&mut self) {
        self.sender = None;
        self.queued.clear();
        self.on_wire.clear();
    }
}

/// The body of the thread `spool`: does what the disk is to do, until the machine has ended and
/// nothing is left to write.
pub fn run_disk(shared: &Shared, mut spool: Spool) {
    // Told of even if the spool's code should panic: callers wait for it.
    struct Done<'a>(&'a Shared);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            let mut state = self.0.lock();
            state.disk_done = true;
            state.jobs.clear();
            drop(state);
            self.0.changed.notify_all();
        }
    }
    let _done = Done(shared);
    announce(shared, &mut spool);
    loop {
        let job = {
            let mut state = shared.lock();
            loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.late {
                    state.late = false;
                    log::info!("the spool's disk has caught up");
                }
                if state.machine.is_ended() {
                    return;
                }
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let (inputs, stores) = work(&mut spool, job);
        let mut state = shared.lock();
        state.stock = Stock::of(&spool);
        if stores {
            state.unstored = state.unstored.saturating_sub(1);
            state.stored += 1;
        }
        for input in inputs {
            shared.feed_locked(&mut state, input);
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// Tells of the events that an earlier process has left, oldest first.
fn announce(shared: &Shared, spool: &mut Spool) {
    let waiting: Vec<(u64, Option<String>)> =
        spool.waiting().map(|(number, camera)| (number, camera.map(str::to_owned))).collect();
    for (number, camera) in waiting {
        if shared.lock().machine.is_ended() {
            return;
        }
        // What the version before has written must be read to know whose it is.
        let camera = camera.or_else(|| match spool.load(number) {
            Loaded::Event(event) => Some(event.camera),
            Loaded::Gone => None,
            Loaded::Failed(e) => {
                log::error!(
                    "spool: an event cannot be read: {e}; it is tried again at the next start"
                );
                None
            }
        });
        shared.lock().stock = Stock::of(spool);
        if let Some(camera) = camera {
            shared.feed(Input::Stored { number, camera });
        }
    }
}

/// Does one thing; what has come of it, and whether it was an event to be stored.
fn work(spool: &mut Spool, job: Job) -> (Vec<Input>, bool) {
    match job {
        Job::Store(event) => {
            let Some(done) = spool.append(&event) else { return (Vec::new(), true) };
            let gone = done.dropped.into_iter().map(|number| Input::Gone { number });
            let stored = Input::Stored { number: done.number, camera: event.camera };
            (gone.chain([stored]).collect(), true)
        }
        Job::Load(number) => {
            let input = match spool.load(number) {
                Loaded::Event(event) => Input::Loaded { number, event },
                Loaded::Gone => Input::Gone { number },
                Loaded::Failed(e) => {
                    log::warn!("spool: an event cannot be read: {e}; it is tried again");
                    Input::NotLoaded { number }
                }
            };
            (vec![input], false)
        }
        Job::Remove { number, synced } => {
            if synced {
                spool.remove_synced(number);
            } else {
                spool.remove(number);
            }
            (Vec::new(), false)
        }
    }
}

/// What the link's thread is to do next.
enum Next {
    Dial,
    End,
}

/// The body of the thread `mqtt`: connects when the machine says so, until it has ended.
pub async fn run_link(shared: &Shared, config: &MqttConfig, listener: &Listener) {
    // Whether it has been asked if the broker speaks MQTT 3.1.1, since it last accepted.
    let mut asked = None;
    loop {
        match shared.idle().await {
            Next::End => return,
            Next::Dial => {}
        }
        let (sender, link) = match link::open(config) {
            Ok(both) => both,
            Err(e) => {
                shared.link_down(&e, false);
                continue;
            }
        };
        shared.lock().sender = Some(sender);
        let Some((e, accepted)) = shared.serve(link, listener).await else { continue };
        if accepted {
            asked = None;
        }
        let mut failure = e;
        if !accepted && config.protocol == Protocol::V5 && failure.is_no_answer() {
            let speaks = match asked {
                Some(speaks) => speaks,
                None => link::speaks_v311(config).await,
            };
            asked = Some(speaks);
            if speaks {
                failure = link::Error::Broker {
                    host: config.host.clone(),
                    port: config.port,
                    fault: link::Fault::OnlyVersion311,
                };
            }
        }
        shared.link_down(&failure, accepted);
    }
}

impl Shared {
    /// When the machine wants to be asked, as tokio counts.
    fn timeout(&self) -> tokio::time::Instant {
        /// As good as never.
        const LONG: Duration = Duration::from_secs(3600);
        let wanted = self.lock().machine.timeout();
        let at = wanted.map_or_else(|| Instant::now() + LONG, |at| self.start + at);
        tokio::time::Instant::from_std(at)
    }

    /// Lets time pass until there is something to do for the link's thread.
    async fn idle(&self) -> Next {
        loop {
            {
                let mut state = self.lock();
                state.orders.drop = false;
                if state.machine.is_ended() {
                    return Next::End;
                }
                if std::mem::take(&mut state.orders.dial) {
                    return Next::Dial;
                }
            }
            tokio::select! {
                () = self.orders.notified() => {}
                () = tokio::time::sleep_until(self.timeout()) => self.feed(Input::Tick),
            }
        }
    }

    fn link_down(&self, failure: &link::Error, accepted: bool) {
        let end = End { kind: failure.kind(accepted), why: failure.to_string() };
        self.lock().forget_link();
        self.feed(Input::LinkDown(end));
    }

    /// Serves one connection to its end, and says why it ended and whether it had been accepted;
    /// `None` if it was ended from this side.
    async fn serve(&self, mut link: Link, listener: &Listener) -> Option<(link::Error, bool)> {
        let mut accepted = false;
        let mut goodbye = None;
        loop {
            let mut next = pin!(link.next());
            let event = loop {
                {
                    let state = self.lock();
                    if state.orders.drop || (state.orders.goodbye && !accepted) {
                        return None;
                    }
                    if state.orders.goodbye {
                        goodbye.get_or_insert_with(|| tokio::time::Instant::now() + GOODBYE);
                    }
                }
                let timeout = goodbye.unwrap_or_else(|| self.timeout());
                tokio::select! {
                    biased;
                    event = &mut next => break event,
                    () = self.orders.notified() => {}
                    () = tokio::time::sleep_until(timeout) => {
                        if goodbye.is_some() {
                            return None;
                        }
                        self.feed(Input::Tick);
                    }
                }
            };
            match event {
                Err(e) => return Some((e, accepted)),
                // The goodbye is on the wire.
                Ok(Event::Disconnecting) => return None,
                // Without the lock: the listener may publish.
                Ok(Event::Message(message)) => {
                    hear(listener, &message);
                    self.feed(Input::Heard);
                }
                Ok(event) => {
                    accepted |= matches!(event, Event::Connected(_));
                    let input = self.lock().translate(event);
                    if let Some(input) = input {
                        self.feed(input);
                    }
                }
            }
        }
    }
}

impl State {
    /// What an event of the link is to the machine.
    fn translate(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Connected(terms) => Some(Input::LinkUp(terms)),
            Event::Sent(id) => {
                let token = self.queued.pop_front()?;
                self.on_wire.insert(id, token);
                None
            }
            Event::Acknowledged(id) => self.on_wire.remove(&id).map(Input::Acknowledged),
            Event::Refused(id, refusal, text) => {
                let token = self.on_wire.remove(&id)?;
                Some(Input::Refused(token, refusal, text))
            }
            Event::Subscribed(granted) => {
                let (left, all) = &mut self.subscribing;
                *left = left.saturating_sub(1);
                *all &= granted;
                Some(if *left == 0 { Input::Subscribed { granted: *all } } else { Input::Heard })
            }
            Event::Heard => Some(Input::Heard),
            Event::Message(_) | Event::Disconnecting | Event::Other => None,
        }
    }
}

/// A panic of the listener must not end the link that events need.
fn hear(listener: &Listener, message: &Incoming) {
    let heard = std::panic::AssertUnwindSafe(|| listener(message));
    if std::panic::catch_unwind(heard).is_err() {
        log::error!("a message on {} was not understood in an unforeseen way", message.topic);
    }
}
