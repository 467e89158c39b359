//! Who may depend on whom: the crates of the workspace, the arrows between them, and what must
//! never be reached from where.
//!
//! A boundary that is only written down is soon crossed; this is where the build notices.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every crate, its folder, and the own crates that it may depend on outside of its tests.
const CRATES: [(&str, &str, &[&str]); 12] = [
    ("alarm-node", "boards/alarm-node", &["alert-wire", "boards"]),
    ("alert-wire", "edge-runtime/alert-wire", &[]),
    ("boards", "boards", &[]),
    (
        "edge-runtime",
        "edge-runtime",
        &["alert-wire", "boards", "inference", "model-bundle", "video"],
    ),
    ("inference", "edge-runtime/inference", &["model-bundle", "video"]),
    ("lesser-processor", "tests/lesser-processor", &[]),
    ("model-bundle", "model-export/model-bundle", &[]),
    ("model-export", "model-export", &["inference", "model-bundle", "video"]),
    ("tests", "tests", &["alert-wire", "model-bundle", "model-export", "trainer", "video"]),
    ("trainer", "trainer", &["inference", "model-bundle", "model-export", "video"]),
    ("video", "edge-runtime/video", &[]),
    ("xtask", "tests/xtask", &[]),
];

/// The top-level folders of the project.
const FOLDERS: [&str; 6] = ["boards", "docs", "edge-runtime", "model-export", "tests", "trainer"];

/// Crates that nothing may depend on, not even for tests.
const LEAVES: [&str; 3] = ["lesser-processor", "tests", "xtask"];

/// Everything that runs or trains neural networks; `*` stands for any ending.
const NEURAL: [&str; 10] = [
    "ort",
    "ort-sys",
    "tract*",
    "candle*",
    "burn*",
    "tch",
    "torch-sys",
    "gemm",
    "inference",
    "safetensors",
];

/// What a microcontroller's program may pull in: all of it works without `std` and an allocator.
const MICROCONTROLLER: [&str; 13] = [
    "alarm-node",
    "alert-wire",
    "boards",
    "byteorder",
    "cobs",
    "embedded-hal",
    "hash32",
    "heapless",
    "postcard",
    "serde",
    "serde_core",
    "stable_deref_trait",
    "thiserror",
];

/// A dependency between two crates of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    /// Only for tests, examples and benchmarks.
    dev: bool,
}

/// The arrows that are not allowed, as lines for people.
fn wrong_arrows(arrows: &[Arrow]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Arrow { from, to, dev } in arrows {
        if LEAVES.contains(&to.as_str()) {
            wrong.push(format!("{from} -> {to}: nothing may depend on {to}"));
        } else if !dev {
            match CRATES.iter().find(|(name, ..)| name == from) {
                Some((_, _, allowed)) if allowed.contains(&to.as_str()) => {}
                Some(_) => wrong.push(format!("{from} -> {to} is not an allowed arrow")),
                None => wrong.push(format!("{from} is not a crate of the architecture")),
            }
        }
    }
    wrong
}

/// What a crate pulls in, itself included: names and their features.
type Closure = BTreeMap<String, BTreeSet<String>>;

/// Reads lines of `cargo tree --prefix none --format '{p}|{f}'`.
fn read_tree(text: &str) -> Closure {
    let mut closure = Closure::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split_whitespace().next().unwrap_or_default().to_string();
        // A crate that was listed before ends in ` (*)`.
        let features = features.trim_end_matches("(*)").trim();
        let features = features.split(',').filter(|f| !f.is_empty()).map(str::to_string);
        closure.entry(name).or_default().extend(features);
    }
    closure
}

/// The crates of a closure that match one of the patterns.
fn reached(closure: &Closure, patterns: &[&str]) -> Vec<String> {
    let matches = |name: &str| {
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        })
    };
    closure.keys().filter(|name| matches(name)).cloned().collect()
}

/// The crates of a closure that a microcontroller cannot have, and why.
fn not_for_microcontrollers(closure: &Closure) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, features) in closure {
        if !MICROCONTROLLER.contains(&name.as_str()) {
            wrong.push(format!("{name} is not known to work without std"));
        }
        if let Some(feature) = features.iter().find(|f| ["std", "alloc"].contains(&f.as_str())) {
            wrong.push(format!("{name} has feature `{feature}`"));
        }
    }
    wrong
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {stderr}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// What a crate pulls in where it is built; `-e` chooses the kinds of dependencies.
fn closure(arguments: &[&str]) -> Closure {
    let mut words = vec!["tree", "--prefix", "none", "--format", "{p}|{f}"];
    words.extend(arguments);
    let closure = read_tree(&cargo(&words));
    assert!(!closure.is_empty(), "cargo tree says nothing of {arguments:?}");
    closure
}

/// Name and folder of each crate, and the arrows between them.
fn workspace() -> (BTreeMap<String, String>, Vec<Arrow>) {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let root = PathBuf::from(metadata["workspace_root"].as_str().unwrap());
    let packages = metadata["packages"].as_array().unwrap();
    let own: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let (mut folders, mut arrows) = (BTreeMap::new(), Vec::new());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(&root).unwrap();
        folders.insert(name.to_string(), folder.display().to_string());
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if own.contains(to) {
                let dev = dependency["kind"] == "dev";
                arrows.push(Arrow { from: name.into(), to: to.into(), dev });
            }
        }
    }
    (folders, arrows)
}

#[test]
fn the_workspace_has_the_crates_of_the_architecture() {
    let expected: BTreeMap<String, String> =
        CRATES.iter().map(|(name, folder, _)| (name.to_string(), folder.to_string())).collect();
    assert_eq!(workspace().0, expected);
}

#[test]
fn the_top_level_has_the_folders_of_the_architecture() {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_ours = !name.starts_with('.') && !ignored.contains(&name.as_str());
        // A folder without a manifest is what somebody keeps beside the project.
        let counts = name == "docs" || entry.path().join("Cargo.toml").exists();
        if is_ours && counts && entry.file_type().unwrap().is_dir() {
            found.insert(name);
        }
    }
    assert_eq!(found, FOLDERS.map(str::to_string).into());
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let arrows = workspace().1;
    assert!(arrows.len() > 10, "the arrows were not found: {arrows:?}");
    assert_eq!(wrong_arrows(&arrows), Vec::<String>::new());
}

#[test]
fn reading_a_bundle_needs_no_neural_network() {
    let closure = closure(&["-p", "model-bundle", "-e", "normal,build"]);
    assert!(closure.contains_key("minisign-verify"), "{closure:?}");
    assert_eq!(reached(&closure, &NEURAL), Vec::<String>::new());
}

#[test]
fn the_camera_has_no_training_code() {
    let closure = closure(&["-p", "edge-runtime", "-e", "normal,build"]);
    assert!(closure.contains_key("inference") && closure.contains_key("ort"), "{closure:?}");
    let never = ["trainer", "model-export", "tests", "xtask", "candle*", "gemm*", "pyo3*"];
    assert_eq!(reached(&closure, &never), Vec::<String>::new());
}

#[test]
fn microcontroller_crates_need_no_std() {
    for (name, more) in
        [("alert-wire", None), ("boards", Some("--no-default-features")), ("alarm-node", None)]
    {
        let mut words = vec!["-p", name, "-e", "normal,no-proc-macro"];
        words.extend(more);
        let closure = closure(&words);
        assert!(closure.contains_key(name), "{closure:?}");
        assert_eq!(not_for_microcontrollers(&closure), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_forbidden_arrow_is_found() {
    let arrow = |from: &str, to: &str, dev| Arrow { from: from.into(), to: to.into(), dev };
    let allowed = [
        arrow("trainer", "model-export", false),
        arrow("edge-runtime", "inference", false),
        // Tests may use what the product must not.
        arrow("inference", "model-export", true),
    ];
    assert_eq!(wrong_arrows(&allowed), Vec::<String>::new());
    for forbidden in [
        arrow("edge-runtime", "trainer", false),
        arrow("edge-runtime", "model-export", false),
        arrow("model-bundle", "inference", false),
        arrow("boards", "alert-wire", false),
        arrow("video", "tests", true),
        arrow("trainer", "xtask", false),
        arrow("newcomer", "video", false),
    ] {
        let mut arrows = allowed.to_vec();
        arrows.push(forbidden.clone());
        let wrong = wrong_arrows(&arrows);
        assert_eq!(wrong.len(), 1, "{forbidden:?}: {wrong:?}");
        assert!(wrong[0].starts_with(&forbidden.from), "{wrong:?}");
    }
}

#[test]
fn a_forbidden_crate_is_found_in_a_tree() {
    let tree = "model-bundle v0.1.0 (/src/model-bundle)|\nserde v1.0.0|derive,std\n\
                tract-core v0.23.9|default\nserde v1.0.0|derive,std (*)\norts v1.0.0|\n";
    let closure = read_tree(tree);
    assert_eq!(closure.len(), 4);
    // `orts` is not `ort`; `tract-core` is one of `tract*`.
    assert_eq!(reached(&closure, &NEURAL), ["tract-core"]);
    assert_eq!(
        not_for_microcontrollers(&closure),
        [
            "model-bundle is not known to work without std",
            "orts is not known to work without std",
            "serde has feature `std`",
            "tract-core is not known to work without std",
        ]
    );
}
