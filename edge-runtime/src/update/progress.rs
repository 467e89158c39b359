//! Between the inference thread and whoever loads new models.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use alert_wire::ModelId;

use crate::detection::Rules;
use crate::engine::ModelStatus;

/// A loaded model, ready to take over.
pub struct Offer<S> {
    /// What scores frames.
    pub scorer: S,
    /// The model in the status.
    pub status: ModelStatus,
    /// The model in events.
    pub id: ModelId,
    /// The event rules of each camera, in order.
    pub rules: Vec<Rules>,
}

/// Where a model is handed over, and how the running one is doing.
pub struct Exchange<S> {
    offer: Mutex<Option<Offer<S>>>,
    waiting: AtomicBool,
    scored: AtomicU64,
    failures: AtomicU64,
}

impl<S> Default for Exchange<S> {
    fn default() -> Self {
        Self {
            offer: Mutex::default(),
            waiting: AtomicBool::new(false),
            scored: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

impl<S> Exchange<S> {
    /// Hands over a model; it takes over between two frames.
    pub fn offer(&self, offer: Offer<S>) {
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = Some(offer);
        self.waiting.store(true, Ordering::SeqCst);
    }

    /// The model that waits, if one does. The counts begin anew.
    pub fn take(&self) -> Option<Offer<S>> {
        if !self.waiting.swap(false, Ordering::SeqCst) {
            return None;
        }
        let offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.scored.store(0, Ordering::SeqCst);
        self.failures.store(0, Ordering::SeqCst);
        offer
    }

    /// Whether a model waits to take over.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Counts frames that the running model has scored.
    pub fn count_scored(&self, frames: u64) {
        self.scored.fetch_add(frames, Ordering::SeqCst);
    }

    /// Counts a failure of the running model.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// Frames scored by the running model, and its failures.
    pub fn counts(&self) -> (u64, u64) {
        (self.scored.load(Ordering::SeqCst), self.failures.load(Ordering::SeqCst))
    }
}
