//! Wrong input to the real programs: one line that says what is wrong and what to do, the exit code
//! of `docs/reference/exit-codes.md`, and never a panic.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Outcome, command, outcome, quoted};

/// A model that needs no weights and no inference library: the motion prior alone.
const CHECKPOINT: &str = "\
[detectors.input]
width = 64
height = 64
frame_rate = 10.0
[detectors.motion]
box_size = 8
epsilon = 1.0
weight = 1.0
z = { mean = 0.0, std = 1.0 }
[detectors.smoothing]
sigma = 0.0
radius = 0
lag = 0
[detectors.calibration]
threshold = 2.0
scale = 0.5
false_alarms_per_hour = 1.0
[detectors.events]
enter = 0.5
exit = 0.4
min_duration = 0.3
end_after = 1.0
cool_down = 1.0
";

/// Files that are as they should be, made once with the programs themselves: `normal/`, `test/`,
/// `model.pavad`, and `cut/normal-01.mp4`, of which the end is missing.
fn files() -> &'static Path {
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-input");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        for name in ["cut", "checkpoint"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        let size = ["--width", "160", "--height", "120"];
        let clips = ["--normal-clips", "1", "--event-seconds", "4", "--normal-minutes", "0"];
        let mut scene = command("trainer");
        outcome(scene.arg("scene").args(size).args(clips).arg("--out").arg(&folder)).succeeded();
        let whole = std::fs::read(folder.join("normal/normal-01.mp4")).unwrap();
        std::fs::write(folder.join("cut/normal-01.mp4"), &whole[..whole.len() * 6 / 10]).unwrap();

        std::fs::write(folder.join("checkpoint/config.toml"), CHECKPOINT).unwrap();
        let mut keygen = command("model-export");
        outcome(keygen.args(["keygen", "--out"]).arg(folder.join("site"))).succeeded();
        let mut pack = command("model-export");
        pack.arg("pack").arg(folder.join("checkpoint")).arg("--key").arg(folder.join("site.key"));
        outcome(pack.arg("--out").arg(folder.join("model.pavad"))).succeeded();
        folder
    })
}

/// A file of one test.
fn file(name: &str, content: &str) -> PathBuf {
    let path = files().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn trainer(subcommand: &str) -> Command {
    let mut trainer = command("trainer");
    trainer.arg(subcommand).current_dir(files());
    trainer
}

fn train(normal: &str) -> Command {
    let mut train = trainer("train");
    // Should a test fail, it must not take the whole time of a training.
    train.args(["--normal", normal, "--out", "never", "--pseudo-clips", "1", "--local-steps", "1"]);
    train
}

fn replay(bundle: &str, input: &str) -> Command {
    let mut replay = command("edge-runtime");
    replay.current_dir(files()).args(["replay", "--bundle", bundle, "--input", input]);
    replay
}

/// `edge-runtime run` with one camera and what `more` adds before it.
fn run(name: &str, more: &str, source: &str, options: &[&str]) -> Outcome {
    let text = format!(
        "device = \"gate\"\nexit_when_done = true\n[model]\nbundle = \"model.pavad\"\n{more}\n\
         [spool]\ndir = \"spool-{name}\"\n[[cameras]]\nid = \"door\"\nsource = {source}\n"
    );
    let config = file(&format!("{name}.toml"), &text);
    let mut run = command("edge-runtime");
    outcome(run.args(["run", "--config"]).arg(config).args(options))
}

/// A source that works.
fn clip() -> String {
    let path = quoted(&files().join("test/run.mp4"));
    format!("{{ type = \"file\", path = {path}, pace = \"fast\" }}")
}

/// A port on which nothing listens.
fn closed_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn the_files_are_good_where_nothing_is_wrong_with_them() {
    // What the other tests rest on: each of them fails for the one thing that it changes.
    let replayed = outcome(&mut replay("model.pavad", "test")).succeeded();
    assert!(replayed.stdout.contains("160 frames"), "{}", replayed.stdout);
    run("good", "", &clip(), &[]).succeeded();
}

#[test]
fn footage_that_is_not_there() {
    outcome(&mut train("nowhere")).failed("trainer", 2, &["nowhere", "no such file or folder"]);
    outcome(&mut replay("model.pavad", "nowhere.mp4")).failed(
        "edge-runtime",
        2,
        &["nowhere.mp4", "no such file or folder"],
    );
    std::fs::create_dir_all(files().join("empty")).unwrap();
    outcome(&mut train("empty")).failed("trainer", 2, &["empty", "no video files"]);
    outcome(&mut replay("model.pavad", "empty")).failed(
        "edge-runtime",
        2,
        &["empty", "no video files"],
    );
}

#[test]
fn footage_that_is_cut_off() {
    let cut = "normal-01.mp4";
    outcome(&mut train("cut")).failed("trainer", 3, &[cut]);
    outcome(&mut replay("model.pavad", "cut")).failed("edge-runtime", 3, &[cut]);
    let source =
        format!("{{ type = \"file\", path = {} }}", quoted(&files().join("cut").join(cut)));
    run("cut", "", &source, &[]).failed("edge-runtime", 3, &[cut]);
}

#[test]
fn footage_that_is_no_video() {
    file("text.mp4", "This is no video.\n");
    outcome(&mut train("text.mp4")).failed("trainer", 3, &["text.mp4", "not a readable video"]);
    outcome(&mut replay("model.pavad", "text.mp4")).failed(
        "edge-runtime",
        3,
        &["text.mp4", "not a readable video"],
    );
}

#[test]
fn a_training_configuration_with_a_mistake() {
    file("typo.toml", "pseudo_clips = 4\n\n[local]\nstepz = 7\n");
    outcome(train("normal").args(["--config", "typo.toml"])).failed(
        "trainer",
        2,
        &["typo.toml", "line 4", "stepz"],
    );
    file("range.toml", "held_out = 0.9\n");
    outcome(train("normal").args(["--config", "range.toml"])).failed("trainer", 2, &["held_out"]);
    outcome(train("normal").args(["--config", "none.toml"])).failed("trainer", 2, &["none.toml"]);
}

#[test]
fn training_values_out_of_range_are_found_before_the_work() {
    for (name, text, field) in [
        ("local.toml", "[local]\nsteps = 0\n", "local.steps"),
        ("semantic.toml", "[semantic.detector]\ndropout = 1.5\n", "dropout"),
        ("composite.toml", "[composite]\nframes = 1\n", "frames"),
    ] {
        file(name, text);
        outcome(train("normal").args(["--config", name])).failed("trainer", 2, &[field]);
    }
}

#[test]
fn labels_that_cannot_be() {
    std::fs::create_dir_all(files().join("scores")).unwrap();
    outcome(replay("model.pavad", "test/run.mp4").args(["--scores", "scores/run.csv"])).succeeded();
    let evaluate = |labels: &str| {
        let videos = ["--videos", "test/run.mp4", "--scores", "scores", "--labels", labels];
        outcome(trainer("evaluate").args(videos))
    };
    file("good.json", r#"{"run": [[10, 20]]}"#);
    evaluate("good.json").succeeded();
    file("order.json", r#"{"run": [[20, 10]]}"#);
    evaluate("order.json").failed("trainer", 2, &["order.json", "clip run", "[20, 10]"]);
    file("zero.json", r#"{"run": [[0, 10]]}"#);
    evaluate("zero.json").failed("trainer", 2, &["zero.json", "frames count from 1"]);
    file("beyond.json", r#"{"run": [[30, 41]]}"#);
    evaluate("beyond.json").failed("trainer", 2, &["clip run", "frame 41", "40"]);
    file("form.json", r#"{"run": "10-20"}"#);
    evaluate("form.json").failed("trainer", 2, &["form.json", "expected"]);
    file("twice.json", r#"{"run": [[10, 20]], "run": [[30, 35]]}"#);
    evaluate("twice.json").failed("trainer", 2, &["twice.json", "clip run is named twice"]);
    file("other.json", r#"{"run": [[10, 20]], "run.mp4": [[30, 35]]}"#);
    evaluate("other.json").failed("trainer", 2, &["other.json", "labels name run.mp4", "(run)"]);
}

#[test]
fn events_of_a_camera_that_is_no_clip() {
    std::fs::create_dir_all(files().join("event-scores")).unwrap();
    let scores = ["--scores", "event-scores/run.csv"];
    outcome(replay("model.pavad", "test/run.mp4").args(scores)).succeeded();
    let evaluate = |events: &[&str]| {
        let videos = ["--videos", "test/run.mp4", "--scores", "event-scores"];
        outcome(trainer("evaluate").args(videos).args(events))
    };
    let event = |camera: &str| {
        format!(
            r#"{{"id": "a", "camera": "{camera}", "kind": "fall", "peak_score": 0.9, "first_frame": 3,
                "frame": 9, "peak_frame": 4}}"#
        )
        .replace('\n', " ")
    };
    file("gate.jsonl", &event("gate"));
    let refused = evaluate(&["--events", "gate.jsonl"]);
    refused.failed("trainer", 2, &["camera gate", "(run)"]);
    file("run.jsonl", &event("run"));
    let said = evaluate(&["--events", "run.jsonl"]).succeeded().stdout;
    assert!(said.contains("false alarms               1 in"), "{said}");
    // Without events nothing reads like a result.
    let said = evaluate(&[]).succeeded().stdout;
    assert!(said.contains("not evaluated") && !said.contains("false alarms  "), "{said}");
}

#[test]
fn maps_and_masks_that_cannot_be() {
    // The model here has no local detector.
    let maps = ["--maps", "maps"];
    outcome(replay("model.pavad", "test/run.mp4").args(maps)).failed(
        "edge-runtime",
        2,
        &["--maps", "no local detector"],
    );
    std::fs::create_dir_all(files().join("map-scores")).unwrap();
    let scores = ["--scores", "map-scores/run.csv"];
    outcome(replay("model.pavad", "test/run.mp4").args(scores)).succeeded();
    let evaluate = |masks: &str| {
        let videos = ["--videos", "test/run.mp4", "--scores", "map-scores", "--maps", "maps"];
        outcome(trainer("evaluate").args(videos).args(["--masks", masks]))
    };
    std::fs::create_dir_all(files().join("maps")).unwrap();
    std::fs::create_dir_all(files().join("masks/run")).unwrap();
    evaluate("no-masks").failed("trainer", 2, &["no-masks", "no such folder"]);
    evaluate("masks").failed("trainer", 2, &["run", "no mask of frame 1", "NNN.png"]);
    std::fs::create_dir_all(files().join("masks-of-none")).unwrap();
    evaluate("masks-of-none").failed("trainer", 2, &["run.npy"]);
    file("maps/run.npy", "no maps");
    evaluate("masks-of-none").failed("trainer", 3, &["run.npy", "not a NumPy file"]);
}

#[test]
fn a_report_of_what_is_no_evaluation() {
    let report = |more: [&str; 2]| {
        let options = ["--data", "report.json", "--out", "never.html"];
        outcome(trainer("report").args(options).args(more))
    };
    file("report.json", r#"{"title": "t", "evaluation": {}}"#);
    report(["--norms", "norms.csv"]).failed("trainer", 2, &["report.json", "missing field"]);
    let mut evaluate = trainer("evaluate");
    std::fs::create_dir_all(files().join("report-scores")).unwrap();
    let scores = ["--scores", "report-scores/run.csv"];
    outcome(replay("model.pavad", "test/run.mp4").args(scores)).succeeded();
    evaluate.args(["--videos", "test/run.mp4", "--scores", "report-scores"]);
    outcome(evaluate.args(["--report-data", "report.json"])).succeeded();
    file("norms.csv", "set,norm\nnormal,long\n");
    report(["--norms", "norms.csv"]).failed("trainer", 2, &["norms.csv", "line 2", "'long'"]);
    report(["--checkpoint", "nowhere"]).failed("trainer", 2, &["nowhere", "config.toml"]);
    assert!(!files().join("never.html").exists());
    file("norms.csv", "set,norm\nnormal,1.5\n");
    report(["--norms", "norms.csv"]).succeeded();
}

#[test]
fn something_that_is_no_bundle() {
    file("text.pavad", "This is no bundle.\n");
    let no_bundle = ["text.pavad", "not a model bundle"];
    outcome(&mut replay("text.pavad", "test")).failed("edge-runtime", 3, &no_bundle);
    let mut verify = command("model-export");
    outcome(verify.arg("verify").arg(files().join("text.pavad"))).failed(
        "model-export",
        3,
        &no_bundle,
    );
    outcome(&mut replay("none.pavad", "test")).failed("edge-runtime", 2, &["none.pavad"]);
}

#[test]
fn a_camera_configuration_with_a_mistake() {
    run("unknown", "thread = 4", &clip(), &[]).failed(
        "edge-runtime",
        2,
        &["unknown.toml:5: ", "thread"],
    );
    run("rules", "[events]\nenter = 0.3\nexit = 0.6", &clip(), &[]).failed(
        "edge-runtime",
        2,
        &["rules.toml:", "exit"],
    );
    let mut check = command("edge-runtime");
    outcome(check.args(["config", "check", "--config"]).arg(files().join("unknown.toml"))).failed(
        "edge-runtime",
        2,
        &["unknown.toml:5: ", "thread"],
    );
}

#[test]
fn a_broker_that_cannot_be_reached() {
    let port = closed_port();
    let mqtt = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {port}");
    run("broker", &mqtt, &clip(), &["--require-broker"]).failed(
        "edge-runtime",
        4,
        &[&format!("broker 127.0.0.1:{port}")],
    );
}

#[test]
fn a_camera_that_is_not_there() {
    let source = "{ type = \"v4l2\", device = \"/dev/video-none\" }";
    run("camera", "", source, &["--require-camera"]).failed(
        "edge-runtime",
        4,
        &["/dev/video-none", "no such device"],
    );
}

#[test]
fn an_inference_library_that_is_not_there() {
    let nowhere = ["--ort-library", "nowhere/libonnxruntime.so"];
    let name = "nowhere/libonnxruntime.so";
    outcome(replay("model.pavad", "test").args(["--backend", "ort"]).args(nowhere)).failed(
        "edge-runtime",
        4,
        &[name],
    );
    // Asked for by name, it is not silently replaced.
    outcome(train("normal").args(nowhere)).failed("trainer", 4, &[name]);
}

#[test]
fn a_checkpoint_or_key_that_is_not_there() {
    let pack = |checkpoint: &str, key: &str| {
        let mut pack = command("model-export");
        pack.current_dir(files()).args(["pack", checkpoint, "--key", key, "--out", "p.pavad"]);
        outcome(&mut pack)
    };
    pack("nowhere", "site.key").failed("model-export", 2, &["nowhere"]);
    pack("checkpoint", "none.key").failed("model-export", 2, &["none.key"]);
    assert!(!files().join("p.pavad").exists());
}
