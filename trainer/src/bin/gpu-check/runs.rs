//! Whole training runs on the device: noise, resuming, and the time and memory of a step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use trainer::detector::noise::{Noise, Purpose, StepNoise, stream};
use trainer::detector::{self, Bag, DetectorConfig, ModelSize};
use trainer::device::{peak_memory, reset_peak_memory};
use trainer::local::{self, CropSize, LocalConfig, LumaClip};

use crate::Context;
use crate::pytorch::median;
use crate::report::Outcome;

/// Steps that are not counted, here as in PyTorch.
pub const WARM_UP: usize = 3;

/// Moments of the noise, share of the dropout, and that both repeat.
pub fn noise(context: &Context) -> Result<Outcome> {
    let (b, t, e) = if context.quick { (4, 50, 101) } else { (32, 200, 512) };
    let like = Tensor::ones((b, t, e), DType::F32, &context.device)?;
    let draw = |step: usize| -> Result<[Vec<f32>; 2]> {
        let mut noise = StepNoise::new(1, step);
        let normal = noise.normal((b, t, e), &like)?;
        let dropped = noise.dropout(&like, 0.5)?;
        Ok([normal.flatten_all()?.to_vec1()?, dropped.flatten_all()?.to_vec1()?])
    };
    let [normal, dropped] = draw(7)?;
    let n = normal.len() as f64;
    let moment = |power: i32| normal.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / n;
    let kept = dropped.iter().filter(|v| **v == 2.0).count() as f64 / n;
    let zero = dropped.iter().filter(|v| **v == 0.0).count() as f64 / n;
    let same = draw(7)? == [normal.clone(), dropped];
    let other = draw(8)?[0] != normal;
    // Five deviations of the means of n values.
    let off = 5.0 / n.sqrt();
    let (mean, variance, fourth) = (moment(1), moment(2), moment(4));
    let holds = mean.abs() < off
        && (variance - 1.0).abs() < 1.5 * off
        && (fourth - 3.0).abs() < 10.0 * off
        && (kept - 0.5).abs() < 0.5 * off
        && (kept + zero - 1.0).abs() < 1e-9;
    let why = format!(
        "mean {mean:.1e}, variance {variance:.4}, kept {kept:.4}; same seed {}, other step {}",
        if same { "repeats" } else { "DIFFERS" },
        if other { "differs" } else { "REPEATS" }
    );
    Ok(Outcome::of(holds && same && other, why))
}

fn bags(config: &DetectorConfig, count: usize, index: u64) -> Vec<Bag> {
    let mut rng = stream(1, Purpose::Init, index);
    let (snippets, d) = (config.segments, config.model.feature_size);
    let mut bag = |number: usize| {
        let features = (0..snippets * d).map(|_| rng.random()).collect();
        Bag::pooled(number.to_string(), features, snippets, d)
    };
    (0..count).map(&mut bag).collect()
}

/// Takes the semantic detector's steps; `after` is called after each and may ask to stop.
fn semantic_run(
    config: &DetectorConfig,
    device: &Device,
    state: Option<&Path>,
    after: &mut dyn FnMut(usize, &AtomicBool),
) -> Result<BTreeMap<String, Tensor>, detector::Error> {
    let (normal, pseudo) = (bags(config, config.batch, 0), bags(config, config.batch, 1));
    let stop = AtomicBool::new(false);
    let mut progress = |p: &detector::Progress| after(p.step, &stop);
    detector::train(&normal, &pseudo, config, 1, device, state, &mut progress, &stop)
        .map(|trained| trained.tensors)
}

/// The local detector's steps, in the same way.
fn local_run(
    config: &LocalConfig,
    device: &Device,
    state: Option<&Path>,
    after: &mut dyn FnMut(usize, &AtomicBool),
) -> Result<BTreeMap<String, Tensor>, local::Error> {
    let (width, height, frames) = (320, 240, 32);
    let mut rng = stream(2, Purpose::Init, 0);
    let mut clip = |labelled: bool| {
        let mut picture = |_| (0..width * height).map(|_| rng.random()).collect();
        let frames: Vec<Vec<u8>> = (0..frames).map(&mut picture).collect();
        // A square of each kind in every frame.
        let label = |at: usize| {
            let (x, y) = (at % width / 16, at / width / 16);
            if (x + y) % 4 == 0 { (1 + (x + y) / 4 % 11) as u8 } else { 0 }
        };
        let map: Vec<u8> = (0..width * height).map(label).collect();
        let labels = labelled.then(|| vec![map; frames.len()]);
        LumaClip { width, height, frames, labels }
    };
    let (normal, pseudo) = (vec![clip(false)], vec![clip(true)]);
    let stop = AtomicBool::new(false);
    let mut progress = |p: &local::Progress| after(p.step, &stop);
    local::train(&normal, &pseudo, config, 1, device, state, &mut progress, &stop)
        .map(|trained| trained.tensors.into_iter().collect())
}

fn local_config(steps: usize) -> LocalConfig {
    let kinds = (0..11).map(|kind| kind.to_string()).collect();
    LocalConfig { kinds, steps, warm_up: 0, statistics_batches: 1, ..LocalConfig::default() }
}

/// Whether a run that stops after half its steps and goes on gives the bits of one that does not.
pub fn resumes<E: std::error::Error + Send + Sync + 'static>(
    steps: usize,
    mut run: impl FnMut(
        Option<&Path>,
        &mut dyn FnMut(usize, &AtomicBool),
    ) -> Result<BTreeMap<String, Tensor>, E>,
) -> Result<Outcome> {
    let whole = run(None, &mut |_, _| {})?;
    let folder = std::env::temp_dir().join(format!("gpu-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut halves = || -> Result<BTreeMap<String, Tensor>> {
        let mut at_half = |step: usize, stop: &AtomicBool| {
            stop.store(step == steps / 2, Ordering::Relaxed);
        };
        if run(Some(&folder), &mut at_half).is_ok() {
            bail!("the run did not stop when it was asked to");
        }
        Ok(run(Some(&folder), &mut |_, _| {})?)
    };
    let parts = halves();
    // Whatever came of it, nothing is left.
    std::fs::remove_dir_all(&folder)?;
    let (parts, mut different) = (parts?, Vec::new());
    for (name, tensor) in &whole {
        let bits = |t: &Tensor| -> Result<Vec<u32>> {
            let values = t.flatten_all()?.to_vec1::<f32>()?;
            Ok(values.into_iter().map(f32::to_bits).collect())
        };
        match parts.get(name) {
            Some(part) if bits(part)? == bits(tensor)? => {}
            _ => different.push(name.as_str()),
        }
    }
    let why = match different.first() {
        None => format!("{} tensors after {steps} steps, stopped after {}", whole.len(), steps / 2),
        Some(name) => {
            format!("{} of {} tensors differ, first {name}", different.len(), whole.len())
        }
    };
    Ok(Outcome::of(different.is_empty(), why))
}

/// Interrupts and resumes the semantic detector's training.
pub fn semantic_resume(context: &Context) -> Result<Outcome> {
    let model = ModelSize { feature_size: 64, embedding: 64, ..ModelSize::default() };
    let config =
        DetectorConfig { steps: 6, batch: 3, segments: 32, model, ..DetectorConfig::default() };
    resumes(config.steps, |state, after| semantic_run(&config, &context.device, state, after))
}

/// Interrupts and resumes the local detector's training.
pub fn local_resume(context: &Context) -> Result<Outcome> {
    let config =
        LocalConfig { batch: 4, crop: CropSize { width: 64, height: 48 }, ..local_config(6) };
    resumes(config.steps, |state, after| local_run(&config, &context.device, state, after))
}

/// Times the steps of a run: seconds from one step's end to the next one's, and peak memory.
pub struct Watch<'a> {
    device: &'a Device,
    last: Instant,
    seconds: Vec<f64>,
}

impl<'a> Watch<'a> {
    pub fn new(device: &'a Device) -> Self {
        reset_peak_memory(device);
        Self { device, last: Instant::now(), seconds: Vec::new() }
    }

    pub fn step(&mut self, step: usize) {
        // What a step has started ends within it. A failure shows in the step's own results.
        let _ = self.device.synchronize();
        let now = Instant::now();
        if step > WARM_UP {
            self.seconds.push((now - self.last).as_secs_f64());
        }
        self.last = now;
    }

    pub fn outcome(self) -> Outcome {
        let why = format!("median of {} steps, batches assembled in them", self.seconds.len());
        Outcome {
            seconds: Some(median(self.seconds)),
            peak_bytes: peak_memory(self.device),
            ..Outcome::of(true, why)
        }
    }
}

/// Times the semantic detector's step.
pub fn semantic_step(context: &Context) -> Result<Outcome> {
    let quick = DetectorConfig { batch: 2, segments: 32, ..DetectorConfig::default() };
    let config = if context.quick { quick } else { DetectorConfig::default() };
    let config = DetectorConfig { steps: context.steps + WARM_UP, ..config };
    let mut watch = Watch::new(&context.device);
    semantic_run(&config, &context.device, None, &mut |step, _| watch.step(step))?;
    let mut outcome = watch.outcome();
    if !context.quick {
        let steps = (WARM_UP, context.steps);
        context.pytorch.beside("training_step.py", "detector", steps, &mut outcome);
    }
    Ok(outcome)
}

/// Times the local detector's step.
pub fn local_step(context: &Context) -> Result<Outcome> {
    let config = local_config(context.steps + WARM_UP);
    let small =
        LocalConfig { batch: 2, crop: CropSize { width: 64, height: 48 }, ..config.clone() };
    let config = if context.quick { small } else { config };
    let mut watch = Watch::new(&context.device);
    local_run(&config, &context.device, None, &mut |step, _| watch.step(step))?;
    let mut outcome = watch.outcome();
    if !context.quick {
        let steps = (WARM_UP, context.steps);
        context.pytorch.beside("training_step.py", "local", steps, &mut outcome);
    }
    Ok(outcome)
}
