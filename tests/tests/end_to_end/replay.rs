//! `edge-runtime replay`: the scores of a recording, on both backends, and its score maps.

use std::path::Path;

use crate::common::{command, outcome};
use crate::site::{FRAMES, Site, read_scores, site};

/// The bytes of the scores file of a replay of one clip.
fn replay(site: &Site, backend: &str, name: &str) -> Vec<u8> {
    let path = site.folder.join(name);
    let mut replay = site.replay(&site.bundle(), &site.clip("run"));
    let said = outcome(replay.args(["--backend", backend, "--scores"]).arg(&path)).succeeded();
    assert!(said.stdout.contains(&format!("run: {FRAMES} frames")), "{}", said.stdout);
    // Signed by the key that was given: there is nothing to warn of.
    assert!(!said.stderr.contains("not checked"), "{}", said.stderr);
    std::fs::read(&path).unwrap()
}

#[test]
fn a_replay_scores_every_frame_and_is_the_same_each_time() {
    let Some(site) = site() else { return };
    let first = replay(site, "ort", "run-1.csv");
    assert!(first == replay(site, "ort", "run-2.csv"), "two replays differ");
    let scores = read_scores(&site.folder.join("run-1.csv"));
    assert_eq!(scores.len(), FRAMES);
    assert!(scores.iter().any(|score| *score != scores[0]), "all scores are the same");
}

#[test]
fn the_backends_agree() {
    let Some(site) = site() else { return };
    replay(site, "ort", "run-ort.csv");
    replay(site, "tract", "run-tract.csv");
    let [int8, fp32] = ["run-ort.csv", "run-tract.csv"].map(|f| read_scores(&site.folder.join(f)));
    assert_eq!((int8.len(), fp32.len()), (FRAMES, FRAMES));
    let differences: Vec<f64> = int8.iter().zip(&fp32).map(|(a, b)| (a - b).abs()).collect();
    let mean = differences.iter().sum::<f64>() / FRAMES as f64;
    // Not the same graph: INT8 here, fp32 there.
    assert!(0.0 < mean && mean < 0.1, "mean absolute difference {mean}");
}

#[test]
fn fp32_on_onnx_runtime_is_fp32_on_tract() {
    let Some(site) = site() else { return };
    let replay = |backend: &str, precision: &str| {
        let path = site.folder.join(format!("run-{backend}-{precision}.csv"));
        let mut replay = site.replay(&site.bundle(), &site.clip("run"));
        replay.args(["--backend", backend, "--precision", precision, "--json", "--scores"]);
        let said = outcome(replay.arg(&path)).succeeded().stdout;
        let summary: serde_json::Value = serde_json::from_str(&said).unwrap();
        (summary["int8"].as_bool().unwrap(), read_scores(&path))
    };
    let (int8, packed) = replay("ort", "packed");
    let (not_int8, fp32) = replay("ort", "fp32");
    let (_, tract) = replay("tract", "packed");
    assert!(int8 && !not_int8);
    let largest =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest(&fp32, &tract) < 1e-3, "{}", largest(&fp32, &tract));
    assert!(largest(&fp32, &packed) > largest(&fp32, &tract));
}

/// A score file of its own for one clip in a folder, as `trainer evaluate` looks for it.
fn replay_with_maps(site: &Site, folder: &Path) -> Vec<f32> {
    std::fs::create_dir_all(folder).unwrap();
    let mut replay = site.replay(&site.bundle(), &site.clip("run"));
    replay.args(["--backend", "ort", "--scores"]).arg(folder.join("run.csv"));
    outcome(replay.arg("--maps").arg(folder.join("maps"))).succeeded();
    let bytes = std::fs::read(folder.join("maps/run.npy")).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let said = std::str::from_utf8(&bytes[10..header]).unwrap();
    // A video of 160x120 pixels at the model's rate; a cell is four pixels.
    let shape = format!("'shape': ({FRAMES}, 30, 40)");
    assert!(said.contains("'descr': '<f4'") && said.contains(&shape), "{said}");
    let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes[header..].chunks_exact(4).map(value).collect()
}

#[test]
fn maps_are_measured_against_masks() {
    let Some(site) = site() else { return };
    let folder = site.folder.join("maps");
    let maps = replay_with_maps(site, &folder);
    assert_eq!(maps.len(), FRAMES * 30 * 40);
    assert!(maps.iter().all(|z| z.is_finite()));
    // Looking does not change what is seen.
    assert!(replay(site, "ort", "run-plain.csv") == std::fs::read(folder.join("run.csv")).unwrap());

    // A made-up truth: a box that no grid of cells divides, in frames 41 to 80.
    let inside = |t: usize, x: u32, y: u32| {
        (40..80).contains(&t) && (50..87).contains(&x) && (21..70).contains(&y)
    };
    let masks = folder.join("masks/run");
    std::fs::create_dir_all(&masks).unwrap();
    for t in 0..FRAMES {
        let level = |x, y| image::Luma([if inside(t, x, y) { 255 } else { 0 }]);
        let mask = image::GrayImage::from_fn(160, 120, level);
        mask.save(masks.join(format!("{:03}.png", t + 1))).unwrap();
    }
    std::fs::write(folder.join("labels.json"), r#"{"run": [[41, 80]]}"#).unwrap();
    let mut evaluate = command("trainer");
    evaluate.current_dir(&folder).arg("evaluate").arg("--videos").arg(site.clip("run"));
    evaluate.args(["--scores", ".", "--labels", "labels.json", "--masks", "masks"]);
    evaluate.args(["--maps", "maps", "--report-data", "report.json", "--json"]);
    let said = outcome(&mut evaluate).succeeded().stdout;
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    let pixels = &found["pixels"];
    assert_eq!((&pixels["frames"], &pixels["abnormal_frames"]), (&FRAMES.into(), &40.into()));
    assert_eq!(pixels["auc_pixel_error"], 0.0);

    // The same from its definition, pixel by pixel.
    let mut scored: Vec<(f32, bool)> = Vec::with_capacity(FRAMES * 160 * 120);
    for (t, map) in maps.chunks_exact(30 * 40).enumerate() {
        for y in 0..120u32 {
            let row = &map[(y / 4) as usize * 40..];
            scored.extend((0..160).map(|x| (row[(x / 4) as usize], inside(t, x, y))));
        }
    }
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut normal, mut abnormal) = (0.0, 0.0, 0.0);
    for ties in scored.chunk_by(|a, b| a.0 == b.0) {
        let hits = ties.iter().filter(|(_, is)| *is).count() as f64;
        let misses = ties.len() as f64 - hits;
        wins += hits * (normal + misses / 2.0);
        normal += misses;
        abnormal += hits;
    }
    let auc = pixels["auc_pixel"].as_f64().unwrap();
    assert!((auc - wins / (normal * abnormal)).abs() < 1e-9, "{auc}");
    assert!((0.0..=1.0).contains(&pixels["auc_localised"].as_f64().unwrap()));

    let mut report = command("trainer");
    report.current_dir(&folder).args(["report", "--data", "report.json", "--out", "report.html"]);
    report.arg("--checkpoint").arg(site.checkpoint());
    let warned = outcome(&mut report).succeeded().stderr;
    assert!(!warned.contains("missing"), "{warned}");
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert_eq!(page.matches("src=\"data:image/jpeg").count(), 8, "a filmstrip of eight frames");
    for text in ["Pixel AUC", "model.safetensors", "seed <b>5</b>", "normal_footage_sha256"] {
        assert!(page.contains(text), "{text}");
    }
}
