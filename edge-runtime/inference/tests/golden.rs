//! Loading a bundle: the golden vectors decide.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{bare, relu_model};
use inference::{
    Backend, BackendKind, BackendOptions, Engine, Error, Graph, Provider, TensorInfo, open_backend,
};
use minisign::KeyPair;
use model_bundle::manifest::{GoldenEntry, GoldenTensor, GraphEntry, SCHEMA};
use model_bundle::{Bundle, BundleBuilder, Manifest, OnDisk, Trust};

/// A bundle with a local graph that cannot be: its maps are its input through `Relu`. That needs a
/// stack of one channel, one kind and a stride of 1.
fn bundle(off: f32, tolerance: f64) -> Bundle {
    let mut detectors = bare();
    let mut local = common::local();
    local.offsets = vec![];
    local.map_stride = 1;
    local.kinds = vec!["any".into()];
    detectors.local = Some(local);
    let shape = [1u64, 1, 16, 32];
    let mut builder = BundleBuilder::new();
    let onnx = builder.add(&relu_model("stack", "maps", &shape.map(|n| n as i64))).unwrap();
    let input: Vec<f32> = (0..512).map(|i| i as f32 - 256.0).collect();
    let output: Vec<f32> = input.iter().map(|v| v.max(0.0) * (1.0 + off)).collect();
    let tensor = |name: &str, blob| GoldenTensor { name: name.into(), shape: shape.into(), blob };
    let golden = GoldenEntry {
        graph: "local".into(),
        backend: "tract".into(),
        input: tensor("stack", builder.add_tensor(&input).unwrap()),
        states: vec![],
        output: tensor("maps", builder.add_tensor(&output).unwrap()),
        next: vec![],
        tolerance,
    };
    let manifest = Manifest {
        schema: SCHEMA,
        name: "test".into(),
        version: "1.0.0".into(),
        security_epoch: 0,
        device_classes: vec!["any".into()],
        detectors,
        graphs: vec![GraphEntry {
            name: "local".into(),
            backend: "tract".into(),
            precision: "fp32".into(),
            blob: onnx,
        }],
        golden: vec![golden],
        provenance: Default::default(),
    };
    let payload = builder.payload(&manifest).unwrap();
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = minisign::sign(None, &pair.sk, payload.as_bytes(), Some("test"), None);
    let key = pair.pk.to_base64().parse().unwrap();
    let bytes = payload.finish(&signature.unwrap().into_string(), &key).unwrap();
    Bundle::from_bytes(bytes, &Trust::Embedded).unwrap()
}

#[test]
fn a_bundle_within_tolerance_is_loaded_and_runs() {
    let backend = open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap();
    let mut engine = Engine::load(&bundle(0.01, 0.02), backend.as_ref()).unwrap();
    let (scores, _) = common::run(&mut engine, 10.0, &[common::grey(77)]);
    assert_eq!(scores[0].0.local, Some(77.0));
}

#[test]
fn a_bundle_is_read_from_its_file_as_long_as_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pavad");
    let bundle = bundle(0.01, 0.02);
    let mut bytes = bundle.as_bytes().to_vec();
    std::fs::write(&path, &bytes).unwrap();
    let backend = open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap();
    let on_disk = OnDisk::new(&bundle, &path).unwrap();
    let mut engine = Engine::load(&on_disk, backend.as_ref()).unwrap();
    let (scores, _) = common::run(&mut engine, 10.0, &[common::grey(77)]);
    assert_eq!(scores[0].0.local, Some(77.0));

    // The last byte is of a golden tensor, which would still be within its tolerance.
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = Engine::load(&on_disk, backend.as_ref()).err().unwrap().to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && error.contains("changed"), "{error}");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Engine::load(&on_disk, backend.as_ref()).err().unwrap().to_string();
    assert!(error.contains("changed"), "{error}");

    assert!(OnDisk::new(&bundle, &path).is_err(), "of another length");
    assert!(OnDisk::new(&bundle, dir.path()).is_err(), "a folder");
}

#[test]
fn a_bundle_beyond_tolerance_is_refused_with_the_measurement() {
    let backend = open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap();
    let error = Engine::load(&bundle(0.25, 0.1), backend.as_ref()).err().unwrap();
    // Expected values are 1.25 times the computed ones: 0.25 / 1.25 = 0.2.
    match &error {
        Error::Golden { graph, measured, tolerance, .. } => {
            assert_eq!((graph.as_str(), *tolerance), ("local", 0.1));
            assert!((measured - 0.2).abs() < 1e-6, "{measured}");
        }
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("2.000e-1"), "{error}");
}

#[test]
fn a_bundle_without_graphs_for_the_backend_says_so() {
    let Ok(backend) = open_backend(BackendKind::Ort, &BackendOptions::default()) else {
        eprintln!("skipped: no ONNX Runtime here");
        return;
    };
    let error = Engine::load(&bundle(0.0, 0.1), backend.as_ref()).err().unwrap();
    assert!(matches!(error, Error::NoGraph { .. }), "{error}");
    assert!(error.to_string().contains("`local`") && error.to_string().contains("ort"), "{error}");
}

/// A GPU whose engines, kept by an earlier start, compute nonsense until they are forgotten.
struct FakeGpu {
    nonsense: AtomicBool,
    /// Whether building engines anew helps.
    mends: bool,
    loaded: AtomicUsize,
    kept: AtomicBool,
}

impl FakeGpu {
    fn new(nonsense: bool, mends: bool) -> Self {
        let nonsense = AtomicBool::new(nonsense);
        Self { nonsense, mends, loaded: AtomicUsize::new(0), kept: AtomicBool::new(false) }
    }
}

struct FakeRelu {
    input: [TensorInfo; 1],
    output: [TensorInfo; 1],
    factor: f32,
}

impl Graph for FakeRelu {
    fn inputs(&self) -> &[TensorInfo] {
        &self.input
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.output
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        outputs[0] = inputs[0].iter().map(|v| v.max(0.0) * self.factor).collect();
        Ok(())
    }
}

impl Backend for FakeGpu {
    fn kind(&self) -> BackendKind {
        BackendKind::Ort
    }

    fn provider(&self) -> Provider {
        Provider::TensorRt
    }

    fn describe(&self) -> String {
        "a fake".into()
    }

    fn load(&self, _: &str, _: &[u8]) -> Result<Box<dyn Graph>, Error> {
        self.loaded.fetch_add(1, Ordering::Relaxed);
        let info = |name: &str| [TensorInfo { name: name.into(), shape: vec![1, 1, 16, 32] }];
        let factor = if self.nonsense.load(Ordering::Relaxed) { 3.0 } else { 1.0 };
        Ok(Box::new(FakeRelu { input: info("stack"), output: info("maps"), factor }))
    }

    fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    fn forget(&self, _: &str) -> bool {
        !self.mends || self.nonsense.swap(false, Ordering::Relaxed)
    }
}

#[test]
fn a_gpu_gets_the_fp32_graphs_and_their_golden_vectors() {
    // The bundle has graphs for tract alone.
    let gpu = FakeGpu::new(false, true);
    assert!(Engine::load(&bundle(0.01, 0.02), &gpu).is_ok());
    assert!(gpu.kept.load(Ordering::Relaxed));
    let error = Engine::load(&bundle(0.25, 0.1), &gpu).err().unwrap();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
}

#[test]
fn engines_that_miss_the_golden_vectors_are_built_once_more() {
    let gpu = FakeGpu::new(true, true);
    assert!(Engine::load(&bundle(0.0, 0.02), &gpu).is_ok());
    assert_eq!(gpu.loaded.load(Ordering::Relaxed), 2);
    assert!(gpu.kept.load(Ordering::Relaxed));

    let hopeless = FakeGpu::new(true, false);
    let error = Engine::load(&bundle(0.0, 0.02), &hopeless).err().unwrap();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    assert_eq!(hopeless.loaded.load(Ordering::Relaxed), 2);
    assert!(!hopeless.kept.load(Ordering::Relaxed));
}
