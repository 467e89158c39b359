//! Which source frames are looked at, and when each is given its score.

use std::collections::VecDeque;

use crate::{FrameScore, Sampling};

/// Chooses the model's frames and gives every source frame a score, exactly once and in order: as soon
/// as its model frame is scored and it has been seen itself.
pub(crate) struct Emission {
    /// `None` if every frame is a model frame.
    sampling: Option<Sampling>,
    /// Seconds between two source frames that are given no time.
    distance: f64,
    seen: u64,
    emitted: u64,
    /// The source frames that are model frames without a score yet.
    waiting: VecDeque<u64>,
    /// Score of the newest model frame scored. One is enough: all frames of an older one that could
    /// be seen were emitted when it was scored, and the others before the next one is.
    newest: Option<FrameScore>,
}

impl Emission {
    /// For a source of `source_rate` frames per second (0 if that is not known) and a model of
    /// `model_rate`, of which at most `lag` frames wait for a score.
    pub(crate) fn new(source_rate: f64, model_rate: f64, lag: u64) -> Self {
        let told = source_rate.is_finite() && source_rate > 0.0;
        Self {
            sampling: told.then(|| Sampling::new(model_rate, source_rate)),
            distance: if told { 1.0 / source_rate } else { 0.0 },
            seen: 0,
            emitted: 0,
            waiting: VecDeque::with_capacity(lag as usize + 2),
            newest: None,
        }
    }

    /// From now on frames have times.
    pub(crate) fn timed(&mut self, model_rate: f64) {
        self.sampling.get_or_insert_with(|| Sampling::new(model_rate, 0.0));
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes up a source frame; whether it is a model frame. Without a time it follows the one before
    /// by what the source's rate says.
    pub(crate) fn see(&mut self, time: Option<f64>) -> bool {
        let time = time.unwrap_or(self.seen as f64 * self.distance);
        let taken = self.sampling.as_mut().is_none_or(|sampling| sampling.takes(time));
        if taken {
            self.waiting.push_back(self.seen);
        }
        self.seen += 1;
        taken
    }

    /// Takes up the score of the next model frame.
    pub(crate) fn score(&mut self, score: FrameScore, emit: &mut dyn FnMut(&FrameScore)) {
        self.newest = Some(score);
        self.waiting.pop_front();
        self.emit(emit);
    }

    /// Emits what can be.
    pub(crate) fn emit(&mut self, emit: &mut dyn FnMut(&FrameScore)) {
        let Some(newest) = self.newest else { return };
        let end = self.waiting.front().copied().unwrap_or(self.seen);
        while self.emitted < end {
            emit(&FrameScore { frame: self.emitted, ..newest });
            self.emitted += 1;
        }
    }
}
