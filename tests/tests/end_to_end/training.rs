//! Training: the same for a seed, and the same after an interruption.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Outcome, outcome};
use crate::site::site;

/// What a checkpoint holds that packing or a reader uses.
fn content(checkpoint: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> = ["model.safetensors", "config.toml"].map(String::from).into();
    for entry in std::fs::read_dir(checkpoint.join("graphs")).unwrap() {
        names.push(format!("graphs/{}", entry.unwrap().file_name().display()));
    }
    names.sort();
    let read = |name: String| {
        let bytes = std::fs::read(checkpoint.join(&name)).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (content(a), content(b));
    assert_eq!(a.len(), 8, "weights, configuration, three graphs in two precisions");
    for ((name, bytes), (other, others)) in a.iter().zip(&b) {
        assert_eq!(name, other);
        assert!(bytes == others, "{name} differs");
    }
}

/// The steps in a detector's `metrics.csv`, and whether TensorBoard's file is beside it.
fn steps(checkpoint: &Path, detector: &str) -> Vec<usize> {
    let folder = checkpoint.join("metrics").join(detector);
    assert!(folder.join("events.out.tfevents.0").metadata().unwrap().len() > 0);
    let text = std::fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    assert!(header.starts_with("step,time,seconds,loss"), "{header}");
    let columns = header.split(',').count();
    let step = |line: &str| {
        assert_eq!(line.split(',').count(), columns, "{line}");
        line.split(',').next().unwrap().parse().unwrap()
    };
    lines.map(step).collect()
}

#[test]
fn every_step_is_in_the_metrics() {
    let Some(site) = site() else { return };
    assert_eq!(steps(&site.checkpoint(), "semantic"), (1..=3).collect::<Vec<_>>());
    assert_eq!(steps(&site.checkpoint(), "local"), (1..=60).collect::<Vec<_>>());
}

#[test]
fn a_seed_gives_the_same_checkpoint_again() {
    let Some(site) = site() else { return };
    let again = site.folder.join("checkpoint-again");
    outcome(&mut site.train(&again)).succeeded();
    assert_same(&site.checkpoint(), &again);
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_checkpoint() {
    let Some(site) = site() else { return };
    let out = site.folder.join("checkpoint-interrupted");
    let log = site.folder.join("interrupted.log");
    let mut child =
        site.train(&out).stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    // The state of the local detector's training appears after its first few steps.
    let deadline = Instant::now() + Duration::from_secs(180);
    while !has_local_state(&out) {
        assert!(child.try_wait().unwrap().is_none(), "ended before it could be interrupted");
        assert!(Instant::now() < deadline, "no state was saved");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let code = child.wait().unwrap().code();
    let stderr = std::fs::read_to_string(&log).unwrap();
    let interrupted = Outcome { code, stdout: String::new(), stderr };
    interrupted.failed("trainer", 1, &["interrupted after ", " of 60 steps; run again"]);
    assert!(!out.join("config.toml").exists(), "an unfinished checkpoint looks finished");

    outcome(&mut site.train(&out)).succeeded();
    assert_same(&site.checkpoint(), &out);
    assert_eq!(steps(&out, "semantic"), (1..=3).collect::<Vec<_>>());
    assert_eq!(steps(&out, "local"), (1..=60).collect::<Vec<_>>());
}

fn has_local_state(out: &Path) -> bool {
    let Ok(runs) = std::fs::read_dir(out.join("work")) else { return false };
    runs.flatten().any(|run| run.path().join("local/state.safetensors").exists())
}
