//! The distillation run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use serde::Serialize;

use super::config::StudentConfig;
use super::fit::ridge;
use super::loss::{Normal, cosines};
use super::network::{Network, PROJECTION_BIAS, PROJECTION_WEIGHT};
use super::samples::{Batch, Purpose, Samples, random};
use super::{Error, initial};
use crate::local::Tensors;
use crate::local::optimizer::{Optimizer, StepRates};
use crate::local::state::StateDir;

/// The student on clips kept out of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Steps taken before it.
    pub step: usize,
    /// Mean cosine of the student's and the teacher's features as they are. Features of a network's
    /// end are positive and alike, so this is high before anything was learned.
    pub cosine: f64,
    /// Mean cosine after both were normalised by the teacher's mean and deviation on the training
    /// clips: 0 for a student that always gives the mean. By this a student is chosen.
    pub cosine_normalised: f64,
    /// The loss.
    pub loss: f64,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Loss of the latest batch.
    pub loss: f32,
    /// Its smooth L1 term.
    pub smooth_l1: f32,
    /// Its cosine term, before its weight.
    pub cosine: f32,
    /// Learning rate of the latest step.
    pub learning_rate: f64,
    /// What clips kept out say after it, if they were looked at.
    pub validation: Option<Validation>,
}

/// A trained student.
#[derive(Debug, Clone)]
pub struct Trained {
    /// All its tensors by their names, running statistics too, on the CPU: those of the best
    /// validation.
    pub tensors: Tensors,
    /// The validation before the first step: published weights and a fitted projection.
    pub before: Validation,
    /// The best validation.
    pub best: Validation,
}

/// What must be equal for a run to be resumed.
#[derive(Serialize)]
struct Identity<'a> {
    format: u32,
    seed: u64,
    weights: &'a str,
    training: String,
    validation: String,
    config: &'a StudentConfig,
}

/// What a student learns from.
pub struct Footage {
    /// Clips for training.
    pub training: Samples,
    /// Clips kept out of it, by which the student is chosen.
    pub validation: Samples,
}

/// Teaches `start`, the network's tensors but for the projection, to give the teacher's features.
///
/// While it is trained, the projection gives features normalised by the teacher's mean and deviation:
/// its inputs are positive and move together, so that a step of Adam, the same for every weight, moves an
/// output by hundreds of them, which the teacher's small deviations would not bear. At the end both are
/// multiplied into it.
///
/// Batches are runs of consecutive snippets as streams; a run is mirrored or not, and nothing else is
/// changed about it, because the teacher must see the same. The loss is the smooth L1 distance plus
/// `cosine_weight · (1 − cosine)` of features normalised by the teacher's mean and deviation. The
/// optimiser is Adam with decoupled weight decay; the rate rises linearly and falls with half a cosine.
/// What is validated and kept is a moving average of the weights.
///
/// The same footage, configuration and seed give the same bits on the same kind of device, whatever
/// the number of threads and however often the run was interrupted. With a `state_dir` the run is saved
/// there every `save_every` steps, when stopped and at its end, and goes on from what it finds there.
/// `weights` stands for `start` in the state. `stop` is looked at before every step.
///
/// # Errors
/// [`Error::Interrupted`] if `stop` was set; configuration, clips, weights and files that cannot be
/// used.
#[allow(clippy::too_many_arguments, reason = "a run has this many independent parts")]
pub fn train(
    network: &Network,
    start: &Tensors,
    weights: &str,
    footage: &Footage,
    config: &StudentConfig,
    seed: u64,
    device: &Device,
    state_dir: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<Trained, Error> {
    config.validate()?;
    let Footage { training, validation } = footage;
    if training.is_empty() || validation.is_empty() {
        return Err(Error::NoClips {
            training: training.snippets(),
            validation: validation.snippets(),
        });
    }
    let (mean, deviation) = training.spread();
    let normal = Normal::new(mean, deviation, DType::F32, device)?;
    let start = initial::checked(network, start, device)?;
    let run = Run { network, config, device, seed, footage, normal, start };
    let state = state_dir
        .map(|directory| {
            let (training, validation) = (training.hash(), validation.hash());
            let identity = Identity { format: 1, seed, weights, training, validation, config };
            StateDir::open(directory, &identity)
        })
        .transpose()?;
    let resumed = state.as_ref().is_some_and(StateDir::has_state);
    let mut tensors = run.start.clone();
    // A saved state has the projection; fitting it anew would be a pass over the footage for nothing.
    tensors.extend(if resumed { run.drawn_projection()? } else { run.projection()? });
    let mut optimizer = Optimizer::new(network.parameters(), &tensors)?;
    let mut losses = Vec::new();
    let mut best = match &state {
        Some(state) if resumed => {
            let (saved, more) = state.load(&mut optimizer)?;
            losses = saved;
            Best::restore(&more, device)?
        }
        _ => {
            let before = run.validate(&tensors, 0)?;
            log_validation(&before);
            Best { before, best: before, tensors: run.learned(&tensors)? }
        }
    };
    while optimizer.steps_taken() < config.steps {
        let stopped = stop.load(Ordering::Relaxed);
        let due = !losses.is_empty() && losses.len().is_multiple_of(config.save_every);
        if let Some(state) = &state
            && (stopped || due)
        {
            state.save(&optimizer, &losses, best.state()?)?;
        }
        if stopped {
            return Err(Error::Interrupted { step: optimizer.steps_taken(), steps: config.steps });
        }
        let mut done = run.step(&mut optimizer)?;
        losses.push(done.loss);
        if done.step.is_multiple_of(config.validate_every) || done.step == config.steps {
            let averaged = run.with_statistics(optimizer.averaged());
            let found = run.validate(&averaged, done.step)?;
            log_validation(&found);
            if found.cosine_normalised > best.best.cosine_normalised {
                best.best = found;
                best.tensors = run.learned(&averaged)?;
            }
            done.validation = Some(found);
        }
        progress(&done);
    }
    if let Some(state) = &state {
        state.save(&optimizer, &losses, best.state()?)?;
    }
    let tensors = run
        .with_statistics(run.denormalised(best.tensors)?)
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)))
        .collect::<Result<_, candle_core::Error>>()?;
    Ok(Trained { tensors, before: best.before, best: best.best })
}

fn log_validation(v: &Validation) {
    log::info!(
        "clips kept out after {} steps: cosine {:.4}, normalised {:.4}, loss {:.4}",
        v.step,
        v.cosine,
        v.cosine_normalised,
        v.loss
    );
}

/// A linear rise over the warm-up, then half a cosine down to zero.
fn learning_rate(config: &StudentConfig, step: usize) -> f64 {
    let warm_up = config.warm_up.min(config.steps.saturating_sub(1));
    if step < warm_up {
        return config.learning_rate * (step + 1) as f64 / (warm_up + 1) as f64;
    }
    let part = (step - warm_up) as f64 / (config.steps - warm_up) as f64;
    config.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

/// The best student so far.
struct Best {
    before: Validation,
    best: Validation,
    /// Learned tensors.
    tensors: Tensors,
}

/// Prefix of the best weights in a saved state.
const BEST: &str = "best.";
/// The two validations in a saved state, `[2, 4]`.
const VALIDATIONS: &str = "validations";

impl Best {
    fn state(&self) -> Result<HashMap<String, Tensor>, Error> {
        let row = |v: &Validation| [v.step as f64, v.cosine, v.cosine_normalised, v.loss];
        let validations = Tensor::new(&[row(&self.before), row(&self.best)], &Device::Cpu)?;
        let named = self.tensors.iter().map(|(name, t)| (format!("{BEST}{name}"), t.detach()));
        Ok(named.chain([(VALIDATIONS.to_owned(), validations)]).collect())
    }

    fn restore(state: &HashMap<String, Tensor>, device: &Device) -> Result<Self, Error> {
        let missing = || candle_core::Error::Msg("a saved state without validations".into());
        let rows = state.get(VALIDATIONS).ok_or_else(missing)?.to_vec2::<f64>()?;
        let validation = |row: &[f64]| match *row {
            [step, cosine, cosine_normalised, loss] => {
                Ok(Validation { step: step as usize, cosine, cosine_normalised, loss })
            }
            _ => Err(missing()),
        };
        let [before, best] = rows.as_slice() else { return Err(missing().into()) };
        let tensors = state
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(BEST)?.to_owned(), tensor)))
            .map(|(name, tensor)| Ok((name, tensor.to_device(device)?)))
            .collect::<Result<_, candle_core::Error>>()?;
        Ok(Self { before: validation(before)?, best: validation(best)?, tensors })
    }
}

struct Run<'a> {
    network: &'a Network,
    config: &'a StudentConfig,
    device: &'a Device,
    seed: u64,
    footage: &'a Footage,
    normal: Normal,
    /// The network's tensors at the start, without a projection.
    start: Tensors,
}

impl Run<'_> {
    fn step(&self, optimizer: &mut Optimizer) -> Result<Progress, Error> {
        let step = optimizer.steps_taken();
        let batch = self.footage.training.batch(self.config, self.seed, step, self.device)?;
        let tensors = self.with_statistics(optimizer.weights());
        let student = self.network.features(&tensors, &batch.frames, &batch.runs)?;
        let terms = self.normal.terms(&student, &batch.teacher)?;
        let loss = (&terms.smooth_l1 + (&terms.cosine * self.config.cosine_weight)?)?;
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(Error::Diverged { step: step + 1 });
        }
        let learning_rate = learning_rate(self.config, step);
        let rates = StepRates {
            learning_rate,
            weight_decay: self.config.weight_decay,
            average_decay: self.config.average_decay,
        };
        optimizer.step(&loss.backward()?, rates)?;
        Ok(Progress {
            step: step + 1,
            steps: self.config.steps,
            loss: value,
            smooth_l1: terms.smooth_l1.to_scalar()?,
            cosine: terms.cosine.to_scalar()?,
            learning_rate,
            validation: None,
        })
    }

    /// Learned tensors whose projection gives the teacher's features as they are.
    fn denormalised(&self, mut learned: Tensors) -> Result<Tensors, Error> {
        let Normal { mean, deviation } = &self.normal;
        if let Some(weight) = learned.get_mut(PROJECTION_WEIGHT) {
            *weight = weight.broadcast_mul(&deviation.t()?)?; // [features, last] · [features, 1]
        }
        if let Some(bias) = learned.get_mut(PROJECTION_BIAS) {
            *bias = (bias.mul(&deviation.squeeze(0)?)? + mean.squeeze(0)?)?;
        }
        Ok(learned)
    }

    /// Learned tensors with the frozen statistics.
    fn with_statistics(&self, mut learned: Tensors) -> Tensors {
        for (name, _) in self.network.statistics() {
            if let Some(tensor) = self.start.get(&name) {
                learned.insert(name, tensor.clone());
            }
        }
        learned
    }

    /// The learned ones of some tensors, cut off from what they were computed from.
    fn learned(&self, tensors: &Tensors) -> Result<Tensors, Error> {
        let names = self.network.parameters().into_iter().map(|parameter| parameter.name);
        let taken = names.filter_map(|name| {
            let tensor = tensors.get(&name)?.detach().copy();
            Some(tensor.map(|tensor| (name, tensor)))
        });
        Ok(taken.collect::<Result<_, _>>()?)
    }

    /// The student without gradients on the clips kept out.
    fn validate(&self, tensors: &Tensors, step: usize) -> Result<Validation, Error> {
        let tensors: Tensors =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect();
        let samples = &self.footage.validation;
        let (mut student, mut teacher) = (Vec::new(), Vec::new());
        let runs = samples.spread_runs(self.config.validation_snippets);
        for which in runs.chunks(self.config.batch) {
            let batch = self.runs(samples, which)?;
            student.push(self.network.features(&tensors, &batch.frames, &batch.runs)?);
            teacher.push(batch.teacher);
        }
        let (student, teacher) = (Tensor::cat(&student, 0)?, Tensor::cat(&teacher, 0)?);
        let mean = |t: Tensor| Ok::<_, Error>(f64::from(t.mean_all()?.to_scalar::<f32>()?));
        let terms = self.normal.terms(&student, &teacher)?;
        let cosine_term = mean(terms.cosine)?;
        Ok(Validation {
            step,
            cosine: mean(cosines(&self.normal.undo(&student)?, &teacher)?)?,
            cosine_normalised: 1.0 - cosine_term,
            loss: mean(terms.smooth_l1)? + self.config.cosine_weight * cosine_term,
        })
    }

    fn runs(&self, samples: &Samples, which: &[(usize, usize)]) -> Result<Batch, Error> {
        let which: Vec<usize> = which.iter().map(|(at, _)| *at).collect();
        samples.runs(&which, self.device)
    }

    /// A projection to begin with.
    fn projection(&self) -> Result<Tensors, Error> {
        let samples = &self.footage.training;
        let runs = samples.spread_runs(self.config.fit_snippets);
        if self.config.fit_snippets == 0 || runs.len() < 2 {
            return self.drawn_projection();
        }
        let (mut pooled, mut teacher, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        log::info!("fitting a first projection to {} runs of snippets", runs.len());
        let double = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64);
        for which in runs.chunks(self.config.batch) {
            let batch = self.runs(samples, which)?;
            let x = self.network.snippets(&self.start, &batch.frames, &batch.runs)?;
            pooled.push(double(&x)?);
            teacher.push(double(&self.normal.apply(&batch.teacher)?)?);
            for ((_, clip), frames) in which.iter().zip(&batch.runs) {
                let snippets = frames / super::network::SNIPPET;
                clips.extend(std::iter::repeat_n(*clip, snippets));
            }
        }
        let fit = ridge(&Tensor::cat(&pooled, 0)?, &Tensor::cat(&teacher, 0)?, &clips)?;
        log::debug!("projection fitted with a penalty of {}", fit.penalty);
        let single = |t: Tensor| t.to_dtype(DType::F32)?.contiguous()?.to_device(self.device);
        Ok(HashMap::from([
            (PROJECTION_WEIGHT.to_owned(), single(fit.weight)?),
            (PROJECTION_BIAS.to_owned(), single(fit.bias)?),
        ]))
    }

    /// A projection that gives 0, the teacher's mean, and a little noise.
    fn drawn_projection(&self) -> Result<Tensors, Error> {
        let (outputs, inputs) = (self.network.feature_size(), self.network.pooled_size());
        let mut rng = random(self.seed, Purpose::Projection, 0);
        let bound = 0.1 / (inputs as f32).sqrt();
        let data: Vec<f32> =
            (0..outputs * inputs).map(|_| rng.random_range(-bound..bound)).collect();
        Ok(HashMap::from([
            (PROJECTION_WEIGHT.to_owned(), Tensor::from_vec(data, (outputs, inputs), self.device)?),
            (PROJECTION_BIAS.to_owned(), self.normal.mean.squeeze(0)?.zeros_like()?),
        ]))
    }
}
