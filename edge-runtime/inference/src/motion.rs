//! The motion prior: how much the most changed place of the picture changed.

use model_bundle::manifest::MotionSpec;

use crate::Error;
use crate::luma::LumaRing;
use crate::track::Track;

/// `ln(epsilon + largest box mean of |cur - prev|)` over all `box_size` × `box_size` boxes that lie
/// inside the picture, at every pixel position; a box larger than the picture is cut to it.
///
/// `prev` and `cur` are luma pictures of `width * height` bytes. `scratch` is kept between calls so
/// that nothing is allocated. The sums are exact integers, so the value is the same on every
/// processor up to the logarithm.
///
/// # Panics
/// If a picture's length is not `width * height`, or that is 0.
pub fn raw(
    prev: &[u8],
    cur: &[u8],
    width: usize,
    height: usize,
    spec: &MotionSpec,
    scratch: &mut Vec<u32>,
) -> f64 {
    masked(prev, cur, (width, height), spec, &[], scratch)
}

/// As [`raw`]; pixels for which `keep` is false count as unchanged. An empty `keep` keeps all.
fn masked(
    prev: &[u8],
    cur: &[u8],
    (width, height): (usize, usize),
    spec: &MotionSpec,
    keep: &[bool],
    scratch: &mut Vec<u32>,
) -> f64 {
    assert!(width > 0 && height > 0, "a picture has pixels");
    assert_eq!((prev.len(), cur.len()), (width * height, width * height), "pictures of that size");
    let edge = (spec.box_size as usize).max(1);
    let (box_width, box_height) = (edge.min(width), edge.min(height));
    // One sum for each column, over the rows that the box spans now.
    scratch.clear();
    scratch.resize(width, 0);
    let mut largest = 0u64;
    for y in 0..height {
        let row = y * width..(y + 1) * width;
        each(scratch, &prev[row.clone()], &cur[row.clone()], keep.get(row), |sum, diff| sum + diff);
        let Some(top) = (y + 1).checked_sub(box_height) else {
            continue;
        };
        let mut sum: u64 = scratch[..box_width].iter().map(|&s| s as u64).sum();
        largest = largest.max(sum);
        for x in box_width..width {
            sum = sum + scratch[x] as u64 - scratch[x - box_width] as u64;
            largest = largest.max(sum);
        }
        let row = top * width..(top + 1) * width;
        each(scratch, &prev[row.clone()], &cur[row.clone()], keep.get(row), |sum, diff| sum - diff);
    }
    value(largest as f64 / (box_width * box_height) as f64, spec)
}

/// Changes each column's sum by the difference in a row, where it counts.
fn each(
    sums: &mut [u32],
    prev: &[u8],
    cur: &[u8],
    keep: Option<&[bool]>,
    change: impl Fn(u32, u32) -> u32,
) {
    let columns = sums.iter_mut().zip(prev.iter().zip(cur));
    match keep.filter(|keep| !keep.is_empty()) {
        None => {
            columns.for_each(|(sum, (a, b))| *sum = change(*sum, u32::from(a.abs_diff(*b))));
        }
        Some(keep) => {
            for ((sum, (a, b)), kept) in columns.zip(keep) {
                *sum = change(*sum, u32::from(a.abs_diff(*b)) * u32::from(*kept));
            }
        }
    }
}

fn value(mean: f64, spec: &MotionSpec) -> f64 {
    (spec.epsilon + mean).ln()
}

/// The motion prior of a stream.
pub(crate) struct MotionStage {
    spec: MotionSpec,
    width: usize,
    height: usize,
    scratch: Vec<u32>,
    /// Whether a pixel counts; empty stands for all.
    keep: Vec<bool>,
    pub(crate) track: Track,
}

impl MotionStage {
    pub(crate) fn new(spec: &MotionSpec, width: usize, height: usize, track: Track) -> Self {
        let scratch = Vec::with_capacity(width);
        Self { spec: spec.clone(), width, height, scratch, keep: Vec::new(), track }
    }

    /// Looks only where `keep`, one for each pixel, is true.
    pub(crate) fn look_only_at(&mut self, keep: &[bool]) {
        self.keep = keep.to_vec();
    }

    /// Takes up the newest frame. The first frame has none before it and copies the second's value.
    pub(crate) fn advance(&mut self, lumas: &LumaRing) -> Result<(), Error> {
        let Some(previous) = lumas.newest().checked_sub(1) else {
            return Ok(());
        };
        let (prev, cur) = (lumas.get(previous), lumas.get(previous + 1));
        let size = (self.width, self.height);
        let value = masked(prev, cur, size, &self.spec, &self.keep, &mut self.scratch);
        if self.track.known() == 0 {
            self.track.push(value)?;
        }
        self.track.push(value)
    }

    /// A stream of a single frame ends: it did not move.
    pub(crate) fn finish(&mut self, frames: u64) -> Result<(), Error> {
        if frames == 1 && self.track.known() == 0 {
            self.track.push(value(0.0, &self.spec))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_bundle::manifest::ZScore;

    fn spec(box_size: u32) -> MotionSpec {
        MotionSpec {
            box_size,
            epsilon: 0.5,
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
            excess_over: None,
        }
    }

    #[test]
    fn a_moving_square_is_its_fresh_pixels() {
        // A 6x6 square of level 100 moves by two pixels: 12 pixels appear, 12 vanish, 6 apart.
        let (width, height) = (32, 20);
        let square = |x0: usize| -> Vec<u8> {
            (0..width * height)
                .map(|i| {
                    let (x, y) = (i % width, i / width);
                    if (x0..x0 + 6).contains(&x) && (5..11).contains(&y) { 100 } else { 0 }
                })
                .collect()
        };
        let (a, b) = (square(10), square(12));
        let mut scratch = Vec::new();
        let mut mean = |edge| raw(&a, &b, width, height, &spec(edge), &mut scratch).exp() - 0.5;
        assert!((mean(2) - 100.0).abs() < 1e-9); // one box lies in the fresh strip
        assert!((mean(8) - 2400.0 / 64.0).abs() < 1e-9); // one box holds both strips
        assert!((mean(4) - 800.0 / 16.0).abs() < 1e-9);
        assert!((mean(100) - 2400.0 / 640.0).abs() < 1e-9); // cut to the picture
    }

    #[test]
    fn agrees_with_the_definition_on_noise() {
        let (width, height, edge) = (17, 13, 5);
        let noise = |seed: u32| -> Vec<u8> {
            (0..(width * height) as u32)
                .map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect()
        };
        let (a, b) = (noise(1), noise(77));
        let mut largest = 0;
        for y in 0..=height - edge {
            for x in 0..=width - edge {
                let cells = (0..edge * edge).map(|i| (y + i / edge) * width + x + i % edge);
                largest = largest.max(cells.map(|i| a[i].abs_diff(b[i]) as u32).sum::<u32>());
            }
        }
        let expected = (0.5 + largest as f64 / 25.0).ln();
        assert_eq!(raw(&a, &b, width, height, &spec(5), &mut Vec::new()), expected);
    }

    #[test]
    fn the_first_frame_copies_the_second() {
        let mut lumas = LumaRing::new(2, 4);
        let mut stage = MotionStage::new(&spec(1), 2, 2, Track::new("motion", 8));
        for (i, level) in [10u8, 30, 30].into_iter().enumerate() {
            lumas.push().fill(level);
            stage.advance(&lumas).unwrap();
            assert_eq!(stage.track.known(), [0, 2, 3][i]);
        }
        assert_eq!(stage.track.get(0), 20.5f64.ln());
        assert_eq!(stage.track.get(1), 20.5f64.ln());
        assert_eq!(stage.track.get(2), 0.5f64.ln());
    }

    #[test]
    fn what_is_masked_does_not_move() {
        let (a, mut b) = (vec![0u8; 64], vec![0u8; 64]);
        (b[9], b[54]) = (200, 50);
        let mut keep = vec![true; 64];
        let mut scratch = Vec::new();
        let mut mean = |keep: &[bool]| masked(&a, &b, (8, 8), &spec(1), keep, &mut scratch).exp();
        assert!((mean(&[]) - 200.5).abs() < 1e-9);
        assert!((mean(&keep) - 200.5).abs() < 1e-9);
        keep[9] = false;
        assert!((mean(&keep) - 50.5).abs() < 1e-9);
        assert!((mean(&[false; 64]) - 0.5).abs() < 1e-9);
    }
}
