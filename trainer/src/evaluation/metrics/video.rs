//! One score for a whole video.

/// Snippets, and here frames, of which one counts in multiple-instance learning: of n the
/// ⌊n / 16⌋ + 1 highest (UR-DMU, AAAI 2023).
const PART: usize = 16;

/// A video's score: the mean of its ⌊n / 16⌋ + 1 highest frame scores, the rule by which UR-DMU
/// judges a video in training. A single flicker does not make a video abnormal. `None` without a
/// frame.
///
/// # Panics
/// If a score is NaN.
pub fn video_score(scores: &[f64]) -> Option<f64> {
    assert!(scores.iter().all(|s| !s.is_nan()), "scores are numbers");
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted.truncate(scores.len() / PART + 1);
    (!sorted.is_empty()).then(|| sorted.iter().sum::<f64>() / sorted.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_sixteenth_and_one_more() {
        assert_eq!(video_score(&[0.25, 0.75, 0.5]), Some(0.75));
        let scores: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(video_score(&scores), Some((39.0 + 38.0 + 37.0) / 3.0));
        assert_eq!(video_score(&scores[..16]), Some((15.0 + 14.0) / 2.0));
        assert_eq!(video_score(&[]), None);
    }
}
