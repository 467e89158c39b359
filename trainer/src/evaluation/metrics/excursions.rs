//! Thresholds by how often normal footage exceeds them, in alarms and not in frames.

use std::collections::BTreeSet;

/// The smallest of the scores of normal frames such that, for it and every larger threshold, at most
/// `allowed` alarms rise above it. An alarm is a run of scores **above** the threshold; runs with at
/// most `gap` frames between them are one. `stretches` are frames that follow each other, no event
/// among them. `None` without a frame.
///
/// # Panics
/// If a score is NaN.
pub fn threshold_for_alarms(stretches: &[&[f64]], allowed: usize, gap: usize) -> Option<f64> {
    // One axis for all, with more than a gap between two stretches.
    let mut frames: Vec<(f64, usize)> = Vec::new();
    let mut start = 0;
    for stretch in stretches {
        assert!(stretch.iter().all(|s| !s.is_nan()), "scores are numbers");
        frames.extend(stretch.iter().enumerate().map(|(i, score)| (*score, start + i)));
        start += stretch.len() + gap + 1;
    }
    frames.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    // As the threshold falls frames rise above it, each a run of its own, or one more of a run, or
    // what joins two.
    let (mut above, mut alarms) = (BTreeSet::new(), 0_usize);
    for ties in frames.chunk_by(|a, b| a.0 == b.0) {
        for &(_, frame) in ties {
            let before = above.range(..frame).next_back().copied();
            let after = above.range(frame + 1..).next().copied();
            let near = |a: usize, b: usize| b - a <= gap + 1;
            let joins_before = before.is_some_and(|b| near(b, frame));
            let joins_after = after.is_some_and(|a| near(frame, a));
            let one_already = before.zip(after).is_some_and(|(b, a)| near(b, a));
            match (joins_before, joins_after) {
                (false, false) => alarms += 1,
                (true, true) if !one_already => alarms -= 1,
                _ => {}
            }
            above.insert(frame);
        }
        if alarms > allowed {
            return Some(ties[0].0);
        }
    }
    frames.last().map(|(lowest, _)| *lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_alarm_is_one() {
        let scores = [0.1, 0.9, 0.8, 0.9, 0.1, 0.1, 0.1, 0.6, 0.1, 0.5];
        let stretches: [&[f64]; 1] = [&scores];
        // Above 0.8 two runs with one frame between: one alarm if a gap of one is none.
        assert_eq!(threshold_for_alarms(&stretches, 0, 0), Some(0.9));
        assert_eq!(threshold_for_alarms(&stretches, 1, 0), Some(0.9));
        assert_eq!(threshold_for_alarms(&stretches, 1, 1), Some(0.6));
        assert_eq!(threshold_for_alarms(&stretches, 2, 0), Some(0.5));
        // The runs of 0.6 and 0.5 are one where a gap of one frame is none.
        assert_eq!(threshold_for_alarms(&stretches, 2, 1), Some(0.1));
        assert_eq!(threshold_for_alarms(&[], 1, 0), None);
    }

    #[test]
    fn stretches_do_not_touch() {
        let stretches: [&[f64]; 2] = [&[0.1, 0.9], &[0.8, 0.1]];
        assert_eq!(threshold_for_alarms(&stretches, 1, 5), Some(0.8));
        assert_eq!(threshold_for_alarms(&stretches, 2, 5), Some(0.1));
    }

    #[test]
    fn it_is_what_counting_says() {
        // Against a count of runs at each threshold, over drawn scores.
        let mut state = 7_u64;
        for _ in 0..50 {
            let scores: Vec<f64> = (0..60)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 33) % 12) as f64
                })
                .collect();
            let count = |threshold: f64, gap: usize| {
                let (mut alarms, mut last) = (0, None);
                for (i, _) in scores.iter().enumerate().filter(|(_, s)| **s > threshold) {
                    if last.is_none_or(|last: usize| i - last > gap + 1) {
                        alarms += 1;
                    }
                    last = Some(i);
                }
                alarms
            };
            for (allowed, gap) in [(0, 0), (3, 0), (3, 2), (9, 1)] {
                let found = threshold_for_alarms(&[&scores], allowed, gap).unwrap();
                let mut expected = 11.0;
                for level in (0..12).rev().map(f64::from) {
                    if !scores.contains(&level) {
                        continue;
                    }
                    expected = level;
                    // Lowering it below this level lets those of the level in.
                    if count(level - 0.5, gap) > allowed {
                        break;
                    }
                }
                assert_eq!(found, expected, "{allowed} {gap} {scores:?}");
            }
        }
    }
}
