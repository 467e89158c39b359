//! Drawn sites and models on each other's sites, with the real programs.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{command, outcome, quoted};
use serde_json::Value;

/// A model that needs no weights and no inference library: the motion prior alone, at a threshold.
fn checkpoint(threshold: f64) -> String {
    format!(
        "[detectors.input]\nwidth = 160\nheight = 120\nframe_rate = 10.0\n\
         [detectors.motion]\nbox_size = 8\nepsilon = 1.0\nweight = 1.0\nz = {{ mean = 0.0, std = 1.0 }}\n\
         [detectors.smoothing]\nsigma = 0.0\nradius = 0\nlag = 0\n\
         [detectors.calibration]\nthreshold = {threshold:?}\nscale = 0.5\nfalse_alarms_per_hour = 1.0\n\
         [detectors.events]\nenter = 0.5\nexit = 0.4\nmin_duration = 0.3\nend_after = 1.0\ncool_down = 1.0\n"
    )
}

fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn film(site: &str, out: &Path) {
    let small =
        ["--width", "160", "--height", "120", "--normal-clips", "1", "--normal-minutes", "0"];
    let mut scene = command("trainer");
    scene.args(["scene", "--site", site, "--event-seconds", "31"]).args(small);
    outcome(scene.arg("--out").arg(out)).succeeded();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_drawn_site_has_a_clip_for_each_kind_and_labels_that_say_so() {
    let folder = empty("drawn-site");
    film("corridor", &folder);
    let kinds: BTreeMap<String, Vec<(u64, u64, String)>> =
        serde_json::from_value(json(&folder.join("kinds.json"))).unwrap();
    let labels: BTreeMap<String, Vec<(u64, u64)>> =
        serde_json::from_value(json(&folder.join("labels.json"))).unwrap();
    assert_eq!(kinds.keys().collect::<Vec<_>>(), labels.keys().collect::<Vec<_>>());
    for (clip, events) in &kinds {
        assert!(folder.join("test").join(format!("{clip}.mp4")).exists(), "{clip}");
        assert!(!events.is_empty(), "{clip}");
        for ((first, last, kind), range) in events.iter().zip(&labels[clip]) {
            assert_eq!((kind, (*first, *last)), (clip, *range));
            assert!(1 <= *first && first <= last && *last <= 310, "{clip}: {first} to {last}");
        }
    }
    assert!(kinds.contains_key("bicycle-slow") && kinds.contains_key("left"));
}

#[test]
fn a_site_that_there_is_not_is_named_with_those_that_there_are() {
    let mut scene = command("trainer");
    let scene = scene.args(["scene", "--site", "moon", "--out", "never"]);
    outcome(scene).failed("trainer", 2, &["--site moon", "plaza", "top-down"]);
}

#[test]
fn every_model_watches_every_site() {
    let folder = empty("cross");
    let sites = ["near", "night"];
    for (site, threshold) in sites.into_iter().zip([2.0, 6.0]) {
        film(site, &folder.join(site));
        let model = folder.join(site).join("checkpoint");
        std::fs::create_dir_all(&model).unwrap();
        std::fs::write(model.join("config.toml"), checkpoint(threshold)).unwrap();
    }
    let out = folder.join("cross");
    let word = |site: &str, model: &Path| {
        let at = folder.join(site);
        format!(
            "--site={site}={},{},{}",
            model.display(),
            at.join("test").display(),
            at.join("labels.json").display()
        )
    };
    let checkpoints = sites.map(|site| word(site, &folder.join(site).join("checkpoint")));
    let cross = |words: &[String]| {
        let mut cross = command("trainer");
        cross.args(["cross", "--json", "--out"]).arg(&out);
        cross.args(words);
        serde_json::from_str::<Value>(&outcome(&mut cross).succeeded().stdout).unwrap()
    };
    let matrix = cross(&checkpoints);
    let cells = matrix["cells"].as_array().unwrap();
    let pairs: Vec<(&str, &str)> = cells
        .iter()
        .map(|cell| (cell["trained_on"].as_str().unwrap(), cell["watched"].as_str().unwrap()))
        .collect();
    assert_eq!(pairs, [("near", "near"), ("night", "near"), ("near", "night"), ("night", "night")]);
    assert_eq!(json(&out.join("cross.json")), matrix);

    // A cell is what replay and evaluate give one after the other.
    let at = folder.join("night");
    let mut evaluate = command("trainer");
    evaluate.args(["evaluate", "--json", "--videos"]).arg(at.join("test"));
    evaluate.arg("--labels").arg(at.join("labels.json"));
    evaluate.arg("--scores").arg(out.join("near/night/scores"));
    evaluate.arg("--events").arg(out.join("near/night/events.jsonl"));
    let alone: Value = serde_json::from_str(&outcome(&mut evaluate).succeeded().stdout).unwrap();
    let cell = &cells[2];
    assert_eq!(cell["auc_frame"], alone["auc_micro"]);
    assert_eq!(cell["f1"], alone["alarms"]["events"][0]["f1"]);
    assert_eq!(cell["alarm_time_on_normal"], alone["alarms"]["time_on_normal"]);
    assert_eq!(cell["false_alarms_per_hour"], alone["alarms"]["false_alarms"]["rate"]);
    assert_eq!(matrix["watched"][1]["auc_frame"], alone["auc_frame_difference"]);
    // Bundles in place of checkpoints, and a file in place of words, give the same cells.
    let config: String = sites
        .map(|site| {
            let (at, model) = (folder.join(site), quoted(&out.join(site).join("model.pavad")));
            let (videos, labels) = (quoted(&at.join("test")), quoted(&at.join("labels.json")));
            format!("[[site]]\nname = \"{site}\"\nmodel = {model}\nvideos = {videos}\nlabels = {labels}\n")
        })
        .concat();
    std::fs::write(folder.join("sites.toml"), config).unwrap();
    let again = cross(&["--config".into(), folder.join("sites.toml").display().to_string()]);
    assert_eq!(again["cells"], matrix["cells"]);
    let text = std::fs::read_to_string(out.join("cross.md")).unwrap();
    assert!(text.contains("| trained on \\ watched | near | night |"), "{text}");
    assert!(text.contains("| *frame difference* |"), "{text}");
}
