//! Calibration samples from clips whose every pixel is known, and the program that uses them.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::path::Path;
use std::process::Command;

use model_bundle::manifest::{InputSpec, LocalSpec, SnippetSpec, ZScore};
use model_export::calibration::{Error, Preprocessing, Samples};
use model_export::onnx::{self, GraphBuilder, Window};

const FRAMES: usize = 12;

/// Grey level of every pixel of a frame of a clip.
fn level(clip: usize, frame: usize) -> u8 {
    (clip * 100 + frame * 3) as u8
}

/// A 16×16 picture of one grey level: 24-bit BMP.
fn bmp(level: u8) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for value in [54 + 768u32, 0, 54, 40, 16, 16, 1 | 24 << 16, 0, 768, 2835, 2835, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.resize(54 + 768, level);
    bytes
}

/// Two clips, each a folder of pictures; read at 10 frames per second.
fn clips(dir: &Path) {
    for clip in 0..2 {
        let folder = dir.join(format!("clip{clip}"));
        std::fs::create_dir_all(&folder).unwrap();
        for frame in 0..FRAMES {
            std::fs::write(folder.join(format!("{frame:03}.bmp")), bmp(level(clip, frame)))
                .unwrap();
        }
    }
}

fn stack(frame_rate: f64) -> Preprocessing {
    Preprocessing::Stack {
        local: LocalSpec {
            graph: "local".into(),
            offsets: vec![-1, 2],
            mean: 100.0,
            std: 50.0,
            diff_scale: 30.0,
            stream: None,
            map_stride: 4,
            pool: 1,
            kinds: vec!["fast".into()],
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
        },
        input: InputSpec { width: 16, height: 16, frame_rate },
    }
}

fn samples(preprocessing: Preprocessing, count: usize) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    clips(dir.path());
    let clips = video::list_clips(dir.path()).unwrap();
    let samples = Samples::new(&clips, preprocessing, count).unwrap();
    // A graph that does not stream has one input.
    samples.map(|sample| <[Vec<f32>; 1]>::try_from(sample.unwrap()).unwrap()).map(|[x]| x).collect()
}

/// Channel values of a stack of constant frames around `centre`, `step` source frames apart.
fn expected_stack(clip: usize, centre: usize, step: usize) -> [f32; 3] {
    let at = |frame: usize| f32::from(level(clip, frame));
    let middle = at(centre);
    [
        (middle - 100.0) / 50.0,
        (at(centre - step) - middle) / 30.0,
        (at(centre + 2 * step) - middle) / 30.0,
    ]
}

fn assert_channels(sample: &[f32], expected: &[f32], plane: usize) {
    assert_eq!(sample.len(), expected.len() * plane);
    for (channel, expected) in sample.chunks(plane).zip(expected) {
        for value in channel {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
    }
}

#[test]
fn stacks_are_spread_over_clips_and_over_time() {
    // A stack spans 4 frames of 12, so 2 samples a clip lie (12 - 4) / 2 = 4 frames apart.
    let found = samples(stack(10.0), 4);
    assert_eq!(found.len(), 4);
    for (sample, (clip, centre)) in found.iter().zip([(0, 1), (0, 5), (1, 1), (1, 5)]) {
        assert_channels(sample, &expected_stack(clip, centre, 1), 256);
    }
}

#[test]
fn a_faster_source_is_thinned() {
    let found = samples(stack(5.0), 2);
    assert_eq!(found.len(), 2);
    for (clip, sample) in found.iter().enumerate() {
        assert_channels(sample, &expected_stack(clip, 2, 2), 256);
    }
}

#[test]
fn short_clips_give_fewer_samples() {
    // Windows of 4 frames out of 12, one frame apart at the closest.
    assert_eq!(samples(stack(10.0), 1000).len(), 2 * 9);
    // Every tenth frame leaves two frames, too few for a stack.
    assert_eq!(samples(stack(1.0), 4).len(), 0);
}

#[test]
fn snippets_are_normalised_and_resized() {
    let spec = SnippetSpec {
        frames: 3,
        stride: 3,
        width: 8,
        height: 10,
        mean: [10.0, 20.0, 30.0],
        std: [1.0, 2.0, 4.0],
        stream: None,
    };
    let found = samples(Preprocessing::Snippet { snippet: spec, frame_rate: None }, 2);
    assert_eq!(found.len(), 2);
    for (clip, sample) in found.iter().enumerate() {
        let expected: Vec<f32> = [(10.0, 1.0), (20.0, 2.0), (30.0, 4.0)]
            .iter()
            .flat_map(|(mean, std)| {
                (0..3).map(move |frame| (f32::from(level(clip, frame)) - mean) / std)
            })
            .collect();
        assert_channels(sample, &expected, 80);
    }
}

#[test]
fn a_broken_clip_is_an_error_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    clips(dir.path());
    std::fs::write(dir.path().join("clip0/001.bmp"), b"BM").unwrap();
    let clips = video::list_clips(dir.path()).unwrap();
    let mut samples = Samples::new(&clips, stack(10.0), 4).unwrap();
    let Some(Err(Error::Video(error))) = samples.next() else { panic!("read") };
    assert!(
        error.to_string().contains("001.bmp") || error.to_string().contains("clip0"),
        "{error}"
    );
    assert!(samples.next().is_none());
    assert!(matches!(Samples::new(&[], stack(10.0), 1), Err(Error::NoClips)));
}

#[test]
fn the_program_quantizes_a_graph_on_clips() {
    let dir = tempfile::tempdir().unwrap();
    clips(&dir.path().join("clips"));
    let mut graph = GraphBuilder::new("snippet");
    let snippet = graph.input("snippet", &[1, 3, 2, 16, 16]).unwrap();
    let weight: Vec<f32> = (0..4 * 3 * 8).map(|i| (i % 5) as f32 * 0.1 - 0.2).collect();
    let weight = graph.constant("weight", &[4, 3, 2, 2, 2], &weight).unwrap();
    let window = Window::new(&[2, 2, 2]).strided(&[2, 2, 2]);
    let x = graph.conv("conv", &snippet, &weight, None, &window).unwrap();
    let x = graph.relu("relu", &x).unwrap();
    let x = graph.mean("mean", &x, &[2, 3, 4]).unwrap();
    let model = graph.finish(&[(&x, "features")]).unwrap();
    std::fs::write(dir.path().join("fp32.onnx"), onnx::to_bytes(&model)).unwrap();
    let run = |args: &str| {
        Command::new(env!("CARGO_BIN_EXE_model-export"))
            .args(["quantize", "fp32.onnx", "--backend", "tract", "--out", "int8.onnx"])
            .args(args.split_whitespace())
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let output = run("--calibration clips --backbone i3d --samples 6 --json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["samples"], 6);
    assert_eq!(report["layers"][0]["weights"], 96);
    assert!(report["outputs"][0]["cosine"].as_f64().unwrap() > 0.999, "{report}");
    let quantized = onnx::load(&std::fs::read(dir.path().join("int8.onnx")).unwrap()).unwrap();
    let nodes = quantized.graph.unwrap().node;
    assert!(nodes.iter().any(|node| node.op_type == "QuantizeLinear"));

    // With a report as a page, by measurement, one layer in float.
    let options = "--calibration clips --backbone i3d --method auto --equalize all --held-out 2 \
                   --sensitivity --max-float-layers 0 --report report.html";
    let output = run(options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("ranges by min-max") && said.contains("layer alone in INT8"), "{said}");
    assert!(said.contains(" ms; INT8 "), "{said}");
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("conv"), "{page}");
    assert!(page.contains("fp32 / INT8") && page.contains("chosen"), "{page}");

    assert_eq!(run("--calibration clips --backbone i3d --target-sqnr -3").status.code(), Some(2));
    assert_eq!(run("--calibration clips --backbone i3d --keep-float *").status.code(), Some(2));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let output = run("--calibration empty --backbone i3d");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("empty: no video files"), "{said}");

    assert_eq!(run("--calibration clips").status.code(), Some(2));
    assert_eq!(run("--calibration nowhere --backbone i3d").status.code(), Some(2));
    std::fs::write(dir.path().join("clips/clip0/000.bmp"), b"BM").unwrap();
    assert_eq!(run("--calibration clips --backbone i3d").status.code(), Some(3));
    std::fs::write(dir.path().join("fp32.onnx"), b"no model").unwrap();
    assert_eq!(run("--calibration clips --backbone i3d").status.code(), Some(3));
}
