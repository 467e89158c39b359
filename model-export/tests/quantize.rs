//! Quantized graphs run in ONNX Runtime and stay close to the float ones.
//!
//! The graphs are made here, small and with every structure that the networks have: strided stems,
//! depthwise and dilated convolutions, residual sums, Inception branches, 3-D kernels.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::sync::OnceLock;

use inference::{Backend, BackendKind, BackendOptions, States, open_backend};
use model_export::calibration::{WARM_UP, record};
use model_export::graphs::tsm_mobilenetv2;
use model_export::onnx::ModelProto;
use model_export::quantize::page::page;
use model_export::quantize::timing::time;
use model_export::quantize::{
    Equalize, Error, Flavour, Method, Options, Quantized, Ranges, Search, calibrate, emit,
    equalized, quantize, quantize_flavours, tensorrt_rules,
};
use model_export::weights::Weights;
use prost::Message as _;

mod net;
use net::Net;

/// The backend with ONNX Runtime; none, with a note, where the library is not installed.
fn ort() -> Option<&'static dyn Backend> {
    static BACKEND: OnceLock<Option<Box<dyn Backend>>> = OnceLock::new();
    let backend = BACKEND.get_or_init(|| {
        open_backend(BackendKind::Ort, &BackendOptions::default())
            .inspect_err(|e| eprintln!("skipped: {e}"))
            .ok()
    });
    backend.as_deref()
}

fn tract() -> Box<dyn Backend> {
    open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap()
}

/// Samples that look like normalised pictures: smooth, with some structure.
fn samples(count: usize, length: usize) -> Vec<Vec<Vec<f32>>> {
    (0..count)
        .map(|s| {
            let value = |i: usize| {
                let (i, s) = (i as f32, s as f32 + 1.0);
                (i * 0.071 * s).sin() * 0.8
                    + (i * 0.013 + s).cos() * 0.5
                    + (i * s * 1.7).sin() * 0.2
            };
            vec![(0..length).map(value).collect()]
        })
        .collect()
}

fn run(model: &ModelProto, sample: &[Vec<f32>], backend: &dyn Backend) -> Vec<Vec<f32>> {
    let mut graph = backend.load("test", &model.encode_to_vec()).unwrap();
    let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
    let mut outputs = vec![Vec::new(); graph.outputs().len()];
    graph.run(&inputs, &mut outputs).unwrap();
    outputs
}

fn sqnr(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let signal: f64 = expected.iter().map(|a| f64::from(*a).powi(2)).sum();
    let noise: f64 = expected.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    10.0 * (signal / noise).log10()
}

/// Quantizes with eight samples and checks another one.
fn check(name: &str, model: &ModelProto, length: usize, flavour: Flavour, least_db: f64) {
    let Some(backend) = ort() else { return };
    let options = Options { flavour, ..Options::default() };
    let all = samples(9, length);
    let Quantized { model: quantized, report } =
        quantize(model, &mut all[..8].iter().cloned(), &options, backend).unwrap();
    let expected = run(model, &all[8], backend);
    let found = run(&quantized, &all[8], backend);
    for (e, f) in expected.iter().zip(&found) {
        let db = sqnr(e, f);
        assert!(db > least_db, "{name} {flavour:?}: {db:.1} dB");
    }
    assert!(report.float_layers.is_empty(), "{:?}", report.float_layers);
    for output in &report.outputs {
        assert!(output.cosine > 0.99 && output.sqnr_db > least_db, "{name}: {output:?}");
    }
    for layer in &report.layers {
        assert!(layer.weight_sqnr_db > 30.0, "{layer:?}");
    }
    if flavour == Flavour::S8S8 {
        assert_eq!(tensorrt_rules::check(&quantized).unwrap(), Vec::<String>::new(), "{name}");
    }
}

/// The light backbone, quantized with the states that it gives, keeps its features over a clip although
/// its states are rounded in every call.
#[test]
fn a_graph_with_states_keeps_its_features() {
    let (Some(backend), Ok(weights)) = (ort(), Weights::fetched(tsm_mobilenetv2::WEIGHTS_FILE))
    else {
        eprintln!("skipped: no ONNX Runtime or no weights (cargo xtask weights)");
        return;
    };
    let (width, height) = (96, 64);
    let config = tsm_mobilenetv2::Config { width, height, cells: None };
    let (model, spec) =
        (tsm_mobilenetv2::build(&weights, &config).unwrap(), tsm_mobilenetv2::states(&config));
    // A pattern that wanders over the picture.
    let frame = |clip: usize, t: usize| -> Vec<f32> {
        let value = |i: usize| {
            let (x, y) = ((i % width + t * (1 + clip)) as f32, (i / width % height) as f32);
            (x * 0.11 * (clip as f32 + 1.0)).sin() + (y * 0.17 + clip as f32).cos()
        };
        (0..3 * width * height).map(value).collect()
    };
    let mut graph = backend.load("tsm", &model.encode_to_vec()).unwrap();
    let samples: Vec<_> = (0..8)
        .map(|clip| {
            let frames = (0..=WARM_UP).map(|t| frame(clip, t)).collect();
            record(graph.as_mut(), &spec, frames).unwrap()
        })
        .collect();
    assert_eq!(samples[0].len(), 11);
    assert!(samples.iter().flatten().all(|tensor| tensor.iter().any(|v| *v != 0.0)));
    for flavour in [Flavour::U8S8, Flavour::S8S8] {
        let options = Options { flavour, layer_errors: false, ..Options::default() };
        let quantized =
            quantize(&model, &mut samples.iter().cloned(), &options, backend).unwrap().model;
        if flavour == Flavour::S8S8 {
            assert_eq!(tensorrt_rules::check(&quantized).unwrap(), Vec::<String>::new());
        }
        let mut int8 = backend.load("tsm", &quantized.encode_to_vec()).unwrap();
        let (mut a, mut b) = (States::new(&spec), States::new(&spec));
        let mut cosines = Vec::new();
        for t in 0..40 {
            let picture = frame(9, t);
            let expected = a.run(graph.as_mut(), &picture).unwrap();
            let found = b.run(int8.as_mut(), &picture).unwrap();
            let dot = |x: &[f32], y: &[f32]| -> f64 {
                x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum()
            };
            cosines
                .push(dot(expected, found) / (dot(expected, expected) * dot(found, found)).sqrt());
        }
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        // No worse at the end than at the start: the error does not add up.
        let (early, late) = (cosines[4..20].iter().sum::<f64>(), cosines[24..].iter().sum::<f64>());
        eprintln!("{flavour:?}: cosine {mean:.4}");
        assert!(mean > 0.97 && late > early - 0.2, "{flavour:?}: {cosines:?}");
    }
}

/// 2-D: a 5×5 stem of stride 2, a dilated residual block, a head with a sigmoid.
fn residual() -> ModelProto {
    let mut net = Net::new(&[1, 3, 24, 32]);
    net.conv("stem", "x", "s", (8, 3, &[5, 5]), &[2, 2], 2, 1, 1);
    net.op("Relu", &["s"], "r");
    net.conv("block", "r", "b", (8, 8, &[3, 3]), &[1, 1], 2, 2, 1);
    net.op("Relu", &["b"], "br");
    net.op("Add", &["r", "br"], "sum");
    net.conv("block2", "sum", "b2", (8, 8, &[3, 3]), &[1, 1], 1, 1, 1);
    net.op("Relu", &["b2"], "b2r");
    net.op("Add", &["sum", "b2r"], "sum2");
    net.conv("head", "sum2", "logits", (2, 8, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Sigmoid", &["logits"], "y");
    net.finish(&[("y", &[1, 2, 12, 16])])
}

/// 2-D: depthwise with ReLU6, a linear bottleneck with a residual, a classifier.
fn depthwise() -> ModelProto {
    let mut net = Net::new(&[1, 6, 16, 16]);
    net.conv("expand", "x", "e", (12, 6, &[1, 1]), &[1, 1], 0, 1, 1);
    net.clip("e", "er", 0.0, 6.0);
    net.conv("depth", "er", "d", (12, 1, &[3, 3]), &[1, 1], 1, 1, 12);
    net.clip("d", "dr", 0.0, 6.0);
    net.conv("project", "dr", "p", (6, 12, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Add", &["x", "p"], "sum");
    net.conv("last", "sum", "l", (10, 6, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Relu", &["l"], "lr");
    net.op("GlobalAveragePool", &["lr"], "g");
    net.op("Flatten", &["g"], "f");
    net.gemm("fc", "f", "y", 4, 10);
    net.finish(&[("y", &[1, 4])])
}

/// 3-D: a strided stem, an Inception module with a pooling branch, features by pooling.
fn inception() -> ModelProto {
    let mut net = Net::new(&[1, 3, 8, 16, 16]);
    net.conv("stem", "x", "s", (8, 3, &[3, 3, 3]), &[2, 2, 2], 1, 1, 1);
    net.op("Relu", &["s"], "r");
    net.conv("b0", "r", "b0c", (4, 8, &[1, 1, 1]), &[1, 1, 1], 0, 1, 1);
    net.op("Relu", &["b0c"], "b0r");
    net.conv("b1", "r", "b1c", (6, 8, &[3, 3, 3]), &[1, 1, 1], 1, 1, 1);
    net.op("Relu", &["b1c"], "b1r");
    net.max_pool("r", "p", &[3, 3, 3], 1);
    net.conv("b2", "p", "b2c", (2, 8, &[1, 1, 1]), &[1, 1, 1], 0, 1, 1);
    net.op("Relu", &["b2c"], "b2r");
    net.concat(&["b0r", "b1r", "b2r"], "cat");
    net.conv("after", "cat", "a", (16, 12, &[3, 3, 3]), &[1, 1, 1], 1, 1, 1);
    net.op("Relu", &["a"], "ar");
    net.op("GlobalAveragePool", &["ar"], "features");
    net.finish(&[("features", &[1, 16, 1, 1, 1])])
}

#[test]
fn two_dimensional_residual_net() {
    check("residual", &residual(), 3 * 24 * 32, Flavour::U8S8, 28.0);
    check("residual", &residual(), 3 * 24 * 32, Flavour::S8S8, 25.0);
}

#[test]
fn depthwise_net() {
    check("depthwise", &depthwise(), 6 * 16 * 16, Flavour::U8S8, 28.0);
    check("depthwise", &depthwise(), 6 * 16 * 16, Flavour::S8S8, 25.0);
}

#[test]
fn three_dimensional_inception_net() {
    check("inception", &inception(), 3 * 8 * 16 * 16, Flavour::U8S8, 28.0);
    check("inception", &inception(), 3 * 8 * 16 * 16, Flavour::S8S8, 25.0);
}

#[test]
fn branches_share_one_range_and_activations_are_folded() {
    let backend = tract();
    let ranges = calibrate(
        &inception(),
        &mut samples(2, 3 * 8 * 16 * 16).into_iter(),
        &Options::default(),
        backend.as_ref(),
    )
    .unwrap();
    // The stem's group holds the pooled tensor, the first branch's the others and their sum; the
    // convolutions' outputs before the activation are not quantized at all.
    let names: Vec<&str> = ranges.tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["ar", "b0r", "r", "x"]);
    for name in ["r", "b0r", "ar"] {
        let range = &ranges.tensors[name];
        assert_eq!(
            (range.min, range.unsigned.low, range.params(Flavour::U8S8).zero_point),
            (0.0, 0.0, 0)
        );
    }
    assert_eq!(ranges.tensors["b0r"].values, 2 * 12 * 4 * 8 * 8);
}

#[test]
fn folding_the_stem_changes_no_sum() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let all = samples(3, 3 * 24 * 32);
    let with = |fold_stem| {
        let options = Options { fold_stem, method: Method::MinMax, ..Options::default() };
        quantize(&model, &mut all[..2].iter().cloned(), &options, backend).unwrap()
    };
    let (folded, plain) = (with(true), with(false));
    let nodes = |q: &Quantized| q.model.graph.as_ref().unwrap().node.len();
    assert_ne!(nodes(&folded), nodes(&plain));
    // The same integers go in, so the integer sums are equal; only the float bookkeeping differs.
    let (a, b) = (run(&folded.model, &all[2], backend), run(&plain.model, &all[2], backend));
    assert!(sqnr(&a[0], &b[0]) > 45.0, "{} dB", sqnr(&a[0], &b[0]));
}

#[test]
fn the_order_of_samples_and_the_memory_limit_do_not_matter() {
    let backend = tract();
    let model = residual();
    let all = samples(5, 3 * 24 * 32);
    let get = |samples: Vec<Vec<Vec<f32>>>, memory_limit| {
        let options = Options { memory_limit, ..Options::default() };
        calibrate(&model, &mut samples.into_iter(), &options, backend.as_ref()).unwrap()
    };
    let reference = get(all.clone(), 1 << 30);
    let reversed = get(all.iter().rev().cloned().collect(), 1 << 30);
    let split = get(all, 1000);
    assert_eq!(reference.tensors, reversed.tensors);
    assert_eq!(reference.tensors, split.tensors);
}

#[test]
fn saved_ranges_give_the_same_model() {
    let Some(backend) = ort() else { return };
    let model = depthwise();
    let options = Options::default();
    let all = || samples(4, 6 * 16 * 16).into_iter();
    let ranges = calibrate(&model, &mut all(), &options, backend).unwrap();
    let saved = serde_json::to_string(&ranges).unwrap();
    let ranges: Ranges = serde_json::from_str(&saved).unwrap();
    let both = [Flavour::U8S8, Flavour::S8S8];
    let quantized = quantize_flavours(&model, &mut all(), &both, &options, backend).unwrap();
    for (flavour, direct) in both.into_iter().zip(&quantized) {
        let emitted = emit(&model, &ranges, flavour, &options).unwrap();
        assert_eq!(emitted.encode_to_vec(), direct.model.encode_to_vec());
    }
    assert!(!tensorrt_rules::check(&quantized[0].model).unwrap().is_empty());
}

#[test]
fn reduced_weights_stay_within_seven_bits() {
    let backend = tract();
    let model = depthwise();
    let options = Options { reduce_range: true, ..Options::default() };
    let mut calibration = samples(2, 6 * 16 * 16).into_iter();
    let ranges = calibrate(&model, &mut calibration, &options, backend.as_ref()).unwrap();
    let emitted = emit(&model, &ranges, Flavour::U8S8, &options).unwrap();
    let graph = emitted.graph.unwrap();
    let weights = graph.initializer.iter().filter(|t| t.name.ends_with(".weight_quantized"));
    let largest: Vec<u8> = weights
        .map(|t| t.raw_data.iter().map(|b| (*b as i8).unsigned_abs()).max().unwrap())
        .collect();
    assert_eq!(largest, [64; 5]);
}

#[test]
fn what_is_kept_or_unsupported_stays_float() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let options = Options { keep_float: vec!["block*".to_owned()], ..Options::default() };
    let all = samples(4, 3 * 24 * 32);
    let q = quantize(&model, &mut all[..3].iter().cloned(), &options, backend).unwrap();
    assert_eq!(q.report.float_layers, ["block", "block2"]);
    let layers: Vec<&str> = q.report.layers.iter().map(|l| l.node.as_str()).collect();
    assert_eq!(layers, ["stem", "head"]);
    let db = sqnr(&run(&model, &all[3], backend)[0], &run(&q.model, &all[3], backend)[0]);
    assert!(db > 28.0, "{db}");
    // An operator between two convolutions that no integer kernel exists for.
    let mut net = Net::new(&[1, 4, 8, 8]);
    net.conv("a", "x", "ac", (8, 4, &[3, 3]), &[1, 1], 1, 1, 1);
    net.op("Tanh", &["ac"], "t");
    net.conv("b", "t", "y", (4, 8, &[3, 3]), &[1, 1], 1, 1, 1);
    check("tanh", &net.finish(&[("y", &[1, 4, 8, 8])]), 4 * 64, Flavour::U8S8, 28.0);
}

#[test]
fn malformed_graphs_are_refused_by_name() {
    let backend = tract();
    let refuse = |model: &ModelProto| {
        let mut calibration = samples(1, 4 * 64).into_iter();
        let options = Options::default();
        calibrate(model, &mut calibration, &options, backend.as_ref()).unwrap_err().to_string()
    };
    let base = || {
        let mut net = Net::new(&[1, 4, 8, 8]);
        net.conv("a", "x", "ac", (4, 4, &[3, 3]), &[1, 1], 1, 1, 1);
        net.conv("b", "ac", "y", (4, 4, &[3, 3]), &[1, 1], 1, 1, 1);
        net.finish(&[("y", &[1, 4, 8, 8])])
    };
    let mut model = base();
    model.graph.as_mut().unwrap().initializer.retain(|t| t.name != "b.weight");
    let message = refuse(&model);
    assert!(message.contains("`b`") && message.contains("`b.weight`"), "{message}");
    let mut model = base();
    model.graph.as_mut().unwrap().node[0].input[0] = "y".to_owned();
    let message = refuse(&model);
    assert!(message.contains("`a`") && message.contains("cycle"), "{message}");
    let mut model = base();
    model.graph.as_mut().unwrap().initializer[0].raw_data.pop();
    assert!(refuse(&model).contains("`a.weight`"));
    let mut model = base();
    model.opset_import[0].version = 9;
    assert!(refuse(&model).contains("operator set 9"));
    let mut model = base();
    model.graph.as_mut().unwrap().node[1].output[0] = "ac".to_owned();
    assert!(refuse(&model).contains("`ac`"));
}

#[test]
fn bad_calibration_is_refused() {
    let backend = tract();
    let model = depthwise();
    let options = Options::default();
    let calibrate = |samples: Vec<Vec<Vec<f32>>>| {
        calibrate(&model, &mut samples.into_iter(), &options, backend.as_ref()).unwrap_err()
    };
    assert!(matches!(calibrate(Vec::new()), Error::EmptyCalibration));
    let mut short = samples(2, 6 * 16 * 16);
    short[1][0].pop();
    assert!(matches!(calibrate(short), Error::Sample { sample: 1, .. }));
    let mut bad = samples(2, 6 * 16 * 16);
    bad[1][0][7] = f32::NAN;
    assert!(matches!(calibrate(bad), Error::NotFinite { sample: 1, .. }));
}

/// A model's constant as floats.
fn constant(model: &ModelProto, name: &str) -> Vec<f32> {
    let graph = model.graph.as_ref().unwrap();
    let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap();
    tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Makes some output channels of a convolution many times smaller and the next one's inputs larger, as
/// trained depthwise networks have them.
fn unbalance(model: &mut ModelProto, name: &str, factors: &[f32]) {
    for part in ["weight", "bias"] {
        let name = format!("{name}.{part}");
        let mut values = constant(model, &name);
        let run = values.len() / factors.len();
        values.iter_mut().enumerate().for_each(|(i, v)| *v *= factors[i / run]);
        let graph = model.graph.as_mut().unwrap();
        let tensor = graph.initializer.iter_mut().find(|t| t.name == name).unwrap();
        tensor.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    }
}

fn unbalanced() -> ModelProto {
    let mut model = depthwise();
    let factors: Vec<f32> = (0..12).map(|c| [4.0, 0.5, 0.05][c % 3]).collect();
    unbalance(&mut model, "expand", &factors);
    model
}

#[test]
fn equalisation_changes_no_output() {
    let backend = tract();
    let model = unbalanced();
    let all = samples(6, 6 * 16 * 16);
    for which in [Equalize::Depthwise, Equalize::All] {
        let options = Options { equalize: which, ..Options::default() };
        let ranges =
            calibrate(&model, &mut all.iter().cloned(), &options, backend.as_ref()).unwrap();
        // What the depthwise convolution reads and what it writes; `lr` has another reader than a
        // convolution, `sum` two makers.
        let names: Vec<&str> = ranges.equalized.keys().map(String::as_str).collect();
        assert_eq!(names, ["dr", "er"], "{which:?}");
        let rewritten = equalized(&model, &ranges.equalized).unwrap();
        assert_ne!(constant(&model, "expand.weight"), constant(&rewritten, "expand.weight"));
        assert_ne!(constant(&model, "project.weight"), constant(&rewritten, "project.weight"));
        for sample in &all {
            let (before, after) =
                (run(&model, sample, backend.as_ref()), run(&rewritten, sample, backend.as_ref()));
            for (b, a) in before[0].iter().zip(&after[0]) {
                assert!((b - a).abs() < 1e-4, "{which:?}: {b} became {a}");
            }
        }
    }
}

#[test]
fn a_channel_at_the_bound_of_its_clip_is_left_alone() {
    let backend = tract();
    let mut model = depthwise();
    // Channel 0 reaches 6, channel 1 comes near to it, the others stay far below.
    let factors: Vec<f32> = (0..12).map(|c| if c == 0 { 100.0 } else { 0.1 }).collect();
    unbalance(&mut model, "expand", &factors);
    let options = Options { equalize: Equalize::Depthwise, ..Options::default() };
    let all = samples(4, 6 * 16 * 16);
    let ranges = calibrate(&model, &mut all.iter().cloned(), &options, backend.as_ref()).unwrap();
    let divisors = &ranges.equalized["er"];
    assert_eq!(divisors[0], 1.0);
    assert!(divisors[1..].iter().all(|s| *s < 0.9 && *s >= 1.0 / 8.0), "{divisors:?}");
    // The small channels now fill the tensor's range, so that all are told apart.
    let rewritten = equalized(&model, &ranges.equalized).unwrap();
    for sample in &all {
        let (b, a) =
            (run(&model, sample, backend.as_ref()), run(&rewritten, sample, backend.as_ref()));
        assert!(sqnr(&b[0], &a[0]) > 80.0);
    }
}

#[test]
fn equalisation_gains_where_channels_differ_and_can_be_emitted_from_saved_ranges() {
    let Some(backend) = ort() else { return };
    let model = unbalanced();
    let all = samples(9, 6 * 16 * 16);
    let error = |equalize| {
        let options = Options { equalize, ..Options::default() };
        let q = quantize(&model, &mut all[..8].iter().cloned(), &options, backend).unwrap();
        let ranges = calibrate(&model, &mut all[..8].iter().cloned(), &options, backend).unwrap();
        let again = emit(&model, &ranges, Flavour::U8S8, &options).unwrap();
        assert_eq!(again.encode_to_vec(), q.model.encode_to_vec());
        sqnr(&run(&model, &all[8], backend)[0], &run(&q.model, &all[8], backend)[0])
    };
    let (plain, balanced) = (error(Equalize::Off), error(Equalize::Depthwise));
    assert!(balanced > plain, "{plain:.1} dB became {balanced:.1} dB");
}

#[test]
fn divisors_of_another_model_are_refused() {
    let backend = tract();
    let options = Options { equalize: Equalize::All, ..Options::default() };
    let mut all = samples(2, 6 * 16 * 16).into_iter();
    let ranges = calibrate(&unbalanced(), &mut all, &options, backend.as_ref()).unwrap();
    let error = equalized(&residual(), &ranges.equalized).unwrap_err();
    assert!(matches!(&error, Error::Range { tensor } if tensor == "dr"), "{error}");
}

#[test]
fn auto_takes_the_method_that_measures_best() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let options =
        Options { method: Method::Auto, compare_samples: 3, hold_out: true, ..Options::default() };
    let all = samples(13, 3 * 24 * 32);
    let q = quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap();
    assert_eq!((q.report.samples, q.report.compared_samples), (10, 3));
    assert_eq!(q.report.methods.len(), Method::MEASURED.len());
    let best = q.report.methods.iter().map(|t| t.sqnr_db).fold(f64::NEG_INFINITY, f64::max);
    let chosen = q.report.methods.iter().find(|t| t.method == q.report.method).unwrap();
    assert_eq!(chosen.sqnr_db, best);
    assert!((q.report.outputs[0].sqnr_db - best).abs() < 1e-9);
    // Too few to do without: all take part.
    let q = quantize(&model, &mut all[..11].iter().cloned(), &options, backend).unwrap();
    assert_eq!((q.report.samples, q.report.compared_samples), (11, 3));
}

#[test]
fn the_layers_that_cost_most_are_left_in_float() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let all = samples(8, 3 * 24 * 32);
    let report = |options: Options| {
        let options = Options { compare_samples: 2, ..options };
        quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap().report
    };
    let search = |search| report(Options { sensitivity: Some(search), ..Options::default() });
    let ranked = search(Search::default());
    let found = ranked.sensitivity.unwrap();
    assert_eq!((found.layers.len(), found.unmeasured, found.float_layers.len()), (4, 0, 0));
    assert!(found.layers.is_sorted_by(|a, b| a.sqnr_db <= b.sqnr_db));
    // The worse half by rank is the half that helps more when one of it is in float.
    let without = |layer: &str| {
        let options = Options { keep_float: vec![layer.to_owned()], ..Options::default() };
        report(options).outputs[0].sqnr_db
    };
    let gains: Vec<f64> = found.layers.iter().map(|l| without(&l.node)).collect();
    let helps_more = |worse: f64| gains[2..].iter().all(|better| worse > *better);
    assert!(gains[..2].iter().all(|g| helps_more(*g)), "{gains:?} {:?}", found.layers);

    // Between what the worst alone brings and what all bring.
    let target = gains[0] + 3.0;
    let report = search(Search { target_sqnr_db: Some(target), ..Search::default() });
    let found = report.sensitivity.unwrap();
    assert_eq!(found.reached, Some(true), "{:?}", found.trials);
    let mut named = found.float_layers.clone();
    named.sort();
    let mut float = report.float_layers.clone();
    float.sort();
    assert_eq!(float, named);
    assert!(named.len() >= 2 && report.outputs[0].sqnr_db >= target);
    // One fewer would not have been enough, and was tried.
    let fewer = found.trials.iter().find(|t| t.float_layers + 1 == named.len()).unwrap();
    assert!(fewer.sqnr_db < target);

    let two = search(Search { max_float_layers: Some(2), ..Search::default() });
    assert_eq!(two.float_layers.len(), 2);
    let none = search(Search { target_sqnr_db: Some(190.0), seconds: 0, ..Search::default() });
    let found = none.sensitivity.unwrap();
    assert_eq!((found.unmeasured, found.reached), (4, Some(false)));
}

#[test]
fn the_page_tells_what_the_report_does_and_needs_nothing_else() {
    let Some(backend) = ort() else { return };
    let mut model = residual();
    let graph = model.graph.as_mut().unwrap();
    graph.node.iter_mut().find(|n| n.name == "block").unwrap().name = "<block&1>".to_owned();
    let options = Options {
        method: Method::Auto,
        sensitivity: Some(Search { max_float_layers: Some(1), ..Search::default() }),
        ..Options::default()
    };
    let all = samples(4, 3 * 24 * 32);
    let q = quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap();
    let timing = time(&model.encode_to_vec(), &q.model.encode_to_vec(), &all[0], backend).unwrap();
    assert!(timing.float_ms > 0.0 && timing.int8_ms > 0.0 && timing.runs >= 3);
    let html = page("net", &q.report, Some(&timing));
    assert!(html.contains("&lt;block&amp;1&gt;") && !html.contains("<block"));
    for layer in &q.report.layers {
        assert!(layer.node == "<block&1>" || html.contains(&layer.node), "{}", layer.node);
    }
    let wanted = ["Sensitivity", "by measurement", "fp32 / INT8", "chosen"];
    assert!(wanted.iter().all(|w| html.contains(w)));
    assert!(!html.contains("http") && !html.contains("<script"));
    assert_eq!(html.matches("<table>").count(), html.matches("</table>").count());
}

#[test]
fn a_graph_without_layers_for_integers_says_so() {
    let backend = tract();
    let mut net = Net::new(&[1, 4, 8, 8]);
    net.op("Tanh", &["x"], "y");
    let model = net.finish(&[("y", &[1, 4, 8, 8])]);
    let mut all = samples(2, 4 * 64).into_iter();
    let error = quantize(&model, &mut all, &Options::default(), backend.as_ref()).unwrap_err();
    assert!(matches!(error, Error::NothingToQuantize { float: 0 }), "{error}");
    // An operator that no engine has is named by it.
    let mut net = Net::new(&[1, 4, 8, 8]);
    net.op("Frobnicate", &["x"], "f");
    net.conv("a", "f", "y", (4, 4, &[3, 3]), &[1, 1], 1, 1, 1);
    let model = net.finish(&[("y", &[1, 4, 8, 8])]);
    let mut all = samples(2, 4 * 64).into_iter();
    let error = quantize(&model, &mut all, &Options::default(), backend.as_ref()).unwrap_err();
    assert!(error.to_string().contains("Frobnicate"), "{error}");
}
