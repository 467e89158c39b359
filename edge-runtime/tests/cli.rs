//! The real binary: what it writes, what it says, and its exit codes.
//!
//! The model is the smallest there is, the motion prior alone, so that no graph is needed: a frame
//! that differs from the one before it scores close to 1, any other close to 0.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use alert_wire::{Alert, Phase};
use common::{Maker, command};
use inference::{BackendKind, BackendOptions, Provider};

struct Folder {
    dir: tempfile::TempDir,
    key: String,
}

impl Folder {
    /// A folder with `model.pavad` and `clip/`: 60 frames, of which 20 to 39 move.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::new();
        std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.2.3", 1, "any")).unwrap();
        let key = maker.key();
        let folder = Self { dir, key };
        folder.clip("clip", 60, 20..40);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn clip(&self, name: &str, frames: u32, moving: std::ops::Range<u32>) {
        common::clip(&self.path(name), frames, moving);
    }

    /// A configuration with one camera that plays the clip, and what `more` adds to it.
    fn config(&self, top: &str, source: &str, more: &str) -> PathBuf {
        let path = self.path("edge.toml");
        let text = format!(
            "device = \"cam-01\"\n{top}\n[model]\nbundle = \"model.pavad\"\npublic_keys = [\"{}\"]\n\
             [[cameras]]\nid = \"door\"\nsource = {source}\n{more}\n",
            self.key
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(self.dir.path()).args(arguments).output().unwrap()
    }
}

const CLIP: &str = "{ type = \"images\", path = \"clip\", pace = \"fast\" }";

fn events(path: &Path) -> Vec<Alert> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| Alert::from_json(l.as_bytes()).unwrap()).collect()
}

/// The command fails with this code and one line on standard error, which contains all of `parts`.
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("edge-runtime: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(stderr.trim_end().ends_with(errors[0]), "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {:?}", errors[0]);
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
}

#[test]
fn replay_writes_scores_and_events() {
    let folder = Folder::new();
    let mut written = Vec::new();
    for _ in 0..2 {
        let output = folder.run(&[
            "replay",
            "--bundle",
            "model.pavad",
            "--input",
            "clip",
            "--scores",
            "out/s.csv",
            "--events",
            "out/e.jsonl",
            "--json",
        ]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("where it comes from was not checked"), "{stderr}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((report["frames"].as_u64(), report["events"].as_u64()), (Some(60), Some(1)));
        assert_eq!(report["model"]["name"], "motion");
        assert_eq!(report["model"]["origin_checked"], false);
        written.push((
            std::fs::read(folder.path("out/s.csv")).unwrap(),
            std::fs::read(folder.path("out/e.jsonl")).unwrap(),
        ));
    }
    assert_eq!(written[0], written[1], "a replay is the same each time");

    assert!(!folder.path("out/s.detectors.csv").exists(), "nobody asked for it");
    let csv = String::from_utf8(written[0].0.clone()).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows[0], rows.len()), ("frame,score", 61));
    for (frame, row) in rows[1..].iter().enumerate() {
        let (number, score) = row.split_once(',').unwrap();
        assert_eq!(number.parse::<usize>().unwrap(), frame);
        let score: f64 = score.parse().unwrap();
        // The first bright frame differs from the dark one before it, the first dark one after the
        // last bright one too.
        assert_eq!(score > 0.5, (20..40).contains(&frame), "frame {frame}: {score}");
    }
    let events = events(&folder.path("out/e.jsonl"));
    let story: Vec<_> = events.iter().map(|e| (e.phase, e.first_frame, e.frame)).collect();
    assert_eq!(story, [(Phase::New, 20, 23), (Phase::End, 20, 39)]);
    assert_eq!((events[0].started_ms, events[1].duration_ms), (2000, 1900));
    assert_eq!(events[0].model.version, "1.2.3");
}

#[test]
fn replay_of_several_clips_fills_a_folder() {
    let folder = Folder::new();
    folder.clip("all/b 2", 12, 0..0);
    folder.clip("all/a", 10, 0..0);
    let key = folder.key.clone();
    let output = folder.run(&[
        "replay",
        "--bundle",
        "model.pavad",
        "--input",
        "all",
        "--scores",
        "scores",
        "--detectors",
        "--public-key",
        &key,
        "--backend",
        "tract",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("a: 10 frames, 0 events\nb 2: 12 frames, 0 events\n"), "{stdout}");
    assert!(stdout.contains("frames per second") && stdout.contains("tract"), "{stdout}");
    assert!(output.stderr.is_empty(), "a trusted bundle gives no warning");
    for (name, frames) in [("a", 10), ("b 2", 12)] {
        let csv = std::fs::read_to_string(folder.path(&format!("scores/{name}.csv"))).unwrap();
        assert_eq!(csv.lines().count(), frames + 1);
        let path = folder.path(&format!("scores/{name}.detectors.csv"));
        let own = std::fs::read_to_string(path).unwrap();
        assert_eq!(own.lines().next(), Some("frame,local,motion,semantic,fused"));
        assert_eq!(own.lines().count(), frames + 1);
        // The model has the motion prior alone.
        assert!(
            own.lines().skip(1).all(|row| row.split(',').filter(|f| f.is_empty()).count() == 2)
        );
    }
}

#[test]
fn refused_inputs_and_wrong_usage() {
    let folder = Folder::new();
    let replay = |bundle: &str, input: &str| {
        folder.run(&["replay", "--bundle", bundle, "--input", input, "--backend", "tract"])
    };
    assert_fails(&replay("none.pavad", "clip"), 2, &["none.pavad", "no such bundle"]);
    assert_fails(&replay("model.pavad", "nowhere"), 2, &["nowhere"]);
    assert_eq!(folder.run(&["replay"]).status.code(), Some(2));

    let mut bytes = std::fs::read(folder.path("model.pavad")).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(folder.path("damaged.pavad"), &bytes).unwrap();
    assert_fails(&replay("damaged.pavad", "clip"), 3, &["damaged.pavad: "]);
    std::fs::write(folder.path("cut.pavad"), &bytes[..bytes.len() / 2]).unwrap();
    assert_fails(&replay("cut.pavad", "clip"), 3, &["cut.pavad: "]);

    let other = minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    let output = folder.run(&[
        "replay",
        "--bundle",
        "model.pavad",
        "--input",
        "clip",
        "--public-key",
        &other,
    ]);
    assert_fails(&output, 3, &["model.pavad: ", "key"]);

    std::fs::write(folder.path("video.mp4"), b"this is no video").unwrap();
    assert_fails(&replay("model.pavad", "video.mp4"), 3, &["video.mp4"]);
}

#[test]
fn a_full_disk_is_said_once() {
    let folder = Folder::new();
    let words = ["--bundle", "model.pavad", "--input", "clip", "--scores", "/dev/full"];
    let output = folder.run(&[&["replay"], &words[..]].concat());
    assert_fails(&output, 1, &["/dev/full: ", "check permissions and free space"]);
    // The last line is the error; the log above has said it too.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let error = stderr.lines().last().unwrap_or_default();
    assert_eq!(error.matches("No space left on device").count(), 1, "{error}");
}

#[test]
fn configuration_errors() {
    let folder = Folder::new();
    let config = folder.config("fps = 3", CLIP, "");
    for command in [["config", "check"], ["config", "show"]] {
        let output = folder.run(&[command[0], command[1], "--config", "edge.toml"]);
        assert_fails(&output, 2, &["edge.toml:2: ", "unknown field `fps`"]);
    }
    assert_fails(&folder.run(&["run", "--config", "edge.toml"]), 2, &["edge.toml:2: "]);
    assert_fails(&folder.run(&["run", "--config", "no.toml"]), 2, &["no.toml: "]);

    folder.config("board = \"toaster\"", CLIP, "");
    let output = folder.run(&["run", "--config", "edge.toml"]);
    assert_fails(&output, 2, &["toaster", "development-host"]);

    folder.config("", CLIP, "");
    let output = folder.run(&["config", "check", "--config", config.to_str().unwrap()]);
    assert!(output.status.success());
    // What is shown is itself a configuration.
    let shown = folder.run(&["config", "show", "--config", "edge.toml"]).stdout;
    std::fs::write(folder.path("shown.toml"), &shown).unwrap();
    let again = folder.run(&["config", "show", "--config", "shown.toml"]).stdout;
    assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&again));
}

#[test]
fn run_to_the_end_of_a_recording() {
    let folder = Folder::new();
    let top = "exit_when_done = true\nscores_dir = \"scores\"\nevents_file = \"events.jsonl\"";
    folder.config(top, CLIP, "[evidence]\ndir = \"evidence\"");
    let output = folder.run(&["run", "--config", "edge.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let events = events(&folder.path("events.jsonl"));
    let story: Vec<_> = events.iter().map(|e| (e.phase, e.first_frame, e.frame)).collect();
    assert_eq!(story, [(Phase::New, 20, 23), (Phase::End, 20, 39)]);
    let picture = folder.path("evidence").join(events[1].snapshot.as_ref().unwrap().as_str());
    assert!(image::open(picture).is_ok());
    let csv = std::fs::read_to_string(folder.path("scores/door.csv")).unwrap();
    assert_eq!(csv.lines().count(), 61);
    assert!(stderr.contains("60 frames, 0 dropped, 1 events"), "{stderr}");
}

/// The providers of the configuration are tried in their order, and the log says why each was passed over
/// and which is next.
#[test]
fn gpus_that_are_not_there_are_passed_over() {
    let gpu = BackendOptions { provider: Provider::Cuda, ..BackendOptions::default() };
    if inference::open_backend(BackendKind::Ort, &BackendOptions::default()).is_err()
        || inference::open_backend(BackendKind::Ort, &gpu).is_ok()
    {
        println!("skipped: this machine has no ONNX Runtime, or one with a GPU");
        return;
    }
    let folder = Folder::new();
    let top = "exit_when_done = true";
    folder.config(top, CLIP, "");
    let config = std::fs::read_to_string(folder.path("edge.toml")).unwrap();
    let with = |lines: &str| {
        let text = config.replace("[model]\n", &format!("[model]\n{lines}\n"));
        std::fs::write(folder.path("edge.toml"), text).unwrap();
        folder.run(&["run", "--config", "edge.toml"])
    };

    let output = with("providers = [\"tensorrt\", \"cuda\", \"cpu\"]");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let said = |begin: &str, end: &str| {
        let line = stderr.lines().find(|l| l.contains(begin));
        let line = line.unwrap_or_else(|| panic!("{begin}: {stderr}"));
        assert!(line.ends_with(end) && line.contains("ONNX Runtime's"), "{line}");
    };
    said("backend ort with tensorrt is not used: ", "next is ort with cuda");
    said("backend ort with cuda is not used: ", "next is ort with cpu");
    assert!(stderr.contains("backend: ort (ONNX Runtime from"), "{stderr}");

    // Without the processor and without tract there is nothing to fall back on.
    let output = with("backends = [\"ort\"]\nproviders = [\"tensorrt\", \"cuda\"]");
    let parts = ["no backend can run the bundle", "ort with tensorrt: ", "ort with cuda: "];
    assert_fails(&output, 4, &parts);

    // The flag of one run.
    let words = ["bench", "--bundle", "model.pavad", "--backend", "ort", "--provider", "cuda"];
    assert_fails(&folder.run(&words), 4, &["ort with cuda: ", "take `cuda` out"]);
}

#[test]
fn what_is_away_has_exit_code_4() {
    let folder = Folder::new();
    folder.config("", "{ type = \"v4l2\", device = \"/dev/video-none\" }", "");
    let output = folder.run(&["run", "--require-camera", "--config", "edge.toml"]);
    assert_fails(&output, 4, &["/dev/video-none: no such device"]);

    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mqtt = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {port}");
    folder.config("exit_when_done = true\ndrain_timeout = 0.5", CLIP, &mqtt);
    let output = folder.run(&["run", "--config", "edge.toml"]);
    assert_fails(&output, 4, &["2 events are still in", "spool"]);
    assert_eq!(std::fs::read_dir(folder.path("spool")).unwrap().count(), 3, "lock and 2 events");

    let output = folder.run(&["doctor", "--config", "edge.toml"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{stdout}");
    assert!(stdout.contains(&format!("FAIL broker: broker 127.0.0.1:{port}: ")), "{stdout}");
    for line in ["OK   configuration: ", "OK   bundle: motion 1.2.3", "OK   camera door: "] {
        assert!(stdout.contains(line), "{line} is not in {stdout}");
    }
}

#[test]
fn a_signal_ends_incidents_and_the_program() {
    let folder = Folder::new();
    folder.clip("moving", 40, 0..40);
    let source = "{ type = \"images\", path = \"moving\" }";
    folder.config("events_file = \"events.jsonl\"", source, "");
    let mut child = command(folder.dir.path())
        .args(["run", "--config", "edge.toml"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let file = folder.path("events.jsonl");
    let until = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&file).unwrap_or_default().lines().count() == 0 {
        assert!(Instant::now() < until, "no event");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success(), "a stop by signal is a success");
    let phases: Vec<Phase> = events(&file).iter().map(|e| e.phase).collect();
    assert_eq!(phases, [Phase::New, Phase::End]);
}

#[test]
fn a_measurement() {
    let folder = Folder::new();
    let output = folder.run(&[
        "bench",
        "--bundle",
        "model.pavad",
        "--backend",
        "tract",
        "--frames",
        "400",
        "--width",
        "322",
        "--height",
        "240",
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["frames"].as_u64(), report["width"].as_u64()), (Some(400), Some(322)));
    let times = ["p50", "p90", "p99", "max"].map(|key| report["frame_ms"][key].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
    assert!(report["frames_per_second"].as_f64().unwrap() > 0.0);
    // What is in use after a tenth of the frames is in use at the end: nothing grows.
    let memory = ["memory_early_bytes", "memory_bytes"].map(|key| report[key].as_f64().unwrap());
    assert!(memory[1] < memory[0] * 1.05, "{memory:?}");
    assert_eq!(folder.run(&["bench", "--bundle", "no.pavad"]).status.code(), Some(2));
}
