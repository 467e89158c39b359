//! Any text as a class file and as a plan, any bytes as labels: accepted, or refused with the file
//! named; what is accepted comes back from writing.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trainer::synthesis::classes::Classes;
use trainer::synthesis::plan::Plan;
use trainer::synthesis::run::labels;

/// A scene that plans may name.
const SCENES: &str = r#"{"a": {"videos": {"a.mp4": "00"}}}"#;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(maps) = labels::decode(bytes) {
        assert!(maps.iter().all(|map| map.data.len() == map.width * map.height));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Classes::parse(text, Path::new("c.toml")) {
        assert!(error.to_string().starts_with("c.toml: "));
    }
    drop(Plan::parse("p", "{}", text));
    if let Ok(plan) = Plan::parse("p", text, SCENES) {
        let again = Plan::parse("p", &plan.to_jsonl(), &plan.scenes_json());
        assert_eq!(again.ok(), Some(plan));
    }
});
