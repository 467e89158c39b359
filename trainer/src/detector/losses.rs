//! The losses of UR-DMU (arXiv 2302.05160, section 3.4; weights as in its public `train.py`).
//!
//! B normal and B abnormal videos, T snippets, k = T / 16 + 1, top(·) the mean of the k largest
//! values along time, BCE the mean binary cross-entropy.

use candle_core::{D, Result, Tensor};

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
    /// The weighted sum.
    pub total: Tensor,
}

/// All terms, and `classification + Σ weight · term`. UR-DMU's weights, the defaults, make that
/// `classification + 0.1 · (abnormal_in_a + abnormal_not_in_n + normal_in_n + normal_not_in_a) +
/// 0.1 · triplet + 0.001 · kl + 0.0001 · distance`. A term with weight 0 has a value and no gradient.
///
/// # Errors
/// If a tensor operation fails.
pub fn urdmu(out: &TrainOutput, weights: &TermWeights) -> Result<UrDmuLosses> {
    let classification = classification(&out.scores)?;
    let abnormal_in_a = abnormal_in_a(&out.abnormal_by_a)?;
    let abnormal_not_in_n = abnormal_not_in_n(&out.abnormal_by_n)?;
    let normal_in_n = normal_in_n(&out.normal_by_n)?;
    let normal_not_in_a = normal_not_in_a(&out.normal_by_a)?;
    let triplet = triplet(&out.anchor, &out.positive, &out.negative)?;
    let kl = kl(&out.mean, &out.log_var)?;
    let distance = distance(&out.anchor_augmented, &out.negative_augmented)?;
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
    Ok(UrDmuLosses {
        classification,
        abnormal_in_a,
        abnormal_not_in_n,
        normal_in_n,
        normal_not_in_a,
        triplet,
        kl,
        distance,
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

fn k_of(attention: &Tensor) -> Result<usize> {
    Ok(attention.dim(D::Minus1)? / 16 + 1)
}

/// Multiple-instance classification: BCE(top(scores), label); `scores` `[2B, T]`, the first half
/// normal (label 0).
pub fn classification(scores: &Tensor) -> Result<Tensor> {
    let b = scores.dim(0)? / 2;
    let top = top_k_mean(scores, k_of(scores)?)?; // [2B]
    (bce_zero(&top.narrow(0, 0, b)?)? + bce_one(&top.narrow(0, b, b)?)?)? / 2.0
}

/// The abnormal memory knows something in each abnormal video: BCE(top(attention), 1); `[B, T]`.
pub fn abnormal_in_a(attention: &Tensor) -> Result<Tensor> {
    bce_one(&top_k_mean(attention, k_of(attention)?)?)
}

/// The normal memory misses something in each abnormal video: BCE(top(1 − attention), 1); `[B, T]`.
pub fn abnormal_not_in_n(attention: &Tensor) -> Result<Tensor> {
    bce_one(&top_k_mean(&(1.0 - attention)?, k_of(attention)?)?)
}

/// The normal memory knows every normal snippet: BCE(attention, 1); `[B, T]`.
pub fn normal_in_n(attention: &Tensor) -> Result<Tensor> {
    bce_one(attention)
}

/// The abnormal memory knows no normal snippet: BCE(attention, 0); `[B, T]`.
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
/// snippets and averaged over videos and channels; `[B, T, E]`.
///
/// The axis summed is that of UR-DMU's code.
pub fn kl(mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    let inside = (((log_var + 1.0)? - mean.sqr()?)? - log_var.exp()?)?;
    (inside.sum(1)?.mean_all()? * -0.5)?.contiguous()
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
}
