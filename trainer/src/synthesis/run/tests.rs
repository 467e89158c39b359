//! Tests of the engine with devices that fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use object_store::memory::InMemory;
use sha2::{Digest, Sha256};
use video::Frame;

use super::*;
use crate::hash::hex;
use crate::synthesis::plan::Plan;
use crate::synthesis::store::Store;

/// A picture with a bar at `x`.
fn picture(x: usize) -> Frame {
    let luma: Vec<u8> =
        (0..64 * 48).map(|i| if (i % 64usize).abs_diff(x) < 4 { 200 } else { 60 }).collect();
    Frame::from_luma(64, 48, &luma).unwrap()
}

/// A plan whose initial frame is there.
fn plan(lines: u64, source: &Store) -> Plan {
    let mut png = Vec::new();
    let pixels = image::RgbImage::from_raw(64, 48, picture(3).rgb().to_vec()).unwrap();
    pixels.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    let mut plan = crate::synthesis::plan::tests::plan(lines);
    for line in &mut plan.lines {
        line.image_sha256 = hex(&Sha256::digest(&png));
        line.id = line.content_id();
    }
    source.write("frames/x.png", png).unwrap();
    plan
}

/// A device that works for some lines, and then is lost, or fails; line 3's clip is frozen.
struct Fake<'a> {
    name: &'static str,
    good_for: usize,
    then: fn() -> RenderError,
    rendered: &'a AtomicUsize,
}

impl Renderer for Fake<'_> {
    fn device(&self) -> &str {
        self.name
    }

    fn render(
        &mut self,
        line: &PlanLine,
        initial: &Frame,
        progress: &mut dyn FnMut(Step),
        _stop: &AtomicBool,
    ) -> Result<Rendered, RenderError> {
        assert_eq!(initial.width(), 64);
        if self.good_for == 0 {
            return Err((self.then)());
        }
        self.good_for -= 1;
        self.rendered.fetch_add(1, Ordering::Relaxed);
        progress(Step { done: 1, of: 1, memory: None });
        let frozen = line.seed == 3;
        Ok(Rendered {
            frames: (0..8).map(|t| picture(if frozen { 9 } else { 9 + 3 * t })).collect(),
            frame_rate: 10.0,
            labels: None,
            kinds: Vec::new(),
            events: Vec::new(),
            start: 0,
        })
    }
}

fn impossible() -> RenderError {
    RenderError::Impossible("nobody walks".into())
}

fn lost() -> RenderError {
    RenderError::Device { device: "cuda:1".into(), problem: "unspecified launch failure".into() }
}

/// Carries out the plan with devices good for so many lines each.
fn carry_out(
    plan: &Plan,
    source: &Store,
    out: &Store,
    work: &Path,
    devices: &[usize],
    then: fn() -> RenderError,
) -> (Result<Done, RunError>, usize, usize) {
    let (rendered, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = Run {
        plan,
        source,
        out,
        shard: Shard { index: 0, of: 1 },
        synthesizer: "diffusion",
        models: BTreeMap::from([("wan".to_owned(), "00ff".to_owned())]),
        work,
        notice: &|_| {},
        stop: &stop,
    };
    let (pending, _) = run.pending().unwrap();
    let renderers = devices
        .iter()
        .map(|&good_for| {
            let fake = Fake { name: "cuda:0", good_for, then, rendered: &rendered };
            Box::new(fake) as Box<dyn Renderer + '_>
        })
        .collect();
    let result = run.make(&pending, renderers);
    (result, rendered.into_inner(), run.manifest().unwrap())
}

#[test]
fn a_line_that_cannot_be_made_is_rejected_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (plan_at, out) =
        (Store::Local(folder.path().join("plan")), Store::Local(folder.path().join("out")));
    let plan = plan(3, &plan_at);
    let work = folder.path().join("out/clips");
    let (done, rendered, records) = carry_out(&plan, &plan_at, &out, &work, &[1], impossible);
    let done = done.unwrap();
    assert_eq!((done.made, done.rejected, rendered, records), (1, 2, 1, 3));
    let text = out.read("manifest.jsonl").unwrap().unwrap();
    let records: Vec<Record> = String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records[1].reason.as_deref(), Some("impossible: nobody walks"));
    assert_eq!((records[1].status, records[1].quality.frames), (Status::Rejected, 0));
    // It stays so: the footage is the plan's.
    let (done, ..) = carry_out(&plan, &plan_at, &out, &work, &[1], impossible);
    assert_eq!(done.unwrap().made, 0);
}

#[test]
fn the_clips_of_a_manifest_are_those_that_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let (plan_at, at) = (Store::Local(folder.path().join("plan")), folder.path().join("out"));
    let out = Store::Local(at.clone());
    assert!(matches!(made_clips(&at), Err(RunError::Input { .. })));
    // Line 3's clip is frozen.
    let plan = plan(5, &plan_at);
    carry_out(&plan, &plan_at, &out, &at.join("clips"), &[5], lost).0.unwrap();
    let clips = made_clips(&at).unwrap();
    assert_eq!(clips.len(), 4);
    assert!(clips.iter().all(|(record, path)| record.status == Status::Made && path.exists()));

    fs::write(&clips[1].1, "another").unwrap();
    let error = made_clips(&at).unwrap_err().to_string();
    assert!(error.contains(&clips[1].0.id) && error.contains("is not the clip"), "{error}");

    let manifest = at.join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\n", "\n{\"id\": 7}\n", 1)).unwrap();
    let error = made_clips(&at).unwrap_err().to_string();
    assert!(error.contains("manifest.jsonl, line 2: "), "{error}");
}

#[test]
fn a_lost_device_leaves_its_line_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (plan_at, out) =
        (Store::Local(folder.path().join("plan")), Store::Local(folder.path().join("out")));
    let plan = plan(6, &plan_at);
    let work = folder.path().join("out/clips");
    let (done, ..) = carry_out(&plan, &plan_at, &out, &work, &[1, 100], lost);
    let done = done.unwrap();
    assert_eq!((done.made, done.rejected), (5, 1));
}

#[test]
fn when_every_device_is_lost_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let plan_at = Store::Local(folder.path().join("plan"));
    let plan = plan(6, &plan_at);
    let stores = [
        Store::Local(folder.path().join("out")),
        Store::remote(std::sync::Arc::new(InMemory::new()), "s3://b/out", "out").unwrap(),
    ];
    for (number, out) in stores.iter().enumerate() {
        let work = match out {
            Store::Local(out) => out.join("clips"),
            Store::Remote(_) => folder.path().join(format!("work{number}")),
        };
        let (result, rendered, manifest) = carry_out(&plan, &plan_at, out, &work, &[2, 2], lost);
        let error = result.unwrap_err();
        assert!(matches!(error, RunError::NoDevice(_)), "{error}");
        assert!(error.to_string().contains("device cuda:1: unspecified launch failure"));
        assert_eq!((rendered, manifest), (4, 4));
        let (result, rendered, manifest) = carry_out(&plan, &plan_at, out, &work, &[100], lost);
        let done = result.unwrap();
        assert_eq!(done.made + done.rejected, 2);
        assert_eq!((rendered, manifest), (2, 6));
        // Nothing is left to do, and a rejected line is not tried again.
        let (result, rendered, _) = carry_out(&plan, &plan_at, out, &work, &[100], lost);
        assert_eq!((result.unwrap(), rendered), (Done::default(), 0));
        let text = String::from_utf8(out.read("manifest.jsonl").unwrap().unwrap()).unwrap();
        let records: Vec<Record> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<&str> = records.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, plan.lines.iter().map(|l| l.id.as_str()).collect::<Vec<_>>());
        let rejected = &records[3];
        assert_eq!((rejected.status, &rejected.clip), (Status::Rejected, &None));
        assert!(rejected.reason.as_ref().unwrap().starts_with("frozen: "));
        assert_eq!(out.list("clips").unwrap().len(), 5);
        assert_eq!(records[0].models["wan"], "00ff");
        // Nothing half made is left where clips are made.
        assert!(
            fs::read_dir(&work)
                .unwrap()
                .all(|e| { !e.unwrap().file_name().to_string_lossy().starts_with('.') })
        );
    }
}

#[test]
fn a_failure_stops_everything_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (plan_at, out) =
        (Store::Local(folder.path().join("plan")), Store::Local(folder.path().join("out")));
    let plan = plan(4, &plan_at);
    let work = folder.path().join("out/clips");
    let failed = || RenderError::Failed("out of memory".into());
    let (result, _, manifest) = carry_out(&plan, &plan_at, &out, &work, &[2], failed);
    let error = result.unwrap_err().to_string();
    assert!(error.contains(&plan.lines[2].id) && error.ends_with("out of memory"), "{error}");
    assert_eq!(manifest, 2);
    // The place for clips in progress is gone: the disk's errors are named.
    fs::remove_dir_all(&work).unwrap();
    fs::write(&work, "not a folder").unwrap();
    let elsewhere = Store::Local(folder.path().join("other"));
    let (result, ..) = carry_out(&plan, &plan_at, &elsewhere, &work, &[9], failed);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("out/clips"), "{error}");
    let (result, ..) =
        carry_out(&plan, &plan_at, &elsewhere, &folder.path().join("other/clips"), &[9], failed);
    assert_eq!(result.unwrap().made, 3);
    // Another synthesizer's output is not taken for one's own.
    let record = elsewhere.read(&format!("records/{}.json", plan.lines[0].id)).unwrap().unwrap();
    let text = String::from_utf8(record).unwrap().replace("\"diffusion\",", "\"composite\",");
    elsewhere.write(&format!("records/{}.json", plan.lines[0].id), text.into_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    let run = Run {
        plan: &plan,
        source: &plan_at,
        out: &elsewhere,
        shard: Shard { index: 0, of: 1 },
        synthesizer: "diffusion",
        models: BTreeMap::new(),
        work: &work,
        notice: &|_| {},
        stop: &stop,
    };
    let error = run.pending().unwrap_err().to_string();
    assert!(error.contains("is composite's, not diffusion's"), "{error}");
    let held = run.claim().unwrap();
    assert!(matches!(run.claim(), Err(RunError::Busy { .. })));
    drop(held);
    assert!(run.claim().is_ok());
}
