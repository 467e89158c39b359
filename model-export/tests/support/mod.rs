//! What the tests of graphs share: golden files, their input, and running a graph.

#![allow(clippy::unwrap_used, reason = "called by tests only")]

use std::path::Path;

use inference::{Backend, BackendKind, BackendOptions, open_backend};
use model_export::{
    onnx::{self, ModelProto},
    weights::{self, Weights},
};

/// The golden file of this name, as weights.
pub fn golden(name: &str) -> Weights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    Weights::from_safetensors(&path).unwrap()
}

/// The published weights, or a line that says why not and `None`.
pub fn fetched(file: &str) -> Option<Weights> {
    match Weights::fetched(file) {
        Ok(weights) => Some(weights),
        Err(error @ weights::Error::NotFound { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The input that golden files are made with; the same formula as `tests/reference/pattern.py`.
pub fn pattern(count: usize) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
    (0..count as u32).map(value).collect()
}

/// Every backend that this machine has: tract always, ONNX Runtime where its library is.
pub fn backends() -> Vec<Box<dyn Backend>> {
    let options = BackendOptions { threads: 2, ..BackendOptions::default() };
    let tract = open_backend(BackendKind::Tract, &options).unwrap();
    let mut backends = vec![tract];
    match open_backend(BackendKind::Ort, &options) {
        Ok(ort) => backends.push(ort),
        Err(error) => eprintln!("skipped on ONNX Runtime: {error}"),
    }
    backends
}

/// Runs a graph of one input, after a round trip through its bytes, and gives its outputs by name.
pub fn run(model: &ModelProto, backend: &dyn Backend) -> Vec<(String, Vec<f32>)> {
    let bytes = onnx::to_bytes(model);
    assert_eq!(onnx::load(&bytes).unwrap(), *model);
    let mut graph = backend.load("test", &bytes).unwrap();
    let input = pattern(graph.inputs()[0].shape.iter().product());
    let mut outputs = vec![Vec::new(); graph.outputs().len()];
    let start = std::time::Instant::now();
    graph.run(&[&input], &mut outputs).unwrap();
    eprintln!("{} in {:?}", backend.describe(), start.elapsed());
    graph.outputs().iter().map(|info| info.name.clone()).zip(outputs).collect()
}

/// Runs a graph with states over the frames of a clip, zero before the first; the first output of each
/// frame.
pub fn stream(model: &ModelProto, backend: &dyn Backend, clip: &[f32]) -> Vec<Vec<f32>> {
    let mut graph = backend.load("test", &onnx::to_bytes(model)).unwrap();
    let mut states: Vec<Vec<f32>> =
        graph.inputs()[1..].iter().map(|info| vec![0.0; info.len()]).collect();
    let mut outputs = vec![Vec::new(); graph.outputs().len()];
    let size = graph.inputs()[0].len();
    assert!(clip.len().is_multiple_of(size));
    let step = |frame: &[f32]| {
        let inputs: Vec<&[f32]> =
            std::iter::once(frame).chain(states.iter().map(Vec::as_slice)).collect();
        graph.run(&inputs, &mut outputs).unwrap();
        states = outputs[1..].to_vec();
        outputs[0].clone()
    };
    clip.chunks_exact(size).map(step).collect()
}

/// Fails if an output is further from the golden tensor than `tolerance`, relative to the largest
/// golden value.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.01, "{what}: the golden file says nothing");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * largest, "{what}[{i}] is {f} and should be {e}");
    }
}
