//! The local detector's two forms, timed, for `cargo xtask bench local`: a graph that is given the stack of
//! frames, and one that keeps the frames itself and is called with the newest. Both go through the camera's
//! engine on ONNX Runtime with one thread, in fp32 and INT8, and take turns. The weights are random: what a
//! frame costs does not depend on them.
//!
//! `local_forms ROUNDS FRAMES`: milliseconds of a frame, the mean of FRAMES, best of ROUNDS.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use inference::{Backend, BackendKind, BackendOptions, Engine, open_backend, stack};
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, LocalSpec, SmoothingSpec, ZScore,
};
use model_export::calibration::record;
use model_export::graphs::local;
use model_export::onnx::{self, ModelProto};
use model_export::quantize::{Method, Options, quantize};
use model_export::weights::{Array, Weights};
use video::Frame;

const SIZE: local::Config = local::Config { width: 360, height: 240 };
/// Channels of the stem's two convolutions, kinds, as in training by default.
const CHANNELS: [usize; 2] = [24, 48];
const KINDS: usize = 11;
/// Calibration samples.
const SAMPLES: usize = 4;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let (Some(Ok(rounds @ 1..)), Some(Ok(frames @ 1..))) = (numbers.next(), numbers.next()) else {
        eprintln!("usage: local_forms ROUNDS FRAMES");
        std::process::exit(2);
    };
    let backend = open_backend(BackendKind::Ort, &BackendOptions::default())?;
    let (spec, weights) = (spec(), weights());
    let mut streaming = spec.clone();
    streaming.stream = Some(local::states(&SIZE, &spec));
    let pictures: Vec<Frame> = (0..32).filter_map(picture).collect();
    let forms = [
        (&spec, local::build(&weights, &SIZE)?),
        (&streaming, local::build_streaming(&weights, &SIZE, &streaming)?),
    ];
    let mut engines = Vec::new();
    for (precision, int8) in [("fp32", false), ("INT8", true)] {
        for (form, (spec, model)) in ["stack", "ring"].iter().zip(&forms) {
            let bytes = onnx::to_bytes(model);
            let bytes = if int8 { quantized(model, spec, &pictures, &*backend)? } else { bytes };
            let graph = backend.load("local", &bytes)?;
            let graphs = vec![("local".to_owned(), graph)];
            let engine = Engine::from_graphs(detectors(spec), graphs)?;
            engines.push((format!("{precision} {form}"), engine, f64::INFINITY));
        }
    }
    for _ in 0..rounds {
        for (_, engine, best) in &mut engines {
            let mut stream = engine.stream(10.0);
            let mut push = |count: usize| -> Result<f64> {
                let start = Instant::now();
                for frame in pictures.iter().cycle().take(count) {
                    engine.push(&mut stream, frame, &mut |_| {})?;
                }
                Ok(start.elapsed().as_secs_f64() * 1000.0 / count as f64)
            };
            push(16)?; // buffers grow, the frames ahead come in
            *best = best.min(push(frames)?);
        }
    }
    println!(
        "milliseconds of a frame of {}x{}, local detector, one thread: mean of {frames} frames, best \
         of {rounds} rounds in turn",
        SIZE.width, SIZE.height
    );
    for (name, _, best) in &engines {
        println!("{name:<12}{best:>8.2}");
    }
    Ok(())
}

fn quantized(
    model: &ModelProto,
    spec: &LocalSpec,
    pictures: &[Frame],
    backend: &dyn Backend,
) -> Result<Vec<u8>> {
    let lumas: Vec<Vec<u8>> = pictures.iter().map(Frame::luma).collect();
    let (back, ahead) = spec.reach();
    let sample = |first: usize| -> Result<Vec<Vec<f32>>> {
        let window = &lumas[first..=first + back + ahead];
        let Some(stream) = &spec.stream else {
            let at = |offset: i32| window[back.saturating_add_signed(offset as isize)].as_slice();
            let frames: Vec<&[u8]> =
                std::iter::once(0).chain(spec.offsets.iter().copied()).map(at).collect();
            let mut out = vec![0.0; stack::len(spec, SIZE.width, SIZE.height)];
            stack::fill(spec, &frames, &mut out);
            return Ok(vec![out]);
        };
        let levels = |luma: &Vec<u8>| luma.iter().map(|&v| v.into()).collect();
        let mut graph = backend.load("local", &onnx::to_bytes(model))?;
        Ok(record(graph.as_mut(), stream, window.iter().map(levels).collect())?)
    };
    let samples = (0..SAMPLES).map(sample).collect::<Result<Vec<_>>>()?;
    let options = Options {
        method: Method::MinMax,
        keep_float: vec![local::STACK_NODES.to_owned()],
        layer_errors: false,
        compare_samples: 0,
        ..Options::default()
    };
    let quantized = quantize(model, &mut samples.into_iter(), &options, backend)
        .context("quantizing the local graph")?;
    Ok(onnx::to_bytes(&quantized.model))
}

fn spec() -> LocalSpec {
    LocalSpec {
        graph: "local".into(),
        offsets: vec![-4, -2, 2, 4],
        mean: 110.0,
        std: 50.0,
        diff_scale: 30.0,
        stream: None,
        map_stride: local::MAP_STRIDE as u32,
        pool: 3,
        kinds: (0..KINDS).map(|kind| kind.to_string()).collect(),
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: 1.0,
    }
}

fn detectors(spec: &LocalSpec) -> Detectors {
    Detectors {
        input: InputSpec { width: SIZE.width as u32, height: SIZE.height as u32, frame_rate: 10.0 },
        local: Some(spec.clone()),
        motion: None,
        semantic: None,
        smoothing: SmoothingSpec { sigma: 5.0, radius: 12, lag: 16 },
        calibration: Calibration {
            threshold: 3.0,
            scale: 1.0,
            false_alarms_per_hour: 0.0,
            normal: None,
        },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.3,
            end_after: 1.0,
            cool_down: 1.0,
        },
    }
}

/// A textured picture on which a square has moved `number` steps.
fn picture(number: usize) -> Option<Frame> {
    let level = |x: usize, y: usize| {
        let square = (x.wrapping_sub(20 + number * 4)) < 24 && (100..140).contains(&y);
        let texture =
            ((x / 8 * 7 + y / 8 * 5) % 11 * 14 + (x * 31 + y * 17 + number * 13) % 5) as u8;
        if square { 230 } else { 40 + texture }
    };
    let (width, height) = (SIZE.width, SIZE.height);
    let pixels = (0..width * height).map(|i| level(i % width, i / width)).collect::<Vec<_>>();
    Frame::from_luma(width, height, &pixels)
}

/// Random weights with every batch norm passing its input through.
fn weights() -> Weights {
    let mut tensors = BTreeMap::new();
    let mut state = 1u32;
    let mut random = |count: usize, scale: f32| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        (0..count).map(|_| next()).collect()
    };
    let mut convolution = |name: &str, outputs: usize, inputs: usize, kernel: usize| {
        let shape = vec![outputs, inputs, kernel, kernel];
        let scale = (3.0 / (inputs * kernel * kernel) as f32).sqrt();
        let data = random(shape.iter().product(), scale);
        tensors.insert(format!("{name}.weight"), Array { shape, data });
        for (part, value) in
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        {
            let array = Array { shape: vec![outputs], data: vec![value; outputs] };
            tensors.insert(format!("{name}.bn.{part}"), array);
        }
    };
    let [half, quarter] = CHANNELS;
    convolution("local.stem.0", half, 1 + spec().offsets.len(), 5);
    convolution("local.stem.1", quarter, half, 3);
    for i in 0..local::DILATIONS.len() {
        convolution(&format!("local.blocks.{i}"), quarter, quarter, 3);
    }
    convolution("local.head", KINDS, quarter, 1);
    tensors.insert("local.head.bias".into(), Array { shape: vec![KINDS], data: vec![0.0; KINDS] });
    Weights::new("random weights", tensors)
}
