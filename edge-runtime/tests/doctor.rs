//! `doctor` and faults that are made on purpose: each is found, named, and has advice.
//!
//! Those that need another machine (a full disk, a stopped clock, a hot board) are beside the code; a
//! camera of a wrong format is in the virtual machine (`format-refused`), which has a camera.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Broker, Maker, command};

/// Runs `doctor` on a configuration; its exit code and its report.
fn doctor(dir: &Path, text: &str) -> (Option<i32>, String) {
    std::fs::write(dir.join("edge.toml"), text).unwrap();
    let output = command(dir).args(["doctor", "--config", "edge.toml"]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn line<'a>(report: &'a str, begin: &str) -> &'a str {
    report.lines().find(|l| l.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {report}"))
}

const CLIP: &str = "[[cameras]]\nid = \"door\"\nsource = { type = \"images\", path = \"clip\" }\n";

fn site() -> (tempfile::TempDir, Maker) {
    let dir = tempfile::tempdir().unwrap();
    let maker = Maker::new();
    std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.path().join("clip"), 4, 0..0);
    (dir, maker)
}

fn head(key: &str) -> String {
    format!("device = \"a\"\n[model]\nbundle = \"model.pavad\"\npublic_keys = [\"{key}\"]\n")
}

#[test]
fn a_healthy_device_and_its_faults() {
    let (dir, maker) = site();
    let key = maker.key();
    let (code, report) =
        doctor(dir.path(), &format!("{}backends = [\"tract\"]\n{CLIP}", head(&key)));
    assert_eq!(code, Some(0), "{report}");
    assert!(!report.contains("FAIL"), "{report}");

    let gone =
        "[[cameras]]\nid = \"door\"\nsource = { type = \"v4l2\", device = \"/dev/no-camera\" }\n";
    let (code, report) = doctor(dir.path(), &format!("{}{gone}", head(&key)));
    assert_eq!(code, Some(4));
    assert!(line(&report, "FAIL camera door").contains("no such device; plug the camera in"));

    let missing = "backends = [\"ort\"]\nort_library = \"/nowhere/libonnxruntime.so\"\n";
    let (code, report) = doctor(dir.path(), &format!("{}{missing}{CLIP}", head(&key)));
    assert_eq!(code, Some(4));
    assert!(line(&report, "FAIL backend").contains("/nowhere/libonnxruntime.so"), "{report}");
    // With another backend to fall back on it is a warning.
    let fallback = missing.replace("[\"ort\"]", "[\"ort\", \"tract\"]");
    let (code, report) = doctor(dir.path(), &format!("{}{fallback}{CLIP}", head(&key)));
    assert_eq!(code, Some(0));
    assert!(line(&report, "WARN backend ort").contains("passed over"), "{report}");

    let (code, report) = doctor(dir.path(), &format!("{}{CLIP}", head(&Maker::new().key())));
    assert_eq!(code, Some(3));
    assert!(line(&report, "FAIL bundle").contains("not trusted"), "{report}");
}

/// Root may open everything, so `doctor` runs as nobody where the test runs as root.
#[test]
fn a_camera_that_we_may_not_use() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    const NOBODY: u32 = 65534;
    let (dir, maker) = site();
    let camera = dir.path().join("video0");
    std::fs::write(&camera, b"").unwrap();
    let source = format!("{{ type = \"v4l2\", device = \"{}\" }}", camera.display());
    let text = format!(
        "{}backends = [\"tract\"]\n[[cameras]]\nid = \"door\"\nsource = {source}\n",
        head(&maker.key())
    );
    std::fs::write(dir.path().join("edge.toml"), text).unwrap();
    // The program too must be where nobody may come.
    let program = dir.path().join("edge-runtime");
    std::fs::copy(env!("CARGO_BIN_EXE_edge-runtime"), &program).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&program, 0o755), (&camera, 0o000)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.current_dir(dir.path()).args(["doctor", "--config", "edge.toml"]);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{report}");
    let found = line(&report, "FAIL camera door");
    assert!(found.contains("permission denied; add the user to the group `video`"), "{found}");
}

#[test]
fn a_broker_that_does_not_let_us_in() {
    let (dir, maker) = site();
    let program = Path::new("/usr/bin/mosquitto_passwd");
    if !program.exists() {
        println!("skipped: mosquitto_passwd is not installed");
        return;
    }
    let passwords = dir.path().join("passwords");
    let mut make = Command::new(program);
    make.args(["-b", "-c"]).arg(&passwords).args(["cam", "right"]);
    assert!(make.status().unwrap().success());
    let rules = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    let Some(broker) = Broker::with(dir.path(), 0, &rules) else { return };
    for (protocol, word, code) in [("5", "wrong", 4), ("3.1.1", "wrong", 4), ("5", "right", 0)] {
        std::fs::write(dir.path().join("password"), format!("{word}\n")).unwrap();
        let mqtt = format!(
            "[mqtt]\nhost = \"127.0.0.1\"\nport = {}\nprotocol = \"{protocol}\"\n\
             username = \"cam\"\npassword_file = \"password\"\n",
            broker.port
        );
        let (found, report) = doctor(dir.path(), &format!("{}{mqtt}{CLIP}", head(&maker.key())));
        assert_eq!(found, Some(code), "{report}");
        if code != 0 {
            assert!(line(&report, "FAIL broker").contains("the password file"), "{report}");
        }
    }
}
