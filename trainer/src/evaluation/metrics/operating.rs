//! One operating point: the false-alarm rate of a threshold, and the threshold of a rate.

/// Share of frames with a score of at least `threshold`, of normal frames: the false-alarm rate of
/// Sultani, Chen, Shah, "Real-World Anomaly Detection in Surveillance Videos" (CVPR 2018), who give
/// it at 0.5 on normal videos. `None` without a frame.
///
/// # Panics
/// If a score is NaN.
pub fn false_alarm_rate(normal: &[f64], threshold: f64) -> Option<f64> {
    assert!(normal.iter().all(|s| !s.is_nan()), "scores are numbers");
    let alarms = normal.iter().filter(|s| **s >= threshold).count();
    (!normal.is_empty()).then(|| alarms as f64 / normal.len() as f64)
}

/// The smallest threshold among the scores of normal frames that at most the share `rate` of them
/// exceeds: with k = ⌊rate · n⌋ the (k + 1)-th largest score, or the smallest if there are no more.
/// An alarm is a score **above** it, so that ties never make more alarms than the rate allows.
/// `None` without a frame.
///
/// # Panics
/// If a score is NaN, or `rate` is not in 0 to 1.
pub fn threshold_at(normal: &[f64], rate: f64) -> Option<f64> {
    assert!((0.0..=1.0).contains(&rate), "a rate lies in 0 to 1");
    assert!(normal.iter().all(|s| !s.is_nan()), "scores are numbers");
    let allowed = (rate * normal.len() as f64).floor() as usize;
    let at = allowed.min(normal.len().checked_sub(1)?);
    let mut scores = normal.to_vec();
    let (_, threshold, _) = scores.select_nth_unstable_by(at, |a, b| b.total_cmp(a));
    Some(*threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_is_an_alarm() {
        assert_eq!(false_alarm_rate(&[0.1, 0.5, 0.49, 0.9], 0.5), Some(0.5));
        assert_eq!(false_alarm_rate(&[0.1], 0.5), Some(0.0));
        assert_eq!(false_alarm_rate(&[], 0.5), None);
    }

    #[test]
    fn a_rate_gives_its_threshold() {
        let scores: Vec<f64> = (1..=100).map(f64::from).collect();
        let above = |threshold: f64| scores.iter().filter(|s| **s > threshold).count();
        assert_eq!(threshold_at(&scores, 0.01), Some(99.0));
        assert_eq!(above(99.0), 1);
        assert_eq!(threshold_at(&scores, 0.0), Some(100.0));
        // Nine frames and 1 %: no false alarm at all is allowed.
        assert_eq!(threshold_at(&scores[..9], 0.01), Some(9.0));
        assert_eq!(threshold_at(&scores, 1.0), Some(1.0));
        assert_eq!(threshold_at(&[], 0.01), None);
    }

    #[test]
    fn ties_make_no_further_alarms() {
        // One in five may alarm; the three that share the highest score would be three.
        assert_eq!(threshold_at(&[0.2, 0.9, 0.9, 0.9, 0.1], 0.2), Some(0.9));
    }
}
