//! Any bytes as the settings made by command: read or taken for none, and never a threshold that is not one;
//! and as the list of announced cameras: never more than are kept, never an id that is none.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use edge_runtime::control::Settings;
use edge_runtime::publish::Announced;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = root.join(format!("pavad-fuzz-settings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("can be made");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FOLDER.join("settings.json"), bytes).expect("can be written");
    let settings = Settings::open(&FOLDER).of("door", 0.5);
    std::fs::write(FOLDER.join("cameras.json"), bytes).expect("can be written");
    let announced = Announced::remember(&FOLDER, &["door".to_owned()]);
    assert!(announced.gone.len() <= 32 && !announced.gone.iter().any(|id| id == "door"));
    assert!(announced.gone.iter().all(|id| alert_wire::check_id(id).is_ok()));
    assert!(settings.threshold.is_none_or(|t| (0.001..=1.0).contains(&t)));
});
