//! Which frames of a camera are wanted.

use inference::Sampling;

/// Which frames of a camera are wanted: all, so many a second, or none. A source asks as soon as it
/// knows a frame's time, and spares itself the rest.
#[derive(Debug, Clone)]
pub struct Demand {
    rate: f64,
    sampling: Sampling,
}

impl Demand {
    /// Every frame.
    pub fn all() -> Self {
        Self::of(f64::INFINITY)
    }

    /// At most `rate` frames a second, evenly chosen; infinite for all, 0 for none.
    pub fn of(rate: f64) -> Self {
        Self { rate, sampling: Sampling::new(rate, 0.0) }
    }

    /// Frames a second; infinite for all.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether no frame is wanted at present, so that decoding is of no use.
    pub fn is_nothing(&self) -> bool {
        self.rate <= 0.0
    }

    /// Takes up the next frame, at `time` in seconds of the stream; whether it is wanted.
    pub fn takes(&mut self, time: f64) -> bool {
        !self.is_nothing() && self.sampling.takes(time)
    }

    /// The rate of what is left of a source of `rate` frames per second (0 if that is not known).
    pub fn left_of(&self, rate: f64) -> f64 {
        if self.rate.is_infinite() || self.is_nothing() {
            rate
        } else {
            inference::sampled_rate(self.rate, rate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_some_and_none() {
        let taken =
            |mut demand: Demand| (0..300).filter(|i| demand.takes(f64::from(*i) / 30.0)).count();
        let counts = [f64::INFINITY, 10.0, 5.0, 0.0].map(|rate| taken(Demand::of(rate)));
        assert_eq!(counts, [300, 100, 50, 0]);
        assert!(Demand::of(0.0).is_nothing() && !Demand::all().is_nothing());
        let left = [f64::INFINITY, 10.0, 0.0].map(|rate| Demand::of(rate).left_of(30.0));
        assert_eq!(left, [30.0, 10.0, 30.0]);
        assert_eq!(Demand::of(5.0).left_of(0.0), 5.0);
    }
}
