//! How far a rate may be from what a count says.

/// The exact 95 % interval of the mean of a Poisson distribution of which `count` was seen (Garwood
/// 1936): each mean outside of it makes a count so far from it, or farther, less likely than 2.5 %.
pub fn poisson_interval(count: u64) -> (f64, f64) {
    const TAIL: f64 = 0.025;
    let low = match count {
        0 => 0.0,
        // P(X ≥ count) = TAIL.
        n => root(n as f64, |mean| 1.0 - at_most(n - 1, mean) < TAIL),
    };
    // P(X ≤ count) = TAIL.
    (low, root(count as f64 + 1.0, |mean| at_most(count, mean) > TAIL))
}

/// A rate an hour with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HourlyRate {
    /// Times that it was seen.
    pub count: u64,
    /// Hours that were looked at.
    pub hours: f64,
    /// Times an hour.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl HourlyRate {
    /// Of a count over some hours; `None` without time.
    pub fn of(count: u64, hours: f64) -> Option<Self> {
        let (low, high) = poisson_interval(count);
        let per_hour = |n: f64| n / hours;
        (hours > 0.0).then(|| Self {
            count,
            hours,
            rate: per_hour(count as f64),
            low: per_hour(low),
            high: per_hour(high),
        })
    }
}

/// P(X ≤ count) of a Poisson distribution.
fn at_most(count: u64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 1.0;
    }
    // Summed from the largest term, which is the one at the mean or at the count, so that neither a
    // large mean nor a large count underflows to nothing.
    let start = (mean.floor() as u64).min(count);
    let log_factorial: f64 = (1..=start).map(|k| (k as f64).ln()).sum();
    let largest = (start as f64 * mean.ln() - mean - log_factorial).exp();
    let (mut sum, mut term) = (largest, largest);
    for k in (1..=start).rev() {
        term *= k as f64 / mean;
        sum += term;
        if term < 1e-18 {
            break;
        }
    }
    term = largest;
    for k in start + 1..=count {
        term *= mean / k as f64;
        sum += term;
        if term < 1e-18 {
            break;
        }
    }
    sum.min(1.0)
}

/// The mean at which `below` turns from true to false, near `about`.
fn root(about: f64, below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 2.0 * about + 20.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garwoods_intervals() {
        // Bisected with 60 decimal digits: half the quantiles of chi-squared with 2n and 2n + 2 degrees
        // of freedom.
        for (count, low, high) in [
            (0, 0.0, 3.688_879_454),
            (1, 0.025_317_808, 5.571_643_391),
            (3, 0.618_672_123, 8.767_273_070),
            (10, 4.795_388_696, 18.390_356_042),
            (100, 81.363_991_251, 121.626_793_792),
        ] {
            let found = poisson_interval(count);
            assert!((found.0 - low).abs() < 1e-5 && (found.1 - high).abs() < 1e-5, "{found:?}");
        }
        let (low, high) = poisson_interval(30_000);
        assert!((29_600.0..29_700.0).contains(&low) && (30_300.0..30_400.0).contains(&high));
    }

    #[test]
    fn no_alarm_in_six_minutes_may_be_36_an_hour() {
        let rate = HourlyRate::of(0, 0.1).unwrap();
        assert_eq!((rate.rate, rate.low), (0.0, 0.0));
        assert!((rate.high - 36.888_794).abs() < 1e-4);
        assert_eq!(HourlyRate::of(2, 0.5).unwrap().rate, 4.0);
        assert!(HourlyRate::of(0, 0.0).is_none());
    }
}
