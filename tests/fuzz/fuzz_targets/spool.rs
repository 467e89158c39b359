//! Any bytes as a file of the spool, beside a whole one: the event that was written, or the file is counted
//! as damaged and gone; the whole one is always given.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use edge_runtime::publish::Spool;
use libfuzzer_sys::fuzz_target;

/// In memory, where there is such a place: a disk would be the slowest part.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
    root.join(format!("pavad-fuzz-spool-{}", std::process::id()))
});

fuzz_target!(|input: (u64, &[u8])| {
    let (number, bytes) = input;
    let _ = std::fs::remove_dir_all(&*FOLDER);
    let mut spool = Spool::open(&FOLDER, 1 << 20).expect("the folder can be used");
    let whole = spool.append(b"whole");
    drop(spool);
    // Its own number would be the whole one's file.
    if number != whole {
        std::fs::write(FOLDER.join(format!("{number:016}.event")), bytes).expect("can be written");
    }
    let mut spool = Spool::open(&FOLDER, 1 << 20).expect("the folder can be used");
    let (mut last, mut seen) = (None, false);
    while let Some((number, payload)) = spool.next_after(last) {
        assert!(last.is_none_or(|last| number > last), "events come in order");
        seen |= number == whole && payload == b"whole";
        last = Some(number);
    }
    assert!(seen, "a damaged file takes no other with it");
    let next = spool.append(b"next");
    assert!(last.is_none_or(|last| next > last), "a new event is behind the others");
});
