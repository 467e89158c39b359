//! Signs of life for systemd (`Type=notify`, `WatchdogSec=`), tied to the progress of frames: a
//! program whose threads run but whose cameras stand still does not live.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::service;

/// Tells the service manager that the program is ready, and that it lives.
pub struct Heartbeat {
    /// Time between two signs; none where no watchdog is set.
    every: Option<Duration>,
    ready: bool,
    last: Option<Instant>,
    frames: u64,
}

impl Heartbeat {
    /// Reads what the service manager wants to hear.
    pub fn new() -> Self {
        service::watching(true);
        // Three signs in the time of one, so that a late one does no harm.
        let every = sd_notify::watchdog_enabled().map(|timeout| timeout / 3);
        Self { every, ready: false, last: None, frames: 0 }
    }

    /// To be called between frames, with the number of frames taken so far; `waiting` if none are
    /// expected.
    pub fn beat(&mut self, frames: u64, waiting: bool) {
        let progress = frames > self.frames || waiting;
        if !self.ready && progress {
            self.ready = true;
            service::tell(&[NotifyState::Ready, NotifyState::Status("watching")]);
        }
        let Some(every) = self.every else { return };
        if progress && self.last.is_none_or(|last| last.elapsed() >= every) {
            self.last = Some(Instant::now());
            self.frames = frames;
            service::tell(&[NotifyState::Watchdog]);
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        service::watching(false);
    }
}
