//! Updates: what is refused, what survives a cut at any step, and a bundle that takes over while the
//! cameras run.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod program;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Maker;
use disk::{Cut, MemoryDisk};
use edge_runtime::Error;
use edge_runtime::engine::ModelStatus;
use edge_runtime::files::{Disk, Files};
use edge_runtime::update::{
    Condition, Exchange, Installed, Lock, Offer, Report, STARTS, Slot, Store, Watch, WatchSetup,
};
use model_bundle::{Bundle, Trust};

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
        assert_eq!(store.select(|b, _| tested(&[])(b)).unwrap().value, "1.1.0");
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
                let selected = own.select(|b, _| tested(&[])(b));
                let version = selected.unwrap_or_else(|e| panic!("{steps} {cut:?}: {e}")).value;
                let fine = allowed.contains(&version.as_str());
                assert!(fine, "cut after {steps} steps, {cut:?}, start {start}: {version}");
            }
            // The device is not stuck either: the next update goes through.
            if own.state().unwrap().trial.is_some() {
                own.commit().unwrap();
            }
            install(&own, maker.bundle("3.0.0", 2, "any")).unwrap();
            assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "3.0.0");
            own.commit().unwrap();
            assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "3.0.0");
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
    let start = |store: &Store| store.select(|b, _| tested(&[])(b)).map(drop);
    assert!(cut_everywhere(&maker, &on_trial, &both, start) >= 4);
    let commit = |store: &Store| store.commit();
    assert!(cut_everywhere(&maker, &on_trial, &both, commit) >= 4);
    let fail = |store: &Store| store.fail_trial("it failed");
    assert!(cut_everywhere(&maker, &on_trial, &both, fail) >= 4);
    let back = |store: &Store| store.rollback(|b, _| tested(&[])(b)).map(drop);
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
    assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "2.0.0");
    // There is no way back below the epoch either: the other slot has 1.
    let error = own.rollback(|b, _| tested(&[])(b)).unwrap_err().to_string();
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
        let selected = own.select(|b, _| tested(&[])(b)).unwrap();
        assert_eq!((selected.value.as_str(), selected.on_trial), ("2.0.0", true));
    }
    let selected = own.select(|b, _| tested(&[])(b)).unwrap();
    assert_eq!((selected.value.as_str(), selected.on_trial), ("1.1.0", false));
    let slot = own.state().unwrap().slot(Slot::B).cloned().unwrap();
    assert_eq!(slot.condition, Condition::Bad);
    assert!(slot.reason.unwrap().contains("3 starts"));
    // A bad bundle is not gone back to.
    assert_eq!(own.rollback(|b, _| tested(&[])(b)).unwrap(), None);
    assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "1.0.0");

    // A slot that the disk has damaged, and one whose golden vectors no longer agree.
    let disk = device(&maker, true);
    let own = store(&disk, &maker);
    assert_eq!(own.select(|b, _| tested(&["1.1.0"])(b)).unwrap().value, "1.0.0");
    disk.put(Path::new("/bundles/a.pavad"), b"rotten");
    assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "1.0.0");
    disk.put(Path::new("/bundles/state.json"), b"rotten");
    assert_eq!(own.select(|b, _| tested(&[])(b)).unwrap().value, "1.0.0");
    let nothing = own.select(|b, _| tested(&["1.0.0"])(b)).unwrap_err();
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

fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
