//! Resizing, with the same result on every processor.
//!
//! A separable triangle filter ("bilinear"; widened to the area of the source pixels when the
//! picture shrinks, as in Pillow's `BILINEAR`), in fixed point with 14-bit weights that sum to
//! exactly one, so that a flat picture keeps its level. Weights are computed once for each pair of
//! sizes. Own code rather than a crate because the frame path of the camera allocates nothing, and
//! the crates at hand recompute and allocate their weights at each call.

use crate::{Error, Frame};

/// Bits of a weight's fraction.
const WEIGHT_BITS: u32 = 14;
/// A weight of one.
const ONE: i16 = 1 << WEIGHT_BITS;
/// Bits of fraction kept between the two passes; 255 << 8 still fits 16 bits.
const MIDDLE_BITS: u32 = 8;

/// The source pixels that make up each destination pixel along one axis.
#[derive(Debug, Default)]
struct Axis {
    source: usize,
    /// First source pixel and range of weights of each destination pixel.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    /// Between 0 and 1, which is [`ONE`].
    weights: Vec<i16>,
}

impl Axis {
    fn prepare(&mut self, source: usize, destination: usize) {
        if self.source == source && self.spans.len() == destination {
            return;
        }
        self.source = source;
        self.spans.clear();
        self.weights.clear();
        let scale = source as f64 / destination as f64;
        let support = scale.max(1.0);
        for i in 0..destination {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).floor().max(0.0) as usize;
            let last = ((centre + support + 0.5).floor() as usize).min(source).max(first + 1);
            let weight = |x: usize| (1.0 - ((x as f64 + 0.5 - centre) / support).abs()).max(0.0);
            let total: f64 = (first..last).map(weight).sum();
            let start = self.weights.len();
            // Rounding the running sum, not each weight, makes the weights sum to exactly one.
            let (mut sum, mut given) = (0.0, 0);
            for x in first..last {
                sum += weight(x) / total;
                let upto = (sum * f64::from(ONE)).round() as i16;
                self.weights.push(upto - given);
                given = upto;
            }
            self.spans.push((first, start..self.weights.len()));
        }
    }
}

/// Resizes frames; keeps its weights and buffers between calls.
#[derive(Debug, Default)]
pub struct Resizer {
    rows: Axis,
    columns: Axis,
    sums: Vec<i32>,
    middle: Vec<u16>,
}

impl Resizer {
    /// A resizer that has not seen a size yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resizes `src` to the size that `dst` has; equal sizes copy. The aspect ratio is not kept.
    /// Allocates only when a size is new.
    ///
    /// # Errors
    /// [`Error::Size`] if either frame has no pixels.
    pub fn resize(&mut self, src: &Frame, dst: &mut Frame) -> Result<(), Error> {
        let (width, height) = (dst.width(), dst.height());
        for (what, w, h) in
            [("frame to resize", src.width(), src.height()), ("resized frame", width, height)]
        {
            if w == 0 || h == 0 {
                let reason = "both sides must be at least one pixel";
                return Err(Error::Size { what: what.into(), width: w, height: h, reason });
            }
        }
        if (src.width(), src.height()) == (width, height) {
            dst.rgb_mut().copy_from_slice(src.rgb());
            return Ok(());
        }
        self.rows.prepare(src.height(), height);
        self.columns.prepare(src.width(), width);
        // Rows first: that pass runs along whole rows and vectorises.
        let stride = src.width() * 3;
        self.sums.resize(stride, 0);
        self.middle.resize(stride, 0);
        for ((first_row, range), out) in
            self.rows.spans.iter().zip(dst.rgb_mut().chunks_exact_mut(width * 3))
        {
            let half = 1 << (WEIGHT_BITS - MIDDLE_BITS - 1);
            self.sums.fill(half);
            let weights = &self.rows.weights[range.clone()];
            let rows = &src.rgb()[first_row * stride..][..weights.len() * stride];
            add_rows(&mut self.sums, rows, weights);
            for (m, &sum) in self.middle.iter_mut().zip(&self.sums) {
                *m = (sum >> (WEIGHT_BITS - MIDDLE_BITS)) as u16;
            }
            for ((first, range), pixel) in self.columns.spans.iter().zip(out.chunks_exact_mut(3)) {
                let weights = &self.columns.weights[range.clone()];
                let source = &self.middle[first * 3..][..weights.len() * 3];
                let half = 1u32 << (WEIGHT_BITS + MIDDLE_BITS - 1);
                let mut sums = [half; 3];
                for (levels, &weight) in source.chunks_exact(3).zip(weights) {
                    for c in 0..3 {
                        sums[c] += levels[c] as u32 * weight as u32;
                    }
                }
                for c in 0..3 {
                    pixel[c] = (sums[c] >> (WEIGHT_BITS + MIDDLE_BITS)) as u8;
                }
            }
        }
        Ok(())
    }
}

/// Adds rows, each as long as `sums`, times their weights. Nearly all of the time is spent here, and
/// with the instructions that every x86-64 processor has it is four times as much.
fn add_rows(sums: &mut [i32], rows: &[u8], weights: &[i16]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { add_rows_avx2(sums, rows, weights) };
        return;
    }
    add_rows_portable(sums, rows, weights);
}

/// [`add_rows_portable`] compiled for AVX2: the same integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_rows_avx2(sums: &mut [i32], rows: &[u8], weights: &[i16]) {
    add_rows_portable(sums, rows, weights);
}

#[inline(always)]
fn add_rows_portable(sums: &mut [i32], rows: &[u8], weights: &[i16]) {
    let stride = sums.len();
    // Two rows at once: half the traffic, and a multiply-add of pairs where there is one.
    for (rows, weights) in rows.chunks(2 * stride).zip(weights.chunks(2)) {
        let (a, b) = rows.split_at(stride);
        // The last row of an odd number is taken once more, with a weight of 0.
        let b = if b.is_empty() { a } else { b };
        let weight = |k: usize| i32::from(weights.get(k).copied().unwrap_or(0));
        let (first, second) = (weight(0), weight(1));
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += i32::from(a) * first + i32::from(b) * second;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_adds_the_same() {
        let level = |i: usize| (i * 97 % 251) as u8;
        for (stride, count) in [(1, 1), (7, 3), (48, 4), (1920, 5)] {
            let rows: Vec<u8> = (0..stride * count).map(level).collect();
            let weights: Vec<i16> = (0..count).map(|k| ONE >> k).collect();
            let (mut found, mut portable) = (vec![32; stride], vec![32; stride]);
            add_rows(&mut found, &rows, &weights);
            add_rows_portable(&mut portable, &rows, &weights);
            let expected: Vec<i32> = (0..stride)
                .map(|x| {
                    32 + (0..count)
                        .map(|k| i32::from(rows[k * stride + x]) * (1 << 14 >> k))
                        .sum::<i32>()
                })
                .collect();
            assert_eq!((&found, &portable), (&expected, &expected));
        }
    }

    fn resized(src: &Frame, width: usize, height: usize) -> Frame {
        let mut dst = Frame::new(width, height);
        Resizer::new().resize(src, &mut dst).unwrap();
        dst
    }

    #[test]
    fn equal_size_copies_and_flat_stays_flat() {
        let src = Frame::from_luma(3, 2, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(resized(&src, 3, 2), src);
        for level in [0, 1, 77, 254, 255] {
            let flat = Frame::from_luma(37, 23, &[level; 37 * 23]).unwrap();
            for (w, h) in [(11, 7), (64, 90), (1, 1), (37, 5), (360, 240)] {
                assert!(resized(&flat, w, h).rgb().iter().all(|&v| v == level), "{level} {w}x{h}");
            }
        }
    }

    #[test]
    fn halving_is_the_triangle_filter() {
        // Scale 2, support 2: weights 1/8, 3/8, 3/8, 1/8, renormalised to 3/7, 3/7, 1/7 at edges.
        let src = Frame::from_luma(6, 1, &[0, 0, 80, 160, 0, 0]).unwrap();
        let grey = resized(&src, 3, 1).luma();
        assert_eq!(grey, [11, 90, 23]); // 80/7 = 11.4; (80 + 160) * 3/8 = 90; 160/7 = 22.9
    }

    #[test]
    fn doubling_interpolates() {
        let src = Frame::from_luma(2, 1, &[0, 200]).unwrap();
        assert_eq!(resized(&src, 4, 1).luma(), [0, 50, 150, 200]);
    }

    #[test]
    fn a_resizer_can_change_sizes() {
        let src = Frame::from_luma(4, 4, &[9; 16]).unwrap();
        let mut resizer = Resizer::new();
        for (w, h) in [(2, 2), (8, 3), (2, 2)] {
            let mut dst = Frame::new(w, h);
            resizer.resize(&src, &mut dst).unwrap();
            assert!(dst.rgb().iter().all(|&v| v == 9));
        }
        assert!(resizer.resize(&Frame::new(0, 2), &mut Frame::new(2, 2)).is_err());
        assert!(resizer.resize(&src, &mut Frame::new(2, 0)).is_err());
    }
}
