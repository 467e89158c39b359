//! The baseline that needs no learning: how much a frame differs from the one before.

use std::path::Path;

use serde::{Deserialize, Serialize};
use video::{Frame, Reader};

/// Standard deviation of the Gaussian over time, in frames; cut at three of them.
const SIGMA: f64 = 5.0;

/// A form of the baseline. Which is the strongest depends on the site, so that all are measured and
/// the best one is what a detector has to be better than.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The mean over the whole picture.
    Mean,
    /// The largest mean over the boxes of a grid.
    Grid,
    /// The largest mean over a box, wherever it lies.
    Sliding,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Grid, Self::Sliding];

    /// For a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Grid => "largest box of a grid",
            Self::Sliding => "largest sliding box",
        }
    }
}

/// The frame difference of each frame, in each form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrameDifference {
    mean: Vec<f64>,
    grid: Vec<f64>,
    sliding: Vec<f64>,
}

impl FrameDifference {
    /// All forms alike: where the values are given.
    pub fn same(values: Vec<f64>) -> Self {
        Self { mean: values.clone(), grid: values.clone(), sliding: values }
    }

    /// One form; a value for each frame.
    pub fn form(&self, form: Form) -> &Vec<f64> {
        match form {
            Form::Mean => &self.mean,
            Form::Grid => &self.grid,
            Form::Sliding => &self.sliding,
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.grid.len()
    }
}

/// Frame difference of each frame of a video at its own size, `|f_t - f_{t-1}|` on luma: its mean,
/// and the largest mean over boxes a tenth of the picture's height wide and high (24 pixels of 240),
/// each smoothed over time. The first frame gets the second's value. Also the frame rate.
///
/// # Errors
/// [`video::Error`].
pub fn frame_difference(path: &Path) -> Result<(FrameDifference, f64), video::Error> {
    let mut reader = Reader::open(path)?;
    let info = *reader.info();
    let edge = (info.height / 10).max(1);
    let mut frame = Frame::default();
    let mut before: Vec<u8> = Vec::new();
    let mut table = SumTable::default();
    let mut found = FrameDifference::default();
    while reader.read(&mut frame)? {
        let luma = frame.luma();
        let same_size = before.len() == luma.len();
        let earlier = if same_size { &before } else { &luma };
        table.fill(earlier, &luma, frame.width());
        found.mean.push(table.mean());
        found.grid.push(table.largest_box_mean(edge, edge));
        found.sliding.push(table.largest_box_mean(edge, 1));
        before = luma;
    }
    for values in [&mut found.mean, &mut found.grid, &mut found.sliding] {
        if let [first, second, ..] = &mut values[..] {
            *first = *second;
        }
        *values = smoothed(values);
    }
    Ok((found, info.frame_rate))
}

/// Sums of `|a - b|` over all rectangles from the upper left corner (Crow 1984), by which the sum of
/// any box is four look-ups.
#[derive(Debug, Default)]
struct SumTable {
    width: usize,
    height: usize,
    /// `[height + 1, width + 1]`, the first row and column 0.
    sums: Vec<u64>,
}

impl SumTable {
    fn fill(&mut self, a: &[u8], b: &[u8], width: usize) {
        self.width = width;
        self.height = a.len().checked_div(width).unwrap_or(0);
        let across = width + 1;
        self.sums.clear();
        self.sums.resize(across * (self.height + 1), 0);
        for y in 0..self.height {
            let line = y * width..(y + 1) * width;
            let mut sum = 0;
            for (x, (a, b)) in a[line.clone()].iter().zip(&b[line]).enumerate() {
                sum += u64::from(a.abs_diff(*b));
                self.sums[(y + 1) * across + x + 1] = self.sums[y * across + x + 1] + sum;
            }
        }
    }

    fn box_sum(&self, x: usize, y: usize, width: usize, height: usize) -> u64 {
        let at = |x: usize, y: usize| self.sums[y * (self.width + 1) + x];
        at(x + width, y + height) + at(x, y) - at(x + width, y) - at(x, y + height)
    }

    fn mean(&self) -> f64 {
        let sum = self.box_sum(0, 0, self.width, self.height);
        sum as f64 / (self.width * self.height).max(1) as f64
    }

    /// The largest mean of the boxes of `edge` × `edge` pixels at every `step`-th place; those cut by
    /// the right or lower border are left out, unless the picture is smaller than a box.
    fn largest_box_mean(&self, edge: usize, step: usize) -> f64 {
        let (width, height) = (edge.min(self.width), edge.min(self.height));
        let mut largest = 0;
        for y in (0..=self.height - height).step_by(step) {
            for x in (0..=self.width - width).step_by(step) {
                largest = largest.max(self.box_sum(x, y, width, height));
            }
        }
        largest as f64 / (width * height).max(1) as f64
    }
}

/// A Gaussian over time, cut off at the ends and renormalised.
fn smoothed(values: &[f64]) -> Vec<f64> {
    let radius = (3.0 * SIGMA) as i64;
    let weight = |k: i64| (-0.5 * (k as f64 / SIGMA).powi(2)).exp();
    (0..values.len() as i64)
        .map(|t| {
            let around = (t - radius).max(0)..(t + radius + 1).min(values.len() as i64);
            let total: f64 = around.clone().map(|i| weight(i - t)).sum();
            around.map(|i| weight(i - t) * values[i as usize]).sum::<f64>() / total
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_constant_and_spreads_a_peak() {
        assert!(smoothed(&[3.0; 7]).iter().all(|v| (v - 3.0).abs() < 1e-12));
        let mut peak = vec![0.0; 61];
        peak[30] = 1.0;
        let out = smoothed(&peak);
        assert!(out[30] > out[29] && (out[29] - out[31]).abs() < 1e-12);
        assert_eq!(out[10], 0.0);
        assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(smoothed(&[]).is_empty());
    }

    #[test]
    fn boxes_are_averaged() {
        // 5 × 4 pixels, boxes of two: four of them, the last column belongs to none of the grid.
        let (a, mut b) = (vec![10; 20], vec![10; 20]);
        for (x, y, level) in [(2, 1, 18), (3, 1, 4), (1, 2, 12), (4, 0, 250)] {
            b[y * 5 + x] = level;
        }
        let mut table = SumTable::default();
        table.fill(&a, &b, 5);
        assert_eq!(table.largest_box_mean(2, 2), (8.0 + 6.0) / 4.0);
        // Wherever it lies, a box has the last column too: 240 and 6.
        assert_eq!(table.largest_box_mean(2, 1), (240.0 + 6.0) / 4.0);
        assert_eq!(table.largest_box_mean(9, 9), (8.0 + 6.0 + 2.0 + 240.0) / 20.0);
        assert_eq!(table.mean(), (8.0 + 6.0 + 2.0 + 240.0) / 20.0);
        table.fill(&[], &[], 0);
        assert_eq!((table.largest_box_mean(2, 1), table.mean()), (0.0, 0.0));
    }

    #[test]
    fn a_moving_box_differs_and_a_still_picture_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip");
        std::fs::create_dir(&clip).unwrap();
        for t in 0..40_usize {
            let mut luma = vec![50; 60 * 40];
            // Still for twenty frames, then a bright square moves two pixels a frame.
            let x = 2 * t.saturating_sub(20);
            for y in 10..16 {
                luma[y * 60 + x..y * 60 + x + 6].fill(200);
            }
            let frame = Frame::from_luma(60, 40, &luma).unwrap();
            std::fs::write(clip.join(format!("{t:03}.pnm")), pnm(&frame)).unwrap();
        }
        let (found, rate) = frame_difference(&clip).unwrap();
        assert_eq!((found.frames(), rate), (40, video::DEFAULT_IMAGE_RATE));
        for form in Form::ALL {
            let values = found.form(form);
            assert!(values[38] > 100.0 * values[1], "{form:?} {values:?}");
        }
        // The grid cuts the square in two; a box that may lie anywhere does not.
        let at = |form| found.form(form)[35];
        assert!(at(Form::Sliding) >= at(Form::Grid) && at(Form::Grid) > at(Form::Mean));
    }

    fn pnm(frame: &Frame) -> Vec<u8> {
        let mut bytes = format!("P6 {} {} 255\n", frame.width(), frame.height()).into_bytes();
        bytes.extend_from_slice(frame.rgb());
        bytes
    }
}
