//! The program itself: its commands, and a bundle that takes over while the cameras run.

use std::process::Stdio;

use super::common::{self, Maker, Running, command};
use edge_runtime::update::STARTS;

use super::wait;

/// A folder with a configuration that has slots, and a clip that goes on for ever.
struct Site {
    dir: tempfile::TempDir,
    maker: Maker,
}

impl Site {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::new();
        std::fs::write(dir.path().join("factory.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
        common::clip(&dir.path().join("clip"), 40, 10..30);
        let text = format!(
            "device = \"cam-01\"\nstatus_every = 1\nevents_file = \"events.jsonl\"\n\
             [model]\nbundle = \"factory.pavad\"\npublic_keys = [\"{}\"]\n\
             [updates]\nprobation_frames = 20\nprobation_seconds = 1\n\
             url_prefixes = [\"http://127.0.0.1:1/\"]\n{more}\n\
             [[cameras]]\nid = \"door\"\n\
             source = {{ type = \"images\", path = \"clip\", at_end = \"loop\" }}\n",
            maker.key()
        );
        std::fs::write(dir.path().join("edge.toml"), text).unwrap();
        Self { dir, maker }
    }

    fn bundle(&self, name: &str, version: &str, epoch: u32) {
        std::fs::write(self.dir.path().join(name), self.maker.bundle(version, epoch, "any"))
            .unwrap();
    }

    /// Exit code, standard output, standard error of `edge-runtime bundle ...`.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = command(self.dir.path());
        let output =
            command.arg("bundle").args(arguments).args(["--config", "edge.toml"]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

#[test]
fn the_commands() {
    let site = Site::new("");
    assert_eq!(site.run(&["list"]).1.lines().take(3).map(|l| &l[..1]).collect::<String>(), "ab-");
    let (code, _, stderr) = site.run(&["rollback"]);
    assert_eq!(code, Some(1), "{stderr}");
    site.bundle("new.pavad", "2.0.0", 1);
    let (code, stdout, stderr) = site.run(&["install", "new.pavad"]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "new.pavad: installed in slot a, on trial\n"),
        "{stderr}"
    );
    let (code, _, stderr) = site.run(&["install", "new.pavad"]);
    assert!(code == Some(1) && stderr.contains("on trial"), "{stderr}");
    let (_, stdout, _) = site.run(&["list", "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(listing["slots"]["a"]["version"], "2.0.0");
    assert_eq!(listing["trial"]["starts_left"], STARTS);
    assert_eq!(site.run(&["rollback"]).0, Some(0));
    let (_, stdout, _) = site.run(&["list"]);
    assert!(stdout.starts_with("a  motion 2.0.0, epoch 1, SHA-256 "), "{stdout}");
    assert!(stdout.contains(", bad: rolled back by command\nb  empty\n"), "{stdout}");

    std::fs::write(site.dir.path().join("no.pavad"), b"no bundle").unwrap();
    assert_eq!(site.run(&["install", "no.pavad"]).0, Some(3));
    assert_eq!(site.run(&["install", "nowhere.pavad"]).0, Some(2));
    let url = format!("http://127.0.0.1:{}/m.pavad", common::free_port());
    assert_eq!(site.run(&["install", &url]).0, Some(4));
    // Without keys anybody's bundle would do.
    let text = std::fs::read_to_string(site.dir.path().join("edge.toml")).unwrap();
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with("public_keys")).collect();
    std::fs::write(site.dir.path().join("edge.toml"), text.join("\n")).unwrap();
    let (code, _, stderr) = site.run(&["list"]);
    assert!(code == Some(2) && stderr.contains("`updates` needs `model.public_keys`"), "{stderr}");
}

/// Versions of the models that announced incidents, in order, without repetitions.
fn versions(site: &Site) -> Vec<String> {
    let text = std::fs::read_to_string(site.dir.path().join("events.jsonl")).unwrap_or_default();
    let mut versions: Vec<String> = text
        .lines()
        .map(|l| alert_wire::Alert::from_json(l.as_bytes()).unwrap().model.version.to_string())
        .collect();
    versions.dedup();
    versions
}

#[test]
fn a_bundle_takes_over_while_the_cameras_run() {
    let site = Site::new("");
    let run = Running::start(
        command(site.dir.path()).args(["run", "--config", "edge.toml"]).stderr(Stdio::null()),
    );
    wait("the first bundle announces an incident", || versions(&site) == ["1.0.0"]);
    site.bundle("new.pavad", "2.0.0", 1);
    assert_eq!(site.run(&["install", "new.pavad"]).0, Some(0));
    wait("the new bundle announces an incident", || versions(&site) == ["1.0.0", "2.0.0"]);
    let state = || {
        let (_, stdout, _) = site.run(&["list", "--json"]);
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()
    };
    wait("the trial is passed", || state()["active"] == "a");
    assert_eq!(state()["slots"]["a"]["condition"], "good");
    // Back to the bundle of the configuration, on the fly too.
    assert_eq!(site.run(&["rollback"]).0, Some(0));
    wait("the first bundle is back", || versions(&site) == ["1.0.0", "2.0.0", "1.0.0"]);
    run.stop();
}
