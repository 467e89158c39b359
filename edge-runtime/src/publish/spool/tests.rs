use super::entry::tests::{alert, schema_1, version_1};
use super::*;

fn event(i: u64) -> SpooledEvent {
    let json = format!("event number {i:04}").into_bytes();
    SpooledEvent { camera: "door".into(), json, postcard: vec![7] }
}

/// The JSON of every event that can be read, oldest first.
fn contents(spool: &mut Spool) -> Vec<String> {
    let numbers: Vec<u64> = spool.waiting().map(|(number, _)| number).collect();
    let events = numbers.into_iter().filter_map(|number| match spool.load(number) {
        Loaded::Event(event) => Some(String::from_utf8(event.json).unwrap()),
        Loaded::Gone => None,
        Loaded::Failed(e) => panic!("{e}"),
    });
    events.collect()
}

/// The file of event `number`.
fn file(number: u64, ending: &str) -> String {
    format!("{number:016}-door.{ending}")
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
fn events_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for i in 0..12 {
        spool.append(&event(i)).unwrap();
    }
    spool.remove(1);
    spool.remove(3);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    let expected: Vec<_> =
        [1, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|i| format!("event number {i:04}")).into();
    assert_eq!(contents(&mut spool), expected);
    // New events go behind the old ones.
    // Numbers begin anew with each process; those of the files go on.
    let number = spool.append(&event(99)).unwrap().number;
    assert_eq!(number, 11);
    assert!(dir.path().join(file(13, "event")).exists());
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
    assert_eq!(spool.append(&event(1)).unwrap().number, 1);
    assert!(name(u64::MAX).exists(), "what is not ours is left alone");
}

#[test]
fn removing_the_same_event_twice_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    let number = spool.append(&event(0)).unwrap().number;
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
    Spool::open(dir.path(), 1 << 20).unwrap().append(&event(5));
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
        spool.append(&event(2));
        fs::read(&files(dir.path())[0]).unwrap()
    };
    for renamed in [false, true] {
        for cut in 0..whole.len() {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            spool.append(&event(0));
            spool.append(&event(1));
            drop(spool);
            let ending = if renamed { "event" } else { "part" };
            let torn = dir.path().join(file(3, ending));
            fs::write(&torn, &whole[..cut]).unwrap();

            let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
            assert_eq!(contents(&mut spool), ["event number 0000", "event number 0001"]);
            assert_eq!(spool.counters().corrupt, u64::from(renamed), "cut at {cut}");
            assert!(!torn.exists(), "cut at {cut}");
            spool.append(&event(7));
            assert_eq!(contents(&mut spool).len(), 3);
        }
    }
}

#[test]
fn damage_in_the_middle_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for i in 0..3 {
        spool.append(&event(i)).unwrap();
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
    let one = event(0).to_bytes().unwrap().len() as u64;
    let mut spool = Spool::open(dir.path(), 3 * one).unwrap();
    for i in 0..5 {
        spool.append(&event(i)).unwrap();
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
    spool.append(&event(0));
    fs::remove_dir_all(&folder).unwrap();
    for i in 1..=(MAX_IN_MEMORY as u64 + 2) {
        spool.append(&event(i)).unwrap();
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

#[test]
fn events_of_the_version_before_are_read_after_an_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let old = alert(5);
    let today = SpooledEvent::of(&old).unwrap();
    fs::write(dir.path().join("0000000000000004.event"), version_1(&schema_1(&old))).unwrap();
    fs::write(dir.path().join("0000000000000005.event"), version_1(&today.postcard)).unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    spool.append(&event(9)).unwrap();
    let cameras: Vec<_> = spool.waiting().map(|(_, camera)| camera.map(str::to_owned)).collect();
    assert_eq!(cameras, [None, None, Some("door".into())]);
    for number in [1, 2] {
        assert!(matches!(spool.load(number), Loaded::Event(event) if event == today));
        spool.remove(number);
    }
    assert_eq!(
        (contents(&mut spool), files(dir.path()).len()),
        (vec!["event number 0009".into()], 1)
    );
    assert_eq!(spool.counters(), Counters::default());
}

/// After a downgrade and another upgrade two files may have one number.
#[test]
fn two_files_of_one_number_are_two_events() {
    let dir = tempfile::tempdir().unwrap();
    let old = SpooledEvent::of(&alert(5)).unwrap();
    fs::write(dir.path().join("0000000000000001.event"), version_1(&old.postcard)).unwrap();
    fs::write(dir.path().join(file(1, "event")), event(3).to_bytes().unwrap()).unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(contents(&mut spool).len(), 2);
    spool.remove(1);
    assert_eq!(contents(&mut spool), ["event number 0003"]);
}

#[test]
fn an_event_of_a_later_version_is_left_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file(1, "event"));
    let mut bytes = event(1).to_bytes().unwrap();
    bytes[3] = b'7';
    fs::write(&path, &bytes).unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    assert!(contents(&mut spool).is_empty());
    assert!(spool.is_empty() && path.exists());
    assert_eq!(spool.counters().corrupt, 0);
}

#[test]
fn events_in_memory_are_written_once_the_disk_takes_writes_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("spool");
    let mut spool = Spool::open(&folder, 1 << 20).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for i in 0..3 {
        spool.append(&event(i)).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    spool.append(&event(3)).unwrap();
    drop(spool);
    let expected = [0, 1, 2, 3].map(|i| format!("event number {i:04}"));
    assert_eq!(contents(&mut Spool::open(&folder, 1 << 20).unwrap()), expected);
}
