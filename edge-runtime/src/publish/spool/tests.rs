use super::*;

fn payload(i: u64) -> Vec<u8> {
    format!("event number {i:04}").into_bytes()
}

fn contents(spool: &mut Spool) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = None;
    while let Some((number, payload)) = spool.next_after(at) {
        out.push(String::from_utf8(payload).unwrap());
        at = Some(number);
    }
    out
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "event"))
        .collect();
    files.sort();
    files
}

#[test]
fn crc_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn events_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for i in 0..12 {
        spool.append(&payload(i));
    }
    spool.remove(1);
    spool.remove(3);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    let expected: Vec<_> =
        [1, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|i| format!("event number {i:04}")).into();
    assert_eq!(contents(&mut spool), expected);
    // New events go behind the old ones.
    let number = spool.append(&payload(99));
    assert_eq!(number, 13);
    assert_eq!(contents(&mut spool).last().unwrap(), "event number 0099");
}

#[test]
fn a_number_that_leaves_no_room_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let name = |number: u64| dir.path().join(format!("{number:016}.event"));
    for number in [u64::MAX, u64::MAX - 1, 1 << 63] {
        fs::write(name(number), b"whatever").unwrap();
    }
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    assert!(spool.is_empty());
    assert_eq!(spool.append(&payload(1)), 1);
    assert!(name(u64::MAX).exists(), "what is not ours is left alone");
}

#[test]
fn removing_the_same_event_twice_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    let number = spool.append(&payload(0));
    spool.remove(number);
    spool.remove(number);
    assert!(spool.is_empty());
    assert_eq!(spool.bytes(), 0);
    assert!(files(dir.path()).is_empty());
}

/// A crash after the acknowledgement and before the deletion: the event is there again, once.
#[test]
fn an_event_not_yet_deleted_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    Spool::open(dir.path(), 1 << 20).unwrap().append(&payload(5));
    for _ in 0..3 {
        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(contents(&mut spool), ["event number 0005"]);
    }
}

/// Cuts the writing of the third event after every byte, before and after the rename; the events
/// before it must survive, and what is damaged must never be given out.
#[test]
fn a_power_cut_at_any_byte_loses_no_earlier_event() {
    let whole = {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        spool.append(&payload(2));
        fs::read(&files(dir.path())[0]).unwrap()
    };
    for renamed in [false, true] {
        for cut in 0..whole.len() {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            spool.append(&payload(0));
            spool.append(&payload(1));
            drop(spool);
            let ending = if renamed { "event" } else { "part" };
            let torn = dir.path().join(format!("{:016}.{ending}", 3));
            fs::write(&torn, &whole[..cut]).unwrap();

            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            assert_eq!(contents(&mut spool), ["event number 0000", "event number 0001"]);
            assert_eq!(spool.counters().corrupt, u64::from(renamed), "cut at {cut}");
            assert!(!torn.exists(), "cut at {cut}");
            spool.append(&payload(7));
            assert_eq!(contents(&mut spool).len(), 3);
        }
    }
}

#[test]
fn damage_in_the_middle_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for i in 0..3 {
        spool.append(&payload(i));
    }
    let middle = &files(dir.path())[1];
    let mut bytes = fs::read(middle).unwrap();
    bytes[10] ^= 1;
    fs::write(middle, &bytes).unwrap();
    assert_eq!(contents(&mut spool), ["event number 0000", "event number 0002"]);
    assert_eq!((spool.counters().corrupt, spool.len()), (1, 2));
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("x.event"), "mine").unwrap();
    let spool = Spool::open(dir.path(), 1 << 20).unwrap();
    assert!(spool.is_empty());
    assert!(dir.path().join("notes.txt").exists() && dir.path().join("x.event").exists());
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let one = (HEADER + payload(0).len()) as u64;
    let mut spool = Spool::open(dir.path(), 3 * one).unwrap();
    for i in 0..5 {
        spool.append(&payload(i));
        assert!(spool.bytes() <= 3 * one);
    }
    assert_eq!(contents(&mut spool), [2, 3, 4].map(|i| format!("event number {i:04}")));
    assert_eq!((spool.counters().dropped, files(dir.path()).len()), (2, 3));
    drop(spool);
    // A smaller limit after a restart counts too.
    let mut spool = Spool::open(dir.path(), one).unwrap();
    assert_eq!(contents(&mut spool), ["event number 0004"]);
    assert_eq!(spool.counters().dropped, 2);
}

#[test]
fn a_disk_that_refuses_writes_leaves_events_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("spool");
    let mut spool = Spool::open(&folder, 1 << 20).unwrap();
    spool.append(&payload(0));
    fs::remove_dir_all(&folder).unwrap();
    for i in 1..=(MAX_IN_MEMORY as u64 + 2) {
        spool.append(&payload(i));
    }
    let counters = spool.counters();
    assert_eq!((counters.write_errors, counters.dropped), (MAX_IN_MEMORY as u64 + 2, 2));
    let left = contents(&mut spool);
    assert_eq!(left.len(), MAX_IN_MEMORY);
    assert_eq!(left[0], "event number 0003");
}

#[test]
fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = Spool::open(dir.path(), 1 << 20).unwrap();
    assert!(matches!(Spool::open(dir.path(), 1 << 20), Err(Error::InUse(_))));
}
