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
/// Bits of fraction kept between the two passes; 255 << 8 still fits 16 bits.
const MIDDLE_BITS: u32 = 8;

/// The source pixels that make up each destination pixel along one axis.
#[derive(Debug, Default)]
struct Axis {
    source: usize,
    /// First source pixel and range of weights of each destination pixel.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<u32>,
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
            let one = (1u32 << WEIGHT_BITS) as f64;
            let (mut sum, mut given) = (0.0, 0);
            for x in first..last {
                sum += weight(x) / total;
                let upto = (sum * one).round() as u32;
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
    sums: Vec<u32>,
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
            for (k, &weight) in self.rows.weights[range.clone()].iter().enumerate() {
                let row = &src.rgb()[(first_row + k) * stride..][..stride];
                for (sum, &level) in self.sums.iter_mut().zip(row) {
                    *sum += level as u32 * weight;
                }
            }
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
                        sums[c] += levels[c] as u32 * weight;
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

#[cfg(test)]
mod tests {
    use super::*;

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
