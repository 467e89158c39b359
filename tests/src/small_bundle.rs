//! A small bundle: the motion prior decides, a local network of random weights runs beside it.
//!
//! It is made the way every bundle is made, by `model-export`, so that who loads it verifies its
//! signature and computes its golden vectors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, LocalSpec, MotionSpec, SmoothingSpec, ZScore,
};
use model_export::graphs::local;
use model_export::onnx;
use model_export::pack::{GoldenInput, checkpoint};
use model_export::weights::{Array, Weights};

const WIDTH: usize = 64;
const HEIGHT: usize = 36;
/// Channels of the stack: the frame, and its differences to the one before and the one after.
const CHANNELS: usize = 3;
/// Channels inside the network; a site's has more.
const FEATURES: usize = 8;
const KINDS: usize = 2;

/// Writes bundle and public key into a folder; their paths.
///
/// # Errors
/// If a file cannot be written, or `model-export` fails.
pub fn make(out: &Path) -> Result<(PathBuf, PathBuf)> {
    let checkpoint = out.join("checkpoint");
    let graphs = checkpoint.join("graphs");
    std::fs::create_dir_all(&graphs).with_context(|| graphs.display().to_string())?;
    let config = BTreeMap::from([("detectors", detectors())]);
    std::fs::write(checkpoint.join("config.toml"), toml::to_string(&config)?)?;
    let size = local::Config { width: WIDTH, height: HEIGHT };
    let model = local::build(&weights(), &size)?;
    std::fs::write(graphs.join("local.tract.fp32.onnx"), onnx::to_bytes(&model))?;
    let shape = vec![1, CHANNELS, HEIGHT, WIDTH];
    let mut noise = Noise(7);
    let values = (0..shape.iter().product()).map(|_| noise.next()).collect();
    let golden = GoldenInput::single("local", "stack", shape, values);
    checkpoint::write_golden(&checkpoint, &golden)?;

    let keys = out.join("model");
    let (key, public) = (out.join("model.key"), out.join("model.pub"));
    let bundle = out.join("model.pavad");
    model_export(&["keygen", "--force", "--out"], &[&keys])?;
    model_export(&["pack", "--key"], &[&key, Path::new("--out"), &bundle, &checkpoint])?;
    Ok((bundle, public))
}

fn model_export(words: &[&str], paths: &[&Path]) -> Result<()> {
    let mut command = crate::programs::command("model-export").map_err(|e| anyhow!(e))?;
    command.arg("--quiet").args(words).args(paths).stdout(Stdio::null());
    let status = command.status().context("model-export")?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

/// Bars that stand score close to 0, bars that move close to 1.
fn detectors() -> Detectors {
    Detectors {
        input: InputSpec { width: WIDTH as u32, height: HEIGHT as u32, frame_rate: 5.0 },
        local: Some(LocalSpec {
            graph: "local".into(),
            offsets: vec![-1, 1],
            mean: 128.0,
            std: 64.0,
            diff_scale: 32.0,
            stream: None,
            map_stride: local::MAP_STRIDE as u32,
            pool: 1,
            kinds: vec!["left".into(), "right".into()],
            z: ZScore { mean: 0.0, std: 100.0 },
            weight: 0.001,
        }),
        motion: Some(MotionSpec {
            box_size: 8,
            epsilon: 1.0,
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
            excess_over: None,
        }),
        semantic: None,
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 },
        calibration: Calibration {
            threshold: 2.0,
            scale: 0.5,
            false_alarms_per_hour: 1.0,
            normal: None,
        },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.3,
            end_after: 1.0,
            cool_down: 0.0,
        },
    }
}

/// Random weights with every batch norm passing its input through.
fn weights() -> Weights {
    let mut tensors = BTreeMap::new();
    let mut noise = Noise(1);
    let mut convolution = |name: &str, inputs: usize, kernel: usize| {
        let shape = vec![FEATURES, inputs, kernel, kernel];
        let fan_in = (inputs * kernel * kernel) as f32;
        let data = (0..shape.iter().product()).map(|_| noise.next() / fan_in.sqrt()).collect();
        tensors.insert(format!("{name}.weight"), Array { shape, data });
        for (part, value) in
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        {
            let array = Array { shape: vec![FEATURES], data: vec![value; FEATURES] };
            tensors.insert(format!("{name}.bn.{part}"), array);
        }
    };
    convolution("local.stem.0", CHANNELS, 5);
    convolution("local.stem.1", FEATURES, 3);
    for i in 0..local::DILATIONS.len() {
        convolution(&format!("local.blocks.{i}"), FEATURES, 3);
    }
    let data = (0..KINDS * FEATURES).map(|_| noise.next()).collect();
    tensors.insert("local.head.weight".into(), Array { shape: vec![KINDS, FEATURES, 1, 1], data });
    tensors.insert("local.head.bias".into(), Array { shape: vec![KINDS], data: vec![0.0; KINDS] });
    Weights::new("random weights", tensors)
}

/// Numbers between -1 and 1: a multiplicative congruential generator is random enough here.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}
