//! Events to the broker: stored, sent in order, forgotten only when acknowledged.
//!
//! ```text
//! submit ─► spool (disk) ─► in flight (at most 16 messages) ─► PUBACK ─► removed
//!             ▲                              │
//!             └──── link broke: again from the oldest not acknowledged
//! ```
//!
//! Each event is published twice, as JSON and as postcard, and removed when both are acknowledged.
//! All messages go over one connection at a time, so the broker receives them in the order in which
//! they were submitted.
//!
//! Availability: the last will is `offline`, `online` follows every accepted connection, `stopped`
//! a clean end; all three retained.

pub mod home_assistant;
mod link;
mod spool;
mod worker;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alert_wire::{Alert, MAX_POSTCARD};

use crate::config::MqttConfig;

pub use link::{Error as LinkError, Incoming};
pub use spool::{Counters, Error as SpoolError, MAX_IN_MEMORY, Spool};

use worker::Shared;

/// How the publisher is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the broker has accepted the connection.
    pub connected: bool,
    /// Connections accepted so far.
    pub connections: u64,
    /// Events acknowledged so far.
    pub acknowledged: u64,
    /// Events waiting.
    pub depth: usize,
    /// Bytes waiting.
    pub bytes: u64,
    /// What was dropped or damaged.
    pub counters: Counters,
    /// Messages from the broker that were too large to be taken.
    pub oversized: u64,
}

/// Is called with every message that comes on one of the topics subscribed to. It must be quick:
/// nothing is sent or received meanwhile.
pub type Listener = Box<dyn Fn(&Incoming) + Send>;

/// Publishes events from a thread of its own.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts to connect. What an earlier process left in the spool is sent first.
    pub fn start(config: MqttConfig, spool: Spool) -> Self {
        Self::listening(config, spool, Vec::new(), Box::new(|_| {}))
    }

    /// As [`Publisher::start`]; on every connection the topic filters are subscribed to, and
    /// `listener` hears what comes.
    pub fn listening(
        config: MqttConfig,
        spool: Spool,
        filters: Vec<String>,
        listener: Listener,
    ) -> Self {
        let topics = config.topics();
        let shared = Arc::new(Shared::new(spool, topics, filters));
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("mqtt".into())
                .spawn(move || worker::run(&shared, &config, &listener))
                .map_err(|e| log::error!("no thread for the broker link: {e}; events stay spooled"))
                .ok()
        };
        Self { shared, thread }
    }

    /// Stores an event, then publishes it when the broker is there. When this returns, the event
    /// survives a power cut.
    pub fn submit(&self, alert: &Alert) {
        let mut buffer = [0; MAX_POSTCARD];
        match alert.to_postcard(&mut buffer) {
            Ok(bytes) => self.shared.submit(bytes),
            Err(e) => log::error!("an event cannot be published: {e}"),
        }
    }

    /// Publishes a retained message; an empty one removes what the broker keeps. Only the newest of
    /// a topic matters, so none is queued; it is sent again on every new connection.
    pub fn set_retained(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.shared.set_retained(topic, payload.into());
    }

    /// A handle by which another thread publishes retained messages.
    pub fn outbox(&self) -> Outbox {
        Outbox(Arc::downgrade(&self.shared))
    }

    /// How it is doing.
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Waits for the broker to accept the connection; false if it did not in time.
    pub fn wait_connected(&self, timeout: Duration) -> bool {
        self.shared.wait(Instant::now() + timeout, |report| report.connected)
    }

    /// Waits for the spool to empty; false if it did not in time.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.shared.wait(Instant::now() + timeout, |report| report.depth == 0)
    }

    /// Publishes `stopped` and closes the connection, within `timeout`. Events that are still in
    /// the spool are sent at the next start. Returns how things stood.
    pub fn close(mut self, timeout: Duration) -> Report {
        self.shared.stop(Instant::now() + timeout);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the broker thread has panicked; events stay spooled");
        }
        self.shared.report()
    }
}

/// Publishes retained messages from another thread, as long as the [`Publisher`] lives.
#[derive(Clone)]
pub struct Outbox(Weak<Shared>);

impl Outbox {
    /// As [`Publisher::set_retained`].
    pub fn set_retained(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        if let Some(shared) = self.0.upgrade() {
            shared.set_retained(topic, payload.into());
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Without `close` the broker is to announce the last will: just let the thread end.
        self.shared.abandon();
    }
}

/// Connects once, to see whether the broker is there and lets us in.
///
/// # Errors
/// Says what is in the way.
pub fn probe(config: &MqttConfig) -> Result<(), LinkError> {
    let mut config = config.clone();
    // A second client with the id of a running one would throw that one out, and its last will
    // would say that the device is offline.
    config.client_id.push_str("-probe");
    config.root.push_str("/probe");
    let (sender, mut link) = link::open(&config)?;
    loop {
        match link.next()? {
            link::Event::Connected => sender.disconnect(),
            link::Event::Disconnecting => return Ok(()),
            _ => {}
        }
    }
}
