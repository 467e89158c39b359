//! A small bundle with every kind of detector, and keys to sign it.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::collections::BTreeMap;

use minisign::KeyPair;
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, GoldenEntry, GoldenTensor, GraphEntry, InitialState,
    InputSpec, LocalSpec, MotionSpec, SCHEMA, SemanticSpec, SmoothingSpec, SnippetSpec, StateSpec,
    StreamSpec, ZScore,
};
use model_bundle::{BundleBuilder, Manifest, Payload, PublicKey};

pub fn key_pair() -> (KeyPair, PublicKey) {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let public = pair.pk.to_base64().parse().unwrap();
    (pair, public)
}

pub fn sign(payload: &[u8], pair: &KeyPair) -> String {
    minisign::sign(None, &pair.sk, payload, Some("test"), None).unwrap().into_string()
}

pub fn finish(payload: &Payload, (pair, public): &(KeyPair, PublicKey)) -> Vec<u8> {
    payload.finish(&sign(payload.as_bytes(), pair), public).unwrap()
}

pub fn detectors() -> Detectors {
    let z = ZScore { mean: 0.5, std: 2.0 };
    Detectors {
        input: InputSpec { width: 32, height: 16, frame_rate: 10.0 },
        local: Some(LocalSpec {
            graph: "local".into(),
            offsets: vec![-4, 2],
            mean: 110.0,
            std: 50.0,
            diff_scale: 30.0,
            stream: None,
            map_stride: 4,
            pool: 3,
            kinds: vec!["fast".into(), "bike".into()],
            z,
            weight: 1.0,
        }),
        motion: Some(MotionSpec {
            box_size: 8,
            epsilon: 1.0,
            z,
            weight: 0.5,
            excess_over: Some(2.0),
        }),
        semantic: Some(SemanticSpec {
            backbone: "backbone".into(),
            head: "head".into(),
            snippet: SnippetSpec {
                frames: 2,
                stride: 1,
                width: 8,
                height: 8,
                mean: [127.5; 3],
                std: [127.5; 3],
                stream: None,
            },
            feature_size: 4,
            window: 3,
            grid: None,
            z,
            weight: 0.25,
            excess_over: None,
        }),
        smoothing: SmoothingSpec { sigma: 2.0, radius: 5, lag: 7 },
        calibration: Calibration {
            threshold: 3.0,
            scale: 1.0,
            false_alarms_per_hour: 0.5,
            normal: None,
        },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.3,
            end_after: 1.0,
            cool_down: 2.0,
        },
    }
}

/// A graph's input or output: name and shape.
type Port = (&'static str, &'static [u64]);

fn tensor(builder: &mut BundleBuilder, name: &str, shape: &[u64]) -> GoldenTensor {
    let count = shape.iter().product::<u64>();
    let values: Vec<f32> = (0..count).map(|i| i as f32 * 0.25).collect();
    GoldenTensor {
        name: name.into(),
        shape: shape.to_vec(),
        blob: builder.add_tensor(&values).unwrap(),
    }
}

fn states_of(
    builder: &mut BundleBuilder,
    states: &[StateSpec],
    name: fn(&StateSpec) -> &String,
) -> Vec<GoldenTensor> {
    let shape = |state: &StateSpec| state.shape.iter().map(|&n| n.into()).collect::<Vec<u64>>();
    states.iter().map(|state| tensor(builder, name(state), &shape(state))).collect()
}

/// A builder with its blobs and the manifest that fits them. The graphs are not ONNX: this crate
/// does not look inside.
pub fn sample() -> (BundleBuilder, Manifest) {
    bundle(detectors())
}

/// As [`sample`], with a backbone and a local graph that stream.
pub fn streaming() -> (BundleBuilder, Manifest) {
    let mut detectors = detectors();
    let state = |name: &str, shape: &[u32], initial| StateSpec {
        input: format!("state.{name}"),
        output: format!("next.{name}"),
        shape: shape.to_vec(),
        initial,
    };
    detectors.local.as_mut().unwrap().stream =
        Some(StreamSpec { states: vec![state("ring", &[1, 6, 16, 32], InitialState::FirstFrame)] });
    detectors.semantic.as_mut().unwrap().snippet.stream = Some(StreamSpec {
        states: vec![
            state("3", &[1, 2, 4, 4], InitialState::Zero),
            state("5", &[1, 4, 2, 2], InitialState::Zero),
        ],
    });
    bundle(detectors)
}

fn bundle(detectors: Detectors) -> (BundleBuilder, Manifest) {
    let mut builder = BundleBuilder::new();
    let (mut graphs, mut golden) = (Vec::new(), Vec::new());
    let local = detectors.local.as_ref().and_then(|local| local.stream.clone());
    let semantic = detectors.semantic.as_ref();
    let backbone = semantic.and_then(|semantic| semantic.snippet.stream.clone());
    let or = |stream: &Option<StreamSpec>, whole: Port, frame: Port| {
        if stream.is_some() { frame } else { whole }
    };
    let stack = or(&local, ("stack", &[1, 3, 16, 32]), ("frame", &[1, 1, 16, 32]));
    let snippet = or(&backbone, ("snippet", &[1, 3, 2, 8, 8]), ("frame", &[1, 3, 8, 8]));
    let wanted: [(&str, Port, Port, Option<StreamSpec>); 3] = [
        ("local", stack, ("maps", &[1, 2, 4, 8]), local),
        ("backbone", snippet, ("features", &[1, 4]), backbone),
        ("head", ("features", &[1, 3, 4]), ("scores", &[1, 3]), None),
    ];
    for (name, input, output, stream) in wanted {
        let states = stream.map_or(Vec::new(), |stream| stream.states);
        for (backend, precision) in [("ort", "int8"), ("tract", "fp32")] {
            // The head is the same file for both backends, and stored once.
            let bytes = if name == "head" { "head".into() } else { format!("{name} {backend}") };
            graphs.push(GraphEntry {
                name: name.into(),
                backend: backend.into(),
                precision: precision.into(),
                blob: builder.add(bytes.as_bytes()).unwrap(),
            });
            golden.push(GoldenEntry {
                graph: name.into(),
                backend: backend.into(),
                input: tensor(&mut builder, input.0, input.1),
                states: states_of(&mut builder, &states, |state| &state.input),
                output: tensor(&mut builder, output.0, output.1),
                next: states_of(&mut builder, &states, |state| &state.output),
                tolerance: 0.05,
            });
        }
    }
    let manifest = Manifest {
        schema: SCHEMA,
        name: "sample".into(),
        version: "1.2.3".into(),
        security_epoch: 3,
        device_classes: vec!["orin-nano".into(), "generic-linux".into()],
        detectors,
        graphs,
        golden,
        provenance: BTreeMap::from([("seed".into(), "7".into())]),
    };
    (builder, manifest)
}

/// The smallest bundle: the motion prior alone, without blobs.
pub fn minimal() -> (BundleBuilder, Manifest) {
    let (_, mut manifest) = sample();
    manifest.detectors.local = None;
    manifest.detectors.semantic = None;
    manifest.graphs.clear();
    manifest.golden.clear();
    (BundleBuilder::new(), manifest)
}

pub fn payload((builder, manifest): &(BundleBuilder, Manifest)) -> Payload {
    builder.payload(manifest).unwrap()
}

/// A payload of any manifest JSON and blobs, checked by nothing.
pub fn raw_payload(json: &[u8], blobs: &[u8]) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes()[..], json, blobs].concat()
}

/// A file around any payload, with a valid signature.
pub fn raw_file(payload: &[u8], (pair, public): &(KeyPair, PublicKey)) -> Vec<u8> {
    let signature = sign(payload, pair);
    let (_, rest) = signature.split_once('\n').unwrap();
    let signature = format!("untrusted comment: pavad model bundle\n{}\n", rest.trim_end());
    [
        &b"\x89PAVAD\r\n"[..],
        &1u32.to_le_bytes(),
        &(signature.len() as u32).to_le_bytes(),
        &(payload.len() as u64).to_le_bytes(),
        public.as_bytes(),
        signature.as_bytes(),
        payload,
    ]
    .concat()
}
