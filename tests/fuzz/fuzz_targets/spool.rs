//! Any bytes as a file of the spool, beside a whole one: the event that was written, or the file is counted
//! as damaged and gone, or left for a later version; the whole one is always given.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use edge_runtime::publish::{Loaded, Spool, SpooledEvent};
use libfuzzer_sys::fuzz_target;

/// In memory, where there is such a place: a disk would be the slowest part.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
    root.join(format!("pavad-fuzz-spool-{}", std::process::id()))
});

fn event(text: &str) -> SpooledEvent {
    SpooledEvent { camera: "door".into(), json: text.into(), postcard: text.into() }
}

fuzz_target!(|input: (u64, bool, &[u8])| {
    let (number, named, bytes) = input;
    let _ = std::fs::remove_dir_all(&*FOLDER);
    let mut spool = Spool::open(&FOLDER, 1 << 20).expect("the folder can be used");
    spool.append(&event("whole")).expect("it can be stored");
    drop(spool);
    // The first file's number with its camera would be the whole one's file.
    if !(named && number == 1) {
        let camera = if named { "-door" } else { "" };
        std::fs::write(FOLDER.join(format!("{number:016}{camera}.event")), bytes)
            .expect("can be written");
    }
    let mut spool = Spool::open(&FOLDER, 1 << 20).expect("the folder can be used");
    let numbers: Vec<u64> = spool.waiting().map(|(number, _)| number).collect();
    assert!(numbers.is_sorted(), "events come in order");
    let mut seen = false;
    for number in &numbers {
        match spool.load(*number) {
            Loaded::Event(found) => seen |= found == event("whole"),
            Loaded::Gone => {}
            Loaded::Failed(e) => panic!("{e}"),
        }
    }
    assert!(seen, "a damaged file takes no other with it");
    let next = spool.append(&event("next")).expect("it can be stored").number;
    assert!(numbers.iter().all(|number| next > *number), "a new event is behind the others");
});
