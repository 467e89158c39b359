//! One training step of each detector on the device in `f32`, against the same step on the processor
//! in `f64`, from the same weights, inputs, noise and dropout masks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use rand::RngExt;
use trainer::detector::noise::{Noise, Purpose, StepNoise, stream};
use trainer::detector::parameters::Parameters;
use trainer::detector::train::total_loss;
use trainer::detector::{DetectorConfig, ModelSize, UrDmu};
use trainer::local::{LocalConfig, LossWeights, Network, Tensors, attach, forward_eval};

use crate::Context;
use crate::report::Outcome;

/// Largest difference of a gradient, relative to its variable's largest. Measured for `f32` on the
/// processor: 1e-5 to 1e-4; a term that is missing or a wrong sign gives 0.1 and more.
const TOLERANCE: f64 = 1e-3;

/// Gradients by name, as `f64` on the processor.
pub type Gradients = BTreeMap<String, Tensor>;

/// The worst of all variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    variable: String,
    difference: f64,
}

/// Compares; a variable without a gradient on either side is an error.
pub fn worst(expected: &Gradients, got: &Gradients) -> Result<Worst> {
    let mut worst = Worst { variable: String::new(), difference: -1.0 };
    if expected.len() != got.len() {
        bail!("{} gradients where {} belong", got.len(), expected.len());
    }
    for (name, expected) in expected {
        let got = got.get(name).with_context(|| format!("{name} got no gradient"))?;
        let largest =
            |t: &Tensor| -> Result<f64> { Ok(t.flatten_all()?.abs()?.max(0)?.to_scalar::<f64>()?) };
        let scale = largest(expected)?;
        if scale == 0.0 {
            bail!("{name}: the reference gradient is zero, which compares nothing");
        }
        let mut difference = largest(&(expected - got)?)? / scale;
        if difference.is_nan() {
            difference = f64::INFINITY;
        }
        if difference > worst.difference {
            worst = Worst { variable: name.clone(), difference };
        }
    }
    Ok(worst)
}

pub fn gradient(grads: &GradStore, var: &Tensor, name: &str) -> Result<Tensor> {
    let grad = grads.get(var).with_context(|| format!("{name} got no gradient"))?;
    Ok(grad.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

pub fn outcome(variables: usize, worst: &Worst, losses: [f64; 2]) -> Outcome {
    let loss = (losses[0] - losses[1]).abs() / losses[0].abs();
    let why = format!(
        "{variables} variables, worst {:.1e} ({}), loss {loss:.1e}, allowed {TOLERANCE:.0e}",
        worst.difference, worst.variable
    );
    Outcome::of(worst.difference <= TOLERANCE && loss <= TOLERANCE, why)
}

/// Noise and masks drawn on the processor, whatever the device.
struct Drawn(StepNoise);

impl Noise for Drawn {
    fn normal(
        &mut self,
        shape: (usize, usize, usize),
        like: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let on_cpu = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        self.0.normal(shape, &on_cpu)?.to_dtype(like.dtype())?.to_device(like.device())
    }

    fn mask(&mut self, n: usize, probability: f64) -> Option<Vec<f32>> {
        self.0.mask(n, probability)
    }
}

/// The published network at fewer and shorter videos.
fn semantic_case(context: &Context) -> Result<(DetectorConfig, BTreeMap<String, Tensor>, Tensor)> {
    let small = ModelSize {
        feature_size: 48,
        embedding: 32,
        heads: 2,
        head_size: 16,
        feed_forward: 40,
        classifier_hidden: 24,
        ..ModelSize::default()
    };
    let model = if context.quick { small } else { ModelSize::default() };
    let config = DetectorConfig { batch: 4, segments: 48, model, ..DetectorConfig::default() };
    let hidden = Some(config.discriminator_hidden);
    let weights =
        Parameters::init(&config.model, hidden, 1, DType::F32, &Device::Cpu)?.tensors()?;
    let shape = (2 * config.batch, config.segments, config.model.feature_size);
    Ok((config, weights, uniform(shape, 2)?))
}

pub fn uniform(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = stream(seed, Purpose::Init, 0);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.random()).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Every variable's gradient of the semantic detector's total loss.
pub fn semantic(context: &Context) -> Result<Outcome> {
    let (config, weights, features) = semantic_case(context)?;
    let step = |dtype: DType, device: &Device| -> Result<(f64, Gradients)> {
        let (size, hidden) = (&config.model, Some(config.discriminator_hidden));
        let parameters = Parameters::from_tensors(&weights, size, hidden, dtype, device)?;
        let model = UrDmu { size: size.clone(), parameters };
        let features = features.to_dtype(dtype)?.to_device(device)?;
        let mut noise = Drawn(StepNoise::new(3, 1));
        let out = model.train_forward(&features, config.dropout, &mut noise)?;
        let (total, values) = total_loss(&model.parameters, &out, &config)?;
        let grads = total.backward()?;
        let named = |(name, var): (&str, &Var)| Ok((name.to_owned(), gradient(&grads, var, name)?));
        Ok((values.total, model.parameters.iter().map(named).collect::<Result<_>>()?))
    };
    let (expected_loss, expected) = step(DType::F64, &Device::Cpu)?;
    let (loss, got) = step(DType::F32, &context.device)?;
    Ok(outcome(expected.len(), &worst(&expected, &got)?, [expected_loss, loss]))
}

/// Evaluation scores of one video of an odd length.
pub fn semantic_scores(context: &Context) -> Result<Outcome> {
    let (config, weights, _) = semantic_case(context)?;
    let (size, snippets) = (&config.model, if context.quick { 37 } else { 1237 });
    let features = uniform((snippets, size.feature_size), 4)?.flatten_all()?.to_vec1::<f32>()?;
    let scores = |dtype: DType, device: &Device| {
        UrDmu::from_tensors(&weights, size.heads, dtype, device)?.scores(&features)
    };
    let expected = scores(DType::F64, &Device::Cpu)?;
    let got = scores(DType::F32, &context.device)?;
    Ok(within(&expected, &got, 1e-4, &format!("scores of {snippets} snippets")))
}

fn within(expected: &[f32], got: &[f32], tolerance: f32, what: &str) -> Outcome {
    let difference = |(a, b): (&f32, &f32)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::INFINITY } else { difference }
    };
    let worst = expected.iter().zip(got).map(difference).fold(0.0, f32::max);
    let why = format!("{what}: worst difference {worst:.1e}, allowed {tolerance:.0e}");
    Outcome::of(expected.len() == got.len() && worst <= tolerance, why)
}

/// Network, weights and input of the local detector, as published but for fewer and smaller crops.
fn local_case(context: &Context) -> Result<(LocalConfig, Network, Tensors, Tensor)> {
    let kinds = (0..11).map(|kind| kind.to_string()).collect();
    let config = LocalConfig { kinds, ..LocalConfig::default() };
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    let weights = network.initial(&mut stream(5, Purpose::Init, 0), &Device::Cpu)?;
    let (height, width) = if context.quick { (32, 48) } else { (128, 192) };
    let stack = uniform((4, config.inputs(), height, width), 6)?;
    Ok((config, network, weights, ((stack - 0.5)? * 4.0)?))
}

/// Every variable's gradient of the local detector's loss.
pub fn local(context: &Context) -> Result<Outcome> {
    let (config, network, weights, stack) = local_case(context)?;
    let (n, _, height, width) = stack.dims4()?;
    let (rows, columns) = (height / 4, width / 4);
    let features = *config.network.stem.last().context("a stem of two layers")?;
    let keep = uniform((n, features, rows, columns), 7)?.ge(config.network.dropout)?;
    // A quarter of the cells is of some kind.
    let kinds = config.kinds.len();
    let labels: Vec<u8> = (0..n * rows * columns)
        .map(|at| if at % 4 == 0 { (1 + at / 4 % kinds) as u8 } else { 0 })
        .collect();
    let step = |dtype: DType, device: &Device| -> Result<(f64, Gradients)> {
        let mut vars = BTreeMap::new();
        for (name, tensor) in &weights {
            vars.insert(
                name.clone(),
                Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)?,
            );
        }
        let tensors =
            vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let place = |x: &Tensor| x.to_dtype(dtype)?.to_device(device);
        let keep = (place(&keep)? * (1.0 / (1.0 - config.network.dropout)))?;
        let (maps, _) = network.forward_train(&tensors, &place(&stack)?, Some(&keep))?;
        let weights =
            LossWeights { hard_weight: config.hard_weight, hard_share: config.hard_share };
        let (loss, scalar) = attach(&maps, &labels, weights)?;
        let grads = scalar.backward()?;
        let named = |(name, var): (&String, &Var)| Ok((name.clone(), gradient(&grads, var, name)?));
        Ok((f64::from(loss), vars.iter().map(named).collect::<Result<_>>()?))
    };
    let (expected_loss, expected) = step(DType::F64, &Device::Cpu)?;
    let (loss, got) = step(DType::F32, &context.device)?;
    Ok(outcome(expected.len(), &worst(&expected, &got)?, [expected_loss, loss]))
}

/// The local detector's maps with running statistics, as the exported graph computes them.
pub fn local_maps(context: &Context) -> Result<Outcome> {
    let (config, network, mut weights, stack) = local_case(context)?;
    let (_, stats) = network.forward_train(&weights, &stack, None)?;
    for ((mean, variance), stats) in network.statistics_names().zip(stats) {
        let channels = stats.mean.len();
        let tensor = |values| Tensor::from_vec(values, channels, &Device::Cpu);
        weights.insert(mean, tensor(stats.mean)?);
        weights.insert(variance, tensor(stats.variance)?);
    }
    let maps = |dtype: DType, device: &Device| -> Result<Vec<f32>> {
        let place = |x: &Tensor| x.to_dtype(dtype)?.to_device(device);
        let weights: Tensors = weights
            .iter()
            .map(|(name, x)| Ok((name.clone(), place(x)?)))
            .collect::<candle_core::Result<_>>()?;
        let maps = forward_eval(&weights, &config, &place(&stack)?)?;
        Ok(maps.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    };
    let expected = maps(DType::F64, &Device::Cpu)?;
    let got = maps(DType::F32, &context.device)?;
    Ok(within(&expected, &got, 1e-3, "logits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradients(values: &[(&str, [f64; 2])]) -> Gradients {
        let one = |(name, v): &(&str, [f64; 2])| {
            ((*name).to_owned(), Tensor::new(v, &Device::Cpu).unwrap())
        };
        values.iter().map(one).collect()
    }

    #[test]
    fn the_worst_variable_is_named_relative_to_its_own_gradient() {
        let expected = gradients(&[("a", [100.0, 0.0]), ("b", [0.001, -0.002])]);
        let got = gradients(&[("a", [100.1, 0.0]), ("b", [0.001, -0.001])]);
        let worst = worst(&expected, &got).unwrap();
        assert_eq!(worst.variable, "b");
        assert!((worst.difference - 0.5).abs() < 1e-9);
        assert_eq!(outcome(2, &worst, [1.0, 1.0]).status, crate::report::Status::Fail);
    }

    #[test]
    fn nothing_is_passed_that_was_not_compared() {
        let expected = gradients(&[("a", [1.0, 0.0])]);
        assert!(worst(&expected, &Gradients::new()).is_err());
        let other = gradients(&[("b", [1.0, 0.0])]);
        assert!(worst(&expected, &other).unwrap_err().to_string().contains("a got no gradient"));
        let zero = gradients(&[("a", [0.0, 0.0])]);
        assert!(worst(&zero, &expected).unwrap_err().to_string().contains("compares nothing"));
        let nan = gradients(&[("a", [f64::NAN, 0.0])]);
        assert!(worst(&expected, &nan).unwrap().difference.is_infinite());
        let outcome = within(&[1.0, 2.0], &[1.0, f32::NAN], 1.0, "x");
        assert_eq!(outcome.status, crate::report::Status::Fail);
    }
}
