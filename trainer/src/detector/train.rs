//! Training: batches of B normal and B pseudo-abnormal videos, Adam, resumable bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::model::{TrainOutput, UrDmu};
use super::noise::{Purpose, StepNoise, open_unit, permutation, stream};
use super::parameters::Parameters;
use super::state::{Adam, StateFile, digest};
use super::validation::{self, Selection, Validation};
use super::{Bag, DetectorConfig, Error, Spans, ValidationConfig, darm, losses, ops};

/// The loss terms of one step, by the names in [`losses`] and [`darm`]; 0 for a part that is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is named after the function that computes it")]
pub struct LossValues {
    pub total: f64,
    pub urdmu: f64,
    pub classification: f64,
    pub abnormal_in_a: f64,
    pub abnormal_not_in_n: f64,
    pub normal_in_n: f64,
    pub normal_not_in_a: f64,
    pub triplet: f64,
    pub kl: f64,
    pub distance: f64,
    pub instances: f64,
    pub domain: f64,
    pub mean_distance: f64,
    pub update: f64,
}

/// How training stands after a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Losses of this step.
    pub losses: LossValues,
    /// Mean norm of the batch's most attended normal instances, encoded.
    pub normal_norm: f64,
    /// Mean norm of the batch's most attended pseudo-abnormal instances, encoded: what DARM keeps
    /// down (PA-VAD, ShanghaiTech: 199.48 without, 8.39 with it).
    pub abnormal_norm: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// The validation after this step, if there was one.
    pub validation: Option<Validation>,
}

/// Shape and row-major values of a tensor.
pub type Values = (Vec<usize>, Vec<f32>);

/// A detector that is ready to be saved, exported or used for scoring.
#[derive(Debug, Clone)]
pub struct TrainedDetector {
    /// Weights by their public names, `f32` on the CPU, without the domain discriminator.
    pub tensors: BTreeMap<String, Tensor>,
    /// The configuration it was trained with.
    pub config: DetectorConfig,
    /// The seed it was trained with.
    pub seed: u64,
    /// SHA-256 of the training bags, in hexadecimal.
    pub data: String,
    /// The last step's figures; all zero if the saved state was already complete.
    pub last: Progress,
    /// The validation whose weights these are, if validation was on; else they are the last step's.
    pub selected: Option<Validation>,
}

impl TrainedDetector {
    /// The network, for scoring.
    ///
    /// # Errors
    /// If memory is short.
    pub fn model(&self, device: &Device) -> Result<UrDmu, Error> {
        UrDmu::from_tensors(&self.tensors, self.config.model.heads, DType::F32, device)
    }

    /// The weights as plain `f32` values with their shapes, by name.
    ///
    /// # Errors
    /// If memory is short.
    pub fn values(&self) -> Result<BTreeMap<String, Values>, Error> {
        let plain = |(name, tensor): (&String, &Tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok((name.clone(), (tensor.dims().to_vec(), values)))
        };
        self.tensors.iter().map(plain).collect()
    }
}

/// Trains a detector on real normal and pseudo-abnormal bags.
///
/// With a `state_dir` the state is saved there every `checkpoint_every` steps, when `stop` is set,
/// and at the end; a later call with the same arguments goes on from it and gives bit for bit what
/// an unbroken run gives. `progress` is called after every step. With `config.validation` on, the
/// weights are those of the best validation.
///
/// # Errors
/// Before any work: [`Error::Config`], [`Error::NoBags`], [`Error::Bag`], [`Error::StateMismatch`],
/// [`Error::TooFewToValidate`].
/// During it: [`Error::Diverged`], [`Error::Interrupted`] once `stop` is set, [`Error::Io`].
#[expect(clippy::too_many_arguments, reason = "each is one independent thing the run needs")]
pub fn train(
    normal: &[Bag],
    pseudo: &[Bag],
    config: &DetectorConfig,
    seed: u64,
    device: &Device,
    state_dir: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<TrainedDetector, Error> {
    train_as(DType::F32, normal, pseudo, config, seed, device, state_dir, progress, stop)
}

/// [`train`] with parameters and activations of a type. In `f64` the CPU computes with the operations
/// that a GPU has, so that what a GPU will do can be tested without one.
#[expect(clippy::too_many_arguments, reason = "each is one independent thing the run needs")]
fn train_as(
    dtype: DType,
    normal: &[Bag],
    pseudo: &[Bag],
    config: &DetectorConfig,
    seed: u64,
    device: &Device,
    state_dir: Option<&Path>,
    progress: &mut dyn FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<TrainedDetector, Error> {
    config.validate()?;
    for (kind, bags) in [("normal", normal), ("pseudo-abnormal", pseudo)] {
        if bags.is_empty() {
            return Err(Error::NoBags(kind));
        }
        bags.par_iter().try_for_each(|bag| bag.validate(kind, config.model.feature_size))?;
    }
    let cells = normal[0].cells;
    if let Some((kind, bag)) = [("normal", normal), ("pseudo-abnormal", pseudo)]
        .into_iter()
        .find_map(|(kind, bags)| Some((kind, bags.iter().find(|bag| bag.cells != cells)?)))
    {
        return Err(bag.refused(kind, format!("`{}` has {cells} cells", normal[0].name)));
    }
    let data = digest(normal, pseudo);
    let hidden = config.use_da.then_some(config.discriminator_hidden);
    let parameters = Parameters::init(&config.model, hidden, seed, dtype, device)?;
    let mut adam = Adam::new(&parameters)?;
    let state = state_dir.map(|dir| StateFile::new(dir, config, seed, data.clone())).transpose()?;
    let mut selection = Selection::default();
    let mut done = match &state {
        Some(state) => state.load(&parameters, &mut adam, &mut selection, device)?.unwrap_or(0),
        None => 0,
    };
    let ValidationConfig { every, share, patience } = config.validation;
    // With validation off every bag is trained on.
    let sides = |bags, kind| match every {
        0 => Ok((<[Bag]>::iter(bags).collect(), Vec::new())),
        _ => validation::split(bags, kind, share, seed),
    };
    let (normal, normal_out) = sides(normal, "normal")?;
    let (pseudo, pseudo_out) = sides(pseudo, "pseudo-abnormal")?;
    let model = UrDmu { size: config.model.clone(), parameters };
    let mut last = Progress { step: done, steps: config.steps, ..Progress::default() };
    let mut saved = done;
    while done < config.steps && !selection.exhausted(every, patience) {
        if stop.load(Ordering::Relaxed) {
            if let Some(state) = state.as_ref().filter(|_| saved < done) {
                state.save(done, &model.parameters, &adam, &selection)?;
            }
            let saved = state.map(|s| s.path().to_path_buf());
            return Err(Error::Interrupted { step: done, saved });
        }
        let step = done + 1;
        let (features, changed) = batch(&normal, &pseudo, config, seed, done, device)?;
        let features = features.to_dtype(dtype)?;
        let changed = changed.map(|changed| changed.to_dtype(dtype)).transpose()?;
        let mut noise = StepNoise::new(seed, step);
        let (share, dropout) = (config.top_share, config.dropout);
        let out = model.train_cells(&features, changed.as_ref(), share, dropout, &mut noise)?;
        let (total, values) = total_loss(&model.parameters, &out, config)?;
        if !values.total.is_finite() {
            return Err(Error::Diverged { step, what: "the loss", value: values.total });
        }
        adam.update(&model.parameters, &total.backward()?, config, step)?;
        done = step;
        let validation = match every {
            0 => None,
            every if done.is_multiple_of(every) => {
                let found = validation::validate(&model, &normal_out, &pseudo_out, config, done)?;
                selection.note(found, || weights(&model.parameters))?;
                Some(found)
            }
            _ => None,
        };
        last = Progress {
            step,
            steps: config.steps,
            losses: values,
            normal_norm: scalar(&ops::norm(&out.anchor.detach())?.mean_all()?)?,
            abnormal_norm: scalar(&ops::norm(&out.negative.detach())?.mean_all()?)?,
            learning_rate: config.lr,
            validation,
        };
        progress(&last);
        if let Some(state) = &state
            && (done.is_multiple_of(config.checkpoint_every)
                || done == config.steps
                || selection.exhausted(every, patience))
        {
            state.save(done, &model.parameters, &adam, &selection)?;
            saved = done;
        }
    }
    let tensors = match selection.best {
        Some(_) => selection.weights,
        None => weights(&model.parameters)?,
    };
    let selected = selection.best;
    Ok(TrainedDetector { tensors, config: config.clone(), seed, data, last, selected })
}

/// Copies of the detector's weights on the CPU, without the domain discriminator, which only training
/// needs.
fn weights(parameters: &Parameters) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut tensors = parameters.tensors()?;
    tensors.retain(|name, _| !name.starts_with("domain."));
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    }
    Ok(tensors)
}

/// L = L_UR-DMU + λ1 · L_DA + λ2 · L_upd (PA-VAD), and the value of every term.
///
/// # Errors
/// If a parameter is missing or a tensor operation fails.
pub fn total_loss(
    parameters: &Parameters,
    out: &TrainOutput,
    config: &DetectorConfig,
) -> Result<(Tensor, LossValues), Error> {
    let urdmu = losses::urdmu(out, &config.weights)?;
    let darm = darm::losses(parameters, out, config)?;
    let mut total = urdmu.total.clone();
    for (term, weight) in [
        (&darm.domain, config.lambda1),
        (&darm.mean_distance, config.lambda1),
        (&darm.update, config.lambda2),
    ] {
        if let Some(term) = term {
            total = (total + (term * weight)?)?;
        }
    }
    let optional = |term: &Option<Tensor>| term.as_ref().map_or(Ok(0.0), scalar);
    let values = LossValues {
        total: scalar(&total)?,
        urdmu: scalar(&urdmu.total)?,
        classification: scalar(&urdmu.classification)?,
        abnormal_in_a: scalar(&urdmu.abnormal_in_a)?,
        abnormal_not_in_n: scalar(&urdmu.abnormal_not_in_n)?,
        normal_in_n: scalar(&urdmu.normal_in_n)?,
        normal_not_in_a: scalar(&urdmu.normal_not_in_a)?,
        triplet: scalar(&urdmu.triplet)?,
        kl: scalar(&urdmu.kl)?,
        distance: scalar(&urdmu.distance)?,
        instances: optional(&urdmu.instances)?,
        domain: optional(&darm.domain)?,
        mean_distance: optional(&darm.mean_distance)?,
        update: optional(&darm.update)?,
    };
    Ok((total, values))
}

fn scalar(tensor: &Tensor) -> Result<f64, Error> {
    Ok(tensor.to_dtype(DType::F64)?.to_scalar()?)
}

/// The batch of a step (from 0): features `[2B, C, S, D]`, normal first, and which instances of the
/// pseudo-abnormal half are changed, `[B, C · S]`, if that is known of all and asked for. Every bag of a
/// side is used once before any is used again, in a new order each time.
fn batch(
    normal: &[&Bag],
    pseudo: &[&Bag],
    config: &DetectorConfig,
    seed: u64,
    step: usize,
    device: &Device,
) -> Result<(Tensor, Option<Tensor>), Error> {
    let (b, s, d) = (config.batch, config.segments, config.model.feature_size);
    let mut chosen = Vec::with_capacity(2 * b);
    for (bags, purpose, instances) in [
        (normal, Purpose::NormalOrder, Purpose::NormalInstances),
        (pseudo, Purpose::PseudoOrder, Purpose::PseudoInstances),
    ] {
        let mut order = (usize::MAX, Vec::new());
        for place in step * b..(step + 1) * b {
            let round = place / bags.len();
            if order.0 != round {
                order = (round, permutation(bags.len(), &mut stream(seed, purpose, round as u64)));
            }
            chosen.push((bags[order.1[place % bags.len()]], instances, place));
        }
    }
    let (features, labels): (Vec<Vec<f32>>, Vec<Vec<bool>>) = chosen
        .par_iter()
        .map(|&(bag, purpose, place)| {
            let mut rng = stream(seed, purpose, place as u64);
            let range = match config.spans {
                Spans::Run if bag.snippets > s => {
                    let room = (bag.snippets - s + 1) as f64;
                    let first = (open_unit(&mut rng) * room) as usize;
                    first..first + s
                }
                _ => 0..bag.snippets,
            };
            let mut cells: Vec<usize> = (0..bag.cells).collect();
            if (1..bag.cells).contains(&config.cells) {
                cells = permutation(bag.cells, &mut rng);
                cells.truncate(config.cells);
            }
            bag.instances(&cells, range, s)
        })
        .unzip();
    let cells = labels.first().map_or(0, Vec::len) / s;
    let features = Tensor::from_vec(features.concat(), (2 * b, cells, s, d), device)?;
    let known = chosen[b..].iter().all(|(bag, ..)| bag.changed.is_some());
    let changed = (known && config.weights.instances > 0.0).then(|| {
        let values: Vec<f32> =
            labels[b..].iter().flatten().map(|c| f32::from(u8::from(*c))).collect();
        Tensor::from_vec(values, (b, cells * s), device)
    });
    Ok((features, changed.transpose()?))
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::detector::ModelSize;

    /// Progress and weights of a short run with validation.
    fn run(dtype: DType) -> (Vec<Progress>, BTreeMap<String, Values>) {
        let model = ModelSize {
            feature_size: 24,
            embedding: 16,
            heads: 2,
            head_size: 8,
            feed_forward: 20,
            classifier_hidden: 8,
            ..ModelSize::default()
        };
        let config = DetectorConfig {
            model,
            segments: 20,
            batch: 3,
            steps: 6,
            lr: 1e-3,
            validation: ValidationConfig { every: 3, share: 0.25, patience: 0 },
            ..DetectorConfig::default()
        };
        let bags = |index: u64| -> Vec<Bag> {
            let mut rng = stream(4, Purpose::Init, index);
            let mut bag = |number: usize| {
                let snippets = 12 + 5 * number;
                let features = (0..snippets * 24).map(|_| rng.random::<f32>()).collect();
                Bag::pooled(number.to_string(), features, snippets, 24)
            };
            (0..5).map(&mut bag).collect()
        };
        let (mut seen, stop) = (Vec::new(), AtomicBool::new(false));
        let mut progress = |p: &Progress| seen.push(*p);
        let (normal, pseudo) = (bags(0), bags(1));
        let cpu = Device::Cpu;
        let trained =
            train_as(dtype, &normal, &pseudo, &config, 7, &cpu, None, &mut progress, &stop);
        let values = trained.unwrap().values().unwrap();
        (seen, values)
    }

    #[test]
    fn training_with_the_operations_of_a_gpu_gives_what_the_fused_ones_give() {
        let (fused, fused_weights) = run(DType::F32);
        let (composed, composed_weights) = run(DType::F64);
        assert_eq!(fused.len(), 6);
        let close = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * (1.0 + b.abs());
        for (a, b) in fused.iter().zip(&composed) {
            for (a, b) in [
                (a.losses.total, b.losses.total),
                (a.losses.classification, b.losses.classification),
                (a.losses.triplet, b.losses.triplet),
                (a.losses.domain, b.losses.domain),
                (a.losses.update, b.losses.update),
                (a.abnormal_norm, b.abnormal_norm),
            ] {
                assert!(close(a, b, 1e-4), "{a} {b}");
            }
            assert_eq!(a.validation.map(|v| v.auc), b.validation.map(|v| v.auc));
        }
        assert!(fused[5].losses.total < fused[0].losses.total);
        assert_eq!(fused_weights.len(), composed_weights.len());
        for (name, (shape, values)) in &fused_weights {
            let (expected_shape, expected) = &composed_weights[name];
            assert_eq!(shape, expected_shape);
            for (a, b) in values.iter().zip(expected) {
                // Adam makes a step of full length of the smallest gradient, so a weight may be off by
                // a part of the six steps; most are far closer.
                assert!((a - b).abs() < 2e-3, "{name}: {a} {b}");
            }
        }
    }
}
