//! CLIP against transformers (`tests/reference/clip.py`), and directories that cannot be used.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Deserialize;
use trainer::clip::{Clip, read_picture};

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    models: HashMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    ids: Vec<Vec<u32>>,
    texts: Vec<Vec<f32>>,
    images: Vec<Vec<f32>>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clip")
}

fn expected() -> Expected {
    serde_json::from_str(&fs::read_to_string(golden().join("expected.json")).unwrap()).unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn embeddings_and_ids_are_those_of_transformers() {
    let expected = expected();
    assert_eq!(expected.models.len(), 2);
    for (name, model) in &expected.models {
        let clip = Clip::load(&golden().join(name), &Device::Cpu).unwrap();
        for ((text, ids), embedding) in expected.texts.iter().zip(&model.ids).zip(&model.texts) {
            assert_eq!(&clip.tokenizer().ids(text).unwrap(), ids, "{name}: {text:?}");
            let difference = difference(&clip.text(text).unwrap(), embedding);
            assert!(difference < 1e-5, "{name}: {text:?}: {difference}");
        }
        let pictures: Vec<_> = (0..model.images.len())
            .map(|i| read_picture(&golden().join(format!("pictures/{i}.png"))).unwrap())
            .collect();
        let got = clip.images(&pictures.iter().collect::<Vec<_>>()).unwrap();
        for (i, (a, b)) in got.iter().zip(&model.images).enumerate() {
            let difference = difference(a, b);
            assert!(difference < 1e-5, "{name}: picture {i}: {difference}");
        }
    }
}

/// A copy of a golden model, changed by `change`, and what loading it says.
fn refused(change: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden().join("old")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    change(folder.path());
    match Clip::load(folder.path(), &Device::Cpu) {
        Ok(_) => panic!("must be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn incomplete_and_mismatched_directories_are_named() {
    let replace = |dir: &Path, file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains(from), "{file}");
        fs::write(dir.join(file), text.replace(from, to)).unwrap();
    };
    for file in ["config.json", "vocab.json", "merges.txt", "processor_config.json"] {
        let error = refused(|dir| fs::remove_file(dir.join(file)).unwrap());
        assert!(error.contains(file) && error.contains("missing"), "{error}");
    }
    let shard = "model-00002-of-00005.safetensors";
    let error = refused(|dir| fs::remove_file(dir.join(shard)).unwrap());
    assert!(error.contains(shard) && error.contains("missing"), "{error}");
    let error = refused(|dir| {
        let bytes = fs::read(dir.join(shard)).unwrap();
        fs::write(dir.join(shard), &bytes[..bytes.len() - 9]).unwrap();
    });
    assert!(error.contains(shard) && error.contains("not a whole safetensors file"), "{error}");
    let error = refused(|dir| replace(dir, "model.safetensors.index.json", shard, "../x"));
    assert!(error.contains("not a file's name"), "{error}");
    let error = refused(|dir| {
        replace(dir, "config.json", "\"projection_dim\": 12", "\"projection_dim\": 14");
    });
    assert!(error.contains("text_projection.weight has shape [12, 20]"), "{error}");
    let error =
        refused(|dir| replace(dir, "config.json", "\"patch_size\": 7", "\"patch_size\": 6"));
    assert!(error.contains("vision_model.embeddings."), "{error}");
    let error =
        refused(|dir| replace(dir, "processor_config.json", "\"width\": 30", "\"width\": 28"));
    assert!(error.contains("crop_size is 28 x 30"), "{error}");
    let error = refused(|dir| fs::write(dir.join("merges.txt"), "#version: 0.2\na b c\n").unwrap());
    assert!(error.contains("merges.txt: merge 1"), "{error}");
    let nowhere = Clip::load(Path::new("no/such/folder"), &Device::Cpu);
    assert!(nowhere.is_err_and(|e| e.to_string().contains("no such folder")));
}
