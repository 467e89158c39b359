//! Which frames of a source the model looks at.

/// Share of the time between two frames of the source by which a frame may come before its moment.
/// A half would be the nearest frame; a little less, so that of two equally near ones it is always the
/// later, however stamps are rounded.
const TOLERANCE: f64 = 0.45;
/// Weight of the newest distance between two frames.
const NEWEST: f64 = 0.25;

/// Chooses model frames by the time of the frames, one for each period of the model: of a source that
/// is faster the frame nearest to each moment, of one that is slower every frame. Nothing is counted,
/// so a rate that is wrong, unknown or changing does no harm. Host and camera choose by this one rule;
/// of a source of constant rate, a multiple of the model's, it takes every n-th frame.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Frames a second; infinite for all.
    rate: f64,
    /// Seconds between two frames of the source, as far as is known.
    distance: Option<f64>,
    /// Time of the first frame.
    first: Option<f64>,
    last: f64,
    /// The next moment, in periods after the first frame.
    due: f64,
}

impl Sampling {
    /// For a model of `model_rate` frames per second and a source that promises `source_rate`; 0 if
    /// it promises nothing.
    pub fn new(model_rate: f64, source_rate: f64) -> Self {
        let told = source_rate.is_finite() && source_rate > 0.0;
        Self {
            rate: if model_rate > 0.0 { model_rate } else { f64::INFINITY },
            distance: told.then(|| 1.0 / source_rate),
            first: None,
            last: 0.0,
            due: 0.0,
        }
    }

    /// Takes up the next frame, at `time` in seconds; whether it is a model frame. The first is one.
    /// Frames at one time count once. A time before the last one's begins anew.
    pub fn takes(&mut self, time: f64) -> bool {
        if self.rate.is_infinite() {
            return true;
        }
        let Some(first) = self.first.filter(|_| time >= self.last) else {
            (self.first, self.last, self.due) = (Some(time), time, 1.0);
            return true;
        };
        let step = time - self.last;
        self.last = time;
        if step > 0.0 {
            // A hole says nothing of the distance.
            let step = step.min(2.0 / self.rate);
            let distance = self.distance.get_or_insert(step);
            *distance += (step - *distance) * NEWEST;
        }
        let tolerance = TOLERANCE * self.distance.map_or(0.0, |d| (d * self.rate).min(1.0));
        let at = (time - first) * self.rate;
        if at < self.due - tolerance {
            return false;
        }
        // A frame that is late takes nothing from the next moment, as long as that is to come.
        self.due = self.due.max(at.floor()) + 1.0;
        true
    }
}

/// Frames per second that a model of `model_rate` looks at, of a source of `source_rate`: the lower
/// one. A source that tells no rate is taken to be fast enough.
pub fn sampled_rate(model_rate: f64, source_rate: f64) -> f64 {
    if source_rate.is_finite() && source_rate > 0.0 {
        source_rate.min(model_rate)
    } else {
        model_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the frames taken, of frames at these times.
    fn taken(model: f64, told: f64, times: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let mut sampling = Sampling::new(model, told);
        let taken = times.into_iter().enumerate().filter(|(_, t)| sampling.takes(*t));
        taken.map(|(i, _)| i).collect()
    }

    fn constant(rate: f64, seconds: f64) -> impl Iterator<Item = f64> {
        (0..(rate * seconds) as usize).map(move |i| i as f64 / rate)
    }

    fn milliseconds(t: f64) -> f64 {
        (t * 1000.0).round() / 1000.0
    }

    #[test]
    fn multiples_of_the_models_rate_are_counted_out_as_ever() {
        for n in [1, 2, 3, 4, 5, 6, 10, 12, 24] {
            let rate = 10.0 * n as f64;
            let every: Vec<usize> = (0..(rate * 700.0) as usize).step_by(n).collect();
            for told in [rate, 0.0] {
                assert_eq!(taken(10.0, told, constant(rate, 700.0)), every, "{rate}");
                // As Matroska and FLV stamp them, and from a moment that is no round number.
                let stamps = constant(rate, 700.0).map(milliseconds);
                assert_eq!(taken(10.0, told, stamps), every, "{rate} in milliseconds");
                let stamps = constant(rate, 700.0).map(|t| 12_345.678_9 + t);
                assert_eq!(taken(10.0, told, stamps), every, "{rate} later");
            }
        }
    }

    #[test]
    fn other_rates_give_the_model_its_ten_frames() {
        for rate in [11.0, 12.0, 12.5, 15.0, 24.0, 25.0, 29.97, 48.0, 59.94, 1000.0] {
            for told in [rate, 0.0, 1000.0, 25.0] {
                let found = taken(10.0, told, constant(rate, 100.0));
                assert!(found.len().abs_diff(1000) <= 2, "{rate}, told {told}: {}", found.len());
            }
        }
        assert_eq!(taken(10.0, 25.0, constant(25.0, 1.0)), [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]);
        assert_eq!(taken(10.0, 15.0, constant(15.0, 0.8)), [0, 2, 3, 5, 6, 8, 9, 11]);
    }

    #[test]
    fn of_a_slow_source_every_frame_is_taken() {
        for rate in [1.0, 5.0, 7.3, 9.9, 10.0] {
            for told in [rate, 0.0, 30.0] {
                let all = constant(rate, 60.0).count();
                assert_eq!(taken(10.0, told, constant(rate, 60.0)).len(), all, "{rate}, {told}");
            }
        }
    }

    #[test]
    fn a_camera_that_halves_its_rate_in_the_dark() {
        let day = constant(30.0, 20.0);
        let night = constant(15.0, 20.0).map(|t| 20.0 + t);
        let deep = constant(7.5, 20.0).map(|t| 40.0 + t);
        let times: Vec<f64> = day.chain(night).chain(deep).collect();
        let found = taken(10.0, 30.0, times.iter().copied());
        let within =
            |from: f64| found.iter().filter(|i| (from..from + 20.0).contains(&times[**i])).count();
        assert_eq!(within(0.0), 200);
        assert!(within(20.0).abs_diff(200) <= 1, "{}", within(20.0));
        assert_eq!(within(40.0), 150);
    }

    #[test]
    fn jitter_loses_no_frame_of_a_camera_at_the_models_rate() {
        let jitter = [0.03, -0.03, 0.02, -0.025, 0.0, 0.03, 0.03, -0.03];
        let times = (1..600).map(|i| i as f64 / 10.0 + jitter[i % 8]);
        assert_eq!(taken(10.0, 10.0, times).len(), 599);
    }

    #[test]
    fn time_that_stands_still_or_goes_back() {
        assert_eq!(taken(10.0, 10.0, [0.0, 0.0, 0.0, 0.1, 0.1, 0.2]), [0, 3, 5]);
        assert_eq!(taken(10.0, 30.0, [5.0, 5.03, 1.0, 1.03, 1.07, 1.1]), [0, 2, 5]);
        // A hole is no reason to look more often afterwards.
        let times = constant(30.0, 1.0).chain(constant(30.0, 1.0).map(|t| 100.02 + t));
        assert!(taken(10.0, 30.0, times).len().abs_diff(20) <= 1);
    }

    #[test]
    fn all_and_the_rate_that_comes_of_it() {
        assert_eq!(taken(0.0, 30.0, constant(30.0, 1.0)).len(), 30);
        assert_eq!(taken(f64::INFINITY, 0.0, [3.0, 3.0, 1.0]).len(), 3);
        assert_eq!(sampled_rate(10.0, 30.0), 10.0);
        assert_eq!(sampled_rate(10.0, 7.5), 7.5);
        assert_eq!(sampled_rate(10.0, 0.0), 10.0);
        assert_eq!(sampled_rate(10.0, f64::NAN), 10.0);
    }
}
