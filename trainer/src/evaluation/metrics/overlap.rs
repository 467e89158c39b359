//! Events as ranges in time: how much two overlap, and how many agree.

use serde::{Deserialize, Serialize};

/// A range of frames, both ends included.
pub type Range = (u64, u64);

/// Intersection over union of two ranges, in frames.
///
/// # Panics
/// If a range ends before it begins.
pub fn temporal_iou(a: Range, b: Range) -> f64 {
    assert!(a.0 <= a.1 && b.0 <= b.1, "a range does not end before it begins");
    let length = |(first, last): Range| (last - first + 1) as f64;
    let (first, last) = (a.0.max(b.0), a.1.min(b.1));
    if last < first {
        return 0.0;
    }
    let common = length((first, last));
    common / (length(a) + length(b) - common)
}

/// The largest number of pairs of a true and an announced event whose IoU is at least `iou`, each
/// event in one pair at most: a maximum matching, which does not depend on any order.
pub fn pairs(truth: &[Range], announced: &[Range], iou: f64) -> usize {
    let fits: Vec<Vec<usize>> = truth
        .iter()
        .map(|t| (0..announced.len()).filter(|a| temporal_iou(*t, announced[*a]) >= iou).collect())
        .collect();
    // Augmenting paths (Kuhn 1955).
    fn augment(
        t: usize,
        fits: &[Vec<usize>],
        tried: &mut [bool],
        owner: &mut [Option<usize>],
    ) -> bool {
        for &a in &fits[t] {
            if std::mem::replace(&mut tried[a], true) {
                continue;
            }
            if owner[a].is_none_or(|other| augment(other, fits, tried, owner)) {
                owner[a] = Some(t);
                return true;
            }
        }
        false
    }
    let mut owner = vec![None; announced.len()];
    (0..truth.len())
        .filter(|t| {
            !fits[*t].is_empty()
                && augment(*t, &fits, &mut vec![false; announced.len()], &mut owner)
        })
        .count()
}

/// How well announced events agree with the true ones at a temporal IoU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EventScore {
    /// Least IoU of a pair.
    pub iou: f64,
    /// Pairs of a true and an announced event.
    pub matched: usize,
    /// `matched` of the announced events; `None` without one.
    pub precision: Option<f64>,
    /// `matched` of the true events; `None` without one.
    pub recall: Option<f64>,
    /// Harmonic mean of both: twice `matched` over the number of true and announced events; `None`
    /// without a true event.
    pub f1: Option<f64>,
    /// The same of one alarm for each clip that lasts from its first frame to its last: what chance
    /// gives where events fill most of their clips.
    pub f1_never_ending: Option<f64>,
}

impl EventScore {
    /// Of counts; those of the never-ending alarm follow.
    pub fn of(iou: f64, matched: usize, truth: usize, announced: usize) -> Self {
        let share = |of: usize| (of > 0).then(|| matched as f64 / of as f64);
        Self {
            iou,
            matched,
            precision: share(announced),
            recall: share(truth),
            f1: (truth > 0).then(|| 2.0 * matched as f64 / (truth + announced) as f64),
            f1_never_ending: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_by_hand() {
        assert_eq!(temporal_iou((0, 9), (0, 9)), 1.0);
        // Five common of fifteen.
        assert_eq!(temporal_iou((0, 9), (5, 14)), 1.0 / 3.0);
        assert_eq!(temporal_iou((3, 3), (0, 9)), 0.1);
        assert_eq!(temporal_iou((0, 4), (5, 9)), 0.0);
    }

    #[test]
    fn as_many_pairs_as_there_can_be() {
        // The first announced event fits both true ones, the second only the first: taken in order,
        // the best overlap first, one of them would be left over.
        let truth = [(0, 9), (10, 19)];
        let announced = [(2, 15), (0, 3)];
        assert_eq!(pairs(&truth, &announced, 0.2), 2);
        assert_eq!(pairs(&truth, &announced, 0.5), 1);
        assert_eq!(pairs(&truth, &[], 0.2), 0);
        // Two alarms for one event are one pair: the other is one too many.
        assert_eq!(pairs(&[(0, 9)], &[(0, 4), (5, 9)], 0.2), 1);
    }

    #[test]
    fn scores_by_hand() {
        let score = EventScore::of(0.5, 2, 4, 6);
        assert_eq!((score.precision, score.recall), (Some(1.0 / 3.0), Some(0.5)));
        assert_eq!(score.f1, Some(0.4));
        let quiet = EventScore::of(0.5, 0, 3, 0);
        assert_eq!((quiet.precision, quiet.recall, quiet.f1), (None, Some(0.0), Some(0.0)));
        assert_eq!(EventScore::of(0.5, 0, 0, 2).f1, None);
    }
}
