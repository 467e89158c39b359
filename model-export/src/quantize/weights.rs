//! 8-bit weights, and how they are held down so that every processor adds their products alike.
//!
//! ONNX Runtime's kernels for unsigned activations and signed weights add two neighbouring products
//! before anything else. With AVX2 or AVX-512 but without VNNI that sum has 16 bits and saturates: 255
//! times a pair of weights fits only if the two, where they have one sign, are 128 together at most.
//! [`WeightRange::Pairs`] sees to just that. Which weights are neighbours follows from the order in which
//! the kernels read them ([`RowOrder`]).

use inference::exactness::{PAIR_LIMIT, RowOrder};
use serde::{Deserialize, Serialize};

use super::params::{decibel, positive};

/// How far weights may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRange {
    /// `[-127, 127]`, neighbours of one sign at most 128 together: exact on every processor.
    #[default]
    Pairs,
    /// `[-64, 64]`: exact on every processor whatever the order, a bit less of every weight.
    SevenBits,
    /// `[-127, 127]`: exact with VNNI and on ARM, saturating on x86 without VNNI.
    Full,
}

impl WeightRange {
    /// The name that command lines and files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::SevenBits => "seven-bits",
            Self::Full => "full",
        }
    }

    /// Largest magnitude of a weight.
    fn limit(self) -> f32 {
        match self {
            Self::Pairs | Self::Full => 127.0,
            Self::SevenBits => 64.0,
        }
    }
}

/// A weight tensor with one scale for each output channel.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeights {
    /// Quantized values in the order of the original.
    pub values: Vec<i8>,
    /// Scale of each output channel.
    pub scales: Vec<f32>,
    /// 10 log10 of signal over quantization noise.
    pub sqnr_db: f64,
}

/// Steps in which a row's scale is looked for, between the one that its largest weight asks for and
/// the one at which every pair fits.
const SCALES: usize = 16;

/// Quantizes weights symmetrically, with a scale for each output channel.
///
/// With a bias, given with the scale of the layer's input, a channel's scale is raised where needed so
/// that the bias, stored in steps of `input_scale * scale`, stays within ±2^30 and the 32-bit accumulator
/// cannot overflow by it.
pub fn quantize_weights(
    weights: &[f32],
    order: &RowOrder,
    range: WeightRange,
    bias: Option<(&[f32], f32)>,
) -> QuantizedWeights {
    let overall = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
    let mut quantized =
        QuantizedWeights { values: vec![0; weights.len()], scales: Vec::new(), sqnr_db: 0.0 };
    let (mut signal, mut noise) = (0f64, 0f64);
    let mut row = Vec::new();
    for channel in 0..order.channels() {
        row.clear();
        row.extend(order.row(channel).map(|i| weights[i]));
        let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
        // A dead channel has only its bias; borrow a scale that resolves it well.
        let largest = if largest > 0.0 { largest } else { overall };
        let mut least = positive(f64::from(largest) / f64::from(range.limit()));
        if let Some((bias, input_scale)) = bias {
            let floor =
                f64::from(bias[channel].abs()) / (f64::from(input_scale) * f64::from(1u32 << 30));
            least = least.max(floor as f32);
        }
        let paired = range == WeightRange::Pairs && order.adds_pairs();
        let scale = if paired { pair_scale(&row, least) } else { least };
        let rounded = Rounding { scale, limit: range.limit(), paired };
        for (pair, places) in row.chunks(2).zip(chunks_of_two(order.row(channel))) {
            let values = rounded.pair(pair);
            for ((w, q), place) in pair.iter().zip(values).zip(places.into_iter().flatten()) {
                quantized.values[place] = q as i8;
                signal += f64::from(*w).powi(2);
                noise += (f64::from(*w) - f64::from(q) * f64::from(scale)).powi(2);
            }
        }
        quantized.scales.push(scale);
    }
    quantized.sqnr_db = decibel(signal, noise);
    quantized
}

/// An iterator's items two by two; the last may stand alone.
fn chunks_of_two(
    mut items: impl Iterator<Item = usize>,
) -> impl Iterator<Item = [Option<usize>; 2]> {
    std::iter::from_fn(move || items.next().map(|first| [Some(first), items.next()]))
}

/// How a row is rounded.
#[derive(Clone, Copy)]
struct Rounding {
    scale: f32,
    limit: f32,
    /// Whether neighbours of one sign must stay within [`PAIR_LIMIT`] together.
    paired: bool,
}

impl Rounding {
    /// The integers nearest to a pair of weights, or to one that has no neighbour.
    fn pair(self, weights: &[f32]) -> [f32; 2] {
        let round = |w: f32| (w / self.scale).round_ties_even().clamp(-self.limit, self.limit);
        let &[a, b] = weights else {
            return [weights.first().map_or(0.0, |w| round(*w)), 0.0];
        };
        let (qa, qb) = (round(a), round(b));
        let together = f32::from(PAIR_LIMIT);
        if !self.paired || qa * qb <= 0.0 || (qa + qb).abs() <= together {
            return [qa, qb];
        }
        // The nearest point of the line on which they are 128 together: both give up the same.
        let (x, y) = (a.abs() / self.scale, b.abs() / self.scale);
        let first = ((x - y + together) / 2.0).round_ties_even().clamp(1.0, self.limit);
        [first.copysign(a), (together - first).copysign(b)]
    }

    /// The squared error of a row.
    fn error(self, row: &[f32]) -> f64 {
        let error = |pair: &[f32]| -> f64 {
            let values = self.pair(pair);
            let off = |(w, q): (&f32, f32)| (f64::from(*w) - f64::from(q * self.scale)).powi(2);
            pair.iter().zip(values).map(off).sum()
        };
        row.chunks(2).map(error).sum()
    }
}

/// The scale of a row with the least squared error: with a small one the pairs that do not fit are cut,
/// with a large one all are rounded more coarsely.
fn pair_scale(row: &[f32], least: f32) -> f32 {
    let sum = |pair: &[f32]| match *pair {
        [a, b] if a * b > 0.0 => (a + b).abs(),
        _ => 0.0,
    };
    let largest = row.chunks(2).map(sum).fold(0f32, f32::max) / f32::from(PAIR_LIMIT);
    if largest <= least {
        return least;
    }
    let step = (f64::from(largest) / f64::from(least)).powf(1.0 / SCALES as f64);
    (0..=SCALES)
        .map(|i| (f64::from(least) * step.powi(i as i32)) as f32)
        .map(|scale| (scale, Rounding { scale, limit: 127.0, paired: true }.error(row)))
        .reduce(|best, next| if next.1 < best.1 { next } else { best })
        .map_or(least, |(scale, _)| scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows one after the other.
    fn rows(channels: usize, length: usize) -> RowOrder {
        RowOrder::gemm(&[channels, length], true)
    }

    #[test]
    fn weights_per_channel_by_hand() {
        // Rows: maxima 1.27 and 12.7, scales 0.01 and 0.1.
        let q = quantize_weights(&[1.27, -0.64, 12.7, 0.25], &rows(2, 2), WeightRange::Full, None);
        assert_eq!(q.values, [127, -64, 127, 2]); // 0.25 / 0.1 = 2.5, half to even
        assert!((q.scales[0] - 0.01).abs() < 1e-9 && (q.scales[1] - 0.1).abs() < 1e-8);
        // The same channels as columns of a matrix.
        let columns = RowOrder::gemm(&[2, 2], false);
        let q = quantize_weights(&[1.27, 12.7, -0.64, 0.25], &columns, WeightRange::Full, None);
        assert_eq!(q.values, [127, 127, -64, 2]);
        let q = quantize_weights(&[-0.64, 0.32], &rows(1, 2), WeightRange::SevenBits, None);
        assert_eq!(q.values, [-64, 32]);
        assert!(q.sqnr_db > 100.0);
    }

    #[test]
    fn a_large_bias_raises_the_scale_of_a_tiny_channel() {
        use super::super::params::quantize_bias;
        let bias = [100.0, 1.0];
        let q = quantize_weights(
            &[1e-9, 1.0],
            &rows(2, 1),
            WeightRange::default(),
            Some((&bias, 0.01)),
        );
        let (bias, scales) = quantize_bias(&bias, 0.01, &q.scales);
        assert!(bias[0].abs() <= (1 << 30) + (1 << 8));
        assert!((f64::from(bias[0]) * f64::from(scales[0]) - 100.0).abs() < 1e-3);
        assert_eq!(q.values, [0, 127]);
    }

    #[test]
    fn a_pair_that_saturates_is_cut_evenly() {
        let rounding = Rounding { scale: 1.0, limit: 127.0, paired: true };
        assert_eq!(rounding.pair(&[100.0, 60.0]), [84.0, 44.0]);
        assert_eq!(rounding.pair(&[-100.0, -60.0]), [-84.0, -44.0]);
        // Of two signs they cannot saturate, and one without a neighbour neither.
        assert_eq!(rounding.pair(&[100.0, -60.0]), [100.0, -60.0]);
        assert_eq!(rounding.pair(&[127.0]), [127.0, 0.0]);
        // The largest that fit.
        assert_eq!(rounding.pair(&[127.0, 1.0]), [127.0, 1.0]);
        assert_eq!(rounding.pair(&[127.0, 127.0]), [64.0, 64.0]);
        // Neighbours are cut at 127 before they are together.
        assert_eq!(rounding.pair(&[127.0, 3.0]), [126.0, 2.0]);
    }

    #[test]
    fn no_pair_of_many_rows_exceeds_the_limit_and_most_of_the_eight_bits_stay() {
        let mut seed = 7u32;
        let mut uniform = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        // A convolution with an odd number of channels, so that pairs reach from tap to tap.
        let dims = [16, 5, 3, 3];
        let order = RowOrder::conv(&dims, 1);
        let weights: Vec<f32> = (0..dims.iter().product()).map(|_| normal()).collect();
        let of = |range| quantize_weights(&weights, &order, range, None);
        let pairs = of(WeightRange::Pairs);
        for channel in 0..16 {
            let row: Vec<i16> = order.row(channel).map(|i| i16::from(pairs.values[i])).collect();
            assert_eq!(row.len(), 45);
            for pair in row.chunks(2).filter(|p| p.len() == 2 && p[0] * p[1] > 0) {
                assert!((pair[0] + pair[1]).abs() <= 128, "{pair:?}");
            }
        }
        let (full, seven) = (of(WeightRange::Full).sqnr_db, of(WeightRange::SevenBits).sqnr_db);
        assert!(full - pairs.sqnr_db < 2.5, "{full} {}", pairs.sqnr_db);
        assert!(full - seven > 5.5 && pairs.sqnr_db - seven > 3.0, "{seven}");
    }
}
