//! The arithmetic of CA-PAG's initial image selection.
//!
//! Hashimoto, Nishimura, Wang, Kurokawa, *PA-VAD*, arXiv 2512.06845: score of an image for a class,
//! the best K of each class, the budget balanced among scenes.

use crate::synthesis::classes::Aggregation;

/// A frame's scores for a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// ⟨v(I), t(t_c)⟩ − λ · agg_n ⟨v(I), t(g_neg,n)⟩.
    pub score: f64,
    /// ⟨v(I), t(t_c)⟩.
    pub positive: f64,
    /// agg_n ⟨v(I), t(g_neg,n)⟩; 0 without negative texts.
    pub negative: f64,
}

/// The score of an image for a class, from L2-normalised embeddings of the image, of the positive text
/// and of the negative texts.
pub fn score(
    image: &[f32],
    positive: &[f32],
    negative: &[Vec<f32>],
    lambda: f64,
    aggregation: Aggregation,
) -> Score {
    let dot = |text: &[f32]| -> f64 {
        image.iter().zip(text).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let similarities = negative.iter().map(|text| dot(text));
    let negative = match aggregation {
        _ if negative.is_empty() => 0.0,
        Aggregation::Mean => similarities.sum::<f64>() / negative.len() as f64,
        Aggregation::Max => similarities.fold(f64::NEG_INFINITY, f64::max),
    };
    let positive = dot(positive);
    Score { score: positive - lambda * negative, positive, negative }
}

/// The share of each scene in a budget of `k`, in proportion to count^α and never more than it has:
/// what a scene cannot use goes to the others. Shares are rounded by largest remainder, so that they
/// add up to `k`, or to all there is.
pub fn budget(counts: &[usize], k: usize, alpha: f64) -> Vec<usize> {
    let mut shares = vec![0; counts.len()];
    // Scenes that take all they have are settled; the others share what is left.
    let mut open: Vec<usize> = (0..counts.len()).filter(|&s| counts[s] > 0).collect();
    let mut left = k;
    loop {
        let weight = |s: usize| (counts[s] as f64).powf(alpha);
        let total: f64 = open.iter().map(|&s| weight(s)).sum();
        let quota = |s: usize| left as f64 * weight(s) / total;
        let full: Vec<usize> =
            open.iter().copied().filter(|&s| quota(s) >= counts[s] as f64).collect();
        if full.is_empty() {
            for &s in &open {
                shares[s] = quota(s) as usize;
            }
            let spare = left - open.iter().map(|&s| shares[s]).sum::<usize>().min(left);
            // Stable: of equal remainders the first scene's counts.
            let remainder = |s: usize| quota(s) - quota(s).floor();
            open.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
            open.iter().take(spare).for_each(|&s| shares[s] += 1);
            return shares;
        }
        for &s in &full {
            shares[s] = counts[s];
            left -= counts[s].min(left);
        }
        open.retain(|s| !full.contains(s));
        if open.is_empty() {
            return shares;
        }
    }
}

/// Indices of the `k` frames with the highest scores, best first; of equal scores the first frame's.
/// `scenes` has the scene of each frame, numbered from 0; with `alpha`, each scene gives its
/// [`budget`].
pub fn select(scores: &[f64], scenes: &[usize], k: usize, alpha: Option<f64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let Some(alpha) = alpha else {
        order.truncate(k);
        return order;
    };
    let mut counts = vec![0; scenes.iter().max().map_or(0, |s| s + 1)];
    scenes.iter().for_each(|&s| counts[s] += 1);
    let mut left = budget(&counts, k, alpha);
    order.retain(|&i| {
        let room = &mut left[scenes[i]];
        *room > 0 && {
            *room -= 1;
            true
        }
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn scores_by_hand() {
        // Unit vectors with sides 3, 4, 5 and 5, 12, 13.
        let image = [0.6, 0.8];
        let positive = [0.8, 0.6];
        let negative = [vec![1.0, 0.0], vec![0.0, 1.0], vec![5.0 / 13.0, 12.0 / 13.0]];
        // <v, t> = 0.48 + 0.48; negatives 0.6, 0.8 and (3 + 9.6) / 13.
        let third = 12.6 / 13.0;
        let mean = (0.6 + 0.8 + third) / 3.0;
        let by_mean = score(&image, &positive, &negative, 0.5, Aggregation::Mean);
        assert!(close(by_mean.positive, 0.96) && close(by_mean.negative, mean), "{by_mean:?}");
        assert!(close(by_mean.score, 0.96 - 0.5 * mean), "{by_mean:?}");
        let by_max = score(&image, &positive, &negative, 2.0, Aggregation::Max);
        assert!(close(by_max.negative, third), "{by_max:?}");
        assert!(close(by_max.score, 0.96 - 2.0 * third), "{by_max:?}");
        // Similarities below 0 count as they are, and without negative texts nothing is taken off.
        let below = score(&image, &positive, &[vec![-1.0, 0.0]], 1.0, Aggregation::Max);
        assert!(close(below.score, 1.56), "{below:?}");
        assert!(close(score(&image, &positive, &[], 1.0, Aggregation::Max).score, 0.96));
    }

    #[test]
    fn budgets_by_hand() {
        // alpha 1: in proportion to 60 : 30 : 10.
        assert_eq!(budget(&[60, 30, 10], 10, 1.0), [6, 3, 1]);
        // alpha 0: alike; the remainder of 10 / 3 goes to the first.
        assert_eq!(budget(&[60, 30, 10], 10, 0.0), [4, 3, 3]);
        // alpha 1/2: 8 : 4 : 2 of 14 for counts 64 : 16 : 4.
        assert_eq!(budget(&[64, 16, 4], 14, 0.5), [8, 4, 2]);
        // 8/14 of 10 = 5.71, 2.86, 1.43: 5 + 2 + 1, and the two largest remainders one more.
        assert_eq!(budget(&[64, 16, 4], 10, 0.5), [6, 3, 1]);
        // What a scene lacks goes to the others: alike would be 4 each, the last has 1.
        assert_eq!(budget(&[60, 30, 1], 12, 0.0), [6, 5, 1]);
        // More than there is.
        assert_eq!(budget(&[2, 0, 1], 12, 0.5), [2, 0, 1]);
        assert_eq!(budget(&[5, 5], 0, 0.5), [0, 0]);
        assert_eq!(budget(&[], 4, 0.5), Vec::<usize>::new());
    }

    #[test]
    fn the_best_are_taken_from_each_scene() {
        let scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
        let scenes = [0, 0, 0, 0, 1, 1];
        assert_eq!(select(&scores, &scenes, 3, None), [0, 1, 2]);
        // alpha 0: half and half.
        assert_eq!(select(&scores, &scenes, 4, Some(0.0)), [0, 1, 4, 5]);
        // alpha 1: 4 : 2 of 3.
        assert_eq!(select(&scores, &scenes, 3, Some(1.0)), [0, 1, 4]);
        // Of equal scores the first.
        assert_eq!(select(&[0.1, 0.3, 0.3], &[0, 0, 0], 2, None), [1, 2]);
        assert_eq!(select(&[0.1, 0.3], &[0, 0], 5, None), [1, 0]);
    }
}
