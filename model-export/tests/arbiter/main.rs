//! ONNX Runtime's integers are the arbiter's, whatever the processor.
//!
//! The program runs as it is on this machine's processor and, by `cargo xtask processors`, on others.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::sync::OnceLock;

use inference::exactness::{PAIR_LIMIT, RowOrder, saturating};
use inference::processor::IntegerKernels;
use inference::{Backend, BackendKind, BackendOptions, open_backend};
use model_export::graphs::tsm_mobilenetv2;
use model_export::onnx::ModelProto;
use model_export::quantize::arbiter::{Arbiter, with_layer_outputs};
use model_export::quantize::{Flavour, Options, WeightRange, quantize};
use model_export::weights::Weights;
use prost::Message as _;

#[path = "../net/mod.rs"]
mod net;
mod pairs;

use net::{Net, depthwise, inception, residual, samples};

/// The backend with ONNX Runtime; none, with a note, where the library is not installed.
fn ort() -> Option<&'static dyn Backend> {
    static BACKEND: OnceLock<Option<Box<dyn Backend>>> = OnceLock::new();
    let backend = BACKEND.get_or_init(|| {
        eprintln!("integer kernels: {}", IntegerKernels::here());
        open_backend(BackendKind::Ort, &BackendOptions::default())
            .inspect_err(|e| eprintln!("skipped: {e}"))
            .ok()
    });
    backend.as_deref()
}

fn quantized(model: &ModelProto, length: usize, weights: WeightRange) -> ModelProto {
    let options =
        Options { weights, compare_samples: 0, layer_errors: false, ..Options::default() };
    quantize(model, &mut samples(6, length).into_iter(), &options, ort().unwrap()).unwrap().model
}

/// Outputs by name.
fn run(model: &ModelProto, sample: &[Vec<f32>], backend: &dyn Backend) -> Vec<(String, Vec<f32>)> {
    let mut graph = backend.load("test", &model.encode_to_vec()).unwrap();
    let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
    let mut outputs = vec![Vec::new(); graph.outputs().len()];
    graph.run(&inputs, &mut outputs).unwrap();
    graph.outputs().iter().map(|o| o.name.clone()).zip(outputs).collect()
}

/// Runs a quantized model with every layer's integers as outputs, here and by the arbiter; gives the
/// number of integers that were compared and, by name, the tensors in which some differ.
fn compare(model: &ModelProto, samples: &[Vec<Vec<f32>>]) -> (usize, Vec<String>) {
    let open = with_layer_outputs(model).unwrap();
    let first = model.graph.as_ref().unwrap().output.len();
    let (mut compared, mut differing) = (0, Vec::new());
    for sample in samples {
        let expected = run(&open, sample, &Arbiter);
        let found = run(&open, sample, ort().unwrap());
        for ((name, expected), (_, found)) in expected.iter().zip(&found).skip(first) {
            assert_eq!(expected.len(), found.len(), "{name}");
            let differ = expected.iter().zip(found).filter(|(a, b)| a != b).count();
            if differ > 0 {
                differing.push(format!("{name}: {differ} of {}", expected.len()));
            }
            compared += expected.len();
        }
        for ((name, expected), (_, found)) in expected.iter().zip(&found).take(first) {
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = expected.iter().zip(found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            if off > 1e-4 * largest {
                differing.push(format!("output {name}: by {off} of {largest}"));
            }
        }
    }
    (compared, differing)
}

/// Samples of the calibration's kind, one far beyond it and one far below: activations that saturate are
/// where sums are largest.
fn hard_samples(length: usize) -> Vec<Vec<Vec<f32>>> {
    let mut all = samples(3, length);
    all.push(vec![vec![1e3; length]]);
    all.push(vec![vec![-1e3; length]]);
    let stripes = |i: usize| if (i / 3).is_multiple_of(2) { 50.0 } else { -50.0 };
    all.push(vec![(0..length).map(stripes).collect()]);
    all
}

fn check(name: &str, model: &ModelProto, length: usize) {
    if ort().is_none() {
        return;
    }
    for weights in [WeightRange::Pairs, WeightRange::SevenBits] {
        let model = quantized(model, length, weights);
        assert_eq!(saturating(name, &model.encode_to_vec()).unwrap(), [], "{name}");
        let (compared, differing) = compare(&model, &hard_samples(length));
        assert!(compared > 1000, "{name}: {compared}");
        assert_eq!(differing, Vec::<String>::new(), "{name} with {}", weights.name());
    }
}

#[test]
fn a_residual_net_has_the_arbiters_integers() {
    check("residual", &residual(), 3 * 24 * 32);
}

#[test]
fn a_depthwise_net_has_the_arbiters_integers() {
    check("depthwise", &depthwise(), 6 * 16 * 16);
}

#[test]
fn a_three_dimensional_net_has_the_arbiters_integers() {
    check("inception", &inception(), 3 * 8 * 16 * 16);
}

/// Odd numbers of channels, groups, strides and dilations, a matrix at the end.
#[test]
fn odd_shapes_have_the_arbiters_integers() {
    let mut net = Net::new(&[1, 3, 17, 13]);
    net.conv("a", "x", "a1", (7, 3, &[3, 3]), &[2, 1], 1, 1, 1);
    net.op("Relu", &["a1"], "ar");
    net.conv("b", "ar", "b1", (14, 7, &[2, 3]), &[1, 1], 2, 2, 1);
    net.op("Relu", &["b1"], "br");
    net.conv("c", "br", "c1", (6, 7, &[1, 1]), &[1, 1], 0, 1, 2);
    net.clip("c1", "cr", 0.0, 6.0);
    net.conv("d", "cr", "d1", (12, 1, &[3, 3]), &[1, 1], 1, 1, 6);
    net.op("Relu", &["d1"], "dr");
    net.conv("e", "dr", "e1", (5, 12, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("GlobalAveragePool", &["e1"], "g");
    net.op("Flatten", &["g"], "f");
    net.gemm("h", "f", "h1", 9, 5);
    net.op("Relu", &["h1"], "hr");
    net.gemm("i", "hr", "y", 3, 9);
    check("odd", &net.finish(&[("y", &[1, 3])]), 3 * 17 * 13);
}

/// The light backbone with its real weights, states and all.
#[test]
fn the_light_backbone_has_the_arbiters_integers() {
    let (Some(backend), Ok(weights)) = (ort(), Weights::fetched(tsm_mobilenetv2::WEIGHTS_FILE))
    else {
        eprintln!("skipped: no ONNX Runtime or no weights (cargo xtask weights)");
        return;
    };
    let (width, height) = (64, 48);
    let config = tsm_mobilenetv2::Config { width, height, cells: None };
    let model = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let lengths: Vec<usize> = {
        let graph = backend.load("tsm", &model.encode_to_vec()).unwrap();
        graph.inputs().iter().map(inference::TensorInfo::len).collect()
    };
    let sample = |seed: usize| -> Vec<Vec<f32>> {
        let wave = |k: usize, n: usize| {
            let value = |i: usize| ((i * (3 + k) + 7 * seed) as f32 * 0.037).sin();
            (0..n).map(value).map(|v| if k == 0 { 2.0 * v } else { v.max(-0.2) }).collect()
        };
        lengths.iter().enumerate().map(|(k, n)| wave(k, *n)).collect()
    };
    let options = Options { compare_samples: 0, layer_errors: false, ..Options::default() };
    let model = quantize(&model, &mut (0..4).map(sample), &options, backend).unwrap().model;
    assert_eq!(saturating("tsm", &model.encode_to_vec()).unwrap(), []);
    let (compared, differing) = compare(&model, &[sample(4), sample(5)]);
    assert!(compared > 100_000, "{compared}");
    assert_eq!(differing, Vec::<String>::new());
}

/// What this is all about: a layer of full 8 bits computes something else where the kernels saturate, and
/// the layer is named before anything runs.
#[test]
fn a_planted_layer_that_saturates_is_seen_by_the_arbiter_where_the_processor_saturates() {
    if ort().is_none() {
        return;
    }
    let mut net = Net::new(&[1, 8, 6, 6]);
    net.conv("harmless", "x", "h1", (8, 8, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Relu", &["h1"], "hr");
    net.conv("planted", "hr", "p1", (8, 8, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Relu", &["p1"], "pr");
    net.conv("last", "pr", "y", (2, 8, &[1, 1]), &[1, 1], 0, 1, 1);
    let mut model = net.finish(&[("y", &[1, 2, 6, 6])]);
    let weights =
        model.graph.as_mut().unwrap().initializer.iter_mut().find(|t| t.name == "planted.weight");
    weights.unwrap().raw_data = [0.5f32; 64].iter().flat_map(|v| v.to_le_bytes()).collect();
    let full = quantized(&model, 8 * 36, WeightRange::Full);
    let names: Vec<String> =
        saturating("net", &full.encode_to_vec()).unwrap().into_iter().map(|s| s.layer).collect();
    assert!(names.iter().any(|n| n == "planted"), "{names:?}");
    let samples = [vec![vec![1e3; 8 * 36]]];
    let (_, differing) = compare(&full, &samples);
    let seen = differing.iter().any(|d| d.starts_with("pr"));
    assert_eq!(seen, IntegerKernels::here().saturates(), "{differing:?}");
    let held = quantized(&model, 8 * 36, WeightRange::Pairs);
    assert_eq!(compare(&held, &samples).1, Vec::<String>::new());
}

/// ONNX Runtime makes unsigned activations of signed ones, TensorRT's form, on processors that saturate.
#[test]
fn signed_activations_saturate_no_pair_either() {
    if ort().is_none() {
        return;
    }
    let with = |weights| {
        let options = Options { flavour: Flavour::S8S8, weights, ..Options::default() };
        let mut calibration = samples(3, 6 * 16 * 16).into_iter();
        quantize(&depthwise(), &mut calibration, &options, ort().unwrap()).unwrap().model
    };
    let samples = hard_samples(6 * 16 * 16);
    let held = with(WeightRange::Pairs);
    assert_eq!(saturating("depthwise", &held.encode_to_vec()).unwrap(), []);
    assert_eq!(compare(&held, &samples).1, Vec::<String>::new());
    let full = with(WeightRange::Full);
    assert_ne!(saturating("depthwise", &full.encode_to_vec()).unwrap(), []);
}
