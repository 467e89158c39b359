//! Holding a copy of a data set against the official totals.
//!
//! A copy differs if a count is not the official one, if a video that its own lists or annotations
//! name is not there, if labels and video do not fit, or if a piece of the layout is missing. Two
//! things are not differences. A folder without any video is taken for annotations alone: what they
//! tell is compared, and the rest is named as not checked. And a re-encoded copy whose `labels.json`
//! names some of the official test clips says itself that it is a part; it is held against that part.

use std::path::Path;

use rayon::prelude::*;
use video::{Clip, Frame, Reader};

use super::official::{self, Official};
use super::report::{Count, Outcome, Report, Verdict};
use super::survey::Entry;
use super::{Error, Masks, Name, Survey, Truth, known, survey};

/// Names that one line of a report lists at most.
const NAMED: usize = 8;

/// How thoroughly to check.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Believe the number of frames that a video file declares instead of decoding all of them, which
    /// finds no damage.
    pub quick: bool,
}

/// Checks a folder. `step` is called with the number of videos each time one has been counted.
///
/// # Errors
/// [`Error`] if nothing of the data set is there, or if something is damaged.
pub fn check(
    name: Name,
    dir: &Path,
    options: Options,
    step: &(impl Fn(usize) + Sync),
) -> Result<Report, Error> {
    let survey = survey(name, dir)?;
    let parts = [&survey.train_normal, &survey.train_abnormal, &survey.test];
    if parts.iter().all(|part| part.is_empty()) {
        // Nothing at all, so the first missing piece is what there is to say.
        survey.complete()?;
        return Err(Error::missing(name, "anything", dir));
    }
    let videos = parts.iter().flat_map(|part| part.iter()).filter(|e| e.clip.is_some()).count();
    let mut findings = Findings::default();
    let mut measure =
        |part: &[Entry]| lengths(name, part, options, &|| step(videos), &mut findings);
    let lengths =
        [measure(&survey.train_normal)?, measure(&survey.train_abnormal)?, measure(&survey.test)?];

    let alone = videos == 0;
    for piece in &survey.missing {
        let text = format!("{}: {} not there", piece.what, piece.path.display());
        if alone { findings.not_checked.push(text) } else { findings.differences.push(text) }
    }
    findings.differences.extend(survey.contradictions.iter().cloned());
    findings.absent("training", &survey.train_normal);
    findings.absent("training", &survey.train_abnormal);
    findings.absent("test", &survey.test);
    findings.test_clips(&survey, &lengths[2])?;
    findings.official_clips(&survey, &lengths[2]);

    let counts = counts(&survey, &lengths);
    for count in counts.iter().filter(|count| count.verdict == Verdict::NotChecked) {
        if count.official.is_some() {
            findings.not_checked.push(format!("{}: what is here does not tell", count.what));
        }
    }
    let mut report = Report {
        name: name.as_str(),
        title: name.title(),
        folder: dir.display().to_string(),
        outcome: if survey.partial { Outcome::Partial } else { Outcome::Agrees },
        annotations_only: alone,
        counts,
        differences: findings.differences,
        not_checked: findings.not_checked,
        notes: findings.notes,
        known_discrepancies: known::discrepancies(name).to_vec(),
    };
    if survey.partial {
        let (here, all) = (survey.test.len(), official::clips(name).len());
        report.notes.push(format!("a partial copy: labels.json names {here} of {all} test clips"));
    }
    if report.points() > 0 {
        report.outcome = Outcome::Differs;
    }
    Ok(report)
}

/// Frames of each video; `None` for one that is not there.
fn lengths(
    name: Name,
    part: &[Entry],
    options: Options,
    step: &(impl Fn() + Sync),
    findings: &mut Findings,
) -> Result<Vec<Option<u64>>, Error> {
    let lengths: Vec<Option<(u64, bool)>> = part
        .par_iter()
        .map(|entry| {
            let Some(clip) = &entry.clip else {
                return Ok(None);
            };
            let length = length(name, clip, options)?;
            step();
            Ok(Some(length))
        })
        .collect::<Result<_, Error>>()?;
    for (entry, _) in
        part.iter().zip(&lengths).filter(|(_, length)| matches!(length, Some((_, true))))
    {
        let text = format!("{} has a picture that cannot be read, as published", entry.name);
        findings.notes.push(text);
    }
    Ok(lengths.into_iter().map(|length| length.map(|(frames, _)| frames)).collect())
}

/// Frames of a video, and whether one of them is known to be damaged in the published data set.
fn length(name: Name, clip: &Clip, options: Options) -> Result<(u64, bool), Error> {
    let mut reader = Reader::open(&clip.path)?;
    let declared = reader.info().frames;
    if let Some(frames) = declared.filter(|_| options.quick) {
        return Ok((frames, false));
    }
    let mut frame = Frame::default();
    let mut frames = 0;
    loop {
        match (reader.read(&mut frame), declared) {
            (Ok(true), _) => frames += 1,
            (Ok(false), _) => return Ok((frames, false)),
            (Err(video::Error::Unreadable { path, .. }), Some(declared))
                if known::damaged(name, &path) =>
            {
                return Ok((declared, true));
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
}

/// The counts of a copy beside the official ones.
fn counts(survey: &Survey, lengths: &[Vec<Option<u64>>; 3]) -> Vec<Count> {
    let official = official::totals(survey.name);
    let expected = expected(survey, official);
    let train = |entries: &[Entry]| videos(entries, !entries.is_empty());
    let abnormal = |entry: &&Entry| entry.truth.as_ref().is_some_and(|truth| truth.abnormal() > 0);
    // Without any ground truth, no abnormal frame is not a finding.
    let judged = survey.test.iter().any(|entry| entry.truth.is_some());
    let abnormal_videos = survey.test.iter().filter(abnormal).count() as u64;
    let abnormal_frames: u64 = survey
        .test
        .iter()
        .filter_map(|entry| entry.truth.as_ref())
        .fold(0, |sum, truth| sum.saturating_add(truth.abnormal()));
    let row = |what, found, pick: fn(&Official) -> Option<u64>| {
        Count::new(what, found, pick(&official), pick(&expected))
    };
    let test_frames = frames(&survey.test, &lengths[2], survey.test_listed);
    vec![
        row("train normal videos", train(&survey.train_normal), |o| o.train_normal_videos),
        row("train normal frames", frames(&survey.train_normal, &lengths[0], false), |o| {
            o.train_normal_frames
        }),
        row("train abnormal videos", train(&survey.train_abnormal), |o| o.train_abnormal_videos),
        row("test videos", videos(&survey.test, survey.test_listed), |o| o.test_videos),
        row("test abnormal videos", judged.then_some(abnormal_videos), |o| o.test_abnormal_videos),
        row("test frames", test_frames, |o| o.test_frames),
        row("test abnormal frames", judged.then_some(abnormal_frames), |o| o.test_abnormal_frames),
    ]
}

/// What a whole or a partial copy should have.
fn expected(survey: &Survey, official: Official) -> Official {
    if !survey.partial {
        return official;
    }
    let named = |name: &str| survey.test.iter().any(|entry| entry.name == name);
    let clips = official::clips(survey.name).iter().filter(|(name, ..)| named(name));
    let (mut videos, mut frames, mut abnormal) = (0, 0, Some(0));
    for (_, clip_frames, clip_abnormal) in clips {
        videos += 1;
        frames += clip_frames;
        abnormal = abnormal.zip(*clip_abnormal).map(|(a, b)| a + b);
    }
    Official {
        test_videos: Some(videos),
        test_abnormal_videos: Some(videos),
        test_frames: Some(frames),
        test_abnormal_frames: abnormal,
        ..official
    }
}

/// The number of videos: those that are there, or if none is, those that are listed.
fn videos(entries: &[Entry], listed: bool) -> Option<u64> {
    match entries.iter().filter(|entry| entry.clip.is_some()).count() {
        0 => listed.then_some(entries.len() as u64),
        there => Some(there as u64),
    }
}

/// The number of frames: of the videos that are there, or if none is, of the labels.
fn frames(entries: &[Entry], lengths: &[Option<u64>], listed: bool) -> Option<u64> {
    if lengths.iter().any(Option::is_some) {
        return Some(lengths.iter().flatten().sum());
    }
    let of_labels = |entry: &Entry| entry.truth.as_ref().and_then(Truth::length);
    if listed { entries.iter().map(of_labels).sum() } else { None }
}

/// What a check has to say.
#[derive(Default)]
struct Findings {
    differences: Vec<String>,
    not_checked: Vec<String>,
    notes: Vec<String>,
}

impl Findings {
    /// Videos that are named and not there, if others of their part are.
    fn absent(&mut self, part: &str, entries: &[Entry]) {
        let absent: Vec<&str> =
            entries.iter().filter(|e| e.clip.is_none()).map(|e| e.name.as_str()).collect();
        if !absent.is_empty() && absent.len() < entries.len() {
            let names = some(&absent);
            self.differences.push(format!("{part} videos named and not there: {names}"));
        }
    }

    /// Test clips on their own: labels against frames, masks against labels.
    fn test_clips(&mut self, survey: &Survey, lengths: &[Option<u64>]) -> Result<(), Error> {
        let judged = survey.test.iter().any(|entry| entry.truth.is_some());
        let mut beyond = Vec::new();
        for (entry, length) in survey.test.iter().zip(lengths) {
            let name = &entry.name;
            let (Some(truth), Some(frames)) = (&entry.truth, *length) else {
                if judged && entry.truth.is_none() && length.is_some() {
                    self.differences.push(format!("{name} has no ground truth"));
                }
                continue;
            };
            if let Some(labels) = truth.length().filter(|labels| *labels != frames) {
                self.differences.push(format!("{name}: {labels} labels for {frames} frames"));
            } else if truth.last() > frames {
                if survey.name.cuts_annotations() {
                    beyond.push(name.as_str());
                } else {
                    let last = truth.last();
                    self.differences
                        .push(format!("{name}: labels end at frame {last}, the video at {frames}"));
                }
            }
            self.masks(entry, truth, frames)?;
        }
        if !beyond.is_empty() {
            let names = some(&beyond);
            self.notes.push(format!("annotated beyond the video's end, cut there: {names}"));
        }
        Ok(())
    }

    /// Masks in pictures against the labels; those of the other kinds are the labels, or too large.
    fn masks(&mut self, entry: &Entry, truth: &Truth, frames: u64) -> Result<(), Error> {
        let Some(masks @ Masks::Pictures(_)) = &entry.masks else {
            return Ok(());
        };
        let name = &entry.name;
        let masks = masks.frames()?;
        if masks.len() as u64 != frames {
            let count = masks.len();
            self.differences.push(format!("{name}: {count} masks for {frames} frames"));
            return Ok(());
        }
        let labels = truth.frames(name, masks.len()).unwrap_or_default();
        let differ = masks.iter().zip(&labels).filter(|(mask, label)| mask != label).count();
        if differ > 0 {
            let text = format!("{name}: masks and labels differ in {differ} of {frames} frames");
            self.differences.push(text);
        }
        Ok(())
    }

    /// Test clips against the official ones, where those are known one by one.
    fn official_clips(&mut self, survey: &Survey, lengths: &[Option<u64>]) {
        let clips = official::clips(survey.name);
        for (entry, length) in survey.test.iter().zip(lengths) {
            let name = &entry.name;
            let Some((_, frames, abnormal)) = clips.iter().find(|(clip, ..)| clip == name) else {
                if !clips.is_empty() {
                    self.differences.push(format!("{name} is none of the official test clips"));
                }
                continue;
            };
            if let Some(length) = length.filter(|length| length != frames) {
                self.differences.push(format!("{name}: {length} frames, officially {frames}"));
            }
            let labelled = entry.truth.as_ref().map(Truth::abnormal);
            if let Some((labelled, official)) = labelled.zip(*abnormal).filter(|(a, b)| a != b) {
                let text = format!("{name}: {labelled} abnormal frames, officially {official}");
                self.differences.push(text);
            }
        }
        let named = |clip: &str| survey.test.iter().any(|entry| entry.name == clip);
        let absent: Vec<&str> = clips.iter().map(|c| c.0).filter(|clip| !named(clip)).collect();
        if !absent.is_empty() && !survey.partial && !survey.test.is_empty() {
            self.differences.push(format!("official test clips not there: {}", some(&absent)));
        }
    }
}

/// The first of some names, and how many more there are.
fn some(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
