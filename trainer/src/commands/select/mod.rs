//! `trainer select`: which design to take, without a single real anomaly.

mod footage;
mod network;
mod table;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::Args;
use inference::Backend;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainer::device::DeviceChoice;
use trainer::hash::hex;
use trainer::selection::{
    Family, Figures, Fusion, LeftOut, Measured, OtherCamera, Record, measure,
};
use trainer::synthesis::KindRates;

use super::train::config::TrainConfig;
use super::train::{backend, progress::Progress, stop_when_asked};
use super::{Usage, write_file};
use footage::{Probe, Probes};
use network::{Clips, Network};

/// Ranks designs of the local detector and fusion weights by normal footage alone.
///
/// For each configuration the local detector is trained once on all kinds of pseudo anomaly and once
/// without each family of kinds. The score is the mean of two figures: how well clips of a family are
/// told from held-out normal footage by the network that was trained without it, and how well pseudo
/// clips made on other cameras' footage are told from that footage by the network that never saw
/// those cameras. With --test the AUC of labelled videos stands beside it as evidence, and how far
/// each figure ranks designs as it does; nothing is chosen by it. Interrupted, it goes on where it
/// was when it is run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer select --normal videos/normal --other videos/yard --config a.toml \
                  --config b.toml --out selection"
)]
pub struct SelectArgs {
    /// The site's normal videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// Normal videos of another camera; may be repeated.
    #[arg(long, value_name = "DIR")]
    other: Vec<PathBuf>,
    /// A design: configuration as for `trainer train`, named by its file; may be repeated. They agree
    /// in input_height, max_normal_frames and held_out.
    #[arg(long, value_name = "FILE.toml", required = true)]
    config: Vec<PathBuf>,
    /// Folder for the table, the results of each run, and the work.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Runs of each design, each with its own seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed; also that of the clips that designs are tested on.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kinds that are left out of training together, such as fast,skip,cross; may be repeated.
    /// Without it four families that have all kinds drawn by default.
    #[arg(long, value_name = "KIND,...", conflicts_with = "no_families")]
    family: Vec<Family>,
    /// Leave no family out: one training a design.
    #[arg(long)]
    no_families: bool,
    /// Weight of the motion prior in the fused value; may be repeated. Without it 0 and 1; the
    /// configurations' own are not looked at.
    #[arg(long, value_name = "W", value_parser = weight)]
    motion: Vec<f64>,
    /// Pseudo clips that each design is tested on: of all kinds, of each family, of each other camera.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    test_clips: u64,
    /// Model frames that are used of each other camera, about.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(16..=100_000))]
    other_frames: u64,
    /// Look at every N-th model frame when testing: smoothed scores of neighbours are alike.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    every: u32,
    /// Labelled test videos: evidence of how well the ranking holds, never part of it.
    #[arg(long, value_name = "DIR", requires = "labels")]
    test: Option<PathBuf>,
    /// Ground truth of the test videos.
    #[arg(long, value_name = "FILE.json", requires = "test")]
    labels: Option<PathBuf>,
    /// ONNX Runtime's library, if it is not in the usual places.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Where the detectors are trained.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
}

fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a weight is a number of 0 or more".into()),
    }
}

/// A design.
struct Design {
    name: String,
    config: TrainConfig,
}

/// The figures of one run with one fusion weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The design's name.
    pub design: String,
    /// Weight of the motion prior.
    pub motion: f64,
    /// The seed.
    pub seed: u64,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Runs the command.
pub fn run(args: &SelectArgs) -> Result<()> {
    let designs = designs(&args.config)?;
    let stop = stop_when_asked()?;
    let backend = backend(args.ort_library.as_deref())?;
    let device = args.device.open()?;
    let families = match (args.no_families, args.family.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => Family::usual(),
        (false, false) => args.family.clone(),
    };
    let reach = designs.iter().map(|d| d.config.smoothing.radius).max().unwrap_or(0);
    let probes = Probes::read(args, &designs[0].config, &families, reach as usize, &stop)?;
    let weights = if args.motion.is_empty() { vec![0.0, 1.0] } else { args.motion.clone() };

    let mut study = Study {
        args,
        families: &families,
        probes: &probes,
        backend: backend.as_ref(),
        device: &device,
        stop: &stop,
        clips: Clips::default(),
    };
    let parts = 1 + families.len();
    let progress = Progress::new("selection", parts * designs.len() * args.seeds as usize);
    let mut runs = Vec::new();
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        // Part by part: designs that differ in nothing that concerns a part's clips share them.
        for part in 0..parts {
            for design in &designs {
                match part.checked_sub(1) {
                    None => drop(study.whole(design, seed)?),
                    Some(family) => drop(study.left_out(design, seed, family)?),
                }
                progress.step();
            }
        }
        for design in &designs {
            let measured = study.measured(design, seed)?;
            let mut smoothing = design.config.smoothing.clone();
            // In frames that are looked at.
            smoothing.sigma /= f64::from(args.every);
            smoothing.radius = smoothing.radius.div_ceil(args.every);
            for &motion in &weights {
                let fusion = Fusion { motion, excess_over: design.config.fusion.excess_over };
                let figures = measure(&measured, fusion, &smoothing);
                runs.push(Run { design: design.name.clone(), motion, seed, figures });
            }
        }
    }
    drop(progress);
    let names: Vec<&str> = designs.iter().map(|design| design.name.as_str()).collect();
    let table = table::Table::of(&names, &weights, &runs);
    table.write(&args.out, &runs)?;
    if args.json {
        println!("{}", table.json(&runs)?);
    } else {
        print!("{}", table.text());
    }
    Ok(())
}

fn designs(paths: &[PathBuf]) -> Result<Vec<Design>> {
    let mut designs: Vec<Design> = Vec::new();
    for path in paths {
        let config = TrainConfig::read(Some(path))?;
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if designs.iter().any(|design| design.name == name) {
            bail!(Usage(format!("two configurations are called {name}; rename one")));
        }
        if let Some(first) = designs.first().map(|design| &design.config)
            && (config.input_height, config.max_normal_frames, config.held_out.to_bits())
                != (first.input_height, first.max_normal_frames, first.held_out.to_bits())
        {
            let (path, first) = (path.display(), paths[0].display());
            bail!(Usage(format!(
                "{path}: input_height, max_normal_frames or held_out differs from {first}; designs are \
                 compared on the same footage"
            )));
        }
        designs.push(Design { name, config });
    }
    Ok(designs)
}

/// What all designs have in common.
struct Study<'a> {
    args: &'a SelectArgs,
    families: &'a [Family],
    probes: &'a Probes,
    backend: &'a dyn Backend,
    device: &'a Device,
    stop: &'a AtomicBool,
    clips: Clips,
}

/// What the network trained on all kinds said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    kinds: Vec<String>,
    normal: Vec<Record>,
    pseudo: Vec<Record>,
    /// In the order of the families.
    families: Vec<Vec<Record>>,
    others: Vec<OtherCamera>,
    test: Vec<Record>,
}

/// A result on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<T> {
    /// What it belongs to: design, seed, kinds, footage.
    identity: String,
    result: T,
}

impl Study<'_> {
    /// Everything measured of one design with one seed, from disk as far as it is there.
    fn measured(&mut self, design: &Design, seed: u64) -> Result<Measured> {
        let Whole { kinds, normal, pseudo, families, others, test } = self.whole(design, seed)?;
        let mut left_out = Vec::new();
        for (at, family) in self.families.iter().enumerate() {
            left_out.push((family.clone(), self.left_out(design, seed, at)?));
        }
        let families = self.families.iter().cloned().zip(families).collect();
        Ok(Measured { kinds, normal, pseudo, families, others, test, left_out })
    }

    /// What the network trained on all of the design's kinds says.
    fn whole(&mut self, design: &Design, seed: u64) -> Result<Whole> {
        self.kept(design, seed, "all", &design.config.composite.kinds, Self::see_all)
    }

    /// What the network trained without a family says; `None` if no kind is left.
    fn left_out(&mut self, design: &Design, seed: u64, at: usize) -> Result<Option<LeftOut>> {
        let (family, probes) = (&self.families[at], &self.probes.families[at]);
        let rates = &design.config.composite.kinds;
        let left = family.out_of(rates);
        if left.entries().iter().all(|(_, rate)| *rate == 0.0) {
            return Ok(None);
        }
        if left == *rates {
            // The design never had the family: its network is the one.
            let Whole { normal, mut families, .. } = self.whole(design, seed)?;
            return Ok(Some(LeftOut { normal, pseudo: families.swap_remove(at) }));
        }
        let left_out =
            self.kept(design, seed, &format!("without-{family}"), &left, |study, network| {
                Ok(LeftOut {
                    normal: network.records(&study.probes.normal, study.stop)?,
                    pseudo: network.records(probes, study.stop)?,
                })
            })?;
        Ok(Some(left_out))
    }

    fn see_all(&self, network: &mut Network) -> Result<Whole> {
        let probes = self.probes;
        let mut see = |set: &[Probe]| network.records(set, self.stop);
        Ok(Whole {
            normal: see(&probes.normal)?,
            pseudo: see(&probes.pseudo)?,
            families: probes.families.iter().map(|set| see(set)).collect::<Result<_>>()?,
            others: probes
                .others
                .iter()
                .map(|other| {
                    Ok(OtherCamera {
                        name: other.name.clone(),
                        normal: see(&other.normal)?,
                        pseudo: see(&other.pseudo)?,
                    })
                })
                .collect::<Result<_>>()?,
            test: see(&probes.test)?,
            kinds: network.kinds().to_vec(),
        })
    }

    /// A result from an earlier call if there is one, else by training with these rates of kinds and
    /// looking.
    fn kept<T: Serialize + for<'de> Deserialize<'de>>(
        &mut self,
        design: &Design,
        seed: u64,
        part: &str,
        rates: &KindRates,
        look: impl Fn(&Self, &mut Network) -> Result<T>,
    ) -> Result<T> {
        let mut config = design.config.clone();
        config.composite.kinds = rates.clone();
        let identity = self.identity(&config, seed)?;
        let folder = self.args.out.join("runs");
        let path = folder.join(format!("{}-{seed}-{part}.json", design.name));
        let earlier = std::fs::read(&path).ok();
        if let Some(kept) = earlier.and_then(|bytes| serde_json::from_slice::<Kept<T>>(&bytes).ok())
            && kept.identity == identity
        {
            return Ok(kept.result);
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        log::info!("{} seed {seed}: {part}", design.name);
        let work = self.args.out.join("work").join(&identity);
        let mut network = self.network(&config, seed, &work)?;
        let bytes = serde_json::to_vec(&Kept { identity, result: look(self, &mut network)? })?;
        write_file(&path, &bytes)?;
        // The state has served.
        std::fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
        // As a later call reads it: a number may lose its last bit in writing.
        Ok(serde_json::from_slice::<Kept<T>>(&bytes)?.result)
    }

    fn network(&mut self, config: &TrainConfig, seed: u64, work: &Path) -> Result<Network> {
        let clips = self.clips.of(config, &self.probes.footage.training, seed, self.stop)?;
        let site = network::Site {
            input: &self.probes.footage.input,
            normal: &self.probes.training,
            every: self.args.every as usize,
        };
        network::train(config, &site, clips, seed, self.device, work, self.backend, self.stop)
    }

    /// What tells results apart, in hexadecimal: only what they depend on.
    fn identity(&self, config: &TrainConfig, seed: u64) -> Result<String> {
        let (composite, local) = (&config.composite, &config.local);
        let config = serde_json::to_string(&(composite, local, config.pseudo_clips))?;
        let shown = (&self.probes.hash, self.args.every, seed);
        let hash = Sha256::new()
            .chain_update(config)
            .chain_update(serde_json::to_string(&shown)?)
            .finalize();
        Ok(hex(&hash[..8]))
    }
}
