//! XD-Violence: violence in films, on the web and before surveillance cameras (Wu et al., ECCV 2020).
//!
//! A video's name ends in its classes, `..._label_B2-G-0`, or in `_label_A` if it is normal.
//! `annotations.txt` has a line for each abnormal test video, its name and one or more pairs of
//! frames: `City.of.God.2002__#00-37-20_00-38-02_label_B5-0-0 0 1010`. The authors' `make_gt.py` sets
//! `gt[first:last] = 1`: frames count from 0, and the last one is left out. Pairs beyond the end of a
//! video are cut there. Normal test videos are not annotated, so their number is known from the videos
//! or from a list alone.
//!
//! Test videos lie in `videos/` (as published), `test_videos/` or `test/`, training videos in `train/`
//! or the five folders that they are published in. Optional lists name them, one path a line, of
//! which the name counts: `train.list` and `test.list`, or the feature lists of the authors' program,
//! `rgb.list` and `rgb_test.list`, which name each of five crops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use video::Clip;

use super::error::quote;
use super::places::{by_name, clips, first, lines, text};
use super::survey::Entry;
use super::{Error, Name, Survey, Truth};

/// The folders that training videos are published in.
const TRAINING: [&str; 6] = ["train", "1-1004", "1005-2004", "2005-2804", "2805-3319", "3320-3954"];

/// The classes in a video's name; `A` for normal, `None` if there are none.
fn classes(name: &str) -> Option<&str> {
    name.rsplit_once("_label_").map(|(_, classes)| classes)
}

/// Reads the file of annotations: see [`parse_annotation`].
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`] if it is no such text, [`Error::Line`].
pub fn read_annotation(path: &Path) -> Result<BTreeMap<String, Truth>, Error> {
    parse_annotation(&text(path)?, path)
}

/// Whether a video is normal, by its name.
pub fn is_normal(name: &str) -> bool {
    classes(name) == Some("A")
}

/// The abnormal ranges of each annotated video, by name.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse_annotation(text: &str, path: &Path) -> Result<BTreeMap<String, Truth>, Error> {
    let mut videos = BTreeMap::new();
    for (line, whole) in lines(text) {
        let wrong = |reason: String| Error::Line { path: path.into(), line, reason };
        let mut fields = whole.split_whitespace();
        let name = fields.next().unwrap_or_default();
        // Fourteen of the published lines have the extension.
        let name = name.strip_suffix(".mp4").unwrap_or(name);
        let numbers: Vec<&str> = fields.collect();
        if classes(name).is_none_or(|classes| classes == "A") {
            return Err(wrong(format!("{} is no name of an abnormal video", quote(name))));
        }
        if numbers.is_empty() || !numbers.len().is_multiple_of(2) {
            return Err(wrong(format!("{} numbers; pairs of frames expected", numbers.len())));
        }
        let mut ranges = Vec::new();
        for pair in numbers.chunks_exact(2) {
            match (pair[0].parse::<u64>(), pair[1].parse::<u64>()) {
                (Ok(first), Ok(end)) if first < end => ranges.push((first + 1, end)),
                _ => {
                    let pair = quote(&pair.join(" "));
                    return Err(wrong(format!("{pair} is no pair of frames, first before end")));
                }
            }
        }
        if videos.insert(name.to_string(), Truth::Ranges(ranges)).is_some() {
            return Err(wrong(format!("{} is annotated twice", quote(name))));
        }
    }
    Ok(videos)
}

/// The videos that a list names, without folder, extension and number of the crop.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse_list(text: &str, path: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for (line, whole) in lines(text) {
        let file = whole.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = match file.strip_suffix(".npy").map(|name| name.rsplit_once("__")) {
            Some(Some((name, _))) => name,
            _ => file.strip_suffix(".mp4").unwrap_or(file),
        };
        if classes(name).is_none() {
            let reason =
                format!("{} is no video; a name ending in _label_... expected", quote(whole));
            return Err(Error::Line { path: path.into(), line, reason });
        }
        names.insert(name.to_string());
    }
    Ok(names)
}

/// What is there of XD-Violence.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey(dir: &Path) -> Result<Survey, Error> {
    let mut survey = Survey::new(Name::XdViolence);
    let mut training = Vec::new();
    for folder in TRAINING {
        training.extend(clips(&dir.join(folder))?);
    }
    if training.is_empty() {
        survey.lacks("training videos", dir.join("train"));
    }
    let folder = first(dir, &["videos", "test_videos", "test"]);
    let testing = folder.as_deref().map(clips).transpose()?.unwrap_or_default();
    if testing.is_empty() {
        survey.lacks("test videos", dir.join("videos"));
    }
    let list = |candidates: &[&str]| -> Result<Option<BTreeSet<String>>, Error> {
        let path = first(dir, candidates);
        path.map(|path| parse_list(&text(&path)?, &path)).transpose()
    };
    let train_list = list(&["train.list", "rgb.list"])?;
    let test_list = list(&["test.list", "rgb_test.list"])?;
    let path = dir.join("annotations.txt");
    let annotated = match path.is_file() {
        true => Some(read_annotation(&path)?),
        false => {
            survey.lacks("ground truth", path);
            None
        }
    };
    for entry in entries(training, train_list.as_ref())? {
        match entry.class.as_deref() {
            Some("A") => survey.train_normal.push(entry),
            _ => survey.train_abnormal.push(entry),
        }
    }
    let mut listed = test_list.clone();
    if let Some(annotated) = &annotated {
        listed.get_or_insert_default().extend(annotated.keys().cloned());
    }
    survey.test_listed = test_list.is_some();
    for mut entry in entries(testing, listed.as_ref())? {
        let name = &entry.name;
        let truth = annotated.as_ref().and_then(|annotated| annotated.get(name)).cloned();
        entry.truth = match (truth, entry.class.as_deref()) {
            (None, Some("A")) => Some(Truth::normal()),
            (None, _) => {
                if annotated.is_some() {
                    survey.contradictions.push(format!("{name} is abnormal and not annotated"));
                }
                None
            }
            (truth, _) => truth,
        };
        survey.test.push(entry);
    }
    Ok(survey)
}

/// The videos that are there, and those that are only listed.
fn entries(there: Vec<Clip>, listed: Option<&BTreeSet<String>>) -> Result<Vec<Entry>, Error> {
    let there = by_name(there)?;
    let absent = listed.into_iter().flatten().filter(|name| !there.contains_key(*name));
    let absent: Vec<Entry> = absent.map(|name| Entry::listed(name)).collect();
    let mut entries: Vec<Entry> = there.into_values().map(Entry::of).chain(absent).collect();
    for entry in &mut entries {
        entry.class = classes(&entry.name).map(str::to_string);
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "a.txt";

    #[test]
    fn frames_count_from_zero_and_the_last_is_left_out() {
        let text = "v=S-7rRLrxnVQ__#1_label_B4-0-0 0 1517 1970 3038\n\
                    a__#1_label_G-0-0.mp4 1 2";
        let videos = parse_annotation(text, Path::new(PATH)).unwrap();
        let truth = &videos["v=S-7rRLrxnVQ__#1_label_B4-0-0"];
        assert_eq!(truth.ranges(), [(1, 1517), (1971, 3038)]);
        assert_eq!(truth.abnormal(), 1517 + 3038 - 1970);
        assert_eq!(videos["a__#1_label_G-0-0"].ranges(), [(2, 2)]);
    }

    #[test]
    fn wrong_annotations_are_named() {
        for (text, part) in [
            ("a_label_B1-0-0", "0 numbers"),
            ("a_label_B1-0-0 1 2 3", "3 numbers"),
            ("a_label_B1-0-0 5 5", "'5 5' is no pair"),
            ("a_label_B1-0-0 -1 5", "'-1 5' is no pair"),
            ("a_label_A 1 5", "no name of an abnormal video"),
            ("a 1 5", "no name of an abnormal video"),
            ("a_label_G-0-0 1 5\na_label_G-0-0.mp4 1 5", "line 2"),
        ] {
            let error = parse_annotation(text, Path::new(PATH)).unwrap_err().to_string();
            assert!(error.starts_with("a.txt: line ") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn lists_name_videos_or_crops() {
        let text = "/x/RGBTest/Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6__0.npy\n\
                    /x/RGBTest/Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6__1.npy\n\
                    b__#1_label_A.mp4\nc__#1_label_A";
        let names = parse_list(text, Path::new(PATH)).unwrap();
        let expected =
            ["Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6", "b__#1_label_A", "c__#1_label_A"];
        assert!(names.iter().eq(expected));
        assert!(parse_list("x.mp4", Path::new(PATH)).is_err());
    }
}
