//! The semantic detector with cells, alone: footage → checkpoint → bundle → camera.

use std::path::Path;

use crate::common::{command, outcome, quoted};
use crate::site::{FRAMES, read_scores, site};

/// As the site's own training, with the places of an early layer kept apart, and nothing but them in the
/// fused score.
const TRAIN: &str = r#"
held_out = 0.3
pseudo_clips = 4
pseudo_validation_clips = 2

[local]
steps = 2
batch = 2
warm_up = 1
statistics_batches = 1
crop = { width = 64, height = 64 }

[semantic]
backbone = "mobilenetv2"
bags = "cells"

[semantic.detector]
batch = 2
steps = 12
cells = 40

[semantic.detector.model]
embedding = 32
heads = 2
head_size = 16
feed_forward = 32
abnormal_slots = 8
normal_slots = 8
classifier_hidden = 16

[fusion]
local = 0.0
motion = 0.0
semantic = 1.0
excess_over = -100.0
"#;

#[test]
fn the_camera_scores_cells_and_says_which() {
    let Some(site) = site() else { return };
    let folder = site.folder.join("cells");
    std::fs::create_dir_all(&folder).unwrap();
    let (config, checkpoint) = (folder.join("train.toml"), folder.join("checkpoint"));
    std::fs::write(&config, TRAIN).unwrap();
    let mut train = command("trainer");
    train.args(["train", "--seed", "5", "--config"]).arg(&config);
    train.arg("--normal").arg(site.folder.join("normal")).arg("--out").arg(&checkpoint);
    outcome(&mut train).succeeded();
    let metrics = std::fs::read_to_string(checkpoint.join("metrics/semantic/metrics.csv")).unwrap();
    let mut lines = metrics.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let column = lines.next().unwrap().iter().position(|c| *c == "loss/instances").unwrap();
    let losses: Vec<f64> = lines.map(|line| line[column].parse().unwrap()).collect();
    assert!(losses.len() == 12 && losses.iter().all(|loss| *loss > 0.0), "{losses:?}");

    let bundle = folder.join("model.pavad");
    let mut pack = command("model-export");
    pack.arg("pack").arg(&checkpoint).arg("--key").arg(site.folder.join("site.key"));
    let packed = outcome(pack.args(["--name", "cells", "--out"]).arg(&bundle)).succeeded();
    assert!(packed.stdout.contains("INT8 against fp32"), "{}", packed.stdout);
    let inspected = outcome(command("model-export").arg("inspect").arg(&bundle)).succeeded();
    // 160x120 pixels in cells of 16: 10 x 7.5, and 8 pixels of the backbone's input each.
    let cells = "snippets 16x80x64 every 16 frames, 32 features, window 4, 10x8 cells";
    assert!(inspected.stdout.contains(cells), "{}", inspected.stdout);

    let replay = |backend: &str| {
        let scores = folder.join(format!("{backend}.csv"));
        let events = folder.join(format!("{backend}.jsonl"));
        let mut replay = site.replay(&bundle, &site.clip("run"));
        replay.args(["--backend", backend, "--scores"]).arg(&scores);
        outcome(replay.arg("--events").arg(&events)).succeeded();
        read_scores(&scores)
    };
    let (int8, fp32) = (replay("ort"), replay("tract"));
    assert_eq!((int8.len(), fp32.len()), (FRAMES, FRAMES));
    assert!(int8.iter().any(|score| (score - int8[0]).abs() > 1e-4), "all scores are the same");
    let differences: Vec<f64> = int8.iter().zip(&fp32).map(|(a, b)| (a - b).abs()).collect();
    let mean = differences.iter().sum::<f64>() / FRAMES as f64;
    assert!(0.0 < mean && mean < 0.1, "mean absolute difference {mean}");

    where_it_happens(&folder, &bundle, &int8);
}

/// With a threshold that the scores cross, an incident's region is a cell of the grid.
fn where_it_happens(folder: &Path, bundle: &Path, scores: &[f64]) {
    let Some(site) = site() else { return };
    let (lowest, highest) =
        scores.iter().fold((f64::MAX, f64::MIN), |(l, h), s| (l.min(*s), h.max(*s)));
    let events = folder.join("events.jsonl");
    let config = folder.join("edge.toml");
    let text = format!(
        "device = \"cells\"\nexit_when_done = true\nevents_file = {}\n\
         [model]\nbundle = {}\npublic_keys = [{}]\n\
         [events]\nmin_duration = 0.0\nexit = 0.001\n\
         [[cameras]]\nid = \"gate\"\nthreshold = {:.6}\n\
         source = {{ type = \"file\", path = {}, pace = \"fast\" }}\n",
        quoted(&events),
        quoted(bundle),
        quoted(&site.public_key()),
        f64::midpoint(lowest, highest).clamp(0.001, 1.0),
        quoted(&site.clip("run")),
    );
    std::fs::write(&config, text).unwrap();
    outcome(command("edge-runtime").args(["run", "--config"]).arg(&config)).succeeded();
    let text = std::fs::read_to_string(&events).unwrap();
    let event: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let at = |name: &str| event["region"][name].as_f64().unwrap();
    assert!((at("width") - 0.1).abs() < 1e-3 && (at("height") - 0.125).abs() < 1e-3, "{event}");
    let (column, row) = (at("x") * 10.0, at("y") * 8.0);
    assert!((column - column.round()).abs() < 1e-2 && (row - row.round()).abs() < 1e-2, "{event}");
}
