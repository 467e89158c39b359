//! ShanghaiTech Campus, in its two splits (Luo et al., ICCV 2017; Zhong et al., CVPR 2019).
//!
//! The videos are the same, who trains is not. Originally `training/videos/*.avi` are normal and
//! train, `testing/frames/NN_NNNN/*.jpg` are tested, each with something abnormal. Zhong et al.
//! put abnormal videos among the training ones for weak supervision, and normal ones among the test
//! ones: `SH_Train.txt` and `SH_Test.txt` name them. Here the method trains on the normal ones alone,
//! and a result on one split is no result on the other.
//!
//! Ground truth is `testing/test_frame_mask/NN_NNNN.npy`, a 0 or 1 for each frame, for the original
//! test videos; videos of the original training set are normal throughout. Names tell them apart: the
//! second number has three digits in the training set and four in the test set (`01_015` and
//! `01_0015` are two videos).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use video::Clip;

use super::error::quote;
use super::places::{by_name, clips, first, names, text};
use super::survey::Entry;
use super::{Error, Masks, Name, Survey, Truth, arrays};

/// Everything that both splits are made of.
struct Campus {
    training: BTreeMap<String, Clip>,
    testing: BTreeMap<String, Clip>,
    /// Frame labels by video; `None` if there is no folder of them.
    labels: Option<BTreeMap<String, Truth>>,
    pixels: Option<PathBuf>,
}

impl Campus {
    fn read(dir: &Path) -> Result<Self, Error> {
        let folder = |candidates: &[&str]| first(dir, candidates).map(|path| clips(&path));
        let training = folder(&["training/videos", "training/frames"]);
        let testing = folder(&["testing/frames", "testing/videos"]);
        let labels = match first(dir, &["testing/test_frame_mask", "test_frame_mask"]) {
            None => None,
            Some(folder) => {
                let mut labels = BTreeMap::new();
                for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
                    let path = entry.map_err(Error::io(&folder))?.path();
                    if path.extension().is_some_and(|extension| extension == "npy") {
                        let truth = Truth::Frames(arrays::read_labels(&path)?);
                        labels.insert(stem(&path), truth);
                    }
                }
                Some(labels)
            }
        };
        Ok(Self {
            training: by_name(training.transpose()?.unwrap_or_default())?,
            testing: by_name(testing.transpose()?.unwrap_or_default())?,
            labels,
            pixels: first(dir, &["testing/test_pixel_mask", "test_pixel_mask"]),
        })
    }

    fn lacks(&self, survey: &mut Survey, dir: &Path) {
        if self.training.is_empty() {
            survey.lacks("training videos", dir.join("training/videos"));
        }
        if self.testing.is_empty() {
            survey.lacks("test videos", dir.join("testing/frames"));
        }
        if self.labels.is_none() {
            survey.lacks("ground truth", dir.join("testing/test_frame_mask"));
        }
    }

    /// The video of a name, with the labels that exist for it.
    fn entry(&self, name: &str) -> Entry {
        let clip = self.training.get(name).or_else(|| self.testing.get(name));
        let mut entry = clip.cloned().map_or_else(|| Entry::listed(name), Entry::of);
        entry.truth = self.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
        let masks = self.pixels.as_ref().map(|folder| folder.join(format!("{name}.npy")));
        entry.masks = masks.filter(|path| path.is_file()).map(Masks::Npy);
        entry
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a video is of the original test set: `01_0015`, not `01_015`. Each of those has something
/// abnormal, and none of the others has.
pub fn originally_tested(name: &str) -> bool {
    name.split_once('_').is_some_and(|(_, number)| number.len() == 4)
}

/// What is there of the original one-class split.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey_original(dir: &Path) -> Result<Survey, Error> {
    let campus = Campus::read(dir)?;
    let mut survey = Survey::new(Name::ShanghaiTech);
    campus.lacks(&mut survey, dir);
    survey.train_normal = campus.training.values().cloned().map(Entry::of).collect();
    let labelled = campus.labels.iter().flat_map(BTreeMap::keys);
    let test: BTreeSet<&String> = campus.testing.keys().chain(labelled).collect();
    survey.test = test.into_iter().map(|name| campus.entry(name)).collect();
    survey.test_listed = campus.labels.is_some_and(|labels| !labels.is_empty());
    Ok(survey)
}

/// What is there of the split for weak supervision.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey_weak(dir: &Path) -> Result<Survey, Error> {
    let campus = Campus::read(dir)?;
    let mut survey = Survey::new(Name::ShanghaiTechWeak);
    let mut list = |file: &str| -> Result<Vec<String>, Error> {
        let path = dir.join(file);
        if !path.is_file() {
            survey.lacks("list of videos", path);
            return Ok(Vec::new());
        }
        parse_list(&text(&path)?, &path)
    };
    let (train, test) = (list("SH_Train.txt")?, list("SH_Test.txt")?);
    campus.lacks(&mut survey, dir);
    survey.test_listed = !test.is_empty();
    let trained: BTreeSet<&String> = train.iter().collect();
    for name in test.iter().filter(|name| trained.contains(name)) {
        survey.contradictions.push(format!("{name} is in both lists"));
    }
    for name in &train {
        // Training has labels for whole videos only, so that of the frames is left out.
        let entry = Entry { truth: None, ..campus.entry(name) };
        match originally_tested(name) {
            true => survey.train_abnormal.push(entry),
            false => survey.train_normal.push(entry),
        }
    }
    for name in &test {
        let mut entry = campus.entry(name);
        if !originally_tested(name) {
            entry.truth = Some(Truth::normal());
        } else if entry.truth.is_none() && campus.labels.is_some() {
            survey.contradictions.push(format!("{name} has no frame labels"));
        }
        survey.test.push(entry);
    }
    Ok(survey)
}

/// The videos of a list, one name a line.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse_list(text: &str, path: &Path) -> Result<Vec<String>, Error> {
    let mut listed = Vec::new();
    for (line, name) in names(text, path)? {
        if !is_name(&name) {
            let reason = format!("{} is no video; 01_001 or 01_0014 expected", quote(&name));
            return Err(Error::Line { path: path.into(), line, reason });
        }
        listed.push(name);
    }
    Ok(listed)
}

/// Whether something looks like `01_001` or `01_0014`.
fn is_name(name: &str) -> bool {
    let digits = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit())
    };
    name.split_once('_')
        .is_some_and(|(scene, number)| digits(scene, &[2]) && digits(number, &[3, 4]))
}
