//! Model selection on bags kept out of training: real normal and pseudo-abnormal ones.
//!
//! A real abnormal video cannot get in: the only bags there are, are those that training was given.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::noise::{Purpose, permutation, stream};
use super::{Bag, DetectorConfig, Error, UrDmu};
use crate::evaluation::roc_auc;

/// One look at the bags kept out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The step after which it was made.
    pub step: usize,
    /// ROC AUC of pseudo-abnormal against normal videos, by the mean of a video's highest
    /// T / 16 + 1 snippet scores, as multiple-instance learning scores a video. Where it is known which
    /// instances of the pseudo videos are changed, that of those against all normal instances: videos
    /// are soon told apart, places not so soon.
    pub auc: f64,
    /// Binary cross-entropy of the same scores; decides between equal AUCs, which are common as
    /// there are few videos.
    pub loss: f64,
}

impl Validation {
    /// Whether this one is to be kept rather than `other`.
    pub fn better_than(&self, other: &Self) -> bool {
        (self.auc, -self.loss) > (other.auc, -other.loss)
    }
}

/// Splits `bags` into those to train on and those kept out: `share` of them, at least one, chosen by
/// the seed; both in their original order.
///
/// # Errors
/// [`Error::TooFewToValidate`] if there are not two.
pub fn split<'a>(
    bags: &'a [Bag],
    kind: &'static str,
    share: f64,
    seed: u64,
) -> Result<(Vec<&'a Bag>, Vec<&'a Bag>), Error> {
    if bags.len() < 2 {
        return Err(Error::TooFewToValidate { kind, count: bags.len() });
    }
    let out = ((bags.len() as f64 * share).round() as usize).clamp(1, bags.len() - 1);
    let index = u64::from(kind != "normal");
    let order = permutation(bags.len(), &mut stream(seed, Purpose::Validation, index));
    let mut kept_out = vec![false; bags.len()];
    order[..out].iter().for_each(|&at| kept_out[at] = true);
    let side = |wanted: bool| {
        bags.iter().zip(&kept_out).filter(|(_, out)| **out == wanted).map(|(bag, _)| bag).collect()
    };
    Ok((side(false), side(true)))
}

/// Scores the bags kept out.
///
/// # Errors
/// [`Error::Diverged`] if a score is not a number; if memory is short.
pub fn validate(
    model: &UrDmu,
    normal: &[&Bag],
    pseudo: &[&Bag],
    config: &DetectorConfig,
    step: usize,
) -> Result<Validation, Error> {
    let by_instance = pseudo.iter().all(|bag| bag.changed.is_some());
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for (bag, is_pseudo) in
        normal.iter().map(|bag| (*bag, false)).chain(pseudo.iter().map(|bag| (*bag, true)))
    {
        let found = model.bag_scores(bag, config.segments)?;
        match (&bag.changed, by_instance) {
            (Some(changed), true) if is_pseudo => {
                let changed = found.iter().zip(changed).filter(|(_, changed)| **changed);
                scores.extend(changed.map(|(score, _)| f64::from(*score)));
            }
            (_, true) => scores.extend(found.iter().copied().map(f64::from)),
            (_, false) => scores.push(video_score(&found, config.top_share)),
        }
        labels.resize(scores.len(), is_pseudo);
    }
    if let Some(&value) = scores.iter().find(|score| !score.is_finite()) {
        return Err(Error::Diverged { step, what: "a validation score", value });
    }
    let loss = |(score, label): (&f64, &bool)| {
        let p = if *label { *score } else { 1.0 - *score };
        -p.max(1e-12).ln()
    };
    Ok(Validation {
        step,
        auc: roc_auc(&scores, &labels).unwrap_or(0.5),
        loss: scores.iter().zip(&labels).map(loss).sum::<f64>() / scores.len() as f64,
    })
}

/// Mean of the T / `share` + 1 highest of T scores.
fn video_score(scores: &[f32], share: usize) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.par_sort_unstable_by(|a, b| b.total_cmp(a));
    let k = scores.len() / share + 1;
    let highest = &sorted[..k.min(sorted.len())];
    highest.iter().map(|v| f64::from(*v)).sum::<f64>() / highest.len() as f64
}

/// The best validation so far with its weights.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub best: Option<Validation>,
    /// Copies of the weights, by name; empty until there is a best.
    pub weights: BTreeMap<String, Tensor>,
    /// The latest validation's step.
    pub latest: usize,
}

impl Selection {
    /// Takes note of a validation; `weights` is asked for if it is the best.
    pub fn note(
        &mut self,
        validation: Validation,
        weights: impl FnOnce() -> Result<BTreeMap<String, Tensor>, Error>,
    ) -> Result<bool, Error> {
        self.latest = validation.step;
        let better = self.best.is_none_or(|best| validation.better_than(&best));
        if better {
            self.weights = weights()?;
            self.best = Some(validation);
        }
        Ok(better)
    }

    /// Whether `patience` validations, `every` so many steps, have passed since the best.
    pub fn exhausted(&self, every: usize, patience: usize) -> bool {
        let since = self.best.map_or(0, |best| self.latest.saturating_sub(best.step));
        every > 0 && patience > 0 && since >= every * patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bags(count: usize) -> Vec<Bag> {
        let bag = |i: usize| Bag::pooled(i.to_string(), vec![0.0], 1, 1);
        (0..count).map(bag).collect()
    }

    #[test]
    fn a_split_is_whole_repeats_and_leaves_something_on_both_sides() {
        let all = bags(10);
        let (train, out) = split(&all, "normal", 0.2, 7).unwrap();
        assert_eq!((train.len(), out.len()), (8, 2));
        assert!(out.iter().all(|bag| !train.contains(bag)));
        assert_eq!(split(&all, "normal", 0.2, 7).unwrap(), (train, out));
        assert_eq!(split(&bags(2), "normal", 0.01, 1).unwrap().1.len(), 1);
        assert!(split(&bags(1), "normal", 0.2, 1).is_err());
    }

    #[test]
    fn the_higher_auc_wins_then_the_lower_loss() {
        let at = |auc, loss| Validation { step: 1, auc, loss };
        assert!(at(0.9, 5.0).better_than(&at(0.8, 0.1)));
        assert!(at(0.9, 0.1).better_than(&at(0.9, 0.2)));
        assert!(!at(0.9, 0.2).better_than(&at(0.9, 0.2)));
    }

    #[test]
    fn a_video_scores_its_highest_snippets() {
        // 17 snippets: the two highest.
        let mut scores = vec![0.1f32; 17];
        (scores[3], scores[9]) = (0.9, 0.5);
        assert!((video_score(&scores, 16) - 0.7).abs() < 1e-6);
        assert!((video_score(&scores, 32) - 0.9).abs() < 1e-6);
        assert!((video_score(&[0.25], 16) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn patience_ends_after_so_many_validations_without_a_better_one() {
        let mut selection = Selection::default();
        let mut note = |step, auc| {
            selection.note(Validation { step, auc, loss: 1.0 }, || Ok(BTreeMap::new())).unwrap();
            selection.exhausted(10, 2)
        };
        assert!(!note(10, 0.8));
        assert!(!note(20, 0.7));
        assert!(!note(30, 0.9));
        assert!(!note(40, 0.9));
        assert!(note(50, 0.9));
    }
}
