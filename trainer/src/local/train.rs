//! The training run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};

use super::batch::{Batch, Purpose, Sampler, random};
use super::config::LocalConfig;
use super::labels::CELL;
use super::loss::{LossWeights, attach};
use super::network::{Network, Tensors};
use super::norm::BatchStats;
use super::optimizer::{Optimizer, StepRates};
use super::state::{Identity, StateDir};
use super::{Error, LumaClip};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Loss of the latest batch.
    pub loss: f32,
    /// Learning rate of the latest step.
    pub learning_rate: f64,
}

/// A trained local network.
#[derive(Debug, Clone)]
pub struct TrainedLocal {
    /// Averaged weights and running statistics, by their names in a checkpoint, on the CPU.
    pub tensors: Tensors,
    /// Loss of each step.
    pub losses: Vec<f32>,
}

/// Trains the local network on clips whose changed pixels are known.
///
/// The same clips, configuration and seed give the same bits on the same kind of device, whatever
/// the number of threads and however often the run was interrupted. With a `state_dir` the run is
/// saved there every [`LocalConfig::save_every`] steps, when stopped and at its end, and goes on
/// from what it finds there. `stop` is looked at before every step.
///
/// The kept weights are a moving average, which varies less between seeds than the last step's;
/// running statistics are computed anew for them, over training batches, because those of the
/// weights on the way would not fit.
///
/// # Errors
/// [`Error::Interrupted`] if `stop` was set; configuration, clips and files that cannot be used.
#[allow(clippy::too_many_arguments, reason = "a run has this many independent parts")]
pub fn train(
    normals: &[LumaClip],
    pseudo: &[LumaClip],
    config: &LocalConfig,
    seed: u64,
    device: &Device,
    state_dir: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<TrainedLocal, Error> {
    train_as(DType::F32, normals, pseudo, config, seed, device, state_dir, progress, stop)
}

/// [`train`] with weights and activations of a type. In `f64` the CPU computes with the operations that
/// a GPU has, so that what a GPU will do can be tested without one.
#[allow(clippy::too_many_arguments, reason = "a run has this many independent parts")]
pub(super) fn train_as(
    dtype: DType,
    normals: &[LumaClip],
    pseudo: &[LumaClip],
    config: &LocalConfig,
    seed: u64,
    device: &Device,
    state_dir: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<TrainedLocal, Error> {
    config.validate()?;
    let sampler = Sampler::new(normals, pseudo, config, seed)?;
    let run = Run {
        network: Network::new(&config.network, config.inputs(), config.kinds.len()),
        sampler,
        config,
        device,
        dtype,
    };
    let initial = run.network.initial(&mut random(seed, Purpose::Weights, 0), device)?;
    let initial = initial
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)))
        .collect::<Result<_, candle_core::Error>>()?;
    let mut optimizer = Optimizer::new(run.network.parameters(), &initial)?;
    let state = state_dir
        .map(|directory| StateDir::open(directory, &Identity::new(config, seed, normals, pseudo)))
        .transpose()?;
    let mut losses = match &state {
        Some(state) => state.load(&mut optimizer)?.0,
        None => Vec::new(),
    };
    while optimizer.steps_taken() < config.steps {
        let stopped = stop.load(Ordering::Relaxed);
        if let Some(state) = &state
            && (stopped || (!losses.is_empty() && losses.len().is_multiple_of(config.save_every)))
        {
            state.save(&optimizer, &losses, HashMap::new())?;
        }
        if stopped {
            return Err(Error::Interrupted { step: optimizer.steps_taken(), steps: config.steps });
        }
        let learning_rate = learning_rate(config, optimizer.steps_taken());
        let loss = run.step(&mut optimizer, learning_rate)?;
        losses.push(loss);
        progress(&Progress { step: losses.len(), steps: config.steps, loss, learning_rate });
    }
    if let Some(state) = &state {
        state.save(&optimizer, &losses, HashMap::new())?;
    }
    let tensors = run
        .with_statistics(optimizer.averaged())?
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)))
        .collect::<Result<_, candle_core::Error>>()?;
    Ok(TrainedLocal { tensors, losses })
}

/// Logit maps `[n, kinds, ⌈h/4⌉, ⌈w/4⌉]` of a trained network for stacks `[n, inputs, h, w]`, in
/// evaluation mode: the reference that exported graphs are measured against.
///
/// # Errors
/// If a tensor is missing or has another shape, or on a device error.
pub fn forward_eval(
    tensors: &Tensors,
    config: &LocalConfig,
    stack: &Tensor,
) -> Result<Tensor, Error> {
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    Ok(network.forward_eval(tensors, stack)?)
}

/// A linear rise over the warm-up, then half a cosine down to zero.
fn learning_rate(config: &LocalConfig, step: usize) -> f64 {
    let warm_up = config.warm_up.min(config.steps.saturating_sub(1));
    if step < warm_up {
        return config.learning_rate * (step + 1) as f64 / (warm_up + 1) as f64;
    }
    let part = (step - warm_up) as f64 / (config.steps - warm_up) as f64;
    config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

struct Run<'a> {
    network: Network,
    sampler: Sampler<'a>,
    config: &'a LocalConfig,
    device: &'a Device,
    dtype: DType,
}

impl Run<'_> {
    fn step(&self, optimizer: &mut Optimizer, learning_rate: f64) -> Result<f32, Error> {
        let step = optimizer.steps_taken();
        let batch = self.sampler.batch(Purpose::Crop, step)?;
        let keep = self.dropout(step)?;
        let stack = self.stack(&batch)?;
        let (maps, _) = self.network.forward_train(&optimizer.weights(), &stack, keep.as_ref())?;
        let weights = LossWeights {
            hard_weight: self.config.hard_weight,
            hard_share: self.config.hard_share,
        };
        let (loss, scalar) = attach(&maps, &batch.cells, weights)?;
        if !loss.is_finite() {
            return Err(Error::Diverged { step: step + 1 });
        }
        let rates = StepRates {
            learning_rate,
            weight_decay: self.config.weight_decay,
            average_decay: self.config.average_decay,
        };
        optimizer.step(&scalar.backward()?, rates)?;
        Ok(loss)
    }

    /// `[batch, inputs, height, width]`.
    fn stack(&self, batch: &Batch) -> Result<Tensor, Error> {
        let crop = self.sampler.crop();
        let shape = (self.config.batch, self.config.inputs(), crop.height, crop.width);
        Ok(Tensor::from_slice(&batch.stacks, shape, self.device)?.to_dtype(self.dtype)?)
    }

    fn dropout(&self, step: usize) -> Result<Option<Tensor>, Error> {
        if self.config.network.dropout == 0.0 {
            return Ok(None);
        }
        let crop = self.sampler.crop();
        let (rows, columns) = (crop.height.div_ceil(CELL), crop.width.div_ceil(CELL));
        let features = self.network.features();
        let mask = self.sampler.dropout(step, features * rows * columns);
        let shape = (self.config.batch, features, rows, columns);
        Ok(Some(Tensor::from_vec(mask, shape, self.device)?.to_dtype(self.dtype)?))
    }

    /// Adds running statistics: the mean over batches of their means and unbiased variances, each
    /// layer fed by layers that normalise by the batch, as in training.
    fn with_statistics(&self, mut tensors: Tensors) -> Result<Tensors, Error> {
        let batches = self.config.statistics_batches;
        let mut sums: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for index in 0..batches {
            let batch = self.sampler.batch(Purpose::Statistics, index)?;
            let (_, stats) = self.network.forward_train(&tensors, &self.stack(&batch)?, None)?;
            sums.resize_with(stats.len(), Default::default);
            for ((means, variances), BatchStats { mean, variance }) in sums.iter_mut().zip(stats) {
                add(means, &mean);
                add(variances, &variance);
            }
        }
        for ((mean_name, variance_name), (means, variances)) in
            self.network.statistics_names().zip(sums)
        {
            for (name, sum) in [(mean_name, means), (variance_name, variances)] {
                let mean: Vec<f32> = sum.iter().map(|sum| (sum / batches as f64) as f32).collect();
                let channels = mean.len();
                let mean = Tensor::from_vec(mean, channels, self.device)?.to_dtype(self.dtype)?;
                tensors.insert(name, mean);
            }
        }
        Ok(tensors)
    }
}

fn add(sums: &mut Vec<f64>, values: &[f32]) {
    sums.resize(values.len(), 0.0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += f64::from(*value);
    }
}
