//! `trainer features` on small videos, with a published backbone where its weights are at hand.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

mod common;

use std::path::Path;
use std::process::Output;

use common::{failed, names, succeeded, trainer};
use inference::{BackendKind, BackendOptions, best_backend};
use model_bundle::manifest::SnippetSpec;
use model_export::graphs::{Cells, mobilenetv2, tsm_mobilenetv2};
use model_export::onnx;
use model_export::weights::Weights;
use trainer::features::{Extractor, extract::of_video};
use trainer::footage;
use trainer::npy;
use video::{Frame, list_clips};

/// A folder of `frames` pictures, in which a bright square moves.
fn film(folder: &Path, frames: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..frames {
        let mut picture = image::RgbImage::from_pixel(96, 64, image::Rgb([40, 60, 80]));
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            if (2 * number as u32..2 * number as u32 + 12).contains(&x) && (20..32).contains(&y) {
                *pixel = image::Rgb([220, 180, 30]);
            }
        }
        picture.save(folder.join(format!("{number:03}.png"))).unwrap();
    }
}

fn features(backbone: &str, input: &Path, out: &Path, more: &[&str]) -> Output {
    let (input, out) = (input.display().to_string(), out.display().to_string());
    let mut arguments = vec!["features", "--backbone", backbone, "--input", &input, "--out", &out];
    arguments.extend(more);
    trainer(arguments)
}

#[test]
fn features_are_those_of_training_and_made_once() {
    let Ok(weights) = Weights::fetched(mobilenetv2::WEIGHTS_FILE) else {
        println!("skipped: the weights of mobilenetv2 are not at hand (cargo xtask weights)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("clips"), folder.path().join("out"));
    film(&input.join("a"), 20);
    film(&input.join("b"), 7);
    succeeded(&features("mobilenetv2", &input, &out, &[]));
    assert_eq!(names(&out), ["a.npy", "b.npy", "features.json"]);
    let a = npy::read(&out.join("a.npy")).unwrap();
    assert_eq!(a.shape, [2, mobilenetv2::FEATURE_SIZE]);
    // Seven frames are one snippet, its last frame repeated.
    assert_eq!(npy::read(&out.join("b.npy")).unwrap().shape, [1, mobilenetv2::FEATURE_SIZE]);

    // The same from the library, as `trainer train` computes them.
    let spec = SnippetSpec {
        frames: 16,
        stride: 16,
        width: 224,
        height: 224,
        mean: mobilenetv2::MEAN,
        std: mobilenetv2::STD,
        stream: None,
    };
    let graph = mobilenetv2::Config::default();
    let bytes = onnx::to_bytes(&mobilenetv2::build(&weights, &graph).unwrap());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = BackendOptions { threads, ..Default::default() };
    let backend = best_backend(&[BackendKind::Ort, BackendKind::Tract], &options).unwrap();
    let graph = backend.load("backbone", &bytes).unwrap();
    let clip = &list_clips(&input).unwrap()[0];
    let spec_of_input = footage::input_spec(96, 64, 240);
    let frames: Vec<Frame> = footage::read(clip, &spec_of_input, usize::MAX).unwrap().frames;
    let mut extractor = Extractor::new(graph, &bytes, spec, &folder.path().join("cache"));
    let bag = extractor.extract("a", &frames).unwrap();
    assert_eq!(bag.features, a.values);

    // What is whole is kept, what is not is made again.
    let kept = std::fs::metadata(out.join("a.npy")).unwrap().modified().unwrap();
    let whole = std::fs::read(out.join("b.npy")).unwrap();
    std::fs::write(out.join("b.npy"), &whole[..whole.len() - 8]).unwrap();
    succeeded(&features("mobilenetv2", &input, &out, &[]));
    assert_eq!(std::fs::metadata(out.join("a.npy")).unwrap().modified().unwrap(), kept);
    assert_eq!(std::fs::read(out.join("b.npy")).unwrap(), whole);

    // Features of another kind do not come into the same folder.
    failed(&features("mobilenetv2", &input, &out, &["--stride", "8"]), 2, &["another"]);
    let wrong = &["--cells", "--endpoint", "Mixed_5c"];
    failed(&features("mobilenetv2", &input, &out, wrong), 2, &["no layer Mixed_5c"]);
    // A damaged video leaves what was made before it, and no half file.
    std::fs::write(input.join("c.mp4"), b"no video").unwrap();
    failed(&features("mobilenetv2", &input, &out, &[]), 3, &["c.mp4"]);
    assert_eq!(names(&out), ["a.npy", "b.npy", "features.json"]);
    failed(&features("mobilenetv2", &folder.path().join("none"), &out, &[]), 2, &["none"]);
}

/// A student's file says how large its input is and how long its features are.
#[test]
fn a_student_streams_with_its_own_weights() {
    let Ok(weights) = Weights::fetched(mobilenetv2::WEIGHTS_FILE) else {
        println!("skipped: the weights of mobilenetv2 are not at hand (cargo xtask weights)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("clips"), folder.path().join("out"));
    film(&input.join("a"), 20);
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, array)| (name.to_owned(), array.shape.clone(), bytes(&array.data)))
        .collect();
    // Feature i is value i of the features without a projection, plus i.
    let diagonal: Vec<f32> =
        (0..3 * 1280).map(|i| if i % 1280 == i / 1280 { 1.0 } else { 0.0 }).collect();
    tensors.push(("projection.weight".into(), vec![3, 1280], bytes(&diagonal)));
    tensors.push(("projection.bias".into(), vec![3], bytes(&[0.0, 1.0, 2.0])));
    let views = tensors.iter().map(|(name, shape, data)| {
        let kind = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(kind, shape.clone(), data);
        (name.clone(), view.unwrap())
    });
    let notes = [("width", "96"), ("height", "64")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let student = folder.path().join("student.safetensors");
    let file = safetensors::serialize(views, Some(notes.into())).unwrap();
    std::fs::write(&student, file).unwrap();
    let file = student.display().to_string();
    succeeded(&features("tsm-mobilenetv2", &input, &out, &["--weights", &file]));
    let found = npy::read(&out.join("a.npy")).unwrap();
    assert_eq!(found.shape, [2, 3]);

    // The same by the camera's building block, without the projection.
    let (width, height) = (96, 64);
    let config = tsm_mobilenetv2::Config { width, height, cells: None };
    let spec = SnippetSpec {
        frames: 16,
        stride: 16,
        width: width as u32,
        height: height as u32,
        mean: tsm_mobilenetv2::MEAN,
        std: tsm_mobilenetv2::STD,
        stream: Some(tsm_mobilenetv2::states(&config)),
    };
    let model = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let backend = best_backend(&[BackendKind::Ort, BackendKind::Tract], &BackendOptions::default());
    let mut graph = backend.unwrap().load("backbone", &onnx::to_bytes(&model)).unwrap();
    let clip = &list_clips(&input).unwrap()[0];
    let size = footage::input_spec(96, 64, 240);
    let whole = of_video(graph.as_mut(), &spec, clip, &size).unwrap().unwrap();
    for (snippet, found) in found.values.chunks_exact(3).enumerate() {
        for (i, value) in found.iter().enumerate() {
            let expected = whole[snippet * 1280 + i] + i as f32;
            assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        }
    }
    let none = folder.path().join("none.safetensors").display().to_string();
    let other = folder.path().join("other");
    failed(&features("tsm-mobilenetv2", &input, &other, &["--weights", &none]), 2, &["none.safe"]);
}

#[test]
fn a_checkpoint_gives_the_features_of_its_camera() {
    let Ok(weights) = Weights::fetched(mobilenetv2::WEIGHTS_FILE) else {
        println!("skipped: the weights of mobilenetv2 are not at hand (cargo xtask weights)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("clips"), folder.path().join("out"));
    film(&input.join("a"), 20);
    let checkpoint = folder.path().join("checkpoint");
    std::fs::create_dir_all(checkpoint.join("graphs")).unwrap();
    // A smaller picture and a shorter stride than the backbone's own tell whose they are.
    std::fs::write(
        checkpoint.join("config.toml"),
        "[detectors]\n\
         input = { width = 96, height = 64, frame_rate = 10.0 }\n\
         smoothing = { sigma = 0.0, radius = 0, lag = 0 }\n\
         calibration = { threshold = 2.0, scale = 0.5, false_alarms_per_hour = 1.0 }\n\
         events = { enter = 0.5, exit = 0.4, min_duration = 0.3, end_after = 1.0, cool_down = 1.0 }\n\
         [detectors.semantic]\n\
         backbone = \"backbone\"\nhead = \"head\"\nfeature_size = 1280\nwindow = 4\nweight = 1.0\n\
         z = { mean = 0.0, std = 1.0 }\n\
         snippet = { frames = 4, stride = 3, width = 64, height = 64, mean = [0.0, 0.0, 0.0], \
         std = [255.0, 255.0, 255.0] }\n",
    )
    .unwrap();
    let run = || {
        let [checkpoint, input, out] = [&checkpoint, &input, &out].map(|p| p.display().to_string());
        trainer(["features", "--checkpoint", &checkpoint, "--input", &input, "--out", &out])
    };
    failed(&run(), 2, &["backbone", "not there"]);
    let write = |cells| {
        let graph = mobilenetv2::Config { frames: 4, width: 64, height: 64, cells };
        let bytes = onnx::to_bytes(&mobilenetv2::build(&weights, &graph).unwrap());
        for name in ["backbone.ort.int8.onnx", "backbone.tract.fp32.onnx"] {
            std::fs::write(checkpoint.join("graphs").join(name), &bytes).unwrap();
        }
    };
    write(None);
    succeeded(&run());
    // Snippets begin at frames 0, 3, ..., 18.
    assert_eq!(npy::read(&out.join("a.npy")).unwrap().shape, [7, mobilenetv2::FEATURE_SIZE]);
    assert_eq!(names(&out), ["a.npy", "features.json"]);

    // A camera with cells: 8 x 8 places, two by two of them a cell.
    std::fs::remove_dir_all(&out).unwrap();
    write(Some(Cells { layer: "features.6".into(), pool: 2 }));
    succeeded(&run());
    assert_eq!(npy::read(&out.join("a.npy")).unwrap().shape, [7, 16, 32]);
}

#[test]
fn i3d_keeps_the_places_of_the_picture_apart() {
    if Weights::fetched(model_export::graphs::i3d::WEIGHTS_FILE).is_err() {
        println!("skipped: the weights of i3d are not at hand (cargo xtask weights)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clips");
    film(&input.join("a"), 16);
    let (pooled, apart) = (folder.path().join("pooled"), folder.path().join("apart"));
    succeeded(&features("i3d", &input, &pooled, &[]));
    succeeded(&features("i3d", &input, &apart, &["--cells"]));
    let pooled = npy::read(&pooled.join("a.npy")).unwrap();
    let cells = npy::read(&apart.join("a.npy")).unwrap();
    assert_eq!(pooled.shape, [1, 1024]);
    assert_eq!(cells.shape, [1, 49, 1024]);
    // The pooled features are the mean over all places and times of the last grid.
    for channel in 0..1024 {
        let mean =
            (0..49).map(|cell| cells.values[cell * 1024 + channel] as f64).sum::<f64>() / 49.0;
        let difference = (mean - pooled.values[channel] as f64).abs();
        assert!(difference < 1e-4, "channel {channel}: {difference}");
    }
    failed(
        &features("i3d", &input, &folder.path().join("x"), &["--cells", "--endpoint", "Mixed_9z"]),
        2,
        &["Mixed_9z"],
    );
}
