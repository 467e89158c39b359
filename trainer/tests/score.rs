//! `trainer score` against a PyTorch module with the public checkpoints' names
//! (`tests/reference/urdmu_public.py`), and what it says of weights and features that do not serve.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use candle_core::{DType, Device, Tensor};
use common::{failed, golden, names, succeeded, trainer};
use trainer::npy;

fn score(weights: &Path, features: &Path, out: &Path, more: &[&str]) -> Output {
    let paths = [("--weights", weights), ("--features", features), ("--out", out)];
    let mut arguments = vec!["score".to_string()];
    arguments.extend(paths.iter().flat_map(|(o, p)| [o.to_string(), p.display().to_string()]));
    arguments.extend(more.iter().map(ToString::to_string));
    trainer(arguments)
}

/// Largest difference, relative to the expected score.
fn difference(expected: &[f32], got: &[f32]) -> f64 {
    assert_eq!(expected.len(), got.len());
    let one = |(&e, &g): (&f32, &f32)| ((e - g).abs() / e.abs()) as f64;
    expected.iter().zip(got).map(one).fold(0.0, f64::max)
}

fn weights(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

fn save(tensors: &HashMap<String, Tensor>, path: &Path) {
    candle_core::safetensors::save(tensors, path).unwrap();
}

#[test]
fn scores_agree_with_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["public_a", "public_b"] {
        let [weights, features, expected] = ["weights.safetensors", "features.npy", "scores.npy"]
            .map(|part| golden(&format!("{name}.{part}")));
        let out = folder.path().join("scores.npy");
        succeeded(&score(&weights, &features, &out, &[]));
        let (expected, got) = (npy::read(&expected).unwrap(), npy::read(&out).unwrap());
        assert_eq!(npy::header(&out).unwrap().dtype, npy::Type::F32);
        assert_eq!(got.shape, expected.shape);
        let difference = difference(&expected.values, &got.values);
        println!("{name}: largest relative difference {difference:e}");
        assert!(difference < 1e-5, "{name}: {difference:e}");
    }
    assert_eq!(names(folder.path()), ["scores.npy"]);
}

#[test]
fn the_order_of_crops_and_the_type_of_values_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let weights = golden("public_b.weights.safetensors");
    let expected = npy::read(&golden("public_b.scores.npy")).unwrap().values;
    let array = npy::read(&golden("public_b.features.npy")).unwrap();
    let tensor = Tensor::from_vec(array.values, array.shape, &Device::Cpu).unwrap();
    // [21, 10, 40] as [10, 21, 40].
    let turned = tensor.transpose(0, 1).unwrap().contiguous().unwrap();
    let path = folder.path().join("turned.npy");
    turned.write_npy(&path).unwrap();
    let out = folder.path().join("out.npy");
    succeeded(&score(&weights, &path, &out, &["--crops", "10"]));
    assert!(difference(&expected, &npy::read(&out).unwrap().values) < 1e-5);
    // float64, in candle's own hand.
    tensor.to_dtype(DType::F64).unwrap().write_npy(&path).unwrap();
    succeeded(&score(&weights, &path, &out, &[]));
    assert!(difference(&expected, &npy::read(&out).unwrap().values) < 1e-5);
    // float16 rounds the features.
    tensor.to_dtype(DType::F16).unwrap().write_npy(&path).unwrap();
    succeeded(&score(&weights, &path, &out, &[]));
    let rounded = difference(&expected, &npy::read(&out).unwrap().values);
    assert!(rounded > 1e-7 && rounded < 1e-2, "{rounded:e}");

    // Ten snippets of ten crops: only the flag tells.
    tensor.narrow(0, 0, 10).unwrap().contiguous().unwrap().write_npy(&path).unwrap();
    failed(&score(&weights, &path, &out, &[]), 3, &["turned.npy", "[10, 10, 40]", "--crop-layout"]);
    succeeded(&score(&weights, &path, &out, &["--crop-layout", "snippets-first"]));
    let first = npy::read(&out).unwrap().values;
    succeeded(&score(&weights, &path, &out, &["--crop-layout", "crops-first"]));
    assert!(difference(&first, &npy::read(&out).unwrap().values) > 1e-4);
}

#[test]
fn wrong_weights_name_their_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let (features, out) = (golden("public_a.features.npy"), folder.path().join("out.npy"));
    let path = folder.path().join("w.safetensors");
    let whole = weights("public_a.weights.safetensors");
    for name in whole.keys() {
        let mut less = whole.clone();
        less.remove(name);
        save(&less, &path);
        let quoted = format!("`{name}`");
        failed(&score(&path, &features, &out, &[]), 3, &["w.safetensors", &quoted, "missing"]);
    }
    let mut other = whole.clone();
    other.insert(
        "encoder_mu.0.weight".into(),
        Tensor::zeros((16, 15), DType::F32, &Device::Cpu).unwrap(),
    );
    save(&other, &path);
    failed(
        &score(&path, &features, &out, &[]),
        3,
        &["`encoder_mu.0.weight`", "[16, 15]", "[16, 16]"],
    );
    let mut other = whole.clone();
    other.insert("cls_head.mlp.0.bias".into(), Tensor::full(f32::NAN, 128, &Device::Cpu).unwrap());
    save(&other, &path);
    failed(&score(&path, &features, &out, &[]), 3, &["`cls_head.mlp.0.bias`", "not finite"]);
    failed(
        &score(&golden("public_a.weights.safetensors"), &features, &out, &["--heads", "3"]),
        3,
        &["to_qkv", "3 heads"],
    );
    // A tensor too many is said, and does not matter.
    let mut more = whole.clone();
    more.insert("other.weight".into(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    save(&more, &path);
    let output = score(&path, &features, &out, &[]);
    succeeded(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("`other.weight`"));
    std::fs::remove_file(&out).unwrap();

    std::fs::write(&path, b"not a safetensors file").unwrap();
    failed(&score(&path, &features, &out, &[]), 3, &["w.safetensors"]);
    failed(&score(&folder.path().join("none"), &features, &out, &[]), 2, &["none"]);
    assert_eq!(names(folder.path()), ["w.safetensors"]);
}

#[test]
fn wrong_features_name_file_and_shape() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("f.npy"), folder.path().join("out.npy"));
    let weights = golden("public_a.weights.safetensors");
    let run = |more: &[&str]| score(&weights, &path, &out, more);
    failed(&run(&[]), 2, &["f.npy"]);
    for (shape, part) in [
        (vec![3, 23], "length 24"),
        (vec![0, 24], "no snippets"),
        (vec![24], "[snippets, d]"),
        (vec![3, 7, 24], "--crops"),
        (vec![5, 10, 24], "--crops"),
        (vec![1, 2, 3, 24], "[snippets, d]"),
    ] {
        common::write(&path, &shape, &vec![0.5; shape.iter().product()]);
        failed(&run(&[]), 3, &["f.npy", &format!("{shape:?}"), part]);
    }
    common::write(&path, &[3, 7, 24], &vec![0.5; 504]);
    failed(&run(&["--crops", "4"]), 3, &["[3, 7, 24]", "4 crops"]);
    failed(&run(&["--crops", "7", "--crop-layout", "crops-first"]), 3, &["--crop-layout"]);
    let mut values = vec![0.5; 72];
    values[49] = f32::INFINITY;
    common::write(&path, &[3, 24], &values);
    failed(&run(&[]), 3, &["f.npy", "[3, 24]", "inf at [2, 1]"]);
    values[49] = 0.5;
    let whole = npy::to_bytes(&[3, 24], &values);
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    failed(&run(&[]), 3, &["f.npy", "[3, 24]", "287 bytes"]);
    std::fs::write(&path, b"\x93NUMPY\x01\x00\x08\x00{'descr'").unwrap();
    failed(&run(&[]), 3, &["f.npy", "header"]);
    std::fs::write(&path, b"").unwrap();
    failed(&run(&[]), 3, &["f.npy"]);
    let none: PathBuf = folder.path().join("no/such/folder/out.npy");
    common::write(&path, &[3, 24], &values);
    failed(&score(&weights, &path, &none, &[]), 1, &["out.npy"]);
    assert_eq!(names(folder.path()), ["f.npy"]);
}
