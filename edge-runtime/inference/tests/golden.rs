//! Loading a bundle: the golden vectors decide.
#![allow(clippy::unwrap_used)]

mod common;

use common::{bare, relu_model};
use inference::{BackendKind, BackendOptions, Engine, Error, open_backend};
use minisign::KeyPair;
use model_bundle::manifest::{GoldenEntry, GoldenTensor, GraphEntry, SCHEMA};
use model_bundle::{Bundle, BundleBuilder, Manifest, Trust};

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
