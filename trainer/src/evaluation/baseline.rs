//! The baseline that needs no learning: how much a frame differs from the one before.

use std::path::Path;

use inference::motion;
use model_bundle::manifest::{MotionSpec, ZScore};
use video::{Frame, Reader};

/// Standard deviation of the Gaussian over time, in frames; cut at three of them.
const SIGMA: f64 = 5.0;

/// Frame difference of each frame of a video at its own size: the largest mean of
/// `|f_t - f_{t-1}|` on luma over a box of a tenth of the picture's height (24 pixels of 240),
/// smoothed over time. The first frame gets the second's value. Also the frame rate.
///
/// # Errors
/// [`video::Error`].
pub fn frame_difference(path: &Path) -> Result<(Vec<f64>, f64), video::Error> {
    let mut reader = Reader::open(path)?;
    let info = *reader.info();
    let spec = MotionSpec {
        box_size: (info.height as u32 / 10).max(1),
        epsilon: 1e-3,
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: 1.0,
        excess_over: None,
    };
    let (mut frame, mut scratch) = (Frame::default(), Vec::new());
    let mut before: Vec<u8> = Vec::new();
    let mut values = Vec::new();
    while reader.read(&mut frame)? {
        let luma = frame.luma();
        let same_size = before.len() == luma.len();
        let earlier = if same_size { &before } else { &luma };
        values.push(motion::raw(
            earlier,
            &luma,
            frame.width(),
            frame.height(),
            &spec,
            &mut scratch,
        ));
        before = luma;
    }
    if let [first, second, ..] = &mut values[..] {
        *first = *second;
    }
    // The motion prior is a logarithm; the baseline is the difference itself.
    let differences: Vec<f64> = values.iter().map(|v| v.exp()).collect();
    Ok((smoothed(&differences), info.frame_rate))
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
