//! What designs are trained on and tested with: the site's footage, other cameras', pseudo clips.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use trainer::evaluation::Labels;
use trainer::footage;
use trainer::hash::hex;
use trainer::local::LumaClip;
use trainer::selection::{Family, Truth, truth_of};
use trainer::synthesis::composite::MIN_CLIP_FRAMES;
use trainer::synthesis::{Composite, CompositeConfig, KindRates, NormalClip, Synthesizer};
use video::{Frame, list_clips};

use super::SelectArgs;
use crate::commands::Usage;
use crate::commands::train::config::TrainConfig;
use crate::commands::train::go_on;
use crate::commands::train::normals::{self, Normals};

/// Model frames of a test video that are looked at: ten minutes.
const LONGEST: usize = 6000;

/// A clip that detectors are shown.
pub struct Probe {
    /// Luma of each model frame.
    pub luma: Vec<Vec<u8>>,
    /// What each is.
    pub truth: Vec<Truth>,
}

/// Another camera.
pub struct Other {
    pub name: String,
    pub normal: Vec<Probe>,
    pub pseudo: Vec<Probe>,
}

/// Everything.
pub struct Probes {
    pub footage: Normals,
    /// The training footage as the local detector sees it.
    pub training: Vec<LumaClip>,
    /// The site's held-out normal footage.
    pub normal: Vec<Probe>,
    /// Pseudo clips of all kinds, made of held-out footage.
    pub pseudo: Vec<Probe>,
    /// Pseudo clips of each family, made of held-out footage.
    pub families: Vec<Vec<Probe>>,
    pub others: Vec<Other>,
    /// Labelled test videos.
    pub test: Vec<Probe>,
    /// Tells sets of probes apart.
    pub hash: String,
}

impl Probes {
    /// Reads the footage and makes the clips. They are the same for all designs: the synthesizer's
    /// usual settings, but a single event in each clip. `reach` is how many frames smoothing looks
    /// to each side at most.
    pub fn read(
        args: &SelectArgs,
        config: &TrainConfig,
        families: &[Family],
        reach: usize,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let test = match (&args.test, &args.labels) {
            // What is wrong with the labels is found before hours of work.
            (Some(videos), Some(labels)) => Some((videos, Labels::read(labels)?)),
            _ => None,
        };
        let footage = normals::read(&args.normal, config)?;
        let maker = Maker { count: args.test_clips, seed: args.seed, reach, stop };
        let all = KindRates::default();
        let pseudo = maker.make(&footage.held_out, &all)?;
        let of_family = |family: &Family| maker.make(&footage.held_out, &family.alone());
        let families = families.iter().map(of_family).collect::<Result<Vec<_>>>()?;

        let mut others = Vec::new();
        for folder in &args.other {
            let clips = read_other(folder, &footage, args.other_frames as usize)?;
            others.push(Other {
                name: folder.file_name().map_or_else(
                    || folder.display().to_string(),
                    |name| name.to_string_lossy().into_owned(),
                ),
                pseudo: maker.make(&clips, &all)?,
                normal: clips.iter().map(|clip| Probe::normal(&clip.frames)).collect(),
            });
        }
        let test =
            test.map_or(Ok(Vec::new()), |(videos, labels)| read_test(videos, &labels, &footage))?;

        let luma = |clip: &NormalClip| LumaClip::new(&clip.frames, None);
        let mut probes = Self {
            training: footage.training.iter().map(luma).collect(),
            normal: footage.held_out.iter().map(|clip| Probe::normal(&clip.frames)).collect(),
            pseudo,
            families,
            others,
            test,
            hash: String::new(),
            footage,
        };
        probes.hash = probes.fingerprint();
        Ok(probes)
    }

    /// SHA-256 over the site's footage and all frames and truths of the probes.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new_with_prefix(&self.footage.hash);
        let sets = [&self.normal, &self.pseudo].into_iter().chain(&self.families);
        let others = self.others.iter().flat_map(|other| [&other.normal, &other.pseudo]);
        for set in sets.chain(others).chain([&self.test]) {
            hash.update((set.len() as u64).to_le_bytes());
            for probe in set {
                hash.update((probe.luma.len() as u64).to_le_bytes());
                probe.luma.iter().for_each(|luma| hash.update(luma));
                hash.update(probe.truth.iter().map(|t| *t as u8).collect::<Vec<_>>());
            }
        }
        hex(&hash.finalize())
    }
}

impl Probe {
    fn normal(frames: &[Frame]) -> Self {
        Self {
            luma: frames.iter().map(Frame::luma).collect(),
            truth: vec![Truth::Normal; frames.len()],
        }
    }
}

/// Makes pseudo clips to test with.
struct Maker<'a> {
    count: u64,
    seed: u64,
    reach: usize,
    stop: &'a AtomicBool,
}

impl Maker<'_> {
    /// Clips of one event each; none, with a warning, if the footage does not allow these kinds.
    fn make(&self, footage: &[NormalClip], kinds: &KindRates) -> Result<Vec<Probe>> {
        go_on(self.stop)?;
        let config =
            CompositeConfig { kinds: kinds.clone(), events: 1, ..CompositeConfig::default() };
        let composite = match Composite::new(footage, &config, self.seed) {
            Ok(composite) => composite,
            Err(error @ trainer::synthesis::Error::Config { field: "kinds", .. }) => {
                log::warn!("{error}: not tested with");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        (0..self.count)
            .into_par_iter()
            .map(|index| {
                go_on(self.stop)?;
                let clip = composite.synthesize(index)?;
                let truth = truth_of(&clip.labels, self.reach);
                Ok(Probe { luma: clip.frames.iter().map(Frame::luma).collect(), truth })
            })
            .collect()
    }
}

/// About `frames` model frames of a folder's clips, the same of each.
fn read_other(folder: &Path, site: &Normals, frames: usize) -> Result<Vec<NormalClip>> {
    let found = list_clips(folder)?;
    let each = (frames / found.len()).max(MIN_CLIP_FRAMES);
    let mut clips = Vec::new();
    for clip in &found {
        let clip = footage::read(clip, &site.input, each)?;
        if clip.frames.len() >= MIN_CLIP_FRAMES {
            clips.push(clip);
        }
    }
    if clips.is_empty() {
        let folder = folder.display();
        bail!(Usage(format!("{folder}: no clip has {MIN_CLIP_FRAMES} model frames")));
    }
    Ok(clips)
}

fn read_test(videos: &Path, labels: &Labels, site: &Normals) -> Result<Vec<Probe>> {
    let mut probes = Vec::new();
    let clips = list_clips(videos)?;
    labels.check_clips(clips.iter().map(|clip| clip.name.as_str()))?;
    for clip in clips {
        let (read, numbers) = footage::read_numbered(&clip, &site.input, LONGEST)?;
        if read.frames.len() == LONGEST {
            log::warn!(
                "{}: the first {LONGEST} model frames are looked at, no further ones",
                clip.name
            );
        }
        let ranges = labels.ranges(&clip.name);
        let truth = numbers.iter().map(|number| {
            // Labels count from 1.
            let frame = (number + 1) as u64;
            match ranges.iter().any(|(first, last)| (*first..=*last).contains(&frame)) {
                true => Truth::Abnormal,
                false => Truth::Normal,
            }
        });
        let truth = truth.collect();
        probes.push(Probe { luma: read.frames.iter().map(Frame::luma).collect(), truth });
    }
    let has = |truth: Truth| probes.iter().any(|probe: &Probe| probe.truth.contains(&truth));
    if !(has(Truth::Normal) && has(Truth::Abnormal)) {
        let videos = videos.display();
        bail!(Usage(format!(
            "{videos}: by the labels all frames are of one class; check --labels"
        )));
    }
    Ok(probes)
}
