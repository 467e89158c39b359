//! `trainer ablate`: the table, and going on where it was.

use std::path::Path;
use std::process::Command;

use crate::common::{command, outcome};
use crate::site::{Site, site};

/// Two steps of each of four variants with two seeds.
fn ablate(site: &Site, out: &Path) -> Command {
    // The site's clips are too short for events; which frames count as abnormal matters little here.
    let labels = site.folder.join("ablation-labels.json");
    std::fs::write(&labels, "{\"run\": [[30, 90]], \"fall\": [[1, 40], [100, 120]]}").unwrap();
    ablate_by(site, out, &labels)
}

fn ablate_by(site: &Site, out: &Path, labels: &Path) -> Command {
    let mut ablate = command("trainer");
    ablate.arg("ablate").arg("--normal").arg(site.folder.join("normal"));
    ablate.arg("--test").arg(site.folder.join("test"));
    ablate.arg("--labels").arg(labels);
    ablate.arg("--config").arg(site.folder.join("train.toml"));
    ablate.args(["--seeds", "2", "--steps", "2", "--pseudo-clips", "2", "--out"]).arg(out);
    ablate
}

#[test]
fn every_variant_has_a_line_and_nothing_is_done_twice() {
    let Some(site) = site() else { return };
    let out = site.folder.join("ablation");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let first = outcome(&mut ablate(site, &out)).succeeded();
    assert_eq!(first.stdout, read("ablation.txt"));
    assert!(first.stdout.contains(" ± "), "{}", first.stdout);
    let csv = read("ablation.csv");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let variants: Vec<&str> = lines.iter().skip(1).map(|line| line[0]).collect();
    assert_eq!(variants, ["urdmu", "da", "upd", "darm"]);
    for line in &lines[1..] {
        assert_eq!(line[1], "2");
        let auc: f64 = line[2].parse().unwrap();
        assert!((0.0..=1.0).contains(&auc), "{csv}");
    }
    let json: serde_json::Value = serde_json::from_str(&read("ablation.json")).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 8);
    assert_eq!(json["config"]["steps"], 2);

    // One run is lost: it alone is made again, to the same result.
    std::fs::remove_file(out.join("runs/da-2.json")).unwrap();
    let again = outcome(&mut ablate(site, &out)).succeeded();
    assert_eq!(again.stdout, first.stdout);
    let trained = again.stderr.lines().filter(|line| line.contains("frame AUC")).count();
    assert_eq!(trained, 1, "{}", again.stderr);

    // Another weight is another run.
    let other = outcome(ablate(site, &out).args(["--lambda2", "3", "--json"])).succeeded();
    let other: serde_json::Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!(other["config"]["lambda2"], 3.0);
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let Some(site) = site() else { return };
    let out = site.folder.join("ablation-refused");
    let refused = outcome(ablate(site, &out).args(["--weight", "kk=1"]));
    refused.failed("trainer", 2, &["--weight kk=1", "no term kk"]);
    let labels = site.folder.join("no-labels.json");
    std::fs::write(&labels, "{\"other\": [[1, 2]]}").unwrap();
    let wrong = outcome(&mut ablate_by(site, &out, &labels));
    wrong.failed("trainer", 2, &["no-labels.json: names no clip of "]);
    let mut train = site.train(&out);
    let refused = outcome(train.args(["--lambda1=nan"]));
    refused.failed("trainer", 2, &["lambda1 must be finite"]);
}
