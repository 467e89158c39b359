//! The baseline that needs no learning: how much a frame differs from the one before.

use std::path::Path;

use video::{Frame, Reader};

/// Mean absolute luma difference of each frame of a video to the one before it, at the video's own
/// size; the first frame gets the second's value. Also the frame rate.
///
/// # Errors
/// [`video::Error`].
pub fn frame_difference(path: &Path) -> Result<(Vec<f64>, f64), video::Error> {
    let mut reader = Reader::open(path)?;
    let rate = reader.info().frame_rate;
    let mut frame = Frame::default();
    let mut before: Vec<u8> = Vec::new();
    let mut values = Vec::new();
    while reader.read(&mut frame)? {
        let luma = frame.luma();
        if before.len() == luma.len() {
            let sum: u64 = luma.iter().zip(&before).map(|(a, b)| a.abs_diff(*b) as u64).sum();
            values.push(sum as f64 / luma.len() as f64);
        } else {
            values.push(0.0);
        }
        before = luma;
    }
    if let [first, second, ..] = &mut values[..] {
        *first = *second;
    }
    Ok((values, rate))
}
