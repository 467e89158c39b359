//! `edge-runtime replay`: the scores of a recording, on both backends.

use crate::common::outcome;
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
