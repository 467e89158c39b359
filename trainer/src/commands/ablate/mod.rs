//! `trainer ablate`: PA-VAD's ablation of DARM on a data set, over several seeds.

mod data;
mod table;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainer::detector::{self, Bag, DetectorConfig};
use trainer::device::DeviceChoice;
use trainer::evaluation::{average_precision, roc_auc};
use trainer::hash::hex;

use super::train::config::TrainConfig;
use super::train::flags::LossFlags;
use super::train::{backend, progress::Progress, stop_when_asked};
use super::{Usage, write_file};
use data::{Data, TestVideo};
use table::Row;

/// Trains the semantic detector with and without the parts of DARM and compares them.
///
/// Four variants, as in PA-VAD's table: UR-DMU alone, with domain alignment, with the usage-aware
/// memory update, and with both. Every variant sees the same features; seeds differ in initial
/// weights, order and noise. The test videos are scored once, by finished detectors: no choice is
/// made by them. Interrupted, it goes on where it was when it is run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer ablate --normal videos/normal --test videos/test --labels labels.json \
                  --seeds 5 --out ablation"
)]
pub struct AblateArgs {
    /// Normal videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// Test videos.
    #[arg(long, value_name = "DIR")]
    test: PathBuf,
    /// Ground truth of the test videos.
    #[arg(long, value_name = "FILE.json")]
    labels: PathBuf,
    /// Folder for the table, the results of each run, and the work.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Configuration as for `trainer train`; without it, the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Runs of each variant, each with its own seed.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed; also that of the pseudo-abnormal clips.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each training, instead of the configuration's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Pseudo-abnormal clips for training, instead of the configuration's.
    #[arg(long, value_name = "N")]
    pseudo_clips: Option<usize>,
    /// ONNX Runtime's library, if it is not in the usual places.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Where the detectors are trained.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    #[command(flatten)]
    losses: LossFlags,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
}

/// A variant of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// In file names.
    pub name: &'static str,
    /// In the table.
    pub title: &'static str,
    /// Domain alignment.
    pub da: bool,
    /// Usage-aware memory update.
    pub upd: bool,
}

/// PA-VAD's table, in its order.
pub const VARIANTS: [Variant; 4] = [
    Variant { name: "urdmu", title: "UR-DMU", da: false, upd: false },
    Variant { name: "da", title: "+ domain alignment", da: true, upd: false },
    Variant { name: "upd", title: "+ usage-aware update", da: false, upd: true },
    Variant { name: "darm", title: "+ both (DARM)", da: true, upd: true },
];

impl Variant {
    /// The configuration with only this variant's parts of DARM.
    fn of(self, config: &DetectorConfig) -> DetectorConfig {
        DetectorConfig { use_da: self.da, use_upd: self.upd, ..config.clone() }
    }
}

/// What one run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// What this outcome belongs to: configuration, features, labels.
    identity: String,
    /// The variant's name.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// Frame AUC over all test frames together.
    pub auc: f64,
    /// Average precision over the same.
    pub average_precision: f64,
    /// Norm of the last batch's most attended pseudo-abnormal snippets; `None` if the run was
    /// interrupted between training and scoring.
    pub abnormal_norm: Option<f64>,
}

/// Runs the command.
pub fn run(args: &AblateArgs) -> Result<()> {
    let mut config = TrainConfig::read(args.config.as_deref())?;
    let detector = &mut config.semantic.detector;
    detector.steps = args.steps.unwrap_or(detector.steps);
    args.losses.apply(detector)?;
    config.pseudo_clips = args.pseudo_clips.unwrap_or(config.pseudo_clips);
    let stop = stop_when_asked()?;
    let backend = backend(args.ort_library.as_deref())?;
    let device = args.device.open()?;
    let data = Data::read(args, &config, backend.as_ref(), &stop)?;

    let detector = config.semantic.detector().map_err(Usage)?;
    let progress = Progress::new("ablation", VARIANTS.len() * args.seeds as usize);
    let mut outcomes = Vec::new();
    // Seed by seed, so that an early look at the results has all variants.
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        for variant in VARIANTS {
            let one = One { data: &data, config: variant.of(&detector), variant, seed };
            outcomes.push(one.outcome(&args.out, &device, &stop)?);
            progress.step();
        }
    }
    drop(progress);
    let rows: Vec<Row> = VARIANTS.iter().map(|v| Row::of(v, &outcomes)).collect();
    table::write(&args.out, &rows, &outcomes, &detector)?;
    if args.json {
        println!("{}", table::json(&rows, &outcomes, &detector)?);
    } else {
        print!("{}", table::text(&rows));
    }
    Ok(())
}

/// One variant with one seed.
struct One<'a> {
    data: &'a Data,
    config: DetectorConfig,
    variant: Variant,
    seed: u64,
}

impl One<'_> {
    /// The outcome from an earlier call if there is one, else by training and scoring.
    fn outcome(&self, out: &Path, device: &Device, stop: &AtomicBool) -> Result<Outcome> {
        let identity = self.identity()?;
        let runs = out.join("runs");
        let path = runs.join(format!("{}-{}.json", self.variant.name, self.seed));
        let earlier = std::fs::read(&path).ok();
        if let Some(outcome) = earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            && Outcome::identity(&outcome) == identity
        {
            return Ok(outcome);
        }
        std::fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
        let state = out.join("work").join(&identity);
        let trained = detector::train(
            &self.data.normal,
            &self.data.pseudo,
            &self.config,
            self.seed,
            device,
            Some(&state),
            &mut |_| (),
            stop,
        )?;
        let model = trained.model(device)?;
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for video in &self.data.test {
            let cells = model.bag_scores(&video.bag, self.config.segments)?;
            // A snippet scores as its highest cell.
            let highest = |cells: &[f32]| cells.iter().copied().fold(f32::MIN, f32::max);
            let snippets: Vec<f32> = cells.chunks_exact(video.bag.cells).map(highest).collect();
            scores.extend(video.frame_scores(&snippets));
            labels.extend_from_slice(&video.abnormal);
        }
        let both = "the test videos have frames of both kinds";
        let outcome = Outcome {
            identity,
            variant: self.variant.name.into(),
            seed: self.seed,
            auc: roc_auc(&scores, &labels).context(both)?,
            average_precision: average_precision(&scores, &labels).context(both)?,
            abnormal_norm: (trained.last.losses.total != 0.0).then_some(trained.last.abnormal_norm),
        };
        log::info!("{} seed {}: frame AUC {:.4}", self.variant.name, self.seed, outcome.auc);
        write_file(&path, &serde_json::to_vec_pretty(&outcome)?)?;
        // The state has served; an ablation would leave gigabytes.
        std::fs::remove_dir_all(&state).with_context(|| state.display().to_string())?;
        Ok(outcome)
    }

    /// What tells outcomes apart, in hexadecimal.
    fn identity(&self) -> Result<String> {
        let config = serde_json::to_string(&self.config)?;
        let mut hash = Sha256::new().chain_update(config).chain_update(self.seed.to_le_bytes());
        let bags = |bags: &[Bag], hash: &mut Sha256| {
            for bag in bags {
                hash.update((bag.features.len() as u64).to_le_bytes());
                bag.features.iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        };
        bags(&self.data.normal, &mut hash);
        bags(&self.data.pseudo, &mut hash);
        for TestVideo { bag, abnormal, .. } in &self.data.test {
            bags(std::slice::from_ref(bag), &mut hash);
            hash.update(abnormal.iter().map(|a| u8::from(*a)).collect::<Vec<_>>());
        }
        Ok(hex(&hash.finalize()[..8]))
    }
}

impl Outcome {
    fn identity(&self) -> &str {
        &self.identity
    }
}
