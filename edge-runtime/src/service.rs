//! What the service manager is told while the program starts, and that it is ready and lives.
//!
//! Building engines for a GPU may take longer than a start may otherwise: each word of progress asks for
//! as much time again. `READY=1` comes only with the first frame, after the model is loaded and proven.

use std::sync::atomic::{AtomicBool, Ordering};

use inference::Building;
use sd_notify::NotifyState;

/// Microseconds that a word of progress lets the start go on: it comes every ten seconds.
const EXTENSION: u32 = 60_000_000;

/// Whether frames are taken, so that they alone say that the program lives.
static WATCHING: AtomicBool = AtomicBool::new(false);

/// Says in the log and to the service manager how far TensorRT is.
pub fn building(progress: &Building<'_>) {
    let text = progress.to_string();
    log::info!("{text}");
    tell(&[NotifyState::Status(&text), NotifyState::ExtendTimeoutUsec(EXTENSION)]);
    // A configuration that is read again may name another bundle: then there are no frames to wait for,
    // and the watchdog runs.
    if !WATCHING.load(Ordering::Relaxed) {
        tell(&[NotifyState::Watchdog]);
    }
}

/// To be called when cameras begin to be watched, and when that ends.
pub fn watching(now: bool) {
    WATCHING.store(now, Ordering::Relaxed);
}

/// Tells the service manager.
pub fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    if let Err(e) = sd_notify::notify(states) {
        log::debug!("service manager: {e}");
    }
}
