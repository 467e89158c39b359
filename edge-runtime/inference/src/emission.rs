//! Which source frames are looked at, and when each is given its score.

use crate::FrameScore;

/// Thins a source to the model's rate and gives every source frame a score, exactly once and in
/// order: as soon as its model frame is scored and it has been seen itself.
pub(crate) struct Emission {
    step: u64,
    seen: u64,
    emitted: u64,
    /// Number of model frames scored.
    scored: u64,
    /// Score of the newest of them. One is enough: all frames of an older one that could be seen
    /// were emitted when it was scored, and the others before the next one is.
    newest: Option<FrameScore>,
}

/// Every how many source frames a model of `model_rate` takes one of a source of `source_rate`
/// frames per second: `max(1, round(source_rate / model_rate))`. Host and camera thin by this one
/// rule.
pub fn thinning(source_rate: f64, model_rate: f64) -> u64 {
    // A rate that is not a number becomes a step of 1: a float to integer cast makes it 0.
    ((source_rate / model_rate).round() as u64).clamp(1, u32::MAX.into())
}

impl Emission {
    /// For a source of `source_rate` frames per second and a model of `model_rate`: every
    /// `max(1, round(source_rate / model_rate))`-th frame is a model frame.
    pub(crate) fn new(source_rate: f64, model_rate: f64) -> Self {
        Self {
            step: thinning(source_rate, model_rate),
            seen: 0,
            emitted: 0,
            scored: 0,
            newest: None,
        }
    }

    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes up a source frame; whether it is a model frame.
    pub(crate) fn see(&mut self) -> bool {
        self.seen += 1;
        (self.seen - 1).is_multiple_of(self.step)
    }

    /// Takes up the score of the next model frame.
    pub(crate) fn score(&mut self, score: FrameScore, emit: &mut dyn FnMut(&FrameScore)) {
        self.newest = Some(score);
        self.scored += 1;
        self.emit(emit);
    }

    /// Emits what can be.
    pub(crate) fn emit(&mut self, emit: &mut dyn FnMut(&FrameScore)) {
        let Some(newest) = self.newest else { return };
        while self.emitted < self.seen && self.emitted / self.step < self.scored {
            emit(&FrameScore { frame: self.emitted, ..newest });
            self.emitted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_rounds_to_the_nearest_rate() {
        assert_eq!(thinning(10.0, 10.0), 1);
        assert_eq!(thinning(25.0, 10.0), 3);
        assert_eq!(thinning(30.0, 10.0), 3);
        assert_eq!(thinning(5.0, 10.0), 1);
        assert_eq!(thinning(f64::NAN, 10.0), 1);
    }

    #[test]
    fn the_step_is_rounded_and_at_least_one() {
        let step = |source, model| Emission::new(source, model).step();
        assert_eq!([step(10.0, 10.0), step(30.0, 10.0), step(25.0, 10.0)], [1, 3, 3]);
        assert_eq!([step(5.0, 10.0), step(24.0, 10.0), step(f64::NAN, 10.0)], [1, 2, 1]);
        assert_eq!(step(0.0, 10.0), 1);
    }
}
