//! The losses of UR-DMU (arXiv 2302.05160, section 3.4; weights as in its public `train.py`).
//!
//! B normal and B abnormal videos, T instances (a video's snippets, or its (snippet, cell) pairs),
//! k = T / 16 + 1 or what [`TrainOutput::top`] says, top(·) the mean of the k largest values of a
//! video, BCE the mean binary cross-entropy.

use candle_core::{Result, Tensor};

use super::TermWeights;
use super::model::TrainOutput;
use super::ops::{norm, top_k_mean};

/// The terms of UR-DMU's loss, each a scalar tensor.
#[derive(Debug)]
pub struct UrDmuLosses {
    /// [`classification`].
    pub classification: Tensor,
    /// [`abnormal_in_a`].
    pub abnormal_in_a: Tensor,
    /// [`abnormal_not_in_n`].
    pub abnormal_not_in_n: Tensor,
    /// [`normal_in_n`].
    pub normal_in_n: Tensor,
    /// [`normal_not_in_a`].
    pub normal_not_in_a: Tensor,
    /// [`triplet`].
    pub triplet: Tensor,
    /// [`kl`].
    pub kl: Tensor,
    /// [`distance`].
    pub distance: Tensor,
    /// [`instances`]; `None` where it is not known which instances are changed.
    pub instances: Option<Tensor>,
    /// The weighted sum.
    pub total: Tensor,
}

/// All terms, and `classification + Σ weight · term`. UR-DMU's weights, the defaults, make that
/// `classification + 0.1 · (abnormal_in_a + abnormal_not_in_n + normal_in_n + normal_not_in_a) +
/// 0.1 · triplet + 0.001 · kl + 0.0001 · distance`; [`instances`] has no weight in the paper. A term with weight 0 has a value and no gradient.
///
/// # Errors
/// If a tensor operation fails.
pub fn urdmu(out: &TrainOutput, weights: &TermWeights) -> Result<UrDmuLosses> {
    let classification = classification(&out.scores, out.top)?;
    let abnormal_in_a = abnormal_in_a(&out.abnormal_by_a, out.top)?;
    let abnormal_not_in_n = abnormal_not_in_n(&out.abnormal_by_n, out.top)?;
    let normal_in_n = normal_in_n(&out.normal_by_n)?;
    let normal_not_in_a = normal_not_in_a(&out.normal_by_a)?;
    let triplet = triplet(&out.anchor, &out.positive, &out.negative)?;
    let kl = kl(&out.mean, &out.log_var)?;
    let distance = distance(&out.anchor_augmented, &out.negative_augmented)?;
    let instances =
        out.known.as_ref().map(|(changed, scores)| instances(scores, changed)).transpose()?;
    let mut total = classification.clone();
    for (term, weight) in [
        (&abnormal_in_a, weights.abnormal_in_a),
        (&abnormal_not_in_n, weights.abnormal_not_in_n),
        (&normal_in_n, weights.normal_in_n),
        (&normal_not_in_a, weights.normal_not_in_a),
        (&triplet, weights.triplet),
        (&kl, weights.kl),
        (&distance, weights.distance),
    ] {
        if weight > 0.0 {
            total = (total + (term * weight)?)?;
        }
    }
    if let Some(term) = instances.as_ref().filter(|_| weights.instances > 0.0) {
        total = (total + (term * weights.instances)?)?;
    }
    Ok(UrDmuLosses {
        classification,
        abnormal_in_a,
        abnormal_not_in_n,
        normal_in_n,
        normal_not_in_a,
        triplet,
        kl,
        distance,
        instances,
        total,
    })
}

/// Mean of −log p, with p held away from zero so that its gradient stays finite.
fn minus_log(p: &Tensor) -> Result<Tensor> {
    p.maximum(1e-38)?.log()?.mean_all()?.neg()
}

fn bce_one(p: &Tensor) -> Result<Tensor> {
    minus_log(p)
}

fn bce_zero(p: &Tensor) -> Result<Tensor> {
    minus_log(&(1.0 - p)?)
}

/// Multiple-instance classification: BCE(top(scores), label); `scores` `[2B, T]`, the first half
/// normal (label 0).
pub fn classification(scores: &Tensor, k: usize) -> Result<Tensor> {
    let b = scores.dim(0)? / 2;
    let top = top_k_mean(scores, k)?; // [2B]
    (bce_zero(&top.narrow(0, 0, b)?)? + bce_one(&top.narrow(0, b, b)?)?)? / 2.0
}

/// The abnormal memory knows something in each abnormal video: BCE(top(attention), 1); `[B, T]`.
pub fn abnormal_in_a(attention: &Tensor, k: usize) -> Result<Tensor> {
    bce_one(&top_k_mean(attention, k)?)
}

/// The normal memory misses something in each abnormal video: BCE(top(1 − attention), 1); `[B, T]`.
pub fn abnormal_not_in_n(attention: &Tensor, k: usize) -> Result<Tensor> {
    bce_one(&top_k_mean(&(1.0 - attention)?, k)?)
}

/// The normal memory knows every normal instance: BCE(attention, 1); `[B, T]`.
pub fn normal_in_n(attention: &Tensor) -> Result<Tensor> {
    bce_one(attention)
}

/// The abnormal memory knows no normal instance: BCE(attention, 0); `[B, T]`.
pub fn normal_not_in_a(attention: &Tensor) -> Result<Tensor> {
    bce_zero(attention)
}

/// Dual-memory separation: mean max(0, ‖a − p‖ − ‖a − n‖ + 1) of L2-normalised rows `[B, E]`;
/// PyTorch's `TripletMarginLoss`, which adds 1e-6 to each difference.
pub fn triplet(anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    let unit = |x: &Tensor| x.broadcast_div(&norm(x)?.unsqueeze(1)?);
    let (a, p, n) = (unit(anchor)?, unit(positive)?, unit(negative)?);
    let apart = |x: &Tensor| norm(&((&a - x)? + 1e-6)?);
    ((apart(&p)? - apart(&n)?)? + 1.0)?.relu()?.mean_all()
}

/// Kullback-Leibler divergence from the standard normal: −½ Σ (1 + v − μ² − eᵛ), summed over the
/// instances and averaged over videos and channels; `[B, T, E]`.
///
/// The axis summed is that of UR-DMU's code.
pub fn kl(mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    let inside = (((log_var + 1.0)? - mean.sqr()?)? - log_var.exp()?)?;
    (inside.sum(1)?.mean_all()? * -0.5)?.contiguous()
}

/// Share of the normal instances that count as the hardest, one in so many, and their weight: the
/// local detector's.
const HARDEST: (usize, f64) = (100, 0.3);

/// Beyond the paper: half the mean −log s over the instances known to be changed, half the mean
/// −log(1 − s) over all instances of the normal videos, and 0.3 of that over the hardest hundredth of
/// them, because what is scored is the highest of hundreds; `scores` `[2B, T]`, the first half
/// normal, `changed` `[B, T]` of 1 and 0.
///
/// The scores are those of evaluation, from the mean of the normal augmentation. In training it is
/// sampled for normal videos alone, and a term that names every instance would be met by telling what
/// is noisy from what is not.
///
/// Nothing is said of the pseudo videos' other instances: they are as filmed, which the normal videos
/// show already, or pasted and meant to look normal, or near a change and touched by it through the
/// backbone's field of view. Means and not sums, because changed instances are few.
pub fn instances(scores: &Tensor, changed: &Tensor) -> Result<Tensor> {
    let b = scores.dim(0)? / 2;
    let count = changed.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    let pseudo = scores.narrow(0, b, b)?.maximum(1e-38)?.log()?.neg()?;
    let pseudo = (pseudo.mul(changed)?.sum_all()? / count.max(1.0))?;
    let normal = (1.0 - scores.narrow(0, 0, b)?.flatten_all()?)?.maximum(1e-38)?.log()?.neg()?; // [B · T]
    let (share, weight) = HARDEST;
    let hardest = top_k_mean(&normal, normal.elem_count() / share + 1)?;
    ((pseudo + normal.mean_all()?)? / 2.0)? + (hardest * weight)?
}

/// Magnitude separation: mean max(0, 100 − ‖abnormal‖ + ‖normal‖) of rows `[B, E]`.
pub fn distance(normal: &Tensor, abnormal: &Tensor) -> Result<Tensor> {
    ((norm(normal)? - norm(abnormal)?)? + 100.0)?.relu()?.mean_all()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn certain_and_wrong_is_finite_and_pulls_back() {
        let logits = Var::new(&[[-80.0f32, 0.0], [-80.0, -80.0]], &Device::Cpu).unwrap();
        let loss = bce_one(&crate::detector::ops::sigmoid(&logits).unwrap()).unwrap();
        let value = loss.to_scalar::<f32>().unwrap();
        assert!((value - (3.0 * 80.0 + 2f32.ln()) / 4.0).abs() < 1e-3, "{value}");
        let grads = loss.backward().unwrap();
        let grad = grads.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        assert!((grad[0][0] + 0.25).abs() < 1e-3 && (grad[0][1] + 0.125).abs() < 1e-3, "{grad:?}");
        let far = Tensor::new(&[0.0f32], &Device::Cpu).unwrap();
        assert!(bce_one(&far).unwrap().to_scalar::<f32>().unwrap().is_finite());
    }

    #[test]
    fn kl_is_zero_at_the_standard_normal() {
        let zero = Tensor::zeros((2, 3, 4), candle_core::DType::F64, &Device::Cpu).unwrap();
        assert_eq!(kl(&zero, &zero).unwrap().to_scalar::<f64>().unwrap(), 0.0);
        let one = zero.ones_like().unwrap();
        // ½ · μ² summed over three snippets.
        assert_eq!(kl(&one, &zero).unwrap().to_scalar::<f64>().unwrap(), 1.5);
    }

    #[test]
    fn unchanged_instances_of_pseudo_videos_say_nothing() {
        let scores = Var::new(&[[0.5f64, 0.2, 0.5], [0.25, 0.9, 0.9]], &Device::Cpu).unwrap();
        let at = |changed: [[f64; 3]; 1]| {
            let changed = Tensor::new(&changed, &Device::Cpu).unwrap();
            let loss = instances(&scores, &changed).unwrap();
            let grad = loss.backward().unwrap().get(&scores).unwrap().to_vec2::<f64>().unwrap();
            (loss.to_scalar::<f64>().unwrap(), grad)
        };
        let normal = -(0.5f64.ln() + 0.8f64.ln() + 0.5f64.ln()) / 3.0;
        let hardest = -0.3 * 0.5f64.ln(); // one of the three
        let (loss, grad) = at([[1.0, 0.0, 0.0]]);
        assert!((loss - hardest - (normal - 0.25f64.ln()) / 2.0).abs() < 1e-12, "{loss}");
        assert!((grad[1][0] + 2.0).abs() < 1e-12 && grad[1][1..] == [0.0, 0.0], "{grad:?}");
        let (loss, _) = at([[0.0; 3]]);
        assert!((loss - hardest - normal / 2.0).abs() < 1e-12, "{loss}");
    }
}
