//! ONNX's own checker finds nothing to say about any graph: fp32, U8S8 and S8S8.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::path::{Path, PathBuf};
use std::process::Command;

use inference::{Backend, BackendKind, BackendOptions, open_backend};
use model_export::graphs::{Cells, head, i3d, local, mobilenetv2};
use model_export::onnx::{self, ModelProto};
use model_export::quantize::{Equalize, Flavour, Options, quantize_flavours, tensorrt_rules};
use tempfile::TempDir;

#[allow(dead_code, reason = "the tests of the graphs use the rest")]
mod support;
use support::{fetched, golden, pattern};

/// What ONNX's checker says about files.
enum Verdict {
    Good,
    Bad(String),
    /// There is no checker.
    Skipped(String),
}

fn check(files: &[PathBuf]) -> Verdict {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/check_onnx.py");
    let packages = std::env::var_os("PAVAD_ONNX").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/onnx"),
        PathBuf::from,
    );
    let mut python = Command::new("python3");
    python.arg(script).args(files).env("PYTHONPATH", packages);
    let Ok(output) = python.output() else {
        return Verdict::Skipped("no python3".to_owned());
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Verdict::Good,
        Some(77) => Verdict::Skipped(format!("{}; `cargo xtask test` fetches it", said.trim())),
        _ => Verdict::Bad(said),
    }
}

/// Checks a model and, where it has layers to quantize, both flavours of it. False if there is no checker.
fn examine(name: &str, model: &ModelProto, backend: Option<&dyn Backend>) -> bool {
    let folder = TempDir::new().unwrap();
    let mut files = Vec::new();
    let mut write = |kind: &str, model: &ModelProto| {
        let path = folder.path().join(format!("{name}.{kind}.onnx"));
        std::fs::write(&path, onnx::to_bytes(model)).unwrap();
        files.push(path);
    };
    write("fp32", model);
    if let Some(backend) = backend {
        let graph = backend.load(name, &onnx::to_bytes(model)).unwrap();
        let sample: Vec<Vec<f32>> =
            graph.inputs().iter().map(|i| pattern(i.shape.iter().product())).collect();
        let options = Options {
            layer_errors: false,
            compare_samples: 0,
            equalize: Equalize::All,
            ..Options::default()
        };
        let flavours = [Flavour::U8S8, Flavour::S8S8];
        let mut samples = std::iter::once(sample);
        let all = quantize_flavours(model, &mut samples, &flavours, &options, backend).unwrap();
        write("u8s8", &all[0].model);
        write("s8s8", &all[1].model);
        assert_eq!(tensorrt_rules::check(&all[1].model).unwrap(), Vec::<String>::new(), "{name}");
    }
    match check(&files) {
        Verdict::Good => true,
        Verdict::Bad(said) => panic!("{said}"),
        Verdict::Skipped(why) => {
            eprintln!("skipped: {why}");
            false
        }
    }
}

fn tract() -> Box<dyn Backend> {
    open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap()
}

#[test]
fn a_broken_graph_is_found() {
    let mut model = local_graph();
    // A node that reads what nobody makes.
    model.graph.as_mut().unwrap().node[0].input[0] = "nowhere".to_owned();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("broken.onnx");
    std::fs::write(&path, onnx::to_bytes(&model)).unwrap();
    match check(&[path]) {
        Verdict::Bad(said) => assert!(said.contains("nowhere"), "{said}"),
        Verdict::Good => panic!("the checker finds nothing"),
        Verdict::Skipped(why) => eprintln!("skipped: {why}"),
    }
}

fn local_graph() -> ModelProto {
    local::build(&golden("local.safetensors"), &local::Config { width: 32, height: 24 }).unwrap()
}

#[test]
fn the_local_network_and_the_head() {
    let backend = tract();
    examine("local", &local_graph(), Some(backend.as_ref()));
    let weights = golden("head.safetensors");
    examine("head", &head::build(&weights, &head::Config::new(5)).unwrap(), None);
}

#[test]
fn the_backbones() {
    let backend = tract();
    if let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) {
        let config = |cells| mobilenetv2::Config { frames: 2, width: 64, height: 64, cells };
        let model = mobilenetv2::build(&weights, &config(None)).unwrap();
        examine("mobilenetv2", &model, Some(backend.as_ref()));
        let cells = Cells { layer: "features.6".to_owned(), pool: 3 };
        examine("cells", &mobilenetv2::build(&weights, &config(Some(cells))).unwrap(), None);
    }
    if let Some(weights) = fetched(i3d::WEIGHTS_FILE) {
        let config = i3d::Config { frames: 16, width: 64, height: 64, ..i3d::Config::default() };
        let model = i3d::build(&weights, &config).unwrap();
        examine("i3d", &model, Some(backend.as_ref()));
    }
}
