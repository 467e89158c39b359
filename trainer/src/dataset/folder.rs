//! A user's own videos: `normal/`, and for measuring `test/` with `labels.json`.

use std::path::Path;

use super::places::clips;
use super::survey::Entry;
use super::{Error, Name, Survey, Truth};
use crate::evaluation::Labels;

/// What is there.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey(dir: &Path) -> Result<Survey, Error> {
    let mut survey = Survey::new(Name::Folder);
    let folder = dir.join("normal");
    survey.train_normal = clips(&folder)?.into_iter().map(Entry::of).collect();
    if survey.train_normal.is_empty() {
        survey.lacks("normal videos", folder);
    }
    let path = dir.join("labels.json");
    let labels = match path.is_file() {
        true => Labels::read(&path).map_err(Error::labels)?,
        false => Labels::default(),
    };
    for clip in clips(&dir.join("test"))? {
        let mut entry = Entry::of(clip);
        entry.truth = Some(Truth::Ranges(labels.ranges(&entry.name).to_vec()));
        survey.test.push(entry);
    }
    for name in labels.clips() {
        if !survey.test.iter().any(|entry| entry.name == name) {
            let mut entry = Entry::listed(name);
            entry.truth = Some(Truth::Ranges(labels.ranges(name).to_vec()));
            survey.test.push(entry);
        }
    }
    Ok(survey)
}
