//! A streaming histogram whose result does not depend on the order of the values.
//!
//! The bin width is always a power of two and bin edges are its multiples. When the range grows,
//! bins are merged in pairs, which is exact: the final histogram is a function of the set of values
//! alone, whichever way they were cut into batches.

/// Bins of a histogram.
pub const BINS: usize = 2048;

/// Smallest exponent of a bin width: below it, `2^-exponent` is no finite `f32`.
const MIN_EXPONENT: i32 = -120;

/// Values processed between two looks at the range.
const BLOCK: usize = 4096;

/// Counts of the values of one tensor.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// The bin width is `2^exponent`.
    exponent: i32,
    /// Bin `i` covers `[(origin + i) * width, (origin + i + 1) * width)`.
    origin: i64,
    /// Values other than zero, by bin.
    counts: Vec<u64>,
    /// Values equal to zero. They are quantized without error, and after a ReLU there are many.
    zeros: u64,
    /// Number of values.
    total: u64,
    /// Smallest value and zero.
    min: f32,
    /// Largest value and zero.
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            exponent: MIN_EXPONENT,
            origin: 0,
            counts: vec![0; BINS],
            zeros: 0,
            total: 0,
            min: 0.0,
            max: 0.0,
        }
    }

    /// Smallest value seen, at most zero.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Largest value seen, at least zero.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Number of values seen.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of values equal to zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// The bins that hold values other than zero, from low to high: centre and count.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let width = self.width();
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(move |(i, n)| (((self.origin + i as i64) as f64 + 0.5) * width, *n))
    }

    /// Counts of the absolute values other than zero: bin `i` covers `[i * width, (i + 1) * width)`.
    pub fn folded(&self) -> Vec<u64> {
        let mut folded = vec![0; BINS];
        let mut used = 0;
        for (i, n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let bin = self.origin + i as i64;
            let bin = if bin < 0 { -bin - 1 } else { bin } as usize;
            folded[bin] += n;
            used = used.max(bin + 1);
        }
        folded.truncate(used);
        folded
    }

    /// Value below which the share `p` of all values (0 to 1) lies, to the width of a bin.
    pub fn quantile(&self, p: f64) -> f64 {
        let target = p * self.total as f64;
        let width = self.width();
        let mut below = 0.0;
        for (i, n) in self.counts.iter().enumerate() {
            let bin = self.origin + i as i64;
            // Zeros sit at the lower edge of bin 0.
            if bin == 0 {
                below += self.zeros as f64;
                if below >= target {
                    return 0.0;
                }
            }
            if *n > 0 && below + *n as f64 >= target {
                let part = (target - below).max(0.0) / *n as f64;
                return ((bin as f64 + part) * width).clamp(self.min.into(), self.max.into());
            }
            below += *n as f64;
        }
        self.max.into()
    }

    /// Counts `values`. False, with nothing counted beyond some blocks, if one is not finite.
    #[must_use]
    pub fn add(&mut self, values: &[f32]) -> bool {
        for block in values.chunks(BLOCK) {
            let (mut min, mut max, mut sum) = (self.min, self.max, 0.0f32);
            for &x in block {
                min = if x < min { x } else { min };
                max = if x > max { x } else { max };
                // 0 × x is NaN for infinities and NaN, and comparisons above skip NaN.
                sum += 0.0 * x;
            }
            if sum != 0.0 || sum.is_nan() {
                return false;
            }
            self.grow(min, max);
            self.count(block);
        }
        true
    }

    /// Counts a block that lies within the range.
    fn count(&mut self, block: &[f32]) {
        // A power of two, so the product is exact and its floor is the true bin.
        let inverse = (-self.exponent as f32).exp2();
        let origin = self.origin as i32;
        let mut zeros = 0u64;
        let mut index = [0i32; BLOCK];
        for (slot, &x) in index.iter_mut().zip(block) {
            let y = x * inverse;
            let whole = y as i32;
            *slot = whole - i32::from(whole as f32 > y) - origin;
        }
        for (&i, &x) in index.iter().zip(block) {
            zeros += u64::from(x == 0.0);
            self.counts[i as usize] += 1;
        }
        self.counts[(-self.origin) as usize] -= zeros;
        self.zeros += zeros;
        self.total += block.len() as u64;
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        self.grow(other.min, other.max);
        for (i, n) in other.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let bin = (other.origin + i as i64) >> (self.exponent - other.exponent);
            self.counts[(bin - self.origin) as usize] += n;
        }
        self.zeros += other.zeros;
        self.total += other.total;
    }

    /// Makes room for values from `min` to `max`, merging bins where needed.
    fn grow(&mut self, min: f32, max: f32) {
        if min >= self.min && max <= self.max {
            return;
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        let bin = |x: f32, exponent: i32| (f64::from(x) * f64::from(-exponent).exp2()).floor();
        let mut exponent = self.exponent;
        while bin(self.max, exponent) - bin(self.min, exponent) >= BINS as f64 {
            exponent += 1;
        }
        let origin = bin(self.min, exponent) as i64;
        if exponent == self.exponent && origin == self.origin {
            return;
        }
        let mut counts = vec![0; BINS];
        for (i, n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let bin = (self.origin + i as i64) >> (exponent - self.exponent);
            counts[(bin - origin) as usize] += n;
        }
        (self.exponent, self.origin, self.counts) = (exponent, origin, counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(batches: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::new();
        for batch in batches {
            assert!(histogram.add(batch));
        }
        histogram
    }

    #[test]
    fn counts_zeros_apart_and_keeps_the_range() {
        let h = of(&[&[0.0, 1.0, 2.0, -0.5, 0.0, -0.0]]);
        assert_eq!((h.min(), h.max(), h.total(), h.zeros()), (-0.5, 2.0, 6, 3));
        assert_eq!(h.bins().map(|(_, n)| n).sum::<u64>(), 3);
        // Span 2.5: the smallest power of two that needs at most 2048 bins is 2^-9.
        assert_eq!(h.width(), 1.0 / 512.0);
        let centres: Vec<f64> = h.bins().map(|(c, _)| c).collect();
        assert_eq!(centres, [-0.5 + 0.5 / 512.0, 1.0 + 0.5 / 512.0, 2.0 + 0.5 / 512.0]);
    }

    #[test]
    fn is_the_same_however_the_values_are_cut() {
        let values: Vec<f32> =
            (0..20_000).map(|i| ((i as f32) * 0.37).sin() * (i as f32).sqrt()).collect();
        let whole = of(&[&values]);
        let reversed: Vec<f32> = values.iter().rev().copied().collect();
        let parts: Vec<&[f32]> = reversed.chunks(77).collect();
        let parts = of(&parts);
        let mut merged = of(&[&values[..5_000]]);
        merged.merge(&of(&[&values[5_000..]]));
        for other in [parts, merged] {
            assert_eq!(whole.exponent, other.exponent);
            assert_eq!(whole.origin, other.origin);
            assert_eq!(whole.counts, other.counts);
        }
    }

    #[test]
    fn quantiles_of_a_uniform_distribution() {
        let values: Vec<f32> = (0..=10_000).map(|i| i as f32 / 10_000.0).collect();
        let h = of(&[&values]);
        assert!((h.quantile(0.5) - 0.5).abs() < 1e-3);
        assert!((h.quantile(0.999) - 0.999).abs() < 1e-3);
        assert_eq!(h.quantile(1.0), 1.0);
        let h = of(&[&[-1.0, 0.0, 0.0, 0.0, 1.0]]);
        assert_eq!(h.quantile(0.5), 0.0);
    }

    #[test]
    fn folds_by_absolute_value() {
        let h = of(&[&[-3.5, 3.25, 0.25, 8.0, 0.0]]);
        let folded = h.folded();
        assert_eq!(folded.iter().sum::<u64>(), 4);
        let bin = |x: f64| (x / h.width()) as usize;
        assert_eq!(folded[bin(3.25)], 1);
        assert_eq!(folded[bin(3.5) - 1], 1);
        assert_eq!(folded.len(), bin(8.0) + 1);
    }

    #[test]
    fn refuses_what_is_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Histogram::new().add(&[1.0, bad, 2.0]));
        }
        assert!(Histogram::new().add(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE]));
    }

    #[test]
    fn all_zero_is_fine() {
        let h = of(&[&[0.0; 10]]);
        assert_eq!((h.min(), h.max(), h.zeros(), h.quantile(0.99)), (0.0, 0.0, 10, 0.0));
        assert_eq!(h.bins().count(), 0);
    }
}
