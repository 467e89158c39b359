//! `trainer synth` as a user runs it: plans, killed and interrupted runs, shards, full disks, mistakes.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use trainer::synthesis::classes::BUILT_IN;
use trainer::synthesis::run::{Record, Status, labels};
use video::{Frame, Reader, Writer};

/// The footage's size.
const WIDTH: usize = 96;
const HEIGHT: usize = 64;

/// Two videos of a street on which something dark goes to and fro, and a class file for tiny clips.
fn site(folder: &Path, per_class: usize) {
    fs::create_dir_all(folder.join("normal")).unwrap();
    for (name, offset) in [("a", 0usize), ("b", 31)] {
        let path = folder.join(format!("normal/{name}.mp4"));
        let mut writer = Writer::create(&path, WIDTH, HEIGHT, 10.0).unwrap();
        for t in 0..60 {
            let luma: Vec<u8> = (0..WIDTH * HEIGHT)
                .map(|i| {
                    let (x, y) = (i % WIDTH, i / WIDTH);
                    let walker = (offset + 2 * t) % WIDTH;
                    let noise = (i * 7919 + t * 104_729) % 5;
                    let there = x.abs_diff(walker) < 3 && (30..46).contains(&y);
                    (if there { 30 } else { 80 + x / 2 + y / 2 } + noise) as u8
                })
                .collect();
            writer.write(&Frame::from_luma(WIDTH, HEIGHT, &luma).unwrap()).unwrap();
        }
        writer.finish().unwrap();
    }
    let (settings, _) = BUILT_IN.split_once("[[class]]").unwrap();
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let mut text =
        replace(settings.to_owned(), "per_class = 11", &format!("per_class = {per_class}"));
    text = replace(text, "every_seconds = 1.0", "every_seconds = 0.3");
    text = replace(text, "frames = 64\nevents = 2", "frames = 20\nevents = 1");
    text = replace(text, "event_frames = [28, 64]", "event_frames = [8, 16]");
    for (name, kinds) in [("Explosion", "flash = 1.0"), ("Vandalism", "cart = 1.0, throw = 1.0")] {
        text +=
            &format!("[[class]]\nname = \"{name}\"\nphrase = \"{name}\"\nkinds = {{ {kinds} }}\n");
    }
    fs::write(folder.join("classes.toml"), text).unwrap();
}

fn trainer(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null());
    command
}

fn succeed(folder: &Path, args: &str) -> String {
    let output = trainer(folder, args).output().unwrap();
    assert!(output.status.success(), "{args}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with the exit code, and says all of `words`.
fn refuse(folder: &Path, args: &str, code: i32, words: &[&str]) {
    let output = trainer(folder, args).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args}: {text}");
    for word in words {
        assert!(text.contains(word), "{args}: no {word:?} in: {text}");
    }
}

const PLAN: &str = "-q synth plan --normal normal --classes classes.toml --out plan";
const RUN: &str = "-q synth run --plan plan --normal normal";

fn manifest(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path.join("manifest.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every file of the output that is not about this very run: its bytes, times and places left out of
/// records.
fn content(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut content = BTreeMap::new();
    for part in ["clips", "labels"] {
        for entry in fs::read_dir(out.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{part}/{}", path.file_name().unwrap().to_str().unwrap());
            content.insert(name, fs::read(path).unwrap());
        }
    }
    for mut record in manifest(out) {
        record.seconds.synthesis = 0.0;
        record.seconds.writing = 0.0;
        content.insert(record.id.clone(), serde_json::to_vec(&record).unwrap());
    }
    content
}

fn decoded_frames(path: &Path) -> usize {
    let (mut reader, mut frame, mut count) = (Reader::open(path).unwrap(), Frame::default(), 0);
    while reader.read(&mut frame).unwrap() {
        count += 1;
    }
    count
}

#[test]
fn a_plan_is_reproducible_and_its_clips_are_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    site(folder, 3);
    let summary: Value = serde_json::from_str(&succeed(folder, &format!("{PLAN} --json"))).unwrap();
    assert_eq!(summary["lines"], 6);
    assert_eq!(summary["classes"]["Vandalism"], 3);
    assert_eq!(summary["scenes"], 1);
    let plan = fs::read_to_string(folder.join("plan/plan.jsonl")).unwrap();
    succeed(folder, &PLAN.replace("--out plan", "--out again"));
    assert_eq!(fs::read_to_string(folder.join("again/plan.jsonl")).unwrap(), plan);
    succeed(folder, &PLAN.replace("--out plan", "--out other --seed 1"));
    assert_ne!(fs::read_to_string(folder.join("other/plan.jsonl")).unwrap(), plan);

    let dry = succeed(folder, &format!("{RUN} --out clips --dry-run --json"));
    let dry: Value = serde_json::from_str(&dry).unwrap();
    assert_eq!((dry["clips"].as_u64(), dry["frames"].as_u64()), (Some(6), Some(120)));
    assert!(!folder.join("clips").exists());
    succeed(folder, &format!("{RUN} --out clips"));
    let records = manifest(&folder.join("clips"));
    assert_eq!(records.len(), 6);
    for record in &records {
        assert_eq!(record.status, Status::Made, "{:?}", record.reason);
        let clip = record.clip.as_ref().unwrap();
        assert_eq!(decoded_frames(&folder.join("clips").join(&clip.path)), 20);
        let bytes = fs::read(folder.join("clips").join(record.labels.as_ref().unwrap())).unwrap();
        let labels = labels::decode(&bytes).unwrap();
        assert_eq!((labels.len(), labels[0].width, labels[0].height), (20, WIDTH, HEIGHT));
        // The labels show the events, by the kinds' names.
        for event in &record.events {
            assert!(record.line.composite.kinds.contains_key(&event.kind), "{event:?}");
            let label = 1 + record.kinds.iter().position(|k| *k == event.kind).unwrap() as u8;
            assert!(labels[event.first].data.contains(&label));
        }
        assert!(!record.events.is_empty());
    }
    // A clip that somebody has removed is made again, and nothing else.
    let removed = folder.join("clips").join(&records[2].clip.as_ref().unwrap().path);
    let before = content(&folder.join("clips"));
    fs::remove_file(removed).unwrap();
    let summary = succeed(folder, &format!("{RUN} --out clips --json"));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((summary["made"].as_u64(), summary["before"].as_u64()), (Some(1), Some(5)));
    assert_eq!(content(&folder.join("clips")), before);
    // Another number of clips at once makes the same ones.
    succeed(folder, &format!("{RUN} --out single --workers 1"));
    assert_eq!(content(&folder.join("single")), before);
    succeed(folder, "-q synth preview --plan plan --out preview.html");
    let page = fs::read_to_string(folder.join("preview.html")).unwrap();
    assert_eq!(page.matches("<article").count(), 6);
}

#[test]
fn two_shards_together_make_what_one_makes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    site(folder, 3);
    succeed(folder, PLAN);
    succeed(folder, &format!("{RUN} --out whole"));
    let shards: Vec<_> = ["0/2", "1/2"]
        .map(|shard| {
            trainer(folder, &format!("{RUN} --out parts --shard {shard}")).spawn().unwrap()
        })
        .into();
    for mut shard in shards {
        assert!(shard.wait().unwrap().success());
    }
    assert_eq!(content(&folder.join("parts")), content(&folder.join("whole")));
    // Counted from one, the same parts.
    succeed(folder, &format!("{RUN} --out ones --shard 1/2"));
    assert_eq!(manifest(&folder.join("ones")).len(), 3);
    succeed(folder, &format!("{RUN} --out ones --shard 2/2"));
    assert_eq!(content(&folder.join("ones")), content(&folder.join("whole")));
    refuse(folder, &format!("{RUN} --out x --shard 3/2"), 2, &["I/N"]);
}

#[test]
fn a_run_killed_twenty_times_ends_with_exactly_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    site(folder, 12);
    succeed(folder, PLAN);
    succeed(folder, &format!("{RUN} --out whole"));
    let lines = manifest(&folder.join("whole")).len();
    assert!(lines >= 20, "{lines}");
    // Moments from a fixed sequence, from before the first clip to well into the work. When everything
    // is made, a few clips are taken away, so that each kill meets a process at work.
    let out = folder.join("killed");
    let (mut state, mut killed) = (12345u32, 0);
    for round in 0..200 {
        if killed == 20 {
            break;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut child = trainer(folder, &format!("{RUN} --out killed --workers 2"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(u64::from(state >> 16) % 400));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        if out.join("clips").is_dir()
            && fs::read_dir(out.join("records")).is_ok_and(|d| d.count() >= lines)
        {
            for record in manifest(&folder.join("whole")).iter().skip(round % 3).step_by(3) {
                drop(fs::remove_file(out.join(format!("records/{}.json", record.id))));
            }
        }
    }
    assert_eq!(killed, 20);
    let last = trainer(folder, &format!("{RUN} --out killed")).output().unwrap();
    assert!(last.status.success(), "{}", stderr(&last));
    assert_eq!(content(&out), content(&folder.join("whole")));
    let clips: Vec<_> = manifest(&out).into_iter().filter_map(|record| record.clip).collect();
    assert!(clips.len() * 10 >= lines * 9, "{} of {lines}", clips.len());
    for clip in clips {
        assert_eq!(decoded_frames(&out.join(clip.path)), 20);
    }
    // Nothing half written is left, hidden or not.
    for part in ["clips", "labels", "records"] {
        for entry in fs::read_dir(out.join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.') && !name.ends_with(".part"), "{part}/{name}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_disk_that_is_full_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    site(folder, 3);
    succeed(folder, PLAN);
    succeed(folder, &format!("{RUN} --out whole"));
    // No file may grow beyond the limit, in blocks of 512 bytes: writing fails as on a full disk, in
    // the middle of a clip.
    let run = format!("exec {} {RUN} --out full", env!("CARGO_BIN_EXE_trainer"));
    let limited = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; {run}");
        Command::new("sh").current_dir(folder).args(["-c", &script]).output().unwrap()
    };
    let largest = content(&folder.join("whole"))
        .iter()
        .filter(|(name, _)| name.starts_with("clips/"))
        .map(|(_, bytes)| bytes.len())
        .max()
        .unwrap();
    let output = limited((largest / 512 / 2) as u32);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("full/clips/."), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.join("full/records")).map_or(0, Iterator::count), 0);
    succeed(folder, &format!("{RUN} --out full"));
    assert_eq!(content(&folder.join("full")), content(&folder.join("whole")));
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    site(folder, 1);
    refuse(folder, &PLAN.replace("--normal normal", "--normal nowhere"), 2, &["nowhere"]);
    refuse(folder, &format!("{PLAN} --clip nowhere"), 2, &["nowhere", "CLIP"]);
    fs::create_dir(folder.join("empty")).unwrap();
    refuse(folder, &format!("{PLAN} --clip empty"), 3, &["config.json is missing"]);
    refuse(
        folder,
        &format!("{PLAN} --refine localhost:8000"),
        2,
        &["--refine localhost:8000", "http://"],
    );
    let classes = fs::read_to_string(folder.join("classes.toml")).unwrap();
    fs::write(folder.join("typo.toml"), classes.replace("lambda =", "lamda =")).unwrap();
    let typo = PLAN.replace("classes.toml", "typo.toml");
    refuse(folder, &typo, 2, &["typo.toml: line ", "`lamda`"]);
    refuse(folder, &format!("{RUN} --out x"), 2, &["plan.jsonl", "trainer synth plan"]);

    succeed(folder, PLAN);
    refuse(folder, &format!("{RUN} --out x").replace(" --normal normal", ""), 2, &["--normal"]);
    let plan = fs::read_to_string(folder.join("plan/plan.jsonl")).unwrap();
    fs::write(folder.join("plan/plan.jsonl"), plan.replacen("\"seed\":", "\"seed\":1", 1)).unwrap();
    refuse(folder, &format!("{RUN} --out x"), 3, &["plan.jsonl, line 1: id "]);
    fs::write(folder.join("plan/plan.jsonl"), &plan).unwrap();
    // Other footage under the same name, and a frame that is gone.
    let video = folder.join("normal/b.mp4");
    let bytes = fs::read(&video).unwrap();
    fs::copy(folder.join("normal/a.mp4"), &video).unwrap();
    refuse(folder, &format!("{RUN} --out x"), 3, &["b.mp4", "planned with"]);
    fs::write(&video, bytes).unwrap();
    for entry in fs::read_dir(folder.join("plan/frames")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    refuse(folder, &format!("{RUN} --out x"), 3, &["frames/", "is not there"]);
}

#[test]
fn the_built_in_classes_are_a_class_file() {
    let folder = tempfile::tempdir().unwrap();
    let printed = succeed(folder.path(), "synth classes");
    fs::write(folder.path().join("c.toml"), printed).unwrap();
    let names = succeed(folder.path(), "synth classes --check c.toml");
    assert_eq!((names.lines().count(), names.lines().next()), (13, Some("Abuse")));
}
