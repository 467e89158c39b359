//! `gpu-check` on the processor, which shows that the operations a GPU has give what the processor's
//! own give, and that the program says what it finds; and without a GPU, where it says that.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::path::Path;
use std::process::{Command, Output};

fn check(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_gpu-check"));
    program.args(arguments).args(["--json", "result.json"]).current_dir(folder);
    program.output().unwrap()
}

fn rows(folder: &Path) -> Vec<serde_json::Value> {
    let json = std::fs::read(folder.join("result.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json["rows"].as_array().unwrap().clone()
}

#[test]
fn every_case_holds_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let out = check(folder.path(), &["--device", "cpu", "--quick", "--steps", "2"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    let rows = rows(folder.path());
    for row in &rows {
        assert_eq!(row["status"], "pass", "{text}");
        assert!(text.contains(row["case"].as_str().unwrap()), "{text}");
    }
    // Every variable was compared: 2 + 2 · 11 + 2 · 2 + 2 · 2 + 2 + 4 of UR-DMU and its discriminator,
    // 6 · 3 + 2 of the local network, 10 · 3 + 2 of the student's small one.
    let why = |case: &str| {
        let row = rows.iter().find(|row| row["case"] == case).unwrap();
        row["why"].as_str().unwrap().to_owned()
    };
    assert!(why("semantic-gradients").starts_with("38 variables, "), "{text}");
    assert!(why("local-gradients").starts_with("20 variables, "), "{text}");
    assert!(why("student-gradients").starts_with("32 variables, "), "{text}");
    assert!(why("denoise-5b").starts_with("median of 3 steps of 2 passes, 144 tokens"), "{text}");
    assert!(rows.iter().any(|row| row["seconds"].as_f64().is_some_and(|s| s > 0.0)));
}

#[test]
fn without_a_gpu_every_case_is_skipped_and_says_why() {
    // A machine with a GPU has no such case, unless the program has no code for it.
    if Path::new("/dev/nvidiactl").exists() && cfg!(feature = "cuda") {
        println!("skipped: there is a GPU");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = check(folder.path(), &[]);
    assert_eq!(out.status.code(), Some(4), "{}", String::from_utf8_lossy(&out.stderr));
    for row in rows(folder.path()) {
        assert_eq!(row["status"], "skipped");
        assert!(row["why"].as_str().unwrap().starts_with("--device cuda: "), "{row}");
    }
}

#[test]
fn a_case_that_does_not_exist_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let out = check(folder.path(), &["--device", "cpu", "--only", "everything"]);
    assert_eq!(out.status.code(), Some(2));
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(message.contains("everything") && message.contains("local-step"), "{message}");
    assert!(!folder.path().join("result.json").exists());
}
