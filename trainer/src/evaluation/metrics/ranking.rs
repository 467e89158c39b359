//! Ranking: area under the ROC curve, average precision, and the curves themselves.

/// Area under the ROC curve of `scores` against `labels` (true = abnormal); `None` unless both
/// classes occur.
///
/// The probability that an abnormal frame scores higher than a normal one, ties counted half: the
/// Mann–Whitney statistic by mid-ranks, which is what scikit-learn's `roc_auc_score` integrates.
///
/// # Panics
/// If the lengths differ or a score is NaN.
pub fn roc_auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    area(&ascending_ties(scores, labels))
}

/// The area of [`roc_auc`] from groups of equal scores, in ascending order of the scores.
pub(super) fn area(groups: &[TieCounts]) -> Option<f64> {
    let (mut wins, mut abnormal, mut normal) = (0.0, 0.0, 0.0);
    for group in groups {
        wins += group.abnormal * (normal + group.normal / 2.0);
        abnormal += group.abnormal;
        normal += group.normal;
    }
    (abnormal > 0.0 && normal > 0.0).then(|| wins / (abnormal * normal))
}

/// Average precision: Σ (recall_n − recall_{n−1}) · precision_n over descending thresholds, each tie
/// group one threshold, as scikit-learn's `average_precision_score`; `None` without an abnormal
/// frame.
///
/// # Panics
/// If the lengths differ or a score is NaN.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let groups = ascending_ties(scores, labels);
    let abnormal: f64 = groups.iter().map(|g| g.abnormal).sum();
    let (mut hits, mut taken, mut sum) = (0.0, 0.0, 0.0);
    for group in groups.iter().rev() {
        hits += group.abnormal;
        taken += group.abnormal + group.normal;
        sum += group.abnormal / abnormal * (hits / taken);
    }
    (abnormal > 0.0).then_some(sum)
}

/// Points of the ROC curve, (false positive rate, true positive rate), from (0, 0) to (1, 1); at
/// most about `limit` of them. Empty unless both classes occur.
///
/// # Panics
/// If the lengths differ or a score is NaN.
pub fn roc_curve(scores: &[f64], labels: &[bool], limit: usize) -> Vec<(f64, f64)> {
    let groups = ascending_ties(scores, labels);
    let abnormal: f64 = groups.iter().map(|g| g.abnormal).sum();
    let normal: f64 = groups.iter().map(|g| g.normal).sum();
    if abnormal == 0.0 || normal == 0.0 {
        return Vec::new();
    }
    let every = groups.len().div_ceil(limit.max(1)).max(1);
    let mut points = vec![(0.0, 0.0)];
    let (mut true_positives, mut false_positives) = (0.0, 0.0);
    for (i, group) in groups.iter().rev().enumerate() {
        true_positives += group.abnormal;
        false_positives += group.normal;
        if (i + 1) % every == 0 || i + 1 == groups.len() {
            points.push((false_positives / normal, true_positives / abnormal));
        }
    }
    points
}

/// Points of the precision–recall curve, (recall, precision), in order of rising recall: (0, 1) by
/// convention, then one for each distinct score taken as threshold (alarm where score ≥ threshold),
/// up to recall 1; at most about `limit` of them. scikit-learn's `precision_recall_curve` has the
/// same points in the opposite order. Empty without an abnormal frame.
///
/// # Panics
/// If the lengths differ or a score is NaN.
pub fn precision_recall_curve(scores: &[f64], labels: &[bool], limit: usize) -> Vec<(f64, f64)> {
    let groups = ascending_ties(scores, labels);
    let abnormal: f64 = groups.iter().map(|g| g.abnormal).sum();
    if abnormal == 0.0 {
        return Vec::new();
    }
    let every = groups.len().div_ceil(limit.max(1)).max(1);
    let mut points = vec![(0.0, 1.0)];
    let (mut hits, mut taken) = (0.0, 0.0);
    for (i, group) in groups.iter().rev().enumerate() {
        hits += group.abnormal;
        taken += group.abnormal + group.normal;
        if (i + 1) % every == 0 || i + 1 == groups.len() {
            points.push((hits / abnormal, hits / taken));
        }
    }
    points
}

/// Frames, or pixels, of one score.
#[derive(Debug, Clone, Copy)]
pub(super) struct TieCounts {
    pub(super) abnormal: f64,
    pub(super) normal: f64,
}

fn ascending_ties(scores: &[f64], labels: &[bool]) -> Vec<TieCounts> {
    assert_eq!(scores.len(), labels.len(), "a label for each score");
    assert!(scores.iter().all(|s| !s.is_nan()), "scores are numbers");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut groups: Vec<TieCounts> = Vec::new();
    let mut last = f64::NAN;
    for i in order {
        if scores[i] != last {
            groups.push(TieCounts { abnormal: 0.0, normal: 0.0 });
            last = scores[i];
        }
        if let Some(group) = groups.last_mut() {
            if labels[i] { group.abnormal += 1.0 } else { group.normal += 1.0 }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_of_hand_computed_cases() {
        // Three of the four pairs are in order.
        let labels = [false, false, true, true];
        assert_eq!(roc_auc(&[0.1, 0.4, 0.35, 0.8], &labels), Some(0.75));
        // A tie counts half: pairs (0.5, 0.5), (0.5, 0.9), (0.1, 0.5), (0.1, 0.9).
        assert_eq!(roc_auc(&[0.1, 0.5, 0.5, 0.9], &labels), Some(0.875));
        assert_eq!(roc_auc(&[0.2; 4], &labels), Some(0.5));
        assert_eq!(roc_auc(&[0.9, 0.8, 0.2, 0.1], &labels), Some(0.0));
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(roc_auc(&[], &[]), None);
    }

    #[test]
    fn average_precision_of_hand_computed_cases() {
        // Descending: 0.8 (abnormal, precision 1), 0.4 (normal), 0.35 (abnormal, 2/3), 0.1.
        let labels = [false, false, true, true];
        let ap = average_precision(&[0.1, 0.4, 0.35, 0.8], &labels).unwrap();
        assert!((ap - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        // All tied: precision is the share of abnormal frames.
        assert_eq!(average_precision(&[0.3; 4], &labels), Some(0.5));
        assert_eq!(average_precision(&[0.3], &[false]), None);
    }

    #[test]
    fn curve_runs_from_corner_to_corner_and_encloses_the_auc() {
        let labels: Vec<bool> = (0..200).map(|i| i % 3 == 0).collect();
        let scores: Vec<f64> = (0..200)
            .map(|i| ((i * 37 % 101) as f64) + if i % 3 == 0 { 20.0 } else { 0.0 })
            .collect();
        let points = roc_curve(&scores, &labels, 10_000);
        assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        let area: f64 =
            points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
        assert!((area - roc_auc(&scores, &labels).unwrap()).abs() < 1e-12);
        assert!(roc_curve(&scores, &labels, 20).len() < 25);
    }
    #[test]
    fn precision_and_recall_by_hand() {
        let labels = [false, false, true, true];
        let points = precision_recall_curve(&[0.1, 0.4, 0.35, 0.8], &labels, 100);
        // Thresholds 0.8, 0.4, 0.35, 0.1 take 1, 2, 3, 4 frames, of which 1, 1, 2, 2 are abnormal.
        let expected = [(0.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 2.0 / 3.0), (1.0, 0.5)];
        assert_eq!(points, expected);
        // All tied: one threshold that takes everything.
        assert_eq!(precision_recall_curve(&[0.3; 4], &labels, 100), [(0.0, 1.0), (1.0, 0.5)]);
        // No normal frame: always right.
        let points = precision_recall_curve(&[0.3, 0.4], &[true, true], 100);
        assert_eq!(points, [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]);
        assert!(precision_recall_curve(&[0.3], &[false], 100).is_empty());
        assert!(precision_recall_curve(&[], &[], 100).is_empty());
    }

    #[test]
    fn a_thinned_precision_recall_curve_keeps_its_ends() {
        let labels: Vec<bool> = (0..1000).map(|i| i % 4 == 0).collect();
        let scores: Vec<f64> = (0..1000).map(|i| (i * 377 % 991) as f64).collect();
        let points = precision_recall_curve(&scores, &labels, 50);
        assert!((50..55).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), ((0.0, 1.0), (1.0, 0.25)));
    }
}
