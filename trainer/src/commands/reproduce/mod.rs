//! `trainer reproduce`: a published data set's figure from its published features.

mod prepare;
mod sets;
mod truth;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use trainer::detector::{self, UrDmu, checkpoint};
use trainer::device::DeviceChoice;
use trainer::evaluation::{Spread, average_precision, roc_auc};
use trainer::features::{CropLayout, crops};
use trainer::npy;

use super::train::progress::Progress;
use super::train::stop_when_asked;
use super::{Usage, write_file};
use prepare::{Prepared, prepare};
use sets::{Published, Set};

/// Trains on a published set's features and prints our figure beside the published ones.
///
/// With --pseudo, on the set's normal videos and pseudo-abnormal ones, as PA-VAD; with --supervised,
/// on the set's own abnormal videos, as UR-DMU. The weights are those of the last step: no step is
/// chosen by its figure on the test videos.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer reproduce shanghaitech --features SH_i3d --supervised\n  \
                  trainer reproduce ucf-crime --features UCF_i3d --pseudo pseudo_i3d --seeds 5 --out runs/ucf"
)]
pub struct ReproduceArgs {
    /// The data set.
    #[arg(value_enum)]
    name: Set,
    /// Features of its videos: .npy files, in subfolders as they may be. Lists and ground truth are
    /// looked for here too.
    #[arg(long, value_name = "DIR")]
    features: PathBuf,
    /// Features of pseudo-abnormal videos: train as PA-VAD does.
    #[arg(long, value_name = "DIR", conflicts_with = "supervised")]
    pseudo: Option<PathBuf>,
    /// Train on the set's own abnormal videos, without DARM: the UR-DMU baseline.
    #[arg(long)]
    supervised: bool,
    /// Train with the seeds 1 to N, and give the mean.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Training videos, one path a line; file names count alone.
    #[arg(long, value_name = "FILE")]
    train_list: Option<PathBuf>,
    /// Test videos, one path a line.
    #[arg(long, value_name = "FILE")]
    test_list: Option<PathBuf>,
    /// Ground truth: gt-*.npy, the official .txt, a folder of masks, or labels as JSON.
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
    /// Crops of the features, instead of what the list or the published features have.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    crops: Option<u16>,
    /// Crops of the pseudo-abnormal features, if there are others.
    #[arg(long, value_name = "N", requires = "pseudo", value_parser = clap::value_parser!(u16).range(1..))]
    pseudo_crops: Option<u16>,
    /// Order of the dimensions, where a shape alone does not tell.
    #[arg(long, value_enum, value_name = "ORDER")]
    crop_layout: Option<CropLayout>,
    /// Crops of each training video that are used; each takes the memory of a video.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    train_crops: Option<u16>,
    /// Frames of a snippet.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    snippet_frames: u16,
    /// The detector's configuration; without it, the published one.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Steps, instead of the configuration's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Folder for weights, scores and results.json; a run that was broken off goes on there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where to train.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed, figures in percent.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    title: &'static str,
    method: &'static str,
    train_normal: usize,
    train_abnormal: usize,
    test: usize,
    frames: usize,
    crops: usize,
    steps: usize,
    seeds: Vec<SeedResult>,
    auc: Option<Spread>,
    ap: Option<Spread>,
    published_auc: &'static [Published],
}

#[derive(Debug, Serialize)]
struct SeedResult {
    seed: u64,
    auc: Option<f64>,
    ap: Option<f64>,
}

/// Runs the command.
pub fn run(args: &ReproduceArgs) -> Result<()> {
    if args.pseudo.is_none() && !args.supervised {
        return Err(Usage(
            "give --pseudo DIR, features of pseudo-abnormal videos, or --supervised, to train on the \
             set's own abnormal videos"
                .into(),
        )
        .into());
    }
    let device = args.device.open()?;
    let prepared = prepare(args)?;
    let stop = stop_when_asked()?;
    let mut seeds = Vec::new();
    for seed in 1..=args.seeds {
        seeds.push(once(args, &prepared, seed, &device, &stop)?);
    }
    // A figure that one seed has not, no seed has: it needs frames of both kinds.
    let spread = |figure: fn(&SeedResult) -> Option<f64>| {
        seeds.iter().map(figure).collect::<Option<Vec<_>>>().and_then(|all| Spread::of(&all))
    };
    let facts = args.name.facts();
    let report = Report {
        name: clap::ValueEnum::to_possible_value(&args.name)
            .map_or_else(String::new, |v| v.get_name().to_string()),
        title: args.name.name().title(),
        method: if args.supervised { "UR-DMU, supervised" } else { "PA-VAD, pseudo-abnormal" },
        train_normal: prepared.videos[0],
        train_abnormal: prepared.videos[1],
        test: prepared.test.videos.len(),
        frames: prepared.truth.iter().map(Vec::len).sum(),
        crops: prepared.test.crops,
        steps: prepared.config.steps,
        auc: spread(|s| s.auc),
        ap: spread(|s| s.ap),
        seeds,
        published_auc: facts.published,
    };
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(out) = &args.out {
        write_file(&out.join("results.json"), json.as_bytes())?;
    }
    if args.json {
        println!("{json}");
    } else {
        print(&report);
    }
    Ok(())
}

/// Trains with one seed and scores the test videos.
fn once(
    args: &ReproduceArgs,
    prepared: &Prepared,
    seed: u64,
    device: &Device,
    stop: &AtomicBool,
) -> Result<SeedResult> {
    let folder = args.out.as_ref().map(|out| out.join(format!("seed-{seed}")));
    let scores_folder = folder.as_ref().map(|f| f.join("scores"));
    if let Some(folder) = &scores_folder {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let state = folder.as_ref().map(|f| f.join("state"));
    let progress = Progress::new("training", prepared.config.steps);
    let trained = detector::train(
        &prepared.normal,
        &prepared.abnormal,
        &prepared.config,
        seed,
        device,
        state.as_deref(),
        &mut |p| progress.at(p.step, &format!("seed {seed}, loss {:.3}", p.losses.total)),
        stop,
    )?;
    drop(progress);
    if let Some(folder) = &folder {
        let path = folder.join("model.safetensors");
        checkpoint::write(&path, &trained.tensors, std::collections::HashMap::new())?;
        write_file(&folder.join("config.toml"), toml::to_string(&trained.config)?.as_bytes())?;
    }
    let model = trained.model(device)?;
    let progress = Progress::new("scoring test videos", prepared.test.videos.len());
    let (mut all, mut truth) = (Vec::new(), Vec::new());
    for (video, labels) in prepared.test.videos.iter().zip(&prepared.truth) {
        if stop.load(Ordering::Relaxed) {
            anyhow::bail!("interrupted; run again with --out to go on");
        }
        let scores = score(&model, &prepared.test.load(video)?)?;
        if let Some(folder) = &scores_folder {
            npy::write(&folder.join(format!("{}.npy", video.name)), &[scores.len()], &scores)?;
        }
        let per_snippet = usize::from(args.snippet_frames);
        all.extend((0..labels.len()).map(|frame| scores[frame / per_snippet] as f64));
        truth.extend_from_slice(labels);
        progress.step();
    }
    let percent = |value: Option<f64>| value.map(|v| 100.0 * v);
    let auc = percent(roc_auc(&all, &truth));
    Ok(SeedResult { seed, auc, ap: percent(average_precision(&all, &truth)) })
}

/// Scores of a video, the mean over its crops.
fn score(model: &UrDmu, features: &crops::Crops) -> Result<Vec<f32>> {
    let scores: Vec<Vec<f32>> = features
        .each()
        .map(|crop| model.scores(crop))
        .collect::<Result<_, _>>()
        .with_context(|| format!("scoring {}", features.name))?;
    Ok(crops::mean(&scores))
}

fn print(report: &Report) {
    println!("{}", report.title);
    println!(
        "{} normal and {} abnormal videos for training, {} for testing ({} frames), {} crops, {} steps",
        report.train_normal,
        report.train_abnormal,
        report.test,
        report.frames,
        report.crops,
        report.steps
    );
    println!("\n{:44} {:>14} {:>14}", "", "frame AUC, %", "AP, %");
    let count = report.seeds.len();
    let seeds = if count == 1 { String::new() } else { format!(", {count} seeds") };
    let ours = format!("this run: {}{seeds}", report.method);
    println!("{ours:44} {:>14} {:>14}", Spread::text(report.auc), Spread::text(report.ap));
    if count > 1 {
        for seed in &report.seeds {
            let show = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2}"));
            let name = format!("  seed {}", seed.seed);
            println!("{name:44} {:>14} {:>14}", show(seed.auc), show(seed.ap));
        }
    }
    for published in report.published_auc {
        println!("{:44} {:>14.1} {:>14}", published.method, published.auc, "");
    }
}
