//! DARM, the domain-aligned regularised module of PA-VAD (arXiv 2512.06845).
//!
//! Synthesised anomalies move too much: their features have norms many times those of real ones,
//! and multiple-instance learning picks that as a shortcut. Domain alignment makes the normal
//! streams of real and of pseudo videos alike; the usage-aware update keeps every slot of the
//! abnormal memory in use, so that a few prototypes of large norm cannot take all.

use candle_core::{Result as TensorResult, Tensor};

use super::Error;
use super::model::TrainOutput;
use super::ops::{linear, softmax};
use super::parameters::Parameters;

/// Added to a usage before it divides.
const EPSILON: f64 = 1e-6;

/// Gradient reversal (Ganin and Lempitsky, 2015): the value of `x`, its gradient times
/// −`strength`.
///
/// `x₀ − s · (x − x₀)` with `x₀ = x` held constant: the second term is exactly zero, its gradient
/// is not. Built from primitives, it runs on every device.
pub fn reverse_gradient(x: &Tensor, strength: f64) -> TensorResult<Tensor> {
    let held = x.detach();
    let zero = (x - &held)?;
    held - (zero * strength)?
}

/// The domain discriminator's logits; `x` `[N, E]` to `[N]`. Parameters `domain.0.*` (E → hidden,
/// ReLU) and `domain.2.*` (hidden → 1).
///
/// # Errors
/// If a parameter is missing.
pub fn discriminate(parameters: &Parameters, x: &Tensor) -> Result<Tensor, Error> {
    let get = |name: &str| parameters.get(&format!("domain.{name}"));
    let y = linear(x, get("0.weight")?, Some(get("0.bias")?))?.relu()?; // [N, hidden]
    let y = linear(&y, get("2.weight")?, Some(get("2.bias")?))?; // [N, 1]
    Ok(y.squeeze(1)?)
}

/// Adversarial part of the domain alignment: BCE of the discriminator on the video means of the
/// normal stream, real (label 0) against pseudo (label 1), behind gradient reversal; `[B, E]` each.
///
/// # Errors
/// If a parameter is missing.
pub fn domain(
    parameters: &Parameters,
    real: &Tensor,
    pseudo: &Tensor,
    strength: f64,
) -> Result<Tensor, Error> {
    let videos = Tensor::cat(&[real, pseudo], 0)?; // [2B, E]
    let logits = discriminate(parameters, &reverse_gradient(&videos, strength)?)?;
    let (n, m) = (real.dim(0)?, pseudo.dim(0)?);
    let real = softplus(&logits.narrow(0, 0, n)?)?.sum_all()?;
    let pseudo = softplus(&logits.narrow(0, n, m)?.neg()?)?.sum_all()?;
    Ok(((real + pseudo)? / (n + m) as f64)?)
}

/// log(1 + eˣ) without overflow: max(x, 0) + log(1 + e^−|x|).
fn softplus(x: &Tensor) -> TensorResult<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// Explicit part of the domain alignment: squared L2 distance between the means of the real and of
/// the pseudo videos' normal streams; `[B, E]` each.
pub fn mean_distance(real: &Tensor, pseudo: &Tensor) -> TensorResult<Tensor> {
    (real.mean(0)? - pseudo.mean(0)?)?.sqr()?.sum_all()
}

/// Usage-aware memory update: `(1/K) Σ_k (ū / (u_k + ε))^β · ‖m_k − μ_k‖²`.
///
/// The features `[B, T, E]` of the abnormal videos are assigned softly to the slots `[K, E]` by
/// softmax(x · m / √E); u_k is the mean responsibility of slot k, ū the mean of u over the slots,
/// μ_k the responsibility-weighted centre of the features. With `stop_gradient` only the slots
/// `m_k` get a gradient.
pub fn usage_aware_update(
    features: &Tensor,
    memory: &Tensor,
    beta: f64,
    stop_gradient: bool,
) -> TensorResult<Tensor> {
    let (k, e) = memory.dims2()?;
    let x = features.reshape(((), e))?; // [N, E]
    let (x, slots) =
        if stop_gradient { (x.detach(), memory.detach()) } else { (x, memory.clone()) };
    let responsibility = softmax(&(linear(&x, &slots, None)? / (e as f64).sqrt())?)?; // [N, K]
    let usage = responsibility.mean(0)?; // [K]
    let total = (responsibility.sum(0)? + EPSILON)?.unsqueeze(1)?; // [K, 1]
    let centres = responsibility.t()?.contiguous()?.matmul(&x)?.broadcast_div(&total)?; // [K, E]
    // ū is 1/K because responsibilities sum to one.
    let rare = ((usage + EPSILON)? * k as f64)?.recip()?;
    let weights = (rare.log()? * beta)?.exp()?; // [K]
    (weights * (memory - centres)?.sqr()?.sum(1)?)?.mean_all()
}

/// The terms of DARM, each a scalar tensor; `None` for a part that is off.
#[derive(Debug)]
pub struct DarmLosses {
    /// [`domain`].
    pub domain: Option<Tensor>,
    /// [`mean_distance`].
    pub mean_distance: Option<Tensor>,
    /// [`usage_aware_update`].
    pub update: Option<Tensor>,
}

/// The terms that the configuration turns on.
///
/// # Errors
/// If a parameter is missing or a tensor operation fails.
pub fn losses(
    parameters: &Parameters,
    out: &TrainOutput,
    config: &super::DetectorConfig,
) -> Result<DarmLosses, Error> {
    let mut terms = DarmLosses { domain: None, mean_distance: None, update: None };
    if config.use_da {
        let (real, pseudo) = (&out.normal_stream_real, &out.normal_stream_pseudo);
        terms.domain = Some(domain(parameters, real, pseudo, config.grl_strength)?);
        terms.mean_distance = Some(mean_distance(real, pseudo)?);
    }
    if config.use_upd {
        let memory = parameters.get("Amemory.memory_block")?;
        let stop = config.update_stop_gradient;
        terms.update = Some(usage_aware_update(&out.abnormal, memory, config.beta, stop)?);
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn reversal_keeps_the_value_and_turns_the_gradient() {
        let x = Var::new(&[1.5f32, -3.25e7, 1e-20], &Device::Cpu).unwrap();
        let y = reverse_gradient(&x, 0.2).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), x.to_vec1::<f32>().unwrap());
        let grads = (y * 3.0).unwrap().sum_all().unwrap().backward().unwrap();
        for g in grads.get(&x).unwrap().to_vec1::<f32>().unwrap() {
            assert!((g + 0.6).abs() < 1e-6, "{g}");
        }
    }

    #[test]
    fn rare_slots_are_pulled_hardest() {
        // Nine features at slot 0, one at slot 1, both off by one: responsibilities are all but 0/1.
        let mut rows = vec![vec![41.0f64, 0.0]; 9];
        rows.push(vec![0.0, 41.0]);
        let x = Tensor::new(rows, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let memory = Var::new(&[[40.0f64, 0.0], [0.0, 40.0]], &Device::Cpu).unwrap();
        let pull = |beta| {
            let loss = usage_aware_update(&x, &memory, beta, true).unwrap();
            let grad = loss.backward().unwrap().get(&memory).unwrap().to_vec2::<f64>().unwrap();
            (loss.to_scalar::<f64>().unwrap(), grad[0][0], grad[1][1])
        };
        // ū/u = 0.5/0.9 and 0.5/0.1; the loss is half their sum, a slot's gradient −its weight.
        let (loss, often, seldom) = pull(1.0);
        assert!((loss - (0.5 / 0.9 + 5.0) / 2.0).abs() < 1e-3, "{loss}");
        assert!((often + 0.5 / 0.9).abs() < 1e-3 && (seldom + 5.0).abs() < 1e-3);
        let (loss, often, seldom) = pull(0.0);
        assert!((loss - 1.0).abs() < 1e-3 && (often - seldom).abs() < 1e-3);
    }

    #[test]
    fn stop_gradient_leaves_the_features_alone() {
        let x = Var::new(&[[[1.0f64, 2.0], [0.5, -1.0]]], &Device::Cpu).unwrap();
        let memory = Var::new(&[[0.1f64, 0.2], [0.3, -0.4], [0.0, 0.5]], &Device::Cpu).unwrap();
        let held = usage_aware_update(&x, &memory, 1.0, true).unwrap();
        let free = usage_aware_update(&x, &memory, 1.0, false).unwrap();
        let (a, b) = (held.to_scalar::<f64>().unwrap(), free.to_scalar::<f64>().unwrap());
        assert!((a - b).abs() < 1e-12);
        assert!(held.backward().unwrap().get(&x).is_none());
        assert!(free.backward().unwrap().get(&x).is_some());
    }
}
