//! Memory does not grow with the number of frames.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use common::{Maker, command};

/// A camera's YUYV frames at full speed through conversion, scene checks, model and event rules, by the
/// program itself, which reports its resident memory after a tenth of the frames and at the end.
#[test]
fn resident_memory_after_10_000_frames_is_that_after_1000() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Maker::new().bundle("1.0.0", 1, "any");
    std::fs::write(dir.path().join("model.pavad"), bundle).unwrap();
    let mut command = command(dir.path());
    command.args(["bench", "--bundle", "model.pavad", "--frames", "10000", "--json"]);
    command.args(["--width", "320", "--height", "240", "--backend", "tract"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = |name: &str| report[name].as_f64().unwrap();
    let (early, late) = (bytes("memory_early_bytes"), bytes("memory_bytes"));
    assert!(early > 1e6, "{early}");
    assert!(late <= early * 1.01, "{early} bytes after 1000 frames, {late} after 10 000");
}
