//! Which part of a tensor's values the 8 bits cover.
//!
//! A wide range clips nothing and rounds coarsely; a narrow one rounds finely and clips the tail.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::params::{ActivationParams, Flavour, decibel};

/// How the range of an activation is chosen from its histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The smallest and largest value seen.
    MinMax,
    /// The central share of the values ([`super::Options::percentile`]).
    Percentile,
    /// The range whose quantized distribution has the least Kullback–Leibler divergence from the
    /// original (Migacz, "8-bit Inference with TensorRT", 2017).
    Entropy,
    /// The range with the least squared error on the histogram, by search.
    Mse,
    /// For each tensor, the one of the other methods with the least squared error.
    Best,
    /// For the whole graph, the one of all these, [`Method::Best`] included, with which its outputs are
    /// nearest to the float ones: one graph is made with each and run.
    Auto,
}

impl Method {
    /// Those that [`Method::Auto`] chooses from, simplest first.
    pub const MEASURED: [Self; 5] =
        [Self::MinMax, Self::Percentile, Self::Entropy, Self::Mse, Self::Best];

    /// The name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
            Self::Mse => "mse",
            Self::Best => "best",
            Self::Auto => "auto",
        }
    }
}

/// A chosen range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest value represented, at most zero.
    pub low: f64,
    /// Largest value represented, at least zero.
    pub high: f64,
    /// The method that chose it, never [`Method::Best`] or [`Method::Auto`].
    pub method: Method,
    /// Signal over quantization noise on the histogram, in dB.
    pub sqnr_db: f64,
}

/// Steps of the search for the least squared error, between 1/128 and the whole of the range.
const MSE_STEPS: u32 = 128;

/// Candidate thresholds are this many bins apart in the entropy search: a finer search changes the
/// threshold by less than half a per cent of the range.
const ENTROPY_STRIDE: usize = 8;

/// Chooses the range of a tensor.
pub fn choose(histogram: &Histogram, flavour: Flavour, method: Method, percentile: f64) -> Range {
    let (low, high) = match method {
        Method::MinMax => min_max(histogram),
        Method::Percentile => central(histogram, percentile),
        Method::Entropy => entropy(histogram, flavour),
        Method::Mse => least_squares(histogram, flavour),
        // Without a graph there is nothing to run.
        Method::Best | Method::Auto => {
            // Simplest first: on a tie it stays.
            return [Method::MinMax, Method::Percentile, Method::Entropy, Method::Mse]
                .map(|m| choose(histogram, flavour, m, percentile))
                .into_iter()
                .reduce(|best, next| if next.sqnr_db > best.sqnr_db { next } else { best })
                .expect("the list of methods is not empty");
        }
    };
    let params = ActivationParams::from_range(flavour, low, high);
    let (signal, noise) = error(histogram, &params);
    Range { low, high, method, sqnr_db: decibel(signal, noise) }
}

fn min_max(histogram: &Histogram) -> (f64, f64) {
    (histogram.min().into(), histogram.max().into())
}

/// The central `percentile` per cent; of a tensor without negative values, the lowest ones.
fn central(histogram: &Histogram, percentile: f64) -> (f64, f64) {
    let outside = 1.0 - percentile / 100.0;
    if histogram.min() == 0.0 {
        (0.0, histogram.quantile(1.0 - outside))
    } else if histogram.max() == 0.0 {
        (histogram.quantile(outside), 0.0)
    } else {
        let (low, high) =
            (histogram.quantile(outside / 2.0), histogram.quantile(1.0 - outside / 2.0));
        (low.min(0.0), high.max(0.0))
    }
}

/// Signal and expected squared error of quantizing the values of a histogram.
///
/// Within a bin the values are taken as uniform, and the error is integrated exactly: with the step
/// as unit, the integral of `(t - round(t))^2` from 0 to x is `n / 12 + f^3 / 3` for x = n + f, n the
/// nearest integer.
pub fn error(histogram: &Histogram, params: &ActivationParams) -> (f64, f64) {
    let width = histogram.width();
    let step = f64::from(params.scale);
    let (lowest, highest) = params.flavour.limits();
    let (lowest, highest) = (params.dequantize(lowest), params.dequantize(highest));
    let inverse = 1.0 / step;
    let integral = |x: f64| {
        let whole = x.round_ties_even();
        whole / 12.0 + (x - whole).powi(3) / 3.0
    };
    let (mut signal, mut noise) = (0.0, 0.0);
    for (centre, count) in histogram.bins() {
        let count = count as f64;
        signal += count * centre * centre;
        let miss = (centre - highest).max(lowest - centre);
        noise += count
            * if miss > 0.0 {
                miss * miss + width * width / 12.0
            } else {
                let (from, to) =
                    ((centre - width / 2.0) * inverse, (centre + width / 2.0) * inverse);
                step * step * (integral(to) - integral(from)) / (to - from)
            };
    }
    (signal, noise)
}

/// The range with the least squared error: a grid over the upper end, then over the lower end, twice
/// where both are free.
fn least_squares(histogram: &Histogram, flavour: Flavour) -> (f64, f64) {
    let (min, max) = min_max(histogram);
    let noise =
        |low: f64, high: f64| error(histogram, &ActivationParams::from_range(flavour, low, high)).1;
    let shares = || (1..=MSE_STEPS).rev().map(|i| f64::from(i) / f64::from(MSE_STEPS));
    let best = |candidates: &mut dyn Iterator<Item = (f64, f64)>| {
        let mut best = (f64::INFINITY, (min, max));
        for (low, high) in candidates {
            let noise = noise(low, high);
            if noise < best.0 {
                best = (noise, (low, high));
            }
        }
        best.1
    };
    if flavour == Flavour::S8S8 {
        return best(&mut shares().map(|s| {
            let largest = max.max(-min) * s;
            (min.max(-largest), max.min(largest))
        }));
    }
    let (mut low, mut high) = (min, max);
    for _ in 0..if min < 0.0 && max > 0.0 { 2 } else { 1 } {
        high = best(&mut shares().map(|s| (low, max * s))).1;
        low = best(&mut shares().map(|s| (min * s, high))).0;
    }
    (low, high)
}

/// The range of least Kullback–Leibler divergence, on the distribution of absolute values.
fn entropy(histogram: &Histogram, flavour: Flavour) -> (f64, f64) {
    let (min, max) = min_max(histogram);
    let counts = histogram.folded();
    // A one-sided unsigned tensor has all 256 steps on its side, any other one half of them.
    let one_sided = min == 0.0 || max == 0.0;
    let levels = if flavour == Flavour::U8S8 && one_sided { 256 } else { 128 };
    if counts.len() <= levels {
        return (min, max);
    }
    let mut beyond: Vec<u64> = vec![0; counts.len() + 1];
    for (i, n) in counts.iter().enumerate().rev() {
        beyond[i] = beyond[i + 1] + n;
    }
    let mut best = (f64::INFINITY, counts.len());
    let full = counts.len();
    let candidates = (levels..full).step_by(ENTROPY_STRIDE).chain([full]);
    // From wide to narrow, so that on a tie the wider range stays.
    for end in candidates.rev() {
        let divergence = divergence(&counts[..end], beyond[end], levels);
        if divergence < best.0 {
            best = (divergence, end);
        }
    }
    let threshold = best.1 as f64 * histogram.width();
    (min.max(-threshold), max.min(threshold))
}

/// Divergence of `counts` quantized to `levels` from `counts` with the `clipped` values added to the
/// last bin.
fn divergence(counts: &[u64], clipped: u64, levels: usize) -> f64 {
    let kept: u64 = counts.iter().sum();
    if kept == 0 {
        return f64::INFINITY;
    }
    let (reference, candidate) = ((kept + clipped) as f64, kept as f64);
    let last = counts.len() - 1;
    let mut divergence = 0.0;
    for level in 0..levels {
        let first = level * counts.len() / levels;
        let end = (level + 1) * counts.len() / levels;
        let group = &counts[first..end];
        let used = group.iter().filter(|n| **n > 0).count();
        if used == 0 && !(end > last && clipped > 0) {
            continue;
        }
        let mean = group.iter().sum::<u64>() as f64 / used.max(1) as f64 / candidate;
        for (i, n) in group.iter().enumerate() {
            let n = if first + i == last { n + clipped } else { *n };
            if n > 0 {
                let p = n as f64 / reference;
                // A bin that holds only clipped values is impossible in the candidate: the floor
                // makes it costly rather than infinite.
                let q = if group[i] > 0 { mean } else { 1e-9 };
                divergence += p * (p / q).ln();
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Laplace-like one-sided distribution (mean 1) by its quantiles, with one far outlier.
    fn heavy_tail() -> Histogram {
        let n = 1_000_000;
        let mut values: Vec<f32> =
            (0..n).map(|i| -(1.0 - (i as f32 + 0.5) / n as f32).ln()).collect();
        values.push(60.0);
        let mut histogram = Histogram::new();
        assert!(histogram.add(&values));
        histogram
    }

    #[test]
    fn thresholds_of_a_heavy_tail_are_sane() {
        let h = heavy_tail();
        for flavour in [Flavour::U8S8, Flavour::S8S8] {
            let get = |method| choose(&h, flavour, method, 99.99);
            let plain = get(Method::MinMax);
            assert_eq!((plain.low, plain.high), (0.0, 60.0));
            // The 99.99 % quantile of the exponential distribution is ln(10^4) = 9.2.
            let percentile = get(Method::Percentile);
            assert!((percentile.high - 9.21).abs() < 0.1, "{percentile:?}");
            let entropy = get(Method::Entropy);
            assert!(entropy.low == 0.0 && entropy.high > 4.0 && entropy.high < 16.0, "{entropy:?}");
            // Noise of a threshold T: rounding n (T / steps)^2 / 12, the outlier (60 - T)^2, the
            // exponential's tail n * 2 e^-T.
            let steps = f64::from(flavour.limits().1);
            let noise =
                |t: f64| 1e6 * ((t / steps).powi(2) / 12.0 + 2.0 * (-t).exp()) + (60.0 - t).powi(2);
            let thresholds = (1..6000).map(|i| f64::from(i) / 100.0);
            let least = thresholds.min_by(|a, b| noise(*a).total_cmp(&noise(*b))).unwrap();
            let mse = get(Method::Mse);
            assert!(mse.low == 0.0 && (mse.high - least).abs() < 0.5, "{mse:?} {least}");
            assert!(mse.sqnr_db > plain.sqnr_db + 1.0, "{mse:?} {plain:?}");
            let best = get(Method::Best);
            for method in [Method::MinMax, Method::Percentile, Method::Entropy, Method::Mse] {
                assert!(best.sqnr_db >= get(method).sqnr_db);
            }
            assert_eq!(best.method, Method::Mse);
        }
    }

    #[test]
    fn a_uniform_distribution_is_not_clipped() {
        let values: Vec<f32> = (0..=100_000).map(|i| i as f32 / 50_000.0 - 1.0).collect();
        let mut h = Histogram::new();
        assert!(h.add(&values));
        for flavour in [Flavour::U8S8, Flavour::S8S8] {
            for method in [Method::MinMax, Method::Mse, Method::Best] {
                let range = choose(&h, flavour, method, 99.99);
                assert!(range.low < -0.98 && range.high > 0.98, "{range:?}");
                // 255 uniform steps over a uniform distribution: 20 log10(255) = 48.1 dB.
                assert!((range.sqnr_db - 48.1).abs() < 0.5, "{range:?}");
            }
        }
    }

    #[test]
    fn the_error_on_the_histogram_is_the_error_on_the_values() {
        let values: Vec<f32> = (0..50_000)
            .map(|i| {
                let x = ((i * 7919) % 50_000) as f32 / 50_000.0 - 0.3;
                x * x * x * 9.0
            })
            .collect();
        let mut h = Histogram::new();
        assert!(h.add(&values));
        for (flavour, low, high) in
            [(Flavour::U8S8, -0.2, 2.0), (Flavour::S8S8, -1.5, 1.5), (Flavour::U8S8, -0.3, 4.0)]
        {
            let params = ActivationParams::from_range(flavour, low, high);
            let exact: f64 = values
                .iter()
                .map(|x| (f64::from(*x) - params.dequantize(params.quantize((*x).into()))).powi(2))
                .sum();
            let (_, estimate) = error(&h, &params);
            assert!((estimate / exact - 1.0).abs() < 0.1, "{estimate} {exact}");
        }
    }

    #[test]
    fn a_constant_zero_tensor_has_a_range() {
        let mut h = Histogram::new();
        assert!(h.add(&[0.0; 16]));
        for method in [Method::Percentile, Method::Entropy, Method::Mse, Method::Best] {
            let range = choose(&h, Flavour::U8S8, method, 99.99);
            assert_eq!((range.low, range.high), (0.0, 0.0));
        }
    }
}
