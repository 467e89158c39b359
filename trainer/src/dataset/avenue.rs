//! CUHK Avenue: a walkway seen from the side (Lu et al., ICCV 2013).
//!
//! `training_videos/NN.avi` are normal, `testing_videos/NN.avi` are tested. The ground truth of test
//! video `N` is `testing_label_mask/N_label.mat`, a cell array `volLabel` with the mask of each frame:
//! a frame is abnormal if any pixel of its mask is, as in the authors' `ground_truth_show.m`, which
//! lays `volLabel{i}` over frame `i`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::places::{by_name, clips, first};
use super::survey::Entry;
use super::{Error, Masks, Name, Survey, Truth};

/// What is there of Avenue.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey(dir: &Path) -> Result<Survey, Error> {
    let mut survey = Survey::new(Name::Avenue);
    let folder = dir.join("training_videos");
    survey.train_normal = clips(&folder)?.into_iter().map(Entry::of).collect();
    if survey.train_normal.is_empty() {
        survey.lacks("training videos", folder);
    }
    let folder = dir.join("testing_videos");
    let there = clips(&folder)?;
    if there.is_empty() {
        survey.lacks("test videos", folder);
    }
    let candidates = ["testing_label_mask", "ground_truth_demo/testing_label_mask"];
    let mut masks = match first(dir, &candidates) {
        Some(folder) => label_files(&folder)?,
        None => {
            survey.lacks("ground truth", dir.join(candidates[0]));
            BTreeMap::new()
        }
    };
    for (name, clip) in by_name(there)? {
        let mut entry = Entry::of(clip);
        if let Some(path) = name.parse().ok().and_then(|number| masks.remove(&number)) {
            label(&mut entry, path)?;
        }
        survey.test.push(entry);
    }
    for (number, path) in masks {
        let mut entry = Entry::listed(&format!("{number:02}"));
        label(&mut entry, path)?;
        survey.test.push(entry);
    }
    survey.test.sort_by(|a, b| a.name.cmp(&b.name));
    survey.test_listed = survey.test.iter().any(|entry| entry.truth.is_some());
    Ok(survey)
}

/// The files `N_label.mat` of a folder by `N`.
fn label_files(folder: &Path) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(number) = name.strip_suffix("_label.mat").and_then(|n| n.parse().ok()) {
            files.insert(number, path);
        }
    }
    Ok(files)
}

fn label(entry: &mut Entry, path: PathBuf) -> Result<(), Error> {
    let masks = Masks::Mat(path);
    entry.truth = Some(Truth::Frames(masks.frames()?));
    entry.masks = Some(masks);
    Ok(())
}
