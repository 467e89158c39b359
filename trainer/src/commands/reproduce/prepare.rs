//! Everything that a run needs, found and checked before its first step.

use std::path::{Path, PathBuf};

use anyhow::Result;
use trainer::detector::{Bag, DetectorConfig};
use trainer::features::{Collection, Error, List, Selection};

use super::ReproduceArgs;
use super::truth::{Tested, Truth};
use crate::commands::train::progress::Progress;
use crate::commands::{Usage, toml_problem};

/// Everything that is needed, checked before the first step.
pub struct Prepared {
    pub normal: Vec<Bag>,
    pub abnormal: Vec<Bag>,
    /// Normal and abnormal videos, each of one bag or more.
    pub videos: [usize; 2],
    pub test: Selection,
    /// Labels of the test videos' frames.
    pub truth: Vec<Vec<bool>>,
    pub config: DetectorConfig,
}

/// Finds and checks everything, and reads what training needs.
pub fn prepare(args: &ReproduceArgs) -> Result<Prepared> {
    let facts = args.name.facts();
    let mut config = config(args.config.as_deref(), args.supervised)?;
    config.steps = args.steps.unwrap_or(config.steps);
    let train_list =
        List::read(&find(args.train_list.as_ref(), args, facts.train_lists, "--train-list")?)?;
    let test_list =
        List::read(&find(args.test_list.as_ref(), args, facts.test_lists, "--test-list")?)?;
    let truth = find(args.test_labels.as_ref(), args, facts.truths, "--test-labels")?;
    let truth = Truth::read(&truth, args.name)?;

    let asked = args.crops.map(usize::from);
    let crops = asked.or(train_list.crops).or(test_list.crops).unwrap_or(facts.crops);
    let collection = Collection::open(&args.features)?;
    let of = |list: &List, abnormal: bool| {
        let mut part = list.clone();
        part.entries.retain(|entry| args.name.abnormal(&entry.name) == abnormal);
        if part.entries.is_empty() {
            let kind = if abnormal { "abnormal" } else { "normal" };
            let path = list.path.display();
            return Err(anyhow::Error::from(Usage(format!("{path}: no {kind} video of this set"))));
        }
        Ok(part)
    };
    let test = collection.select(&test_list, crops, args.crop_layout)?;
    let normal = collection.select(&of(&train_list, false)?, crops, args.crop_layout)?;
    let abnormal = match &args.pseudo {
        None => collection.select(&of(&train_list, true)?, crops, args.crop_layout)?,
        Some(folder) => {
            let crops = args.pseudo_crops.map_or(crops, usize::from);
            let pseudo = Collection::open(folder)?;
            pseudo.select(&pseudo.all(crops), crops, args.crop_layout)?
        }
    };
    for (what, d) in [("test", test.d), ("abnormal training", abnormal.d)] {
        if d != normal.d {
            let n = normal.d;
            return Err(Error::Damaged {
                path: args.pseudo.clone().unwrap_or_else(|| args.features.clone()),
                problem: format!(
                    "{what} videos have features of length {d}, normal training videos of {n}; take \
                     those of one backbone"
                ),
            }
            .into());
        }
    }
    config.model.feature_size = normal.d;
    config.validate()?;
    let counts = [normal.videos.len(), abnormal.videos.len(), test.videos.len()];
    let [official_normal, official_abnormal, official_test] = args.name.videos();
    let abnormal_count = if args.supervised { official_abnormal } else { counts[1] };
    let official = [official_normal, abnormal_count, official_test];
    if counts != official {
        log::warn!(
            "{counts:?} normal, abnormal and test videos, officially {official:?}: the figure is not \
             comparable with published ones"
        );
    }

    let per_snippet = usize::from(args.snippet_frames);
    let tested: Vec<Tested<'_>> = (test.videos.iter())
        .map(|video| Tested {
            name: &video.name,
            abnormal: args.name.abnormal(&video.name),
            frames: video.snippets * per_snippet,
        })
        .collect();
    let truth = truth.frames(&tested, 2 * per_snippet)?;
    let used = args.train_crops.map_or(usize::MAX, usize::from);
    let progress =
        Progress::new("reading training features", normal.videos.len() + abnormal.videos.len());
    let bags = |selection: &Selection| -> Result<Vec<Bag>> {
        let mut bags = Vec::new();
        for video in &selection.videos {
            bags.extend(selection.load(video)?.bags(used, config.segments));
            progress.step();
        }
        Ok(bags)
    };
    let (normal, abnormal) = (bags(&normal)?, bags(&abnormal)?);
    drop(progress);
    let values: usize = normal.iter().chain(&abnormal).map(|bag| bag.features.len()).sum();
    log::info!(
        "{} normal and {} abnormal bags in {} MiB",
        normal.len(),
        abnormal.len(),
        (values * size_of::<f32>()) >> 20
    );
    Ok(Prepared { normal, abnormal, videos: [counts[0], counts[1]], test, truth, config })
}

/// The configuration: published defaults, a file over them, and no DARM for the baseline.
fn config(path: Option<&Path>, supervised: bool) -> Result<DetectorConfig> {
    let mut config = match path {
        None if supervised => DetectorConfig { batch: 64, ..DetectorConfig::default() },
        None => DetectorConfig::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Usage(format!("{}: {e}; check the path", path.display())))?;
            toml::from_str(&text)
                .map_err(|e| Usage(format!("{}: {}", path.display(), toml_problem(&text, &e))))?
        }
    };
    if supervised {
        config.use_da = false;
        config.use_upd = false;
    }
    Ok(config)
}

/// The file that was named, or the first of the usual names in the features' folder.
fn find(
    given: Option<&PathBuf>,
    args: &ReproduceArgs,
    usual: &[&str],
    option: &str,
) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.clone());
    }
    let found = usual.iter().map(|name| args.features.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        let folder = args.features.display();
        Usage(format!("{folder}: none of {}; name it with {option}", usual.join(", "))).into()
    })
}
