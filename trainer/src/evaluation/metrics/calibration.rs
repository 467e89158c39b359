//! Whether a score can be read as a probability.

use serde::{Deserialize, Serialize};

/// Brier score: the mean of (score − label)², with 1 for abnormal; 0 is best (Brier, "Verification
/// of Forecasts Expressed in Terms of Probability", Monthly Weather Review 1950, in its form for two
/// classes; scikit-learn's `brier_score_loss`). `None` without frames or if a score is not in 0 to 1.
///
/// # Panics
/// If the lengths differ.
pub fn brier_score(scores: &[f64], labels: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), labels.len(), "a label for each score");
    let squares = scores.iter().zip(labels).map(|(s, y)| (s - f64::from(*y)).powi(2));
    are_probabilities(scores).then(|| squares.sum::<f64>() / scores.len() as f64)
}

/// Frames whose scores lie in one part of 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReliabilityBin {
    /// Lower end; it belongs to the bin below, except 0, which has none.
    pub from: f64,
    /// Upper end, which belongs to the bin.
    pub to: f64,
    /// Frames.
    pub frames: usize,
    /// Mean of their scores; `None` without frames.
    pub mean_score: Option<f64>,
    /// Share of them that is abnormal; `None` without frames.
    pub abnormal_share: Option<f64>,
}

/// The reliability diagram: the scores in `bins` equal parts of 0 to 1, of each what the scores say
/// and what is true. The edges are those of scikit-learn's `calibration_curve` with
/// `strategy="uniform"`. Empty without frames or if a score is not in 0 to 1.
///
/// # Panics
/// If the lengths differ or there are no bins.
pub fn reliability(scores: &[f64], labels: &[bool], bins: usize) -> Vec<ReliabilityBin> {
    assert_eq!(scores.len(), labels.len(), "a label for each score");
    assert!(bins > 0, "at least one bin");
    if !are_probabilities(scores) {
        return Vec::new();
    }
    // As `numpy.linspace` computes them: a score on an edge must fall on the same side of it.
    let step = 1.0 / bins as f64;
    let edges: Vec<f64> =
        (0..=bins).map(|i| if i == bins { 1.0 } else { i as f64 * step }).collect();
    let mut sums = vec![(0usize, 0.0, 0usize); bins];
    for (score, abnormal) in scores.iter().zip(labels) {
        let bin = edges[1..bins].partition_point(|edge| edge < score);
        let (frames, total, hits) = &mut sums[bin];
        *frames += 1;
        *total += score;
        *hits += usize::from(*abnormal);
    }
    let bin = |(i, (frames, total, hits)): (usize, (usize, f64, usize))| ReliabilityBin {
        from: edges[i],
        to: edges[i + 1],
        frames,
        mean_score: (frames > 0).then(|| total / frames as f64),
        abnormal_share: (frames > 0).then(|| hits as f64 / frames as f64),
    };
    sums.into_iter().enumerate().map(bin).collect()
}

/// Expected calibration error: the mean over frames of |mean score − share of abnormal frames| of
/// their bin (Naeini, Cooper, Hauskrecht, AAAI 2015, on the score of the abnormal class); `None`
/// without frames.
pub fn expected_calibration_error(bins: &[ReliabilityBin]) -> Option<f64> {
    let frames: usize = bins.iter().map(|bin| bin.frames).sum();
    let gap = |bin: &ReliabilityBin| {
        let (score, share) = bin.mean_score.zip(bin.abnormal_share)?;
        Some(bin.frames as f64 * (score - share).abs())
    };
    (frames > 0).then(|| bins.iter().filter_map(gap).sum::<f64>() / frames as f64)
}

fn are_probabilities(scores: &[f64]) -> bool {
    !scores.is_empty() && scores.iter().all(|s| (0.0..=1.0).contains(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brier_by_hand() {
        assert_eq!(brier_score(&[1.0, 0.0], &[true, false]), Some(0.0));
        assert_eq!(brier_score(&[0.5, 0.5], &[true, false]), Some(0.25));
        assert_eq!(brier_score(&[0.0], &[true]), Some(1.0));
        assert_eq!(brier_score(&[], &[]), None);
        assert_eq!(brier_score(&[1.5], &[true]), None);
        assert_eq!(brier_score(&[f64::NAN], &[true]), None);
    }

    #[test]
    fn bins_and_their_error_by_hand() {
        let scores = [0.0, 0.25, 0.5, 0.75, 1.0];
        let labels = [false, true, false, true, true];
        let bins = reliability(&scores, &labels, 2);
        // 0.5 lies on the edge and belongs to the lower bin: (0 + 0.25 + 0.5) / 3, one of three.
        assert_eq!((bins[0].from, bins[0].to, bins[0].frames), (0.0, 0.5, 3));
        assert_eq!((bins[0].mean_score, bins[0].abnormal_share), (Some(0.25), Some(1.0 / 3.0)));
        assert_eq!((bins[1].mean_score, bins[1].abnormal_share), (Some(0.875), Some(1.0)));
        let error = expected_calibration_error(&bins).unwrap();
        assert!((error - (3.0 * (1.0 / 3.0 - 0.25) + 2.0 * 0.125) / 5.0).abs() < 1e-12);
    }

    #[test]
    fn an_empty_bin_counts_nothing() {
        let bins = reliability(&[0.95, 0.95], &[true, true], 10);
        assert_eq!(bins.len(), 10);
        assert_eq!((bins[3].frames, bins[3].mean_score, bins[3].abnormal_share), (0, None, None));
        assert!((expected_calibration_error(&bins).unwrap() - 0.05).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_probability_has_no_calibration() {
        assert!(reliability(&[0.2, -0.1], &[true, false], 10).is_empty());
        assert!(reliability(&[], &[], 10).is_empty());
        assert_eq!(expected_calibration_error(&[]), None);
    }
}
