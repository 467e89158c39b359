//! From a checkpoint directory to a bundle and back, through the library and the real program.

#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use inference::exactness::saturating_graphs;
use inference::{BackendKind, BackendOptions, Engine, open_backend};
use model_bundle::manifest::{InitialState, StateSpec, StreamSpec};
use model_bundle::{Bundle, PublicKey, Trust};
use model_export::onnx::{self, GraphBuilder, Window};
use model_export::pack::checkpoint::{Checkpoint, write_golden};
use model_export::pack::{
    Error, GoldenInput, GraphInput, InputTensor, PackInput, SigningKey, Tolerances, pack,
};
use model_export::quantize::{Options, WeightRange, quantize};
use tempfile::TempDir;
use video::Frame;

const CONFIG: &str = r#"
# Tables of the trainer's own are not read.
[training]
steps = 900

[provenance]
seed = "7"

[detectors.input]
width = 32
height = 16
frame_rate = 10

[detectors.local]
graph = "local"
offsets = [-2, 2]
mean = 110
std = 50
diff_scale = 30
map_stride = 4
pool = 1
kinds = ["fast", "bike"]
z = { mean = 0, std = 1 }
weight = 1

[detectors.smoothing]
sigma = 0
radius = 0
lag = 2

[detectors.calibration]
threshold = 1
scale = 0.5
false_alarms_per_hour = 0.1

[detectors.events]
enter = 0.5
exit = 0.4
min_duration = 0.3
end_after = 1
cool_down = 2
"#;

/// `maps[k] = (k + 1) × mean of the 4×4 cell of the first channel + 0.25`.
fn graph() -> Vec<u8> {
    let mut graph = GraphBuilder::new("local");
    let stack = graph.input("stack", &[1, 3, 16, 32]).unwrap();
    let mut weight = vec![0.0; 2 * 3 * 16];
    weight[..16].fill(1.0 / 16.0);
    weight[48..64].fill(2.0 / 16.0);
    let weight = graph.constant("weight", &[2, 3, 4, 4], &weight).unwrap();
    let bias = graph.constant("bias", &[2], &[0.25, 0.25]).unwrap();
    let window = Window::new(&[4, 4]).strided(&[4, 4]);
    let maps = graph.conv("conv", &stack, &weight, Some(&bias), &window).unwrap();
    onnx::to_bytes(&graph.finish(&[(&maps, "maps")]).unwrap())
}

fn golden() -> GoldenInput {
    let values = (0..3 * 16 * 32).map(|i| (i % 7) as f32 * 0.1).collect();
    GoldenInput::single("local", "stack", vec![1, 3, 16, 32], values)
}

/// A checkpoint directory and a key in a folder of their own.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        let checkpoint = site.path("checkpoint");
        std::fs::create_dir_all(checkpoint.join("graphs")).unwrap();
        std::fs::write(checkpoint.join("config.toml"), CONFIG).unwrap();
        std::fs::write(checkpoint.join("graphs/local.tract.fp32.onnx"), graph()).unwrap();
        write_golden(&checkpoint, &golden()).unwrap();
        SigningKey::generate().unwrap().write(&site.path("site"), false).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program in the folder.
    fn run(&self, args: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_model-export"))
            .args(args.split_whitespace())
            .current_dir(self.dir.path())
            .env("RUST_BACKTRACE", "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    fn ok(&self, args: &str) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code and the one line of a failure.
    fn fails(&self, args: &str) -> (i32, String) {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty(), "{args}: wrote to stdout");
        let lines: Vec<&str> = stderr.lines().filter(|l| l.starts_with("model-export: ")).collect();
        assert_eq!(lines.len(), 1, "{args}: {stderr}");
        assert!(stderr.ends_with(&format!("{}\n", lines[0])), "{args}: {stderr}");
        (output.status.code().unwrap(), lines[0].to_owned())
    }

    fn input(&self) -> PackInput {
        let checkpoint = Checkpoint::read(&self.path("checkpoint")).unwrap();
        PackInput {
            allow_saturation: false,
            name: "gate".into(),
            version: "1.2.3".into(),
            security_epoch: 4,
            device_classes: vec!["any".into()],
            detectors: checkpoint.detectors,
            graphs: checkpoint.graphs,
            golden: checkpoint.golden,
            provenance: checkpoint.provenance,
            tolerances: Tolerances::default(),
        }
    }

    fn key(&self) -> SigningKey {
        SigningKey::read(&self.path("site.key")).unwrap()
    }
}

const PACK: &str = "pack checkpoint --key site.key --out m.pavad --name gate --version 1.2.3 \
                    --epoch 4 --device-class orin-nano --device-class xavier";

#[test]
fn packing_twice_gives_the_same_bytes_and_the_known_output() {
    let site = Site::new();
    let options = BackendOptions::default();
    let bytes = pack(&site.input(), &site.key(), &options).unwrap();
    assert_eq!(bytes, pack(&site.input(), &site.key(), &options).unwrap());

    let trust = Trust::Keys(vec![*site.key().public()]);
    let bundle = Bundle::from_bytes(bytes, &trust).unwrap();
    let entry = &bundle.manifest().golden[0];
    assert_eq!((entry.output.name.as_str(), &entry.output.shape[..]), ("maps", &[1, 2, 4, 8][..]));
    assert_eq!(entry.tolerance, 1e-3);
    let found = bundle.tensor(&entry.output.blob);
    let input = golden().inputs.remove(0).values;
    for (k, map) in found.chunks(32).enumerate() {
        for (cell, value) in map.iter().enumerate() {
            let (y, x) = (cell / 8 * 4, cell % 8 * 4);
            let sum: f32 = (0..16).map(|i| input[(y + i / 4) * 32 + x + i % 4]).sum();
            let expected = (k + 1) as f32 * sum / 16.0 + 0.25;
            assert!((value - expected).abs() < 1e-5, "{k} {cell}: {value} {expected}");
        }
    }
    assert_eq!(bundle.manifest().provenance["seed"], "7");
}

#[test]
fn the_packed_bundle_scores_frames() {
    let site = Site::new();
    let bytes = pack(&site.input(), &site.key(), &BackendOptions::default()).unwrap();
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    let backend = open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap();
    let mut engine = Engine::load(&bundle, backend.as_ref()).unwrap();
    let mut stream = engine.stream(10.0);
    let mut scores = Vec::new();
    for _ in 0..6 {
        let frame = Frame::from_rgb(32, 16, vec![160; 32 * 16 * 3]).unwrap();
        engine.push(&mut stream, &frame, &mut |s| scores.push(s.score)).unwrap();
    }
    engine.finish(&mut stream, &mut |s| scores.push(s.score)).unwrap();
    // Luma 160: (160 - 110) / 50 = 1, so the second map is 2.25; (2.25 - 1) / 0.5 = 2.5.
    let expected = 1.0 / (1.0 + (-2.5f64).exp());
    assert_eq!(scores.len(), 6);
    assert!(scores.iter().all(|s| (s - expected).abs() < 0.01), "{scores:?} {expected}");
}

#[test]
fn a_bundle_for_both_backends_holds_golden_vectors_of_each() {
    let options = BackendOptions::default();
    if let Err(error) = open_backend(BackendKind::Ort, &options) {
        eprintln!("skipped on ONNX Runtime: {error}");
        return;
    }
    let site = Site::new();
    let mut input = site.input();
    let twin = GraphInput { backend: BackendKind::Ort, ..input.graphs[0].clone() };
    input.graphs.push(twin);
    let bytes = pack(&input, &site.key(), &options).unwrap();
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    let outputs: Vec<_> =
        bundle.manifest().golden.iter().map(|g| bundle.tensor(&g.output.blob)).collect();
    assert_eq!(outputs.len(), 2);
    for (a, b) in outputs[0].iter().zip(&outputs[1]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    // The same graph is stored once for both.
    assert_eq!(bundle.manifest().graphs[0].blob, bundle.manifest().graphs[1].blob);
}

/// A graph that streams is proved with the states that it is given and those that it gives.
#[test]
fn golden_vectors_of_a_streaming_graph_have_its_states() {
    let site = Site::new();
    let mut input = site.input();
    let local = input.detectors.local.as_mut().unwrap();
    let (back, ahead) = local.reach();
    let (frames, pixels) = (back + ahead, 16 * 32);
    let ring = [1, frames, 16, 32];
    local.stream = Some(StreamSpec {
        states: vec![StateSpec {
            input: "ring".into(),
            output: "next_ring".into(),
            shape: ring.map(|size| size as u32).into(),
            initial: InitialState::FirstFrame,
        }],
    });
    let mut graph = GraphBuilder::new("local");
    let frame = graph.input("frame", &[1, 1, 16, 32]).unwrap();
    let state = graph.input("ring", &ring).unwrap();
    let all = graph.concat("all", &[&state, &frame], 1).unwrap();
    let next = graph.slice("next", &all, 1, 1..frames + 1).unwrap();
    let weight = vec![0.01; 2 * (frames + 1) * 16];
    let weight = graph.constant("weight", &[2, frames + 1, 4, 4], &weight).unwrap();
    let window = Window::new(&[4, 4]).strided(&[4, 4]);
    let maps = graph.conv("conv", &all, &weight, None, &window).unwrap();
    let model = graph.finish(&[(&maps, "maps"), (&next, "next_ring")]).unwrap();
    input.graphs[0].onnx = onnx::to_bytes(&model);

    let levels =
        |from: usize, count: usize| (from..from + count).map(|i| (i % 251) as f32).collect();
    let tensor = |name: &str, shape: &[usize], values: Vec<f32>| InputTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    };
    let golden = GoldenInput {
        graph: "local".into(),
        inputs: vec![
            tensor("frame", &[1, 1, 16, 32], levels(7, pixels)),
            tensor("ring", &ring, levels(3, frames * pixels)),
        ],
    };
    // Through the checkpoint's files.
    let checkpoint = site.path("checkpoint");
    write_golden(&checkpoint, &golden).unwrap();
    input.golden = Checkpoint::read(&checkpoint).unwrap().golden;
    assert_eq!(input.golden, [golden]);

    let bytes = pack(&input, &site.key(), &BackendOptions::default()).unwrap();
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    let entry = &bundle.manifest().golden[0];
    assert_eq!((entry.states.len(), entry.next[0].name.as_str()), (1, "next_ring"));
    let [frame, ring] = [&input.golden[0].inputs[0].values, &input.golden[0].inputs[1].values];
    assert_eq!(bundle.tensor(&entry.states[0].blob), *ring);
    assert_eq!(bundle.tensor(&entry.next[0].blob), [&ring[pixels..], frame].concat());

    // Without its states nothing is proved.
    input.golden[0].inputs.pop();
    let error = pack(&input, &site.key(), &BackendOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    let header = checkpoint.join("golden/local.json");
    let text = std::fs::read_to_string(&header).unwrap();
    std::fs::write(&header, text.replace("\"ring\"", "\"ring\",\"more\":1")).unwrap();
    let error = Checkpoint::read(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("local.json"), "{error}");
}

#[test]
fn what_cannot_be_packed_is_named() {
    let site = Site::new();
    let key = site.key();
    let fail = |change: fn(&mut PackInput)| {
        let mut input = site.input();
        change(&mut input);
        pack(&input, &key, &BackendOptions::default()).unwrap_err()
    };
    let error = fail(|i| i.graphs[0].onnx.truncate(40));
    assert!(matches!(error, Error::Graph { .. }), "{error}");
    let error = fail(|i| i.golden[0].inputs[0].name = "other".into());
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    let error = fail(|i| i.golden[0].inputs[0].values.truncate(5));
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    let error = fail(|i| i.golden[0].inputs[0].values.fill(f32::MAX));
    assert!(matches!(error, Error::Golden { .. }), "{error}");
    let error = fail(|i| i.golden.clear());
    assert!(matches!(error, Error::Bundle(_)), "{error}");
    let error = fail(|i| i.graphs.clear());
    assert!(matches!(error, Error::Bundle(_)), "{error}");
    let error = fail(|i| i.name = "Not A Name".into());
    assert!(error.to_string().contains("`name`"), "{error}");

    let mut input = site.input();
    input.graphs[0].backend = BackendKind::Ort;
    let nowhere =
        BackendOptions { ort_library: Some("/no/such/lib.so".into()), ..Default::default() };
    let error = pack(&input, &key, &nowhere).unwrap_err();
    assert!(matches!(error, Error::BackendUnavailable { backend: "ort", .. }), "{error}");
}

/// The planted layer: all weights of a row are its largest, so that every pair is twice 127.
#[test]
fn a_layer_that_saturates_is_refused_by_name_at_export() {
    let site = Site::new();
    let mut model = onnx::load(&graph()).unwrap();
    let initializers = &mut model.graph.as_mut().unwrap().initializer;
    let weight = initializers.iter_mut().find(|t| t.name == "weight").unwrap();
    weight.raw_data = 0.1f32.to_le_bytes().repeat(2 * 3 * 16);
    let tract = open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap();
    let quantized = |weights| {
        let mut samples = std::iter::once(vec![golden().inputs.remove(0).values]);
        let options = Options { weights, fold_stem: false, ..Options::default() };
        onnx::to_bytes(&quantize(&model, &mut samples, &options, tract.as_ref()).unwrap().model)
    };
    let with = |weights| {
        let mut input = site.input();
        let (backend, precision) = (BackendKind::Ort, "int8".to_owned());
        input.graphs[0] =
            GraphInput { name: "local".into(), backend, precision, onnx: quantized(weights) };
        input
    };
    let options = BackendOptions::default();
    let planted = with(WeightRange::Full);
    let error = pack(&planted, &site.key(), &options).unwrap_err();
    assert!(matches!(error, Error::Saturates { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("graph local") && message.contains("`conv`"), "{message}");
    // By the program: exit code 3, and the way out.
    let graphs = site.path("checkpoint/graphs");
    std::fs::write(graphs.join("local.ort.int8.onnx"), &planted.graphs[0].onnx).unwrap();
    let (code, line) = site.fails(PACK);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("`conv`") && line.contains("--allow-saturation"), "{line}");
    if let Err(error) = open_backend(BackendKind::Ort, &options) {
        eprintln!("skipped on ONNX Runtime: {error}");
        return;
    }
    let held = with(WeightRange::Pairs);
    let bytes = pack(&held, &site.key(), &options).unwrap();
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    assert_eq!(bundle.manifest().golden[0].tolerance, 1e-3);
    assert_eq!(saturating_graphs(&bundle).unwrap(), []);
    site.ok(&format!("{PACK} --allow-saturation"));
    let said = site.ok("inspect m.pavad");
    assert!(said.contains("saturates on other x86 in `conv`"), "{said}");
    std::fs::write(graphs.join("local.ort.int8.onnx"), &held.graphs[0].onnx).unwrap();
    site.ok(PACK);
    assert!(site.ok("inspect m.pavad").contains("local: exact on every processor"));
}

#[test]
fn the_program_packs_verifies_inspects_and_signs() {
    let site = Site::new();
    let packed = site.ok(PACK);
    assert!(packed.starts_with("m.pavad: gate 1.2.3, 1 graphs, "), "{packed}");
    let first = std::fs::read(site.path("m.pavad")).unwrap();
    site.ok(PACK);
    assert_eq!(std::fs::read(site.path("m.pavad")).unwrap(), first);

    let id = PublicKey::read(&site.path("site.pub")).unwrap().id();
    let verified = site.ok("verify m.pavad --public-key site.pub --device-class xavier");
    assert_eq!(verified, format!("m.pavad: good, gate 1.2.3, signed by trusted key {id}\n"));
    site.ok("verify m.pavad --min-epoch 4");

    let report: serde_json::Value =
        serde_json::from_str(&site.ok("inspect m.pavad --json")).unwrap();
    assert_eq!(report["signer"], id);
    assert_eq!(report["size"], first.len());
    assert_eq!(report["manifest"]["security_epoch"], 4);
    assert_eq!(report["manifest"]["detectors"]["local"]["kinds"][1], "bike");
    let text = site.ok("inspect m.pavad");
    assert!(text.contains("model           gate 1.2.3\n"), "{text}");
    assert!(text.contains("latency         2 frames, 0.20 s\n"), "{text}");

    site.ok("keygen --out keys/");
    site.ok("sign m.pavad --public-key site.pub --key keys/pavad.key --out n.pavad");
    site.ok("verify n.pavad --public-key keys/pavad.pub");
    let (code, line) = site.fails("verify n.pavad --public-key site.pub");
    assert_eq!(code, 3);
    assert!(line.contains("n.pavad: bundle is signed by key "), "{line}");
    let report: serde_json::Value =
        serde_json::from_str(&site.ok("verify n.pavad --json")).unwrap();
    assert_eq!(report["trusted"], false);
}

#[test]
fn exit_codes() {
    let site = Site::new();
    site.ok(PACK);
    let write = |name: &str, bytes: &[u8]| std::fs::write(site.path(name), bytes).unwrap();
    let good = std::fs::read(site.path("m.pavad")).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    write("bad.pavad", &bad);
    write("cut.pavad", &good[..middle]);
    write("text.pavad", b"hello");
    let code = |args: &str| site.fails(args).0;
    for refused in ["bad.pavad", "cut.pavad", "text.pavad"] {
        assert_eq!(code(&format!("verify {refused}")), 3, "{refused}");
        assert_eq!(code(&format!("inspect {refused}")), 3, "{refused}");
        assert_eq!(code(&format!("sign {refused} --key site.key")), 3, "{refused}");
    }
    assert_eq!(code("verify m.pavad --device-class toaster"), 3);
    assert_eq!(code("verify m.pavad --min-epoch 5"), 3);
    assert_eq!(code("verify missing.pavad"), 2);
    assert_eq!(code("verify m.pavad --public-key nothing"), 2);
    assert_eq!(code("verify m.pavad --public-key m.pavad"), 1);
    assert_eq!(code("keygen --out site"), 2);
    assert_eq!(code("pack missing --key site.key --out x.pavad"), 2);
    assert_eq!(code("pack checkpoint --key site.pub --out x.pavad"), 2);
    assert_eq!(code("pack checkpoint --key site.key --out x.pavad --name Bad"), 3);
    assert_eq!(code("pack checkpoint --key site.key --out no/such/dir/x.pavad"), 1);
    assert_eq!(site.run("verify").status.code(), Some(2));
    assert_eq!(site.run("frobnicate").status.code(), Some(2));

    let graphs = site.path("checkpoint/graphs");
    std::fs::copy(graphs.join("local.tract.fp32.onnx"), graphs.join("local.ort.int8.onnx"))
        .unwrap();
    let (code, line) =
        site.fails("pack checkpoint --key site.key --out x.pavad --ort-library /no/such.so");
    assert_eq!(code, 4, "{line}");
    assert!(!site.path("x.pavad").exists());
}

#[test]
fn wrong_checkpoints_name_the_file() {
    let breaks = |name: &str, content: Option<&[u8]>| {
        let site = Site::new();
        let path = site.path("checkpoint").join(name);
        match content {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let message = Checkpoint::read(&site.path("checkpoint")).unwrap_err().to_string();
        assert!(message.contains(name) && !message.contains('\n'), "{message}");
        message
    };
    breaks("config.toml", None);
    breaks("config.toml", Some(b"detectors = 3"));
    let unknown = CONFIG.replace("pool = 1", "pool = 1\npools = 2");
    assert!(breaks("config.toml", Some(unknown.as_bytes())).contains("pools"));
    let range = CONFIG.replace("pool = 1", "pool = 2");
    assert!(breaks("config.toml", Some(range.as_bytes())).contains("detectors.local.pool"));
    breaks("graphs/local.onnx", Some(b""));
    breaks("graphs/local.cuda.fp32.onnx", Some(b""));
    breaks("golden/local.json", None);
    breaks("golden/local.json", Some(b"{}"));
    breaks("golden/local.input.bin", Some(b"123"));
}

#[test]
fn key_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let output = site.run("keygen --out new/gate");
    assert!(output.status.success());
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("new/gate.key is not encrypted"), "{warning}");
    assert_eq!(mode(&site.path("new/gate.key")), 0o600);
    site.fails("keygen --out new/gate");
    site.ok("keygen --out new/gate --force");
    assert_eq!(mode(&site.path("new/gate.key")), 0o600);
}
