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
    Equalize, Error, Flavour, Method, Options, Quantized, Ranges, Search, WeightRange, calibrate,
    emit, equalized, quantize, quantize_flavours, tensorrt_rules,
};
use model_export::weights::Weights;
use prost::Message as _;

mod choices;
mod equalization;
#[path = "../net/mod.rs"]
mod net;

use net::{Net, depthwise, inception, residual, samples};

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
    let options = Options { weights: WeightRange::SevenBits, ..Options::default() };
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
