//! AdamW, and the moving average of the weights, with all of their state in the open.
//!
//! candle's own AdamW hides its moments, and a run that is to resume to the same bits needs them.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};

use super::network::{Parameter, Tensors};

/// Decay of the first moment.
const BETA1: f64 = 0.9;
/// Decay of the second moment.
const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;

/// One learned tensor with everything that belongs to it.
struct Slot {
    parameter: Parameter,
    value: Var,
    first: Tensor,
    second: Tensor,
    average: Tensor,
}

/// Decoupled weight decay Adam (Loshchilov and Hutter 2019) and an average of the weights.
pub(crate) struct Optimizer {
    slots: Vec<Slot>,
    step: usize,
}

/// What one step is taken with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepRates {
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// Decay of the average; early on less, so that the first weights are soon forgotten.
    pub average_decay: f64,
}

/// The parts of the state, as prefixes of names in a saved file.
const PARTS: [&str; 4] = ["value", "first", "second", "average"];

impl Optimizer {
    /// Starts from fresh weights.
    pub fn new(parameters: Vec<Parameter>, tensors: &Tensors) -> Result<Self> {
        let slot = |parameter: Parameter| {
            let Some(tensor) = tensors.get(&parameter.name) else {
                bail!("tensor {} is missing", parameter.name);
            };
            let zeros = tensor.zeros_like()?;
            Ok(Slot {
                parameter,
                value: Var::from_tensor(tensor)?,
                first: zeros.clone(),
                second: zeros,
                average: tensor.copy()?,
            })
        };
        Ok(Self { slots: parameters.into_iter().map(slot).collect::<Result<_>>()?, step: 0 })
    }

    /// Steps taken.
    pub fn steps_taken(&self) -> usize {
        self.step
    }

    /// The weights being trained; gradients flow to them.
    pub fn weights(&self) -> Tensors {
        let entry = |slot: &Slot| (slot.parameter.name.clone(), slot.value.as_tensor().clone());
        self.slots.iter().map(entry).collect()
    }

    /// The averaged weights.
    pub fn averaged(&self) -> Tensors {
        let entry = |slot: &Slot| (slot.parameter.name.clone(), slot.average.clone());
        self.slots.iter().map(entry).collect()
    }

    /// Takes one step.
    ///
    /// # Errors
    /// If a weight got no gradient: an operation that drops gradients silently must not pass.
    pub fn step(&mut self, grads: &GradStore, rates: StepRates) -> Result<()> {
        self.step += 1;
        let correct_first = 1.0 / (1.0 - BETA1.powi(self.step as i32));
        let correct_second = 1.0 / (1.0 - BETA2.powi(self.step as i32));
        let taken = self.step as f64;
        let average_decay = rates.average_decay.min(taken / (taken + 9.0));
        for slot in &mut self.slots {
            let Some(grad) = grads.get(&slot.value) else {
                bail!("tensor {} got no gradient", slot.parameter.name);
            };
            // A variable's gradient still refers to what it was computed from: moments made of it would
            // keep every step's tensors.
            let grad = grad.detach();
            let decay = if slot.parameter.decays { rates.weight_decay } else { 0.0 };
            slot.first = ((&slot.first * BETA1)? + (&grad * (1.0 - BETA1))?)?;
            slot.second = ((&slot.second * BETA2)? + (grad.sqr()? * (1.0 - BETA2))?)?;
            let root = ((&slot.second * correct_second)?.sqrt()? + EPSILON)?;
            let update = ((&slot.first * correct_first)? / root)?;
            let kept = (slot.value.as_tensor() * (1.0 - rates.learning_rate * decay))?;
            slot.value.set(&(kept - (update * rates.learning_rate)?)?)?;
            slot.average = ((&slot.average * average_decay)?
                + (slot.value.as_tensor() * (1.0 - average_decay))?)?
                .detach();
        }
        Ok(())
    }

    /// Whether a tensor of this name in a saved state is the optimizer's.
    pub fn owns(name: &str) -> bool {
        name.split_once('.').is_some_and(|(part, _)| PARTS.contains(&part))
    }

    /// Everything needed to go on as if never stopped.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let mut state = HashMap::new();
        for slot in &self.slots {
            let tensors = [slot.value.as_tensor(), &slot.first, &slot.second, &slot.average];
            for (part, tensor) in PARTS.into_iter().zip(tensors) {
                state.insert(format!("{part}.{}", slot.parameter.name), tensor.detach());
            }
        }
        state
    }

    /// Goes back to a saved state, after `step` steps.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>, step: usize) -> Result<()> {
        for slot in &mut self.slots {
            let find = |part: &str| -> Result<Tensor> {
                let name = format!("{part}.{}", slot.parameter.name);
                match state.get(&name) {
                    Some(tensor) if tensor.shape() == slot.value.shape() => {
                        tensor.to_device(slot.value.device())
                    }
                    Some(tensor) => bail!("{name} has shape {:?}", tensor.shape()),
                    None => bail!("{name} is missing"),
                }
            };
            let [value, first, second, average] = PARTS.map(find);
            slot.value.set(&value?)?;
            (slot.first, slot.second, slot.average) = (first?, second?, average?);
        }
        self.step = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_two_steps_are_those_of_the_formula() {
        let parameter = Parameter { name: "w".into(), shape: vec![1], decays: true };
        let start = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        let mut optimizer =
            Optimizer::new(vec![parameter], &HashMap::from([("w".to_owned(), start)])).unwrap();
        let rates = StepRates { learning_rate: 0.1, weight_decay: 0.01, average_decay: 0.5 };
        let (mut w, mut m, mut v, mut average) = (1f64, 0f64, 0f64, 1f64);
        for step in 1..=2 {
            // The gradient of w² is 2 w.
            let weight = optimizer.weights()["w"].clone();
            let grads = weight.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.step(&grads, rates).unwrap();
            let g = 2.0 * w;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh) = (m / (1.0 - 0.9f64.powi(step)), v / (1.0 - 0.999f64.powi(step)));
            w = w * (1.0 - 0.1 * 0.01) - 0.1 * mh / (vh.sqrt() + 1e-8);
            let decay = 0.5f64.min(f64::from(step) / (f64::from(step) + 9.0));
            average = decay * average + (1.0 - decay) * w;
        }
        let got = |t: &Tensor| f64::from(t.to_vec1::<f32>().unwrap()[0]);
        assert!((got(&optimizer.weights()["w"]) - w).abs() < 1e-6);
        assert!((got(&optimizer.averaged()["w"]) - average).abs() < 1e-6);
        assert_eq!(optimizer.steps_taken(), 2);
    }

    #[test]
    fn moments_do_not_keep_what_a_gradient_was_computed_from() {
        let parameters =
            ["a", "b"].map(|name| Parameter { name: name.into(), shape: vec![1], decays: false });
        let start = Tensor::new(&[2f32], &Device::Cpu).unwrap();
        let start = parameters.iter().map(|p| (p.name.clone(), start.clone())).collect();
        let mut optimizer = Optimizer::new(parameters.into(), &start).unwrap();
        let weights = optimizer.weights();
        // The gradient of each is the other.
        let product = (&weights["a"] * &weights["b"]).unwrap();
        let grads = product.sum_all().unwrap().backward().unwrap();
        let rates = StepRates { learning_rate: 0.1, weight_decay: 0.0, average_decay: 0.5 };
        optimizer.step(&grads, rates).unwrap();
        for slot in &optimizer.slots {
            for kept in [&slot.first, &slot.second, &slot.average] {
                let reached = kept.sum_all().unwrap().backward().unwrap();
                assert!(weights.values().all(|weight| reached.get(weight).is_none()));
            }
        }
    }

    #[test]
    fn a_weight_without_a_gradient_is_an_error() {
        let parameter = Parameter { name: "w".into(), shape: vec![1], decays: true };
        let start = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        let mut optimizer =
            Optimizer::new(vec![parameter], &HashMap::from([("w".to_owned(), start)])).unwrap();
        let other = Var::new(&[1f32], &Device::Cpu).unwrap();
        let grads = other.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let rates = StepRates { learning_rate: 0.1, weight_decay: 0.0, average_decay: 0.5 };
        let error = optimizer.step(&grads, rates).unwrap_err().to_string();
        assert!(error.contains("w got no gradient"), "{error}");
    }
}
