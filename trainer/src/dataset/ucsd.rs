//! UCSD Ped1 and Ped2: walkways from two cameras (Mahadevan et al., CVPR 2010).
//!
//! Two layouts. As published: `Train/TrainNNN/*.tif`, `Test/TestNNN/*.tif`, frame ranges in
//! `Test/UCSDpedN.m` ([`ranges`]), masks in `Test/TestNNN_gt/*.bmp` for ten clips of Ped1 and all of
//! Ped2. Re-encoded: `train/*.mp4`, `test/*.mp4`, `labels.json`, `masks/TestNNN/NNN.png`; such a copy
//! may hold a part of the test clips, and `labels.json` says which, as every test clip of both sets
//! has abnormal frames.

use std::path::{Path, PathBuf};

use super::places::{by_name, clips, first, text};
use super::survey::Entry;
use super::{Error, Masks, Name, Survey, Truth, official, ranges};
use crate::evaluation::Labels;

/// What is there of Ped1 or Ped2.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey(name: Name, dir: &Path) -> Result<Survey, Error> {
    let set = if name == Name::Ped1 { "UCSDped1" } else { "UCSDped2" };
    // Also the folder that the published archive unpacks to.
    let dir = first(dir, &[set]).unwrap_or_else(|| dir.into());
    let mut survey = Survey::new(name);
    if first(&dir, &["Train", "Test"]).is_some() {
        published(&mut survey, &dir, set)?;
    } else {
        reencoded(&mut survey, &dir)?;
    }
    survey.test_listed = survey.test.iter().any(|entry| entry.truth.is_some());
    Ok(survey)
}

/// Normal training clips of a folder.
fn training(survey: &mut Survey, folder: PathBuf) -> Result<(), Error> {
    survey.train_normal = clips(&folder)?.into_iter().map(Entry::of).collect();
    if survey.train_normal.is_empty() {
        survey.lacks("training clips", folder);
    }
    Ok(())
}

fn published(survey: &mut Survey, dir: &Path, set: &str) -> Result<(), Error> {
    training(survey, dir.join("Train"))?;
    let folder = dir.join("Test");
    let list = folder.join(format!("{set}.m"));
    let truth = match list.is_file() {
        true => ranges::parse(&text(&list)?, &list)?,
        false => {
            survey.lacks("ground truth", list);
            Vec::new()
        }
    };
    let mut there = clips(&folder)?;
    // The masks' folders lie among the clips.
    there.retain(|clip| !clip.name.ends_with("_gt"));
    if there.is_empty() {
        survey.lacks("test clips", folder.clone());
    }
    let mut there = by_name(there)?;
    for (number, truth) in (1..).zip(truth) {
        let name = format!("Test{number:03}");
        let mut entry = there.remove(&name).map_or_else(|| Entry::listed(&name), Entry::of);
        entry.truth = Some(truth);
        let masks = folder.join(format!("{name}_gt"));
        entry.masks = masks.is_dir().then_some(Masks::Pictures(masks));
        survey.test.push(entry);
    }
    survey.test.extend(there.into_values().map(Entry::of));
    Ok(())
}

fn reencoded(survey: &mut Survey, dir: &Path) -> Result<(), Error> {
    training(survey, dir.join("train"))?;
    let labels = dir.join("labels.json");
    let truth = match labels.is_file() {
        true => Some(Labels::read(&labels).map_err(Error::labels)?),
        false => None,
    };
    let mut there = by_name(clips(&dir.join("test"))?)?;
    if there.is_empty() {
        survey.lacks("test clips", dir.join("test"));
    }
    match truth {
        None => survey.lacks("ground truth", labels),
        Some(truth) => {
            let all = official::clips(survey.name).len();
            let named: Vec<&str> = truth.clips().collect();
            survey.partial = !named.is_empty() && named.len() < all;
            for name in named {
                let mut entry = there.remove(name).map_or_else(|| Entry::listed(name), Entry::of);
                entry.truth = Some(Truth::Ranges(truth.ranges(name).to_vec()));
                let masks = dir.join("masks").join(name);
                entry.masks = masks.is_dir().then_some(Masks::Pictures(masks));
                survey.test.push(entry);
            }
        }
    }
    survey.test.extend(there.into_values().map(Entry::of));
    Ok(())
}
