//! The student: the network that is trained against the graph that the camera runs, and `trainer
//! distill` where weights are at hand.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::Output;

use candle_core::{Device, Tensor};
use common::{failed, names, succeeded, trainer};
use inference::{BackendKind, BackendOptions, open_backend};
use model_bundle::manifest::SnippetSpec;
use model_export::graphs::{i3d, tsm_mobilenetv2};
use model_export::onnx;
use model_export::weights::Weights;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trainer::features::Extractor;
use trainer::local::Tensors;
use trainer::student::{Architecture, Network, initial};
use video::Frame;

/// Made-up weights under which values keep their size from layer to layer.
fn made_up(network: &Network) -> Tensors {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], low: f32, high: f32| {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    for parameter in network.parameters() {
        let shape = parameter.shape;
        if shape.len() > 1 {
            let bound = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
            add(parameter.name, &shape, -bound, bound);
        } else if parameter.name.ends_with("weight") {
            add(parameter.name, &shape, 0.5, 1.5);
        } else {
            add(parameter.name, &shape, -0.3, 0.5);
        }
    }
    for (name, length) in network.statistics() {
        let (low, high) = if name.ends_with("var") { (0.5, 1.5) } else { (-0.3, 0.3) };
        add(name, &[length], low, high);
    }
    tensors
}

#[test]
fn the_network_gives_the_features_of_the_exported_graph() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(&Architecture::default());
    let tensors = made_up(&network);
    let (width, height, count) = (64, 48, 32);
    let path = folder.path().join("student.safetensors");
    initial::save(&path, &tensors, (width, height), "i3d/fp32").unwrap();
    let weights = Weights::read(&path).unwrap();
    assert_eq!(weights.number("width").unwrap(), Some(width));
    let config = tsm_mobilenetv2::Config { width, height, cells: None };
    let bytes = onnx::to_bytes(&tsm_mobilenetv2::build(&weights, &config).unwrap());

    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let frames: Vec<Frame> = (0..count)
        .map(|_| {
            let mut frame = Frame::new(width, height);
            let (dark, bright) = (rng.random_range(0..100u8), rng.random_range(120..=255u8));
            frame.rgb_mut().iter_mut().for_each(|level| *level = rng.random_range(dark..=bright));
            frame
        })
        .collect();
    let spec = SnippetSpec {
        frames: 16,
        stride: 16,
        width: width as u32,
        height: height as u32,
        mean: tsm_mobilenetv2::MEAN,
        std: tsm_mobilenetv2::STD,
        stream: Some(tsm_mobilenetv2::states(&config)),
    };
    let mut input = Vec::new();
    for frame in &frames {
        for channel in 0..3 {
            let level =
                |rgb: &[u8]| (f32::from(rgb[channel]) - spec.mean[channel]) / spec.std[channel];
            input.extend(frame.rgb().chunks_exact(3).map(level));
        }
    }
    let input = Tensor::from_vec(input, (count, 3, height, width), &Device::Cpu).unwrap();
    let features = network.features(&tensors, &input, &[count]).unwrap();
    let features: Vec<f32> = features.flatten_all().unwrap().to_vec1().unwrap();
    let largest = features.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.1, "{largest}");

    let options = BackendOptions { threads: 2, ..Default::default() };
    for kind in [BackendKind::Tract, BackendKind::Ort] {
        let backend = match open_backend(kind, &options) {
            Ok(backend) => backend,
            Err(error) if kind == BackendKind::Ort => {
                println!("skipped on ONNX Runtime: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let graph = backend.load("backbone", &bytes).unwrap();
        let cache = folder.path().join(format!("{kind:?}"));
        let mut extractor = Extractor::new(graph, &bytes, spec.clone(), &cache);
        let bag = extractor.extract("clip", &frames).unwrap();
        assert_eq!((bag.snippets, bag.d), (2, 1024));
        for (at, (a, b)) in bag.features.iter().zip(&features).enumerate() {
            assert!((a - b).abs() <= 1e-4 * largest, "{kind:?} {at}: {a} {b}");
        }
    }
}

/// A folder of `frames` pictures, in which a bright square moves.
fn film(folder: &Path, frames: usize, row: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..frames {
        let mut picture = image::RgbImage::from_pixel(96, 64, image::Rgb([40, 60, 80]));
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let left = 2 * (number % 40) as u32;
            if (left..left + 12).contains(&x) && (row..row + 12).contains(&y) {
                *pixel = image::Rgb([220, 180, 30]);
            }
        }
        picture.save(folder.join(format!("{number:03}.png"))).unwrap();
    }
}

fn distill(folder: &Path, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).display().to_string();
    let (input, out, config) = (path("clips"), path("out"), path("distill.toml"));
    let mut arguments = vec!["distill", "--input", &input, "--out", &out, "--config", &config];
    arguments.extend(more);
    trainer(arguments)
}

#[test]
fn a_folder_of_videos_becomes_a_student() {
    let weights = [i3d::WEIGHTS_FILE, tsm_mobilenetv2::WEIGHTS_FILE].map(Weights::fetched);
    if weights.iter().any(Result::is_err) {
        println!("skipped: the weights of both backbones are not at hand (cargo xtask weights)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clips = folder.path().join("clips");
    film(&clips.join("a"), 33, 10);
    film(&clips.join("b"), 20, 40);
    let config = folder.path().join("distill.toml");
    std::fs::write(
        &config,
        "pseudo_clips = 1\npseudo_validation_clips = 0\n[composite]\nframes = 16\n[student]\n\
         width = 32\nheight = 32\nsteps = 2\nbatch = 1\nfit_snippets = 4\nvalidate_every = 1\n",
    )
    .unwrap();
    failed(&distill(folder.path(), &["--resume"]), 2, &["no run", "--resume"]);
    succeeded(&distill(folder.path(), &[]));
    let out = folder.path().join("out");
    assert_eq!(names(&out), ["metrics", "student.safetensors", "student.toml", "work"]);
    let student = std::fs::read(out.join("student.safetensors")).unwrap();
    let record = std::fs::read_to_string(out.join("student.toml")).unwrap();
    let record: toml::Table = record.parse().unwrap();
    assert_eq!(record["backbone"].as_str(), Some("tsm-mobilenetv2"));
    let hash = record["provenance"]["student_sha256"].as_str().unwrap();
    assert_eq!(hash.len(), 64);
    assert!(record["before"]["cosine"].as_float().is_some());
    let csv = std::fs::read_to_string(out.join("metrics/student/metrics.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");

    // The same again: all is there, and the student is the same to the bit.
    succeeded(&distill(folder.path(), &["--resume"]));
    assert!(std::fs::read(out.join("student.safetensors")).unwrap() == student, "other bytes");

    // The camera's graph is built from it.
    let weights = Weights::read(&out.join("student.safetensors")).unwrap();
    let graph = tsm_mobilenetv2::Config { width: 32, height: 32, cells: None };
    assert!(tsm_mobilenetv2::build(&weights, &graph).is_ok());
    assert_eq!(tsm_mobilenetv2::feature_size(&weights), 1024);

    std::fs::write(&config, "[student]\nbatch = 0\n").unwrap();
    failed(&distill(folder.path(), &[]), 2, &["student.batch"]);
    let wrong = ["--weights", "none.pth"];
    std::fs::write(&config, "").unwrap();
    failed(&distill(folder.path(), &wrong), 2, &["none.pth"]);
}
