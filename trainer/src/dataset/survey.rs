//! What is there of a data set.

use std::path::PathBuf;

use video::Clip;

use super::{Dataset, Error, Masks, Name, TestClip, Truth};

/// One video as lists, annotations and folders name it together.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name, without extension.
    pub name: String,
    /// Class, where the data set says it.
    pub class: Option<String>,
    /// The video, if it is there.
    pub clip: Option<Clip>,
    /// Its ground truth, if it has any and it is there.
    pub truth: Option<Truth>,
    /// Its masks, if there are any.
    pub masks: Option<Masks>,
}

impl Entry {
    /// A video that is there.
    pub(super) fn of(clip: Clip) -> Self {
        Self { name: clip.name.clone(), class: None, clip: Some(clip), truth: None, masks: None }
    }

    /// A video that is only listed so far.
    pub(super) fn listed(name: &str) -> Self {
        Self { name: name.into(), class: None, clip: None, truth: None, masks: None }
    }
}

/// A piece of the layout that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub what: String,
    /// Where it was looked for.
    pub path: PathBuf,
}

/// What is there of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The data set.
    pub name: Name,
    /// Normal training videos.
    pub train_normal: Vec<Entry>,
    /// Abnormal training videos.
    pub train_abnormal: Vec<Entry>,
    /// Test videos.
    pub test: Vec<Entry>,
    /// Whether lists name all test videos, so that they can be counted without the videos.
    pub test_listed: bool,
    /// Whether the copy itself says that it has a part of the test videos only: those in `test`.
    pub partial: bool,
    /// Pieces that are not there.
    pub missing: Vec<Missing>,
    /// Contradictions between the pieces that are.
    pub contradictions: Vec<String>,
}

impl Survey {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            train_normal: Vec::new(),
            train_abnormal: Vec::new(),
            test: Vec::new(),
            test_listed: false,
            partial: false,
            missing: Vec::new(),
            contradictions: Vec::new(),
        }
    }

    pub(super) fn lacks(&mut self, what: &str, path: impl Into<PathBuf>) {
        self.missing.push(Missing { what: what.into(), path: path.into() });
    }

    /// The data set, if nothing that its protocol needs is missing.
    ///
    /// # Errors
    /// [`Error::Missing`], which names the first missing piece and the layout.
    pub fn complete(self) -> Result<Dataset, Error> {
        let dataset = self.name;
        if let Some(Missing { what, path }) = self.missing.into_iter().next() {
            return Err(Error::Missing { dataset, what, path });
        }
        let there = |part: &str, entry: &Entry| {
            entry.clip.clone().ok_or_else(|| Error::Missing {
                dataset,
                what: format!("{part} video"),
                path: PathBuf::from(&entry.name),
            })
        };
        let train = |entries: Vec<Entry>| -> Result<Vec<Clip>, Error> {
            entries.iter().map(|entry| there("training", entry)).collect()
        };
        let mut test = Vec::with_capacity(self.test.len());
        for entry in self.test {
            let clip = there("test", &entry)?;
            let truth = entry.truth.ok_or_else(|| Error::Missing {
                dataset,
                what: "ground truth".into(),
                path: PathBuf::from(&entry.name),
            })?;
            test.push(TestClip { clip, class: entry.class, truth, masks: entry.masks });
        }
        Ok(Dataset {
            title: dataset.title().into(),
            train_normal: train(self.train_normal)?,
            train_abnormal: train(self.train_abnormal)?,
            test,
        })
    }
}
