//! Updates: what is refused, what survives a cut at any step, and a bundle that takes over while the
//! cameras run.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Maker, Running, command};
use edge_runtime::Error;
use edge_runtime::engine::ModelStatus;
use edge_runtime::files::{Disk, Files};
use edge_runtime::update::{
    Condition, Exchange, Installed, Lock, Offer, Report, STARTS, Slot, Store, Watch, WatchSetup,
};
use model_bundle::{Bundle, Trust};

/// What is left when the power comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The process was killed: the system still has everything that was done.
    Kill,
    /// The power went, and names that were not synced are the old ones.
    PowerOldNames,
    /// The power went, and names that were not synced are the new ones.
    PowerNewNames,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    content: Vec<u8>,
    synced: bool,
}

#[derive(Debug, Clone, Default)]
struct DiskState {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Steps until the cut.
    steps_left: Option<usize>,
    cut: bool,
    steps: usize,
}

/// A disk in memory that can be cut between, and in the middle of, any two steps.
#[derive(Debug, Default)]
struct MemoryDisk(Mutex<DiskState>);

impl MemoryDisk {
    fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap().clone()))
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        self.write(path, bytes).unwrap();
        self.sync(path).unwrap();
        self.sync_folder(path.parent().unwrap()).unwrap();
    }

    fn cut_after(&self, steps: usize) {
        self.0.lock().unwrap().steps_left = Some(steps);
    }

    fn was_cut(&self) -> bool {
        self.0.lock().unwrap().cut
    }

    /// The machine comes up again.
    fn restart(&self, cut: Cut) {
        let mut disk = self.0.lock().unwrap();
        if cut != Cut::Kill {
            // What was written and not synced is there in part, which is worse than not at all.
            for inode in disk.inodes.iter_mut().filter(|inode| !inode.synced) {
                let half = inode.content.len() / 2;
                inode.content.truncate(half);
            }
            if cut == Cut::PowerOldNames {
                disk.names = disk.synced_names.clone();
            }
        }
        (disk.cut, disk.steps_left) = (false, None);
    }

    /// Counts a step; tells whether it may be done.
    fn step(disk: &mut DiskState) -> io::Result<()> {
        disk.steps += 1;
        if let Some(left) = &mut disk.steps_left {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => disk.cut = true,
            }
        }
        if disk.cut { Err(io::Error::other("cut")) } else { Ok(()) }
    }
}

impl Files for MemoryDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let disk = self.0.lock().unwrap();
        if disk.cut {
            return Err(io::Error::other("cut"));
        }
        let inode = disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let content = disk.inodes[*inode].content.clone();
        assert!(content.len() as u64 <= limit);
        Ok(content)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let was_cut = disk.cut;
        let done = Self::step(&mut disk);
        if was_cut {
            return done;
        }
        let fresh = disk.inodes.len();
        let inode = *disk.names.entry(path.into()).or_insert(fresh);
        if inode == fresh {
            disk.inodes.push(Inode::default());
        }
        // Cut in the middle: half of it is there.
        let length = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        disk.inodes[inode] = Inode { content: bytes[..length].to_vec(), synced: false };
        done
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        disk.inodes[inode].synced = true;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.into(), inode);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }
}

/// A device whose configuration names `/factory.pavad`.
fn store(disk: &Arc<MemoryDisk>, maker: &Maker) -> Store {
    let files: Arc<dyn Files> = Arc::<MemoryDisk>::clone(disk);
    let trust = Trust::Keys(vec![maker.public_key()]);
    Store::new(files, Path::new("/bundles"), trust, "jetson", Path::new("/factory.pavad"))
}

/// A self-test that gives the version, and fails for the versions that are named.
fn tested(bad: &'static [&'static str]) -> impl Fn(Bundle) -> Result<String, Error> {
    move |bundle| {
        let version = bundle.manifest().version.clone();
        if bad.contains(&version.as_str()) {
            return Err(Error::Failed("golden vectors differ".into()));
        }
        Ok(version)
    }
}

/// A disk with the factory bundle 1.0.0 and, if asked for, 1.1.0 installed and committed.
fn device(maker: &Maker, installed: bool) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::default());
    disk.put(Path::new("/factory.pavad"), &maker.bundle("1.0.0", 1, "jetson"));
    if installed {
        let store = store(&disk, maker);
        let bytes = maker.bundle("1.1.0", 1, "any");
        assert_eq!(install(&store, bytes).unwrap(), Installed::OnTrial(Slot::A));
        assert_eq!(store.select(tested(&[])).unwrap().value, "1.1.0");
        store.commit().unwrap();
    }
    disk
}

fn install(store: &Store, bytes: Vec<u8>) -> Result<Installed, Error> {
    store.install(bytes, Path::new("new.pavad"), tested(&["9.9.9"]))
}

/// Runs `work` with a cut after every number of steps and every kind of cut, until it is through;
/// after each the device is started and must run one of `allowed`, and an install must work.
fn cut_everywhere(
    maker: &Maker,
    start: &Arc<MemoryDisk>,
    allowed: &[&str],
    work: impl Fn(&Store) -> Result<(), Error>,
) -> usize {
    for steps in 0..1000 {
        let mut whole = true;
        for cut in [Cut::Kill, Cut::PowerOldNames, Cut::PowerNewNames] {
            let disk = Arc::new(start.copy());
            let own = store(&disk, maker);
            disk.cut_after(steps);
            let done = work(&own);
            whole &= !disk.was_cut();
            assert!(done.is_ok() || disk.was_cut(), "{done:?}");
            disk.restart(cut);
            // The process starts anew, with nothing but what is on the disk.
            let own = store(&disk, maker);
            for start in 0..STARTS {
                let selected = own.select(tested(&[]));
                let version = selected.unwrap_or_else(|e| panic!("{steps} {cut:?}: {e}")).value;
                let fine = allowed.contains(&version.as_str());
                assert!(fine, "cut after {steps} steps, {cut:?}, start {start}: {version}");
            }
            // The device is not stuck either: the next update goes through.
            if own.state().unwrap().trial.is_some() {
                own.commit().unwrap();
            }
            install(&own, maker.bundle("3.0.0", 2, "any")).unwrap();
            assert_eq!(own.select(tested(&[])).unwrap().value, "3.0.0");
            own.commit().unwrap();
            assert_eq!(own.select(tested(&[])).unwrap().value, "3.0.0");
        }
        if whole {
            return steps;
        }
    }
    panic!("the work never comes to an end");
}

#[test]
fn an_install_that_is_cut_anywhere_leaves_a_bundle_that_runs() {
    let maker = Maker::new();
    let new = maker.bundle("2.0.0", 1, "any");
    // Into an empty slot, and over a slot that holds an older bundle.
    let fresh = device(&maker, true);
    let full = Arc::new(fresh.copy());
    let own = store(&full, &maker);
    install(&own, maker.bundle("1.2.0", 1, "any")).unwrap();
    own.commit().unwrap();
    for (start, allowed, least) in [(fresh, ["1.1.0", "2.0.0"], 8), (full, ["1.2.0", "2.0.0"], 12)]
    {
        let work = |store: &Store| install(store, new.clone()).map(drop);
        let steps = cut_everywhere(&maker, &start, &allowed, work);
        assert!(steps >= least, "only {steps} steps were cut");
    }
}

#[test]
fn starts_commits_failures_and_rollbacks_that_are_cut_anywhere() {
    let maker = Maker::new();
    let on_trial = device(&maker, true);
    install(&store(&on_trial, &maker), maker.bundle("2.0.0", 1, "any")).unwrap();
    let both = ["1.1.0", "2.0.0"];
    let start = |store: &Store| store.select(tested(&[])).map(drop);
    assert!(cut_everywhere(&maker, &on_trial, &both, start) >= 4);
    let commit = |store: &Store| store.commit();
    assert!(cut_everywhere(&maker, &on_trial, &both, commit) >= 4);
    let fail = |store: &Store| store.fail_trial("it failed");
    assert!(cut_everywhere(&maker, &on_trial, &both, fail) >= 4);
    let back = |store: &Store| store.rollback(tested(&[])).map(drop);
    assert!(cut_everywhere(&maker, &on_trial, &both, back) >= 4);
    let committed = Arc::new(on_trial.copy());
    store(&committed, &maker).commit().unwrap();
    assert!(cut_everywhere(&maker, &committed, &both, back) >= 4);
}

#[test]
fn what_never_goes_live() {
    let maker = Maker::new();
    let disk = device(&maker, true);
    let own = store(&disk, &maker);
    // A newer epoch is committed: from now on older ones are refused.
    let used = maker.bundle("2.0.0", 5, "jetson");
    install(&own, used.clone()).unwrap();
    own.commit().unwrap();
    let before = (own.state().unwrap(), disk.0.lock().unwrap().names.clone());
    let mut damaged = maker.bundle("2.1.0", 5, "any");
    let at = damaged.len() - 30;
    damaged[at] ^= 1;
    let cut = maker.bundle("2.1.0", 5, "any")[..300].to_vec();
    for (bytes, part) in [
        (Maker::new().bundle("2.1.0", 5, "any"), "not trusted"),
        (maker.bundle("2.1.0", 4, "any"), "epoch"),
        (maker.bundle("2.1.0", 5, "raspberry"), "raspberry"),
        (damaged, "signature"),
        (cut, "truncated"),
        (Vec::new(), "not a model bundle"),
    ] {
        let error = install(&own, bytes).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with("new.pavad: "), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!((own.state().unwrap(), disk.0.lock().unwrap().names.clone()), before);
    }
    // One that fails its self-test has been written, and counts for nothing.
    assert!(install(&own, maker.bundle("9.9.9", 5, "any")).is_err());
    assert_eq!(own.state().unwrap().trial, None);
    assert_eq!(own.select(tested(&[])).unwrap().value, "2.0.0");
    // There is no way back below the epoch either: the other slot has 1.
    let error = own.rollback(tested(&[])).unwrap_err().to_string();
    assert!(error.contains("epoch"), "{error}");
    // The bundle in use, again.
    assert_eq!(install(&own, used).unwrap(), Installed::Already);
}

#[test]
fn the_epoch_of_the_first_bundle_counts_too() {
    let maker = Maker::new();
    let disk = Arc::new(MemoryDisk::default());
    disk.put(Path::new("/factory.pavad"), &maker.bundle("1.0.0", 7, "any"));
    let own = store(&disk, &maker);
    let error = install(&own, maker.bundle("1.1.0", 6, "any")).unwrap_err().to_string();
    assert!(error.contains("epoch 6"), "{error}");
    install(&own, maker.bundle("1.1.0", 7, "any")).unwrap();
}

#[test]
fn a_trial_that_fails_goes_back_by_itself() {
    let maker = Maker::new();
    // A bundle with which the process never comes to its commit: three starts, then back.
    let disk = device(&maker, true);
    let own = store(&disk, &maker);
    install(&own, maker.bundle("2.0.0", 1, "any")).unwrap();
    for _ in 0..STARTS {
        let selected = own.select(tested(&[])).unwrap();
        assert_eq!((selected.value.as_str(), selected.on_trial), ("2.0.0", true));
    }
    let selected = own.select(tested(&[])).unwrap();
    assert_eq!((selected.value.as_str(), selected.on_trial), ("1.1.0", false));
    let slot = own.state().unwrap().slot(Slot::B).cloned().unwrap();
    assert_eq!(slot.condition, Condition::Bad);
    assert!(slot.reason.unwrap().contains("3 starts"));
    // A bad bundle is not gone back to.
    assert_eq!(own.rollback(tested(&[])).unwrap(), None);
    assert_eq!(own.select(tested(&[])).unwrap().value, "1.0.0");

    // A slot that the disk has damaged, and one whose golden vectors no longer agree.
    let disk = device(&maker, true);
    let own = store(&disk, &maker);
    assert_eq!(own.select(tested(&["1.1.0"])).unwrap().value, "1.0.0");
    disk.put(Path::new("/bundles/a.pavad"), b"rotten");
    assert_eq!(own.select(tested(&[])).unwrap().value, "1.0.0");
    disk.put(Path::new("/bundles/state.json"), b"rotten");
    assert_eq!(own.select(tested(&[])).unwrap().value, "1.0.0");
    let nothing = own.select(tested(&["1.0.0"])).unwrap_err();
    assert!(nothing.to_string().contains("golden"), "{nothing}");
}

#[test]
fn a_model_that_fails_on_trial_gives_way_while_the_cameras_run() {
    let dir = tempfile::tempdir().unwrap();
    let maker = Maker::new();
    let factory = dir.path().join("factory.pavad");
    std::fs::write(&factory, maker.bundle("1.0.0", 1, "any")).unwrap();
    let open = || {
        let trust = Trust::Keys(vec![maker.public_key()]);
        Store::new(Arc::new(Disk), &dir.path().join("bundles"), trust, "jetson", &factory)
    };
    let exchange = Arc::new(Exchange::<String>::default());
    let reports = Arc::new(Mutex::new(Vec::<Report>::new()));
    let heard = Arc::clone(&reports);
    let (sender, commands) = Watch::commands();
    let setup = WatchSetup {
        store: open(),
        // The model is its version here.
        load: Box::new(|bundle, _| {
            let scorer = bundle.manifest().version.clone();
            let id = alert_wire::ModelId::default();
            Ok(Offer { scorer, status: ModelStatus::default(), id, rules: vec![] })
        }),
        exchange: Arc::clone(&exchange),
        url_prefixes: vec![],
        ca_file: None,
        probation_frames: 10,
        probation: Duration::ZERO,
        running: None,
        report: Box::new(move |report| heard.lock().unwrap().push(report.clone())),
        commands,
    };
    let _watch = Watch::start(setup, sender).unwrap();
    // What the inference thread does.
    let taken = |version: &str| {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(offer) = exchange.take() {
                assert_eq!(offer.scorer, version);
                return;
            }
            assert!(Instant::now() < until, "{version} is not offered: {reports:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let told = |message: &str| {
        wait(message, || reports.lock().unwrap().iter().any(|r| r.message.contains(message)));
    };
    let put = |version: &str| {
        let _lock = Lock::take(open().dir()).unwrap();
        install(&open(), maker.bundle(version, 1, "any")).unwrap();
    };
    put("2.0.0");
    taken("2.0.0");
    exchange.count_scored(100);
    exchange.count_failure();
    taken("1.0.0");
    told("the trial has failed");
    assert_eq!(open().state().unwrap().slot(Slot::A).unwrap().condition, Condition::Bad);
    put("2.0.1");
    taken("2.0.1");
    exchange.count_scored(10);
    told("the trial is passed after 10 frames");
    assert_eq!(open().state().unwrap().active, Some(Slot::A));
    let last = reports.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.running, last.failed), (Some(Slot::A), false));
}

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

fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
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
