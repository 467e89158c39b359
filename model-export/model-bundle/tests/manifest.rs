//! One wrong field at a time: each is refused, and the message names the field.

#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use common::{minimal, sample, streaming};
use model_bundle::manifest::{GridSpec, InitialState, StateSpec};
use model_bundle::{Bundle, Error, Manifest, Trust};

/// The field that the writer complains of after `change`.
fn refused_field(change: impl FnOnce(&mut Manifest)) -> String {
    let (builder, mut manifest) = sample();
    change(&mut manifest);
    match builder.payload(&manifest) {
        Err(Error::BadManifest { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

/// Cuts the semantic detector's picture into cells.
fn grid(manifest: &mut Manifest, columns: u32, rows: u32) {
    if let Some(semantic) = &mut manifest.detectors.semantic {
        semantic.grid = Some(GridSpec { columns, rows });
    }
}

macro_rules! refused {
    ($($field:literal: |$m:ident| $change:expr;)*) => {
        $(assert_eq!(refused_field(|$m| { $change; }), $field, "{}", stringify!($change));)*
    };
}

#[test]
fn names_and_lists() {
    refused! {
        "name": |m| m.name = "Not a name".into();
        "name": |m| m.name = String::new();
        "version": |m| m.version = "1.0".into();
        "device_classes": |m| m.device_classes.clear();
        "device_classes": |m| m.device_classes = vec!["a".into(), "a".into()];
        "device_classes": |m| m.device_classes = vec!["../x".into()];
        "provenance": |m| m.provenance.insert("a b".into(), String::new());
        "provenance": |m| m.provenance.insert("a".into(), "two\nlines".into());
    }
}

#[test]
fn detectors() {
    refused! {
        "detectors.input.width": |m| m.detectors.input.width = 0;
        "detectors.input.height": |m| m.detectors.input.height = 10_000;
        "detectors.input.frame_rate": |m| m.detectors.input.frame_rate = 0.0;
        "detectors.input.frame_rate": |m| m.detectors.input.frame_rate = f64::NAN;
        "detectors": |m| {
            m.detectors.local.as_mut().unwrap().weight = 0.0;
            m.detectors.motion = None;
            m.detectors.semantic.as_mut().unwrap().weight = 0.0;
        };
        "detectors": |m| m.detectors.semantic.as_mut().unwrap().head = "local".into();
        "detectors.smoothing.lag": |m| m.detectors.smoothing.lag = 6;
        "detectors.smoothing.radius": |m| m.detectors.smoothing.radius = 0;
        "detectors.smoothing.sigma": |m| m.detectors.smoothing.sigma = -1.0;
        "detectors.calibration.scale": |m| m.detectors.calibration.scale = 0.0;
        "detectors.calibration.threshold": |m| m.detectors.calibration.threshold = f64::INFINITY;
        "detectors.events.enter": |m| m.detectors.events.enter = 1.5;
        "detectors.events.exit": |m| m.detectors.events.exit = 0.5;
        "detectors.events.cool_down": |m| m.detectors.events.cool_down = -1.0;
    }
}

#[test]
fn local_and_motion() {
    refused! {
        "detectors.local.graph": |m| m.detectors.local.as_mut().unwrap().graph = "".into();
        "detectors.local.offsets": |m| m.detectors.local.as_mut().unwrap().offsets = vec![0];
        "detectors.local.offsets": |m| m.detectors.local.as_mut().unwrap().offsets = vec![-1, -1];
        "detectors.local.std": |m| m.detectors.local.as_mut().unwrap().std = 1e-44;
        "detectors.local.diff_scale": |m| m.detectors.local.as_mut().unwrap().diff_scale = -1.0;
        "detectors.local.map_stride": |m| m.detectors.local.as_mut().unwrap().map_stride = 0;
        "detectors.local.map_stride": |m| m.detectors.local.as_mut().unwrap().map_stride = 5;
        "detectors.local.pool": |m| m.detectors.local.as_mut().unwrap().pool = 2;
        "detectors.local.pool": |m| m.detectors.local.as_mut().unwrap().pool = 5;
        "detectors.local.kinds": |m| m.detectors.local.as_mut().unwrap().kinds.clear();
        "detectors.local.z.std": |m| m.detectors.local.as_mut().unwrap().z.std = 0.0;
        "detectors.local.weight": |m| m.detectors.local.as_mut().unwrap().weight = -1.0;
        "detectors.motion.box_size": |m| m.detectors.motion.as_mut().unwrap().box_size = 17;
        "detectors.motion.epsilon": |m| m.detectors.motion.as_mut().unwrap().epsilon = 0.0;
        "detectors.motion.z.mean": |m| m.detectors.motion.as_mut().unwrap().z.mean = f64::NAN;
    }
}

#[test]
fn semantic() {
    refused! {
        "detectors.semantic.window": |m| m.detectors.semantic.as_mut().unwrap().window = 0;
        "detectors.semantic.feature_size":
            |m| m.detectors.semantic.as_mut().unwrap().feature_size = 0;
        // A window that no camera could keep, and cells that the graphs do not have.
        "detectors.semantic.grid.rows": |m| grid(m, 2, 0);
        "detectors.semantic.grid.columns": |m| grid(m, 513, 1);
        "detectors.semantic.grid": |m| {
            grid(m, 512, 512);
            m.detectors.semantic.as_mut().unwrap().window = 4096;
        };
        "golden[2].output.shape": |m| grid(m, 1, 1);
        "detectors.semantic.snippet.frames":
            |m| m.detectors.semantic.as_mut().unwrap().snippet.frames = 0;
        "detectors.semantic.snippet.stride":
            |m| m.detectors.semantic.as_mut().unwrap().snippet.stride = 3;
        "detectors.semantic.snippet.std":
            |m| m.detectors.semantic.as_mut().unwrap().snippet.std[1] = 0.0;
        "detectors.semantic.snippet.mean":
            |m| m.detectors.semantic.as_mut().unwrap().snippet.mean[2] = f32::NAN;
    }
}

/// The field that the writer complains of after `change` of a bundle whose graphs stream.
fn refused_stream(change: impl FnOnce(&mut Manifest)) -> String {
    let (builder, mut manifest) = streaming();
    change(&mut manifest);
    match builder.payload(&manifest) {
        Err(Error::BadManifest { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

/// The states of the backbone.
fn states(manifest: &mut Manifest) -> &mut Vec<StateSpec> {
    let semantic = manifest.detectors.semantic.as_mut().unwrap();
    &mut semantic.snippet.stream.as_mut().unwrap().states
}

fn change(change: impl Fn(&mut Manifest) + 'static) -> Box<dyn Fn(&mut Manifest)> {
    Box::new(change)
}

#[test]
fn streaming_graphs_have_states() {
    let (builder, manifest) = streaming();
    let payload = builder.payload(&manifest).unwrap();
    let keys = common::key_pair();
    let bytes = common::finish(&payload, &keys);
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    assert_eq!(*bundle.manifest(), manifest);
    let at = "detectors.semantic.snippet.stream.states";
    for (field, change) in [
        ("[1].input", change(|m| states(m)[1].input.clear())),
        ("[0].output", change(|m| states(m)[0].output = "a b".into())),
        ("[0].shape", change(|m| states(m)[0].shape.clear())),
        ("[0].shape", change(|m| states(m)[0].shape[2] = 0)),
        ("[0].shape", change(|m| states(m)[0].initial = InitialState::FirstFrame)),
        ("", change(|m| states(m)[0].shape = vec![u32::MAX; 8])),
        ("", change(|m| states(m)[1].input = "state.3".into())),
        ("", change(|m| states(m)[1].output = "features".into())),
        ("", change(|m| states(m)[1].output = "state.3".into())),
        ("", change(|m| *states(m) = vec![states(m)[0].clone(); 33])),
    ] {
        assert_eq!(refused_stream(change), format!("{at}{field}"));
    }
    let local = |m: &mut Manifest, shape: [u32; 4]| {
        let stream = m.detectors.local.as_mut().unwrap().stream.as_mut().unwrap();
        stream.states[0].shape = shape.into();
    };
    let field = refused_stream(|m| local(m, [1, 6, 16, 31]));
    assert_eq!(field, "detectors.local.stream.states[0].shape");
    // The golden entries must have the states, too.
    for (field, change) in [
        ("golden[2].states", change(|m| drop(m.golden[2].states.pop()))),
        ("golden[2].states[0].name", change(|m| m.golden[2].states.swap(0, 1))),
        ("golden[2].next[1].shape", change(|m| m.golden[2].next[1].shape[1] = 3)),
        ("golden[0].next", change(|m| m.golden[0].next.clear())),
        ("golden[0].input.name", change(|m| m.detectors.local.as_mut().unwrap().stream = None)),
    ] {
        assert_eq!(refused_stream(change), field);
    }
    assert_eq!(
        refused_field(|m| {
            m.golden[2].states = vec![m.golden[2].input.clone()];
        }),
        "golden[2].states"
    );
}

/// What is not said is not written: a bundle without streams is what it was before there were any.
#[test]
fn a_bundle_without_streams_says_nothing_of_them() {
    let (_, manifest) = sample();
    let text = serde_json::to_string(&manifest).unwrap();
    assert!(!text.contains("stream") && !text.contains("states") && !text.contains("next"));
    let (_, manifest) = streaming();
    let text = serde_json::to_string(&manifest).unwrap();
    assert!(text.contains("\"initial\":\"first-frame\"") && !text.contains("zero"), "{text}");
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
}

#[test]
fn graphs_and_golden_tensors() {
    refused! {
        "graphs[0].name": |m| m.graphs[0].name = "other".into();
        "graphs[0].backend": |m| m.graphs[0].backend = "cuda".into();
        "graphs[0].precision": |m| m.graphs[0].precision = "fp16".into();
        "graphs[1].name": |m| m.graphs[1].backend = "ort".into();
        // One graph is missing for each of the two backends.
        "graphs": |m| { m.graphs.remove(3); m.graphs.remove(0) };
        "graphs[0]": |m| m.golden.remove(0);
        "golden[0].graph": |m| m.golden[0].graph = "other".into();
        "golden[0].tolerance": |m| m.golden[0].tolerance = 0.0;
        "golden[0].input.name": |m| m.golden[0].input.name = "x".into();
        "golden[0].input.shape": |m| m.golden[0].input.shape[1] = 4;
        "golden[0].output.shape": |m| m.golden[0].output.shape.clear();
        "golden[0].output.blob.size": |m| m.golden[0].output.blob.size = 8;
    }
}

#[test]
fn blobs_cover_the_file() {
    refused! {
        "graphs[0] (local for ort).blob.sha256": |m| m.graphs[0].blob.sha256 = "00".into();
        "graphs[0] (local for ort).blob.sha256": |m| m.graphs[0].blob.sha256.make_ascii_uppercase();
        "graphs[0] (local for ort).blob.offset": |m| m.graphs[0].blob.offset = 1;
        "graphs[0] (local for ort).blob.size": |m| m.graphs[0].blob.size = 0;
        "graphs[0] (local for ort).blob.size": |m| m.graphs[0].blob.size = u64::MAX;
        // A blob moved away leaves a gap before the next one.
        "graphs[2] (backbone for ort).blob.offset": |m| m.graphs[1].blob.offset = u64::MAX;
        // Two references to one offset must be the same reference.
        "graphs[5] (head for tract).blob.offset":
            |m| m.graphs[5].blob.sha256 = "0".repeat(64);
    }
    let (mut builder, manifest) = minimal();
    builder.add(b"referred to by nothing").unwrap();
    assert!(matches!(builder.payload(&manifest), Err(Error::BadManifest { .. })));
}

#[test]
fn unknown_schema_is_not_written() {
    let (builder, mut manifest) = minimal();
    manifest.schema = 2;
    assert!(matches!(builder.payload(&manifest), Err(Error::UnknownSchema { schema: 2 })));
}

#[test]
fn one_complete_backend_is_enough() {
    let (_, manifest) = sample();
    let mut builder = model_bundle::BundleBuilder::new();
    let mut only_ort = manifest.clone();
    only_ort.graphs.retain(|g| g.backend == "ort");
    only_ort.golden.retain(|g| g.backend == "ort");
    // Same blobs, laid out anew.
    let mut place = |size: u64, fill: u8| builder.add(&vec![fill; size as usize]).unwrap();
    for (i, graph) in only_ort.graphs.iter_mut().enumerate() {
        graph.blob = place(9, i as u8);
    }
    for entry in &mut only_ort.golden {
        entry.input.blob = place(entry.input.blob.size, 0);
        entry.output.blob = place(entry.output.blob.size, 0);
    }
    builder.payload(&only_ort).unwrap();
}
