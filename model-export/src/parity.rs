//! Does the INT8 bundle score as the fp32 checkpoint does?

use inference::{Engine, Error, Graph};
use model_bundle::manifest::Detectors;
use video::Frame;

/// Largest mean absolute difference of the published score (0 to 1) that passes without a warning.
pub const SCORE_TOLERANCE: f64 = 0.02;

/// Difference of the published scores of two sets of graphs on one clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// Mean absolute difference.
    pub mean: f64,
    /// Largest absolute difference.
    pub max: f64,
    /// Frames compared.
    pub frames: usize,
}

/// The published score of each frame of a clip.
///
/// # Errors
/// Those of [`Engine`].
pub fn scores(
    detectors: &Detectors,
    graphs: Vec<(String, Box<dyn Graph>)>,
    frames: &[Frame],
) -> Result<Vec<f64>, Error> {
    let mut engine = Engine::from_graphs(detectors.clone(), graphs)?;
    let mut stream = engine.stream(detectors.input.frame_rate);
    let mut scores = Vec::with_capacity(frames.len());
    for frame in frames {
        engine.push(&mut stream, frame, &mut |score| scores.push(score.score))?;
    }
    engine.finish(&mut stream, &mut |score| scores.push(score.score))?;
    Ok(scores)
}

/// Compares two runs over the same clip; `None` if there is nothing to compare.
pub fn compare(a: &[f64], b: &[f64]) -> Option<Parity> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let differences = a.iter().zip(b).map(|(x, y)| (x - y).abs());
    Some(Parity {
        mean: differences.clone().sum::<f64>() / a.len() as f64,
        max: differences.fold(0.0, f64::max),
        frames: a.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_hand() {
        let parity = compare(&[0.1, 0.5, 0.9], &[0.1, 0.4, 0.7]).unwrap();
        assert!((parity.mean - 0.1).abs() < 1e-12 && (parity.max - 0.2).abs() < 1e-12);
        assert_eq!(parity.frames, 3);
        assert_eq!(compare(&[0.1], &[]), None);
        assert_eq!(compare(&[], &[]), None);
    }
}
