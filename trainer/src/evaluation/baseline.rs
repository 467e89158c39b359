//! The baseline that needs no learning: how much a frame differs from the one before.

use std::path::Path;

use video::{Frame, Reader};

/// Standard deviation of the Gaussian over time, in frames; cut at three of them.
const SIGMA: f64 = 5.0;

/// Frame difference of each frame of a video at its own size: the largest mean of
/// `|f_t - f_{t-1}|` on luma over the boxes of a grid, a tenth of the picture's height wide and high
/// (24 pixels of 240), smoothed over time. The first frame gets the second's value. Also the frame
/// rate.
///
/// # Errors
/// [`video::Error`].
pub fn frame_difference(path: &Path) -> Result<(Vec<f64>, f64), video::Error> {
    let mut reader = Reader::open(path)?;
    let info = *reader.info();
    let edge = (info.height / 10).max(1);
    let mut frame = Frame::default();
    let mut before: Vec<u8> = Vec::new();
    let mut values = Vec::new();
    while reader.read(&mut frame)? {
        let luma = frame.luma();
        let same_size = before.len() == luma.len();
        let earlier = if same_size { &before } else { &luma };
        values.push(largest_box_mean(earlier, &luma, frame.width(), edge));
        before = luma;
    }
    if let [first, second, ..] = &mut values[..] {
        *first = *second;
    }
    Ok((smoothed(&values), info.frame_rate))
}

/// The largest mean of `|a - b|` over the boxes of a grid of `edge` × `edge` pixels; those cut by the
/// right or lower border are left out, unless the picture is smaller than a box.
fn largest_box_mean(a: &[u8], b: &[u8], width: usize, edge: usize) -> f64 {
    let height = a.len().checked_div(width).unwrap_or(0);
    let (columns, rows) = ((width / edge).max(1), (height / edge).max(1));
    let (box_width, box_height) = (edge.min(width), edge.min(height));
    let mut sums = vec![0u64; columns * rows];
    for y in 0..rows * box_height {
        let line = y * width..y * width + columns * box_width;
        let sums = &mut sums[y / box_height * columns..][..columns];
        for (x, (&a, &b)) in a[line.clone()].iter().zip(&b[line]).enumerate() {
            sums[x / box_width] += u64::from(a.abs_diff(b));
        }
    }
    let largest = sums.into_iter().max().unwrap_or(0);
    largest as f64 / (box_width * box_height).max(1) as f64
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
    fn boxes_of_the_grid_are_averaged() {
        // 5 × 4 pixels, boxes of two: four of them, the last column belongs to none.
        let (a, mut b) = (vec![10; 20], vec![10; 20]);
        for (x, y, level) in [(2, 1, 18), (3, 1, 4), (1, 2, 12), (4, 0, 250)] {
            b[y * 5 + x] = level;
        }
        assert_eq!(largest_box_mean(&a, &b, 5, 2), (8.0 + 6.0) / 4.0);
        assert_eq!(largest_box_mean(&a, &b, 5, 9), (8.0 + 6.0 + 2.0 + 240.0) / 20.0);
        assert_eq!(largest_box_mean(&[], &[], 0, 2), 0.0);
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
        let (values, rate) = frame_difference(&clip).unwrap();
        assert_eq!((values.len(), rate), (40, video::DEFAULT_IMAGE_RATE));
        assert!(values[38] > 100.0 * values[1], "{values:?}");
    }

    fn pnm(frame: &Frame) -> Vec<u8> {
        let mut bytes = format!("P6 {} {} 255\n", frame.width(), frame.height()).into_bytes();
        bytes.extend_from_slice(frame.rgb());
        bytes
    }
}
