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

mod link;
mod spool;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alert_wire::{Alert, MAX_POSTCARD};

use crate::config::MqttConfig;

pub use link::Error as LinkError;
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
}

/// Publishes events from a thread of its own.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts to connect. What an earlier process left in the spool is sent first.
    pub fn start(config: MqttConfig, spool: Spool) -> Self {
        let topics = config.topics();
        let shared = Arc::new(Shared::new(spool, topics));
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("mqtt".into())
                .spawn(move || worker::run(&shared, &config))
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

    /// Publishes the device's state, retained. Only the newest matters, so none is queued.
    pub fn set_status(&self, json: String) {
        self.shared.set_status(json);
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
