//! Commands from outside: what a broker's message or the local page may ask for.
//!
//! ```text
//! MQTT message ─► Order::parse ─► Hub (bounded) ─► inference thread ─► echoed state
//! local page ──────────────────────┘                    └─► settings on disk
//! ```
//!
//! Everything that comes in is bounded and checked before it is acted on; what is refused is
//! counted and named in the log, and never ends the program.

mod command;
mod settings;

use std::sync::atomic::{AtomicU64, Ordering};

pub use command::{Command, MAX_PAYLOAD, Order, Refusal, THRESHOLDS, UpdateCommand};
pub use settings::{CameraSettings, Settings};

/// How many commands came and what became of them.
#[derive(Debug, Default)]
pub struct CommandCounters {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl CommandCounters {
    /// Counts a command, and names a refused one in the log.
    pub fn count<T>(&self, origin: &str, result: Result<T, Refusal>) -> Option<T> {
        match result {
            Ok(command) => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                Some(command)
            }
            Err(refusal) => {
                let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                // A client gone mad must not fill the disk with log lines.
                if count <= 10 || count.is_power_of_two() {
                    log::warn!("{origin}: {refusal}; {count} commands refused so far");
                }
                None
            }
        }
    }

    /// Commands that were carried out or are about to be.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Commands that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
