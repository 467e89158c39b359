//! Events to the broker: stored, sent in order, forgotten only when acknowledged.
//!
//! ```text
//! submit ─► spool (disk) ─► under way (one event of each camera) ─► PUBACK ─► removed
//!             ▲                              │
//!             └──── link ended: again from the oldest not acknowledged
//! ```
//!
//! Each event is published twice, as JSON and as postcard, and removed when both are acknowledged,
//! or one of them if the broker does not take the other. What is decided, [`machine`] decides; the
//! threads that carry it out are in `driver`.
//!
//! Availability: the last will is `offline`, `online` follows every accepted connection, `stopped`
//! a clean end; all three retained.

mod announced;
mod driver;
pub mod home_assistant;
mod link;
pub mod machine;
mod spool;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alert_wire::Alert;

use crate::config::{MqttConfig, Protocol};

pub use announced::Announced;
pub use driver::MAX_UNSTORED;
pub use link::{Error as LinkError, Fault, Incoming};
pub use spool::{
    Appended, Counters, Error as SpoolError, Loaded, MAX_IN_MEMORY, Spool, SpooledEvent,
};

use driver::Shared;

/// Longest wait for the disk when a publisher is dropped.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Messages that the broker has refused, by an answer or by ending the link.
    pub refused: u64,
    /// Topics that the broker does not take at this time.
    pub held: usize,
    /// Links that another client with our id has ended.
    pub taken_over: u64,
}

/// Is called with every message that comes on one of the topics subscribed to. It must be quick:
/// nothing is sent or received meanwhile.
pub type Listener = Box<dyn Fn(&Incoming) + Send>;

/// Publishes events from threads of its own: one for the disk, one for the link.
pub struct Publisher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
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
        let shared = Arc::new(Shared::new(&config, &spool, filters));
        let mut threads = Vec::new();
        let mut start =
            |name: &str, body: Box<dyn FnOnce() + Send>| match std::thread::Builder::new()
                .name(name.into())
                .spawn(body)
            {
                Ok(thread) => threads.push(thread),
                Err(e) => log::error!("no thread `{name}`: {e}; events do not reach the broker"),
            };
        let own = Arc::clone(&shared);
        start("spool", Box::new(move || driver::run_disk(&own, spool)));
        let own = Arc::clone(&shared);
        let link = move || match runtime() {
            Ok(runtime) => runtime.block_on(driver::run_link(&own, &config, &listener)),
            Err(e) => log::error!("no broker link: {e}; events stay spooled"),
        };
        start("mqtt", Box::new(link));
        Self { shared, threads }
    }

    /// Stores an event, then publishes it when the broker is there. When this returns, the event
    /// survives a power cut, unless the disk does not answer within half a second: that is logged,
    /// and the event waits in memory for the disk.
    pub fn submit(&self, alert: &Alert) {
        match SpooledEvent::of(alert) {
            Ok(event) => self.shared.submit(event),
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
        if self.shared.stop(Instant::now() + timeout) {
            for thread in self.threads.drain(..) {
                if thread.join().is_err() {
                    log::error!("a thread of the publisher has panicked; events stay spooled");
                }
            }
        } else {
            log::error!("the spool's disk does not answer; events that it has not taken are lost");
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
        // Without `close` the broker is to announce the last will: just let the threads end.
        if !self.threads.is_empty() {
            self.shared.abandon(DROP_PATIENCE);
        }
    }
}

/// Connects once, to see whether the broker is there and lets us in.
///
/// # Errors
/// Says what is in the way.
pub fn probe(config: &MqttConfig) -> Result<(), LinkError> {
    let broker = |fault| LinkError::Broker { host: config.host.clone(), port: config.port, fault };
    let runtime = runtime().map_err(|e| broker(Fault::Lost(e.to_string())))?;
    runtime.block_on(async {
        match look(config).await {
            Err(e) if config.protocol == Protocol::V5 && e.is_no_answer() => {
                Err(if link::speaks_v311(config).await { broker(Fault::OnlyVersion311) } else { e })
            }
            other => other,
        }
    })
}

async fn look(config: &MqttConfig) -> Result<(), LinkError> {
    let (sender, mut link) = link::open(&link::probing(config))?;
    loop {
        match link.next().await? {
            link::Event::Connected(_) => sender.disconnect(),
            link::Event::Disconnecting => return Ok(()),
            _ => {}
        }
    }
}

/// What the link's code waits with, in the thread that asks.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
