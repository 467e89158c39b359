//! `trainer distill`: a light backbone that gives the teacher's features.

mod config;
mod prepare;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use model_export::graphs::mobilenetv2;
use model_export::weights::{self, Weights};
use serde::Serialize;
use sha2::{Digest, Sha256};
use trainer::device::DeviceChoice;
use trainer::hash::hex;
use trainer::student::{self, Architecture, Network, Progress, Trained, Validation, initial};

use super::train::metrics::Metrics;
use super::train::progress;
use super::train::{backend, stop_when_asked};
use super::{Usage, write_file};
use config::DistillConfig;
use prepare::{Prepared, prepare, teacher_name};

/// Name of the trained student.
const STUDENT: &str = "student.safetensors";

/// Teaches the camera's light backbone, tsm-mobilenetv2, to give the features of I3D.
///
/// From normal videos without labels, and pseudo-abnormal clips made from them. A part of each folder
/// is kept out, and the student that comes closest to the teacher there is kept. Interrupted, it goes on
/// where it was when it is run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer distill --input videos/gate --input videos/hall --out \
                        student\n  model-export backbone tsm-mobilenetv2 --weights \
                        student/student.safetensors --out student.onnx"
)]
pub struct DistillArgs {
    /// Normal videos of one site, or folders of images; may be repeated.
    #[arg(long, value_name = "DIR", required = true)]
    pub(super) input: Vec<PathBuf>,
    /// Folder that gets student.safetensors and student.toml.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Configuration; without it, the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Same seed, same footage, same machine: same student.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Training steps, instead of the configuration's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Pseudo-abnormal clips of each folder, instead of the configuration's.
    #[arg(long, value_name = "N")]
    pseudo_clips: Option<usize>,
    /// Weights to start from, in torchvision's names; without it, those trained on ImageNet.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Go on with a run that was broken off, and with nothing else: fail if there is none.
    #[arg(long)]
    resume: bool,
    /// ONNX Runtime's library, if it is not in the usual places; without it tract computes the
    /// teacher's features, in fp32 and more slowly.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Where the student is trained.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

/// The figures of a step.
const METRICS: &[&str] = &[
    "loss/total",
    "loss/smooth_l1",
    "loss/cosine",
    "learning_rate",
    "validation/cosine",
    "validation/cosine_normalised",
    "validation/loss",
];

/// `student.toml`: what the student is and how it came about.
#[derive(Serialize)]
struct Record<'a> {
    backbone: &'a str,
    width: usize,
    height: usize,
    teacher: &'a str,
    provenance: BTreeMap<&'a str, String>,
    footage: BTreeMap<&'a str, u64>,
    before: Validation,
    trained: Validation,
    training: &'a DistillConfig,
}

/// Runs the command.
pub fn run(args: &DistillArgs) -> Result<()> {
    let mut config = DistillConfig::read(args.config.as_deref())?;
    config.student.steps = args.steps.unwrap_or(config.student.steps);
    config.pseudo_clips = args.pseudo_clips.unwrap_or(config.pseudo_clips);
    config.student.validate().map_err(|e| Usage(e.to_string()))?;

    let stop = stop_when_asked()?;
    // First, because it is soon known whether they are there, and reading takes minutes.
    let device = args.device.open()?;
    let weights = match &args.weights {
        Some(path) => path.clone(),
        None => weights::find(mobilenetv2::WEIGHTS_FILE)?,
    };
    let bytes = std::fs::read(&weights)
        .map_err(|e| Usage(format!("{}: {e}; check the path", weights.display())))?;
    let network = Network::new(&Architecture::default());
    let source = weights.display().to_string();
    let start = initial::backbone(&network, &Weights::from_bytes(&source, &bytes)?)?;
    let weights = hex(&Sha256::digest(&bytes));

    let backend = backend(args.ort_library.as_deref())?;
    let prepared = prepare(args, &config, backend.as_ref(), &stop)?;
    let run = identity(args, &config, &prepared, &weights)?;
    let work = args.out.join("work").join(&run);
    if args.resume && !work.join("state.safetensors").exists() {
        bail!(Usage(format!(
            "{}: no run with this footage, configuration, seed and weights to resume; leave --resume \
             out to start one",
            args.out.display()
        )));
    }
    let metrics = Metrics::new(&args.out, "student", &run, METRICS)?;
    let progress = progress::Progress::new("student", config.student.steps);
    let trained = student::train(
        &network,
        &start,
        &weights,
        &prepared.footage,
        &config.student,
        args.seed,
        &device,
        Some(&work),
        &mut |p| {
            metrics.step(p.step, &figures(p));
            progress.at(p.step, &brief(p));
        },
        &stop,
    );
    metrics.flush();
    drop(progress);
    write(args, &config, &prepared, &weights, &trained?)
}

fn figures(p: &Progress) -> [f64; 7] {
    let nan = (f64::NAN, f64::NAN, f64::NAN);
    let (cosine, normalised, loss) =
        p.validation.map_or(nan, |v| (v.cosine, v.cosine_normalised, v.loss));
    let [total, smooth_l1, angle] = [p.loss, p.smooth_l1, p.cosine].map(f64::from);
    [total, smooth_l1, angle, p.learning_rate, cosine, normalised, loss]
}

/// The losses for a line of progress.
fn brief(p: &Progress) -> String {
    format!("loss {:.3} (smooth L1 {:.3}, cosine {:.3})", p.loss, p.smooth_l1, p.cosine)
}

/// Writes the student; the record comes last, so that a cut leaves none that looks whole.
fn write(
    args: &DistillArgs,
    config: &DistillConfig,
    prepared: &Prepared,
    weights: &str,
    trained: &Trained,
) -> Result<()> {
    let size = (config.student.width, config.student.height);
    let teacher = teacher_name(config.teacher);
    let path = args.out.join(STUDENT);
    initial::save(&path, &trained.tensors, size, teacher)?;
    let student = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let footage = &prepared.footage;
    let provenance = BTreeMap::from([
        ("tool", format!("trainer {}", env!("CARGO_PKG_VERSION"))),
        ("seed", args.seed.to_string()),
        ("student_sha256", hex(&Sha256::digest(&student))),
        ("weights_sha256", weights.to_owned()),
        ("teacher_graph_sha256", prepared.teacher.clone()),
        ("normal_footage_sha256", prepared.folders.join(" ")),
        ("training_sha256", footage.training.hash()),
        ("validation_sha256", footage.validation.hash()),
    ]);
    let record = Record {
        backbone: "tsm-mobilenetv2",
        width: size.0,
        height: size.1,
        teacher,
        provenance,
        footage: BTreeMap::from([
            ("training_snippets", footage.training.snippets() as u64),
            ("validation_snippets", footage.validation.snippets() as u64),
        ]),
        before: trained.before,
        trained: trained.best,
        training: config,
    };
    let text = toml::to_string(&record).context("writing the record")?;
    write_file(&args.out.join("student.toml"), text.as_bytes())?;
    let (before, best) = (trained.before, trained.best);
    log::info!(
        "{}: of step {}; on clips kept out cosine {:.4} (before {:.4}), normalised {:.4} ({:.4})",
        path.display(),
        best.step,
        best.cosine,
        before.cosine,
        best.cosine_normalised,
        before.cosine_normalised
    );
    Ok(())
}

/// What tells runs apart: training resumes only what was the same in every respect.
fn identity(
    args: &DistillArgs,
    config: &DistillConfig,
    prepared: &Prepared,
    weights: &str,
) -> Result<String> {
    let footage = &prepared.footage;
    let text = format!(
        "{}\n{}\n{weights}\n{}\n{}",
        toml::to_string(config)?,
        args.seed,
        footage.training.hash(),
        footage.validation.hash()
    );
    Ok(hex(&Sha256::digest(text.as_bytes())[..8]))
}
