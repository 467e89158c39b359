//! The student's training: gradients of every variable, resuming, and the time of a step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use rand::RngExt;
use trainer::detector::noise::{Purpose, stream};
use trainer::local::Tensors;
use trainer::student::network::SNIPPET;
use trainer::student::{
    self, Architecture, Clip, Footage, Group, Network, Progress, Samples, Store, StudentConfig,
};
use video::Frame;

use crate::Context;
use crate::gradients::{Gradients, gradient, outcome, uniform, worst};
use crate::report::Outcome;
use crate::runs::{WARM_UP, Watch, resumes};

/// A network of the same kinds of layers, for a processor.
fn small() -> Architecture {
    let group = |expansion, channels, blocks, stride| Group { expansion, channels, blocks, stride };
    Architecture {
        stem: 8,
        groups: vec![group(1, 8, 1, 1), group(4, 12, 2, 2)],
        last: 32,
        features: 16,
    }
}

/// Weights that keep the signal's size from layer to layer. No bias is zero: with one, whole maps would
/// lie exactly where ReLU6 cuts off, and what its gradient is there, each way may say for itself.
fn weights(network: &Network) -> Result<Tensors> {
    let mut rng = stream(8, Purpose::Init, 0);
    let mut tensors = Tensors::new();
    let mut add = |name: String, shape: &[usize], low: f32, high: f32| -> Result<()> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    };
    for parameter in network.parameters() {
        let (name, shape) = (parameter.name, parameter.shape);
        if shape.len() > 1 {
            let bound = (6.0 / shape.iter().skip(1).product::<usize>() as f32).sqrt();
            add(name, &shape, -bound, bound)?;
        } else if name.ends_with("weight") {
            add(name, &shape, 0.5, 1.5)?;
        } else {
            add(name, &shape, -0.3, 0.5)?;
        }
    }
    for (name, length) in network.statistics() {
        let (low, high) = if name.ends_with("running_var") { (0.5, 1.5) } else { (-0.3, 0.3) };
        add(name, &[length], low, high)?;
    }
    Ok(tensors)
}

/// The published network's first and last layers. Where all its layers follow each other a rounding that
/// takes a value over an edge of ReLU6 changes what few pixels are left at the end by whole percents.
fn shallow() -> Architecture {
    let published = Architecture::default();
    Architecture { groups: published.groups[..2].to_vec(), ..published }
}

/// Every variable's gradient of the student's features, weighted by random numbers.
pub fn gradients(context: &Context) -> Result<Outcome> {
    let (architecture, side) = if context.quick { (small(), 20) } else { (shallow(), 96) };
    let network = Network::new(&architecture);
    let weights = weights(&network)?;
    let frames = ((uniform((2 * SNIPPET, 3, side, side), 9)? - 0.5)? * 4.0)?;
    let factors = (uniform((2, network.feature_size()), 10)? - 0.5)?;
    let learned: Vec<String> = network.parameters().into_iter().map(|p| p.name).collect();
    let step = |dtype: DType, device: &Device| -> Result<(f64, Gradients)> {
        let place = |x: &Tensor| x.to_dtype(dtype)?.to_device(device);
        let (mut tensors, mut vars) = (Tensors::new(), BTreeMap::new());
        for (name, tensor) in &weights {
            let tensor = place(tensor)?;
            let tensor = if learned.contains(name) {
                let var = Var::from_tensor(&tensor)?;
                let tensor = var.as_tensor().clone();
                vars.insert(name.clone(), var);
                tensor
            } else {
                tensor
            };
            tensors.insert(name.clone(), tensor);
        }
        let features = network.features(&tensors, &place(&frames)?, &[2 * SNIPPET])?;
        let loss = (features * place(&factors)?)?.sum_all()?;
        let grads = loss.backward()?;
        let named = |(name, var): (&String, &Var)| Ok((name.clone(), gradient(&grads, var, name)?));
        let value = loss.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok((value, vars.iter().map(named).collect::<Result<_>>()?))
    };
    let (expected_loss, expected) = step(DType::F64, &Device::Cpu)?;
    let (loss, got) = step(DType::F32, &context.device)?;
    Ok(outcome(expected.len(), &worst(&expected, &got)?, [expected_loss, loss]))
}

/// Clips of noise in a folder of their own, which goes with this.
struct Noise {
    folder: PathBuf,
    footage: Footage,
}

impl Noise {
    fn new(config: &StudentConfig, features: usize) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("gpu-check-student-{}", std::process::id()));
        let store = Store::new(&folder, config.width, config.height);
        let mut rng = stream(11, Purpose::Init, 0);
        let mut samples = |clips: usize| -> Result<Samples> {
            let mut clip = |number: usize| -> Result<Clip> {
                let mut frame = Frame::new(config.width, config.height);
                let frames: Vec<Frame> = (0..config.run * SNIPPET)
                    .map(|_| {
                        rng.fill(frame.rgb_mut());
                        frame.clone()
                    })
                    .collect();
                let teacher = (0..config.run * features).map(|_| rng.random()).collect();
                Ok(Clip {
                    name: number.to_string(),
                    frames: store.write(&frames)?,
                    snippets: config.run,
                    teacher,
                    mirrored: None,
                })
            };
            let clips = (0..clips).map(&mut clip).collect::<Result<_>>()?;
            Ok(Samples::new(&store, clips, config.run, features)?)
        };
        let footage = Footage { training: samples(config.batch)?, validation: samples(1)? };
        Ok(Self { folder, footage })
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        // Whatever came of it, nothing is left; a folder that stays is in the system's temporary one.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn train(
    architecture: &Architecture,
    config: &StudentConfig,
    footage: &Footage,
    device: &Device,
    state: Option<&Path>,
    after: &mut dyn FnMut(usize, &AtomicBool),
) -> Result<BTreeMap<String, Tensor>, student::Error> {
    let network = Network::new(architecture);
    let start = weights(&network).map_err(|e| candle_core::Error::Msg(format!("{e:#}")))?;
    let stop = AtomicBool::new(false);
    let mut progress = |p: &Progress| after(p.step, &stop);
    student::train(
        &network,
        &start,
        "drawn",
        footage,
        config,
        1,
        device,
        state,
        &mut progress,
        &stop,
    )
    .map(|trained| trained.tensors.into_iter().collect())
}

/// Interrupts and resumes the student's training.
pub fn resume(context: &Context) -> Result<Outcome> {
    let config =
        StudentConfig { width: 32, height: 32, batch: 2, steps: 6, ..StudentConfig::default() };
    let architecture = small();
    let noise = Noise::new(&config, architecture.features)?;
    resumes(config.steps, |state, after| {
        train(&architecture, &config, &noise.footage, &context.device, state, after)
    })
}

/// Times the student's step.
pub fn step(context: &Context) -> Result<Outcome> {
    let config = StudentConfig {
        steps: context.steps + WARM_UP,
        fit_snippets: 0,
        validate_every: usize::MAX,
        save_every: usize::MAX,
        ..StudentConfig::default()
    };
    let (architecture, config) = if context.quick {
        (small(), StudentConfig { width: 32, height: 32, batch: 2, ..config })
    } else {
        (Architecture::default(), config)
    };
    let noise = Noise::new(&config, architecture.features)?;
    let mut watch = Watch::new(&context.device);
    train(&architecture, &config, &noise.footage, &context.device, None, &mut |step, _| {
        watch.step(step);
    })?;
    Ok(watch.outcome())
}
