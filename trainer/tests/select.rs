//! `trainer select` on a tiny site: figures, repetition, going on after an interruption, wrong usage.
// Helpers outside of `#[test]` functions are not covered by `allow-unwrap-in-tests`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::{failed, names, succeeded};
use tempfile::TempDir;
use trainer::scene::{FRAME_RATE, Scene};
use video::{Frame, Writer};

const DESIGN: &str = "pseudo_clips = 3\n\
                      [composite]\nframes = 32\n\
                      [local.network]\nstem = [4, 8]\n\
                      [local]\nsteps = 3\nbatch = 4\nstatistics_batches = 2\n\
                      crop = { width = 48, height = 32 }\n";

/// A site of three clips, another camera of one, two designs, a labelled test.
struct Study(TempDir);

impl Study {
    fn new() -> Self {
        let study = Self(tempfile::tempdir().unwrap());
        let film = |name: &str, scene: u64, clip: u64| {
            let path = study.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut writer = Writer::create(&path, 96, 64, FRAME_RATE).unwrap();
            let scene = Scene::new(96, 64, scene);
            let (mut clip, mut frame) = (scene.clip(clip, 40, None), Frame::default());
            while clip.film(&mut frame).is_some() {
                writer.write(&frame).unwrap();
            }
            writer.finish().unwrap();
        };
        for (name, clip) in [("site/a.mp4", 1), ("site/b.mp4", 2), ("site/c.mp4", 3)] {
            film(name, 1, clip);
        }
        film("test/e.mp4", 1, 4);
        film("yard/d.mp4", 2, 1);
        study.text("labels.json", r#"{"e": [[11, 20]]}"#);
        study.text("short.toml", DESIGN);
        study.text("causal.toml", &format!("{DESIGN}offsets = [-4, -2]\n"));
        study
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `trainer select` of these designs; arguments that end in a slash or a suffix are files here.
    fn run(&self, designs: &[&str], out: &str, more: &[&str]) -> Output {
        let mut arguments: Vec<std::ffi::OsString> = vec!["select".into()];
        let mut file = |flag: &str, name: &str| {
            arguments.extend([flag.into(), self.path(name).into_os_string()]);
        };
        file("--normal", "site");
        file("--out", out);
        designs.iter().for_each(|design| file("--config", &format!("{design}.toml")));
        if !more.contains(&"--no-families") {
            file("--other", "yard");
            arguments.extend(["--family", "flash", "--family", "throw,cart"].map(Into::into));
        }
        arguments.extend(["--test-clips", "2"].iter().chain(more).map(Into::into));
        common::trainer(arguments)
    }

    fn evidence(&self) -> [String; 4] {
        let path = |name: &str| self.path(name).display().to_string();
        ["--test".into(), path("test"), "--labels".into(), path("labels.json")]
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn two_designs_are_ranked_and_a_second_run_says_the_same() {
    let study = Study::new();
    let evidence = study.evidence();
    let evidence: Vec<&str> = evidence.iter().map(String::as_str).collect();
    let table = succeeded(&study.run(&["short", "causal"], "out", &evidence));
    assert_eq!(table, read(&study.path("out/selection.txt")));
    // Two designs, two weights.
    assert!(
        ["1 ", "2 ", "3 ", "4 "].iter().all(|rank| table.contains(&format!("\n{rank}"))),
        "{table}"
    );
    assert!(table.contains("how far each figure ranks as the test does"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&read(&study.path("out/selection.json"))).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    for run in runs {
        for figure in ["score", "left_out", "other", "pseudo", "other_maps", "alarms", "test"] {
            let value = run[figure].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{figure} {value}");
        }
        let mean = |a: f64, b: f64| (a + b) / 2.0;
        let of = |figure: &str| run[figure].as_f64().unwrap();
        assert!((of("score") - mean(of("left_out"), of("other"))).abs() < 1e-12);
        let families = run["families"].as_array().unwrap();
        assert_eq!((&families[0][0], &families[1][0]), (&"flash".into(), &"throw+cart".into()));
    }
    let parts = ["all", "without-flash", "without-throw+cart"];
    let expected: Vec<String> = ["causal", "short"]
        .iter()
        .flat_map(|design| parts.map(|part| format!("{design}-1-{part}.json")))
        .collect();
    assert_eq!(names(&study.path("out/runs")), expected);
    // The training states have served.
    assert_eq!(names(&study.path("out/work")), [""; 0]);

    // What is there is kept; what is lost or damaged is made anew, to the same bits.
    let whole = read(&study.path("out/selection.json"));
    let lost = study.path("out/runs/short-1-without-flash.json");
    let before = read(&lost);
    std::fs::write(&lost, &before[..before.len() / 2]).unwrap();
    std::fs::remove_file(study.path("out/runs/causal-1-all.json")).unwrap();
    succeeded(&study.run(&["short", "causal"], "out", &evidence));
    assert!(read(&lost) == before, "the network was trained to other bits");
    assert!(read(&study.path("out/selection.json")) == whole);

    // The test changes no other figure.
    let json: serde_json::Value =
        serde_json::from_str(&succeeded(&study.run(&["short"], "blind", &["--json"]))).unwrap();
    let blind = &json["runs"][0];
    assert_eq!(blind["test"], serde_json::Value::Null);
    assert_eq!(blind["score"], runs[0]["score"]);
    assert_eq!(json["agreement"].as_array().unwrap().len(), 0);
}

#[test]
fn wrong_usage_is_refused_before_any_work() {
    let study = Study::new();
    let refused = |designs: &[&str], more: &[&str], parts: &[&str]| {
        failed(&study.run(designs, "out", more), 2, parts);
        assert!(!study.path("out").exists());
    };
    study.text("other.toml", &format!("held_out = 0.3\n{DESIGN}"));
    refused(&["short", "other"], &[], &["other.toml", "held_out", "short.toml"]);
    refused(&["short", "short"], &[], &["two configurations are called short"]);
    study.text("wrong.toml", "[local]\nstep = 3\n");
    refused(&["wrong"], &[], &["line 2", "step"]);
    let (test, labels) = (study.path("test"), study.path("none.json"));
    let (test, labels) = (test.to_str().unwrap(), labels.to_str().unwrap());
    study.text("none.json", "{}");
    refused(&["short"], &["--test", test, "--labels", labels], &["one class"]);
    let usage = study.run(&["short"], "out", &["--family", "glide"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("no kind 'glide'"));
}
