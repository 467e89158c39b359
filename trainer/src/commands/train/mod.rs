//! `trainer train`: from normal videos to a checkpoint.

mod abnormal;
mod backbone;
mod calibrate;
mod checkpoint;
pub(super) mod config;
pub(super) mod flags;
pub(super) mod graphs;
pub(super) mod metrics;
pub(super) mod normals;
pub(super) mod progress;
pub(super) mod pseudo;
pub(super) mod semantic;
mod stretches;
mod threshold;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::Args;
use inference::{Backend, BackendKind, BackendOptions, Engine, best_backend, open_backend, stack};
use model_bundle::manifest::{Calibration, Detectors, InputSpec, LocalSpec, MotionSpec, ZScore};
use model_export::calibration::record;
use model_export::graphs::local as local_graph;
use model_export::onnx::{self, ModelProto};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use trainer::device::DeviceChoice;
use trainer::hash::hex;
use trainer::local::{self, LocalConfig, LumaClip, TrainedLocal};
use trainer::synthesis::{Composite, PseudoClip, Synthesizer, contact_sheet};

use abnormal::Abnormal;
use config::TrainConfig;
use flags::{LossFlags, Switches};
use graphs::{Exported, weights};
use metrics::Metrics;
use progress::Progress;

use crate::commands::Usage;

/// Pseudo clips for calibration are numbered from here on: training never sees them.
const VALIDATION: u64 = 1 << 32;
/// Frames of normal footage, and as many of pseudo-abnormal clips, by which the local detector is
/// quantized: activations reach further on an event than on anything normal, and what lies beyond
/// the calibrated range is cut off.
const CALIBRATION_STACKS: usize = 64;

/// Height in pixels of the model's picture at least, where people are near.
const SMALLEST: usize = 64;

/// Trains the detectors on normal videos alone.
///
/// Pseudo-abnormal clips are made from the footage itself; no abnormal video is ever needed. The
/// checkpoint has what `model-export pack` puts into a bundle. Interrupted, it goes on where it was
/// when it is run again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer train --normal videos/normal --out checkpoints/gate-3")]
pub struct TrainArgs {
    /// The site's normal videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// The checkpoint to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Configuration; without it, the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Same seed, same footage, same machine: same checkpoint.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of the local detector's training, instead of the configuration's.
    #[arg(long, value_name = "N")]
    local_steps: Option<usize>,
    /// Pseudo-abnormal clips for training, instead of the configuration's.
    #[arg(long, value_name = "N")]
    pseudo_clips: Option<usize>,
    /// The output of `trainer synth run`: its clips are bags for the semantic detector, beside or, with
    /// `composite = false` under `[semantic]`, instead of the composite ones.
    #[arg(long, value_name = "DIR")]
    pseudo: Option<PathBuf>,
    /// Real abnormal videos, of which no more is known than that something happens: further bags for
    /// the semantic detector, beside the pseudo-abnormal ones. Nothing else sees them.
    #[arg(long, value_name = "DIR")]
    abnormal: Option<PathBuf>,
    /// The clips are of several cameras: pictures of other shapes are brought to that of the first.
    #[arg(long)]
    several_sites: bool,
    /// Backbone of the semantic detector, instead of the configuration's.
    #[arg(long, value_enum, value_name = "NAME")]
    backbone: Option<backbone::Backbone>,
    /// The backbone's weights, such as those of a distilled student, instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Precision of the features that the semantic detector is trained on, and of the camera's
    /// backbone, instead of the configuration's.
    #[arg(long, value_enum, value_name = "PRECISION")]
    features: Option<config::Precision>,
    /// ONNX Runtime's library, if it is not in the usual places. Without it tract computes the
    /// features, in fp32 and more slowly, and packing is not possible.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Where the detectors are trained.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    #[command(flatten)]
    switches: Switches,
    #[command(flatten)]
    losses: LossFlags,
}

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<()> {
    let mut config = TrainConfig::read(args.config.as_deref())?;
    config.local.steps = args.local_steps.unwrap_or(config.local.steps);
    config.pseudo_clips = args.pseudo_clips.unwrap_or(config.pseudo_clips);
    config.several_sites |= args.several_sites;
    let semantic = &mut config.semantic;
    semantic.backbone = args.backbone.unwrap_or(semantic.backbone);
    semantic.weights = args.weights.clone().or_else(|| semantic.weights.take());
    semantic.features = args.features.unwrap_or(semantic.features);

    args.switches.apply(&mut config.semantic.detector);
    args.losses.apply(&mut config.semantic.detector)?;

    let stop = stop_when_asked()?;
    let backend = backend(args.ort_library.as_deref())?;
    train(args, &config, backend.as_ref(), &stop)
}

/// A flag that Ctrl-C sets.
pub(super) fn stop_when_asked() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            // Asked twice: what is saved is saved.
            std::process::exit(130);
        }
        log::warn!("stopping after this step (again to stop at once)");
    })
    .context("cannot catch Ctrl-C")?;
    Ok(stop)
}

/// What computes the features: the named library, else the best there is.
pub(super) fn backend(ort_library: Option<&Path>) -> Result<Box<dyn Backend>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = BackendOptions {
        ort_library: ort_library.map(Path::to_path_buf),
        threads,
        ..Default::default()
    };
    // A library that was named and does not load is a mistake, not a reason for something slower.
    Ok(match ort_library {
        Some(_) => open_backend(BackendKind::Ort, &options)?,
        None => best_backend(&[BackendKind::Ort, BackendKind::Tract], &options)?,
    })
}

fn train(
    args: &TrainArgs,
    config: &TrainConfig,
    backend: &dyn Backend,
    stop: &AtomicBool,
) -> Result<()> {
    // First, because it is soon known whether there is a GPU, and reading takes minutes.
    let device = args.device.open()?;
    let footage = normals::read(&args.normal, config)?;
    let synthesized = args.pseudo.as_deref().map(Abnormal::synthesized).transpose()?;
    let abnormal = args.abnormal.as_deref().map(Abnormal::videos).transpose()?;
    if !config.semantic.composite && synthesized.is_none() && abnormal.is_none() {
        bail!(Usage(
            "semantic.composite = false leaves the semantic detector without abnormal clips; give \
             --pseudo"
                .into()
        ));
    }
    let mut footage_hashes = vec![("normal_footage_sha256", footage.hash.as_str())];
    footage_hashes.extend(synthesized.iter().map(|a| ("synthesized_clips_sha256", &*a.hash)));
    footage_hashes.extend(abnormal.iter().map(|a| ("abnormal_footage_sha256", &*a.hash)));
    let run = identity(config, args.seed, &footage_hashes)?;
    let work = args.out.join("work").join(&run);
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;

    let composite = Composite::new(&footage.training, &config.composite, args.seed)?;
    let input = model_input(config, &footage.input, composite.person_height());
    let size = (input.width as usize, input.height as usize);
    let features = args.out.join("work");
    let mut features =
        semantic::Features::new(config, &input, &footage.training, &features, backend, stop)?;
    let seen = config.semantic.composite.then_some(&mut features);
    let (pseudo, mut bags) = pseudo::make(&composite, config.pseudo_clips, size, seen, stop)?;
    for clips in synthesized.iter().chain(&abnormal) {
        let limit = config.max_normal_frames;
        bags.extend(clips.bags(&mut features, &footage.input, limit, stop)?);
    }

    let detector = semantic::train(
        config,
        &features.normal,
        &bags,
        args.seed,
        &device,
        Some(&work.join("semantic")),
        &Metrics::new(&args.out, "semantic", &run, semantic::METRICS)?,
        stop,
    )?;
    let local_config = LocalConfig { kinds: composite.kinds().to_vec(), ..config.local.clone() };
    let luma: Vec<LumaClip> =
        footage.training.iter().map(|clip| LumaClip::resized(&clip.frames, None, size)).collect();
    let metrics = Metrics::new(&args.out, "local", &run, &["loss", "learning_rate"])?;
    let trained =
        train_local(&luma, &pseudo, &local_config, args.seed, &device, &work, &metrics, stop)?;
    let (local_graph, local_spec) =
        export_local(&trained, &local_config, config, [&luma, &pseudo], backend)?;
    drop((luma, pseudo));
    let (head, semantic_spec) = semantic::export(config, &input, &detector)?;
    let exported = [local_graph, features.backbone, head];

    let detectors = Detectors {
        motion: Some(motion_spec(config, input.height)),
        input,
        local: Some(local_spec),
        semantic: Some(semantic_spec),
        smoothing: config.smoothing.clone(),
        calibration: Calibration {
            threshold: 0.0,
            scale: 1.0,
            false_alarms_per_hour: 0.0,
            normal: None,
        },
        events: config.events.clone(),
    };
    let validation: Vec<(f64, PseudoClip)> = (0..config.pseudo_validation_clips as u64)
        .into_par_iter()
        .map(|i| {
            let clip = composite.synthesize(VALIDATION + i)?;
            Ok::<_, anyhow::Error>((footage.training[clip.source.0].frame_rate, clip))
        })
        .collect::<Result<_>>()?;
    log::info!("calibrating on held-out footage");
    let graphs = exported.iter().map(|g| g.load(backend)).collect::<Result<_>>()?;
    let calibrated = calibrate::calibrate(
        &mut Engine::from_graphs(detectors, graphs)?,
        &footage.held_out,
        &validation,
        config.false_alarms_per_hour,
    )?;

    checkpoint::write(&checkpoint::Content {
        folder: &args.out,
        config,
        seed: args.seed,
        footage_hashes: &footage_hashes,
        calibration: &calibrated.record,
        detectors: &calibrated.detectors,
        graphs: &exported,
        local: &trained.tensors,
        detector: &detector.tensors,
        backend,
        golden: &validation[0].1,
    })?;
    let clips: Vec<PseudoClip> = validation.into_iter().map(|(_, clip)| clip).take(4).collect();
    let sheet = contact_sheet(&clips, composite.kinds(), 5);
    checkpoint::write_picture(&args.out.join("pseudo.jpg"), &sheet)?;
    log::info!("checkpoint: {}", args.out.display());
    Ok(())
}

/// The model's picture for footage of this size: where a usual person is taller than wanted, it is made
/// smaller.
pub(super) fn model_input(
    config: &TrainConfig,
    footage: &InputSpec,
    tall: Option<f32>,
) -> InputSpec {
    let Some(tall) = tall else { return footage.clone() };
    let wanted = f64::from(footage.height) * config.person_height as f64 / f64::from(tall);
    if wanted > 0.9 * f64::from(footage.height) {
        return footage.clone();
    }
    let (width, height) = (footage.width as usize, footage.height as usize);
    let input = trainer::footage::input_spec(width, height, (wanted as usize).max(SMALLEST));
    log::info!(
        "people are near, a usual one is {tall:.0} of {height} pixels high: the model's picture is {}x{}",
        input.width,
        input.height
    );
    input
}

/// Stops between two pieces of work if that was asked for; features made so far are on disk.
pub(super) fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        anyhow::bail!("interrupted; run again to go on");
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "each is one independent thing the run needs")]
fn train_local(
    normals: &[LumaClip],
    pseudo: &[LumaClip],
    config: &LocalConfig,
    seed: u64,
    device: &Device,
    work: &Path,
    metrics: &Metrics,
    stop: &AtomicBool,
) -> Result<TrainedLocal> {
    let progress = Progress::new("local detector", config.steps);
    let trained = local::train(
        normals,
        pseudo,
        config,
        seed,
        device,
        Some(&work.join("local")),
        &mut |p| {
            metrics.step(p.step, &[f64::from(p.loss), p.learning_rate]);
            progress.at(p.step, &format!("loss {:.3}", p.loss));
        },
        stop,
    );
    metrics.flush();
    Ok(trained?)
}

/// The local detector's description; the z-score is found later.
pub(super) fn local_spec(local: &LocalConfig, weight: f64) -> LocalSpec {
    LocalSpec {
        graph: "local".into(),
        offsets: local.offsets.clone(),
        mean: local.mean,
        std: local.std,
        diff_scale: local.diff_scale,
        stream: None,
        map_stride: local_graph::MAP_STRIDE as u32,
        pool: 3,
        kinds: local.kinds.clone(),
        z: ZScore { mean: 0.0, std: 1.0 },
        weight,
    }
}

/// The motion prior's description for a model's picture of this height; the z-score is found later.
pub(super) fn motion_spec(config: &TrainConfig, height: u32) -> MotionSpec {
    MotionSpec {
        box_size: height / 10,
        epsilon: 0.1,
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: config.fusion.motion,
        excess_over: Some(config.fusion.excess_over),
    }
}

/// The local detector's graph and description; the z-score is found later.
fn export_local(
    trained: &TrainedLocal,
    local: &LocalConfig,
    config: &TrainConfig,
    footage: [&[LumaClip]; 2],
    backend: &dyn Backend,
) -> Result<(Exported, LocalSpec)> {
    let mut spec = local_spec(local, config.fusion.local);
    let size = footage[0].first().map_or((0, 0), |clip| (clip.width, clip.height));
    let size = local_graph::Config { width: size.0, height: size.1 };
    let weights = weights("local detector", &trained.tensors)?;
    let quantized = |model: &ModelProto, samples: &mut dyn Iterator<Item = _>| {
        Exported::quantized("local", model, samples, backend)
    };
    let (back, ahead) = spec.reach();
    let starts = |length: usize| {
        footage.into_iter().flat_map(move |clips| {
            let lengths: Vec<usize> = clips.iter().map(|clip| clip.frames.len()).collect();
            let starts = semantic::spread(&lengths, length, CALIBRATION_STACKS);
            starts.into_iter().map(move |(clip, first)| (&clips[clip].frames, first))
        })
    };
    if !config.local_streams {
        let model = local_graph::build(&weights, &size)?;
        let around = 1 + 2 * back.max(ahead);
        let mut samples =
            starts(around).map(|(luma, first)| vec![local_stack(&spec, luma, first + around / 2)]);
        let exported = quantized(&model, &mut samples)?;
        drop(samples);
        return Ok((exported, spec));
    }
    let stream = local_graph::states(&size, &spec);
    let model = local_graph::build_streaming(&weights, &size, &spec)?;
    let mut graph = backend.load("local", &onnx::to_bytes(&model))?;
    let samples: Vec<_> = starts(back + ahead + 1)
        .map(|(luma, first)| {
            let frames = luma[first..=first + back + ahead].iter();
            let frames = frames.map(|luma| luma.iter().map(|&v| v.into()).collect());
            record(graph.as_mut(), &stream, frames.collect())
        })
        .collect::<Result<_, _>>()
        .context("recording the frames of the local detector")?;
    let exported = quantized(&model, &mut samples.into_iter())?;
    spec.stream = Some(stream);
    Ok((exported, spec))
}

/// The local network's input for the frame at `centre` of a clip's luma frames.
pub(super) fn local_stack(spec: &LocalSpec, luma: &[Vec<u8>], centre: usize) -> Vec<f32> {
    let at = |offset: i32| {
        let index = (centre as i64 + offset as i64).clamp(0, luma.len() as i64 - 1);
        luma[index as usize].as_slice()
    };
    let frames: Vec<&[u8]> =
        std::iter::once(0).chain(spec.offsets.iter().copied()).map(at).collect();
    let mut out = vec![0.0; frames.len() * frames[0].len()];
    stack::fill(spec, &frames, &mut out);
    out
}

/// What tells runs apart: training resumes only what was the same in every respect.
fn identity(config: &TrainConfig, seed: u64, footage: &[(&str, &str)]) -> Result<String> {
    let mut text = format!("{}\n{seed}\n{footage:?}", toml::to_string(config)?);
    if let Some(file) = &config.semantic.weights {
        // Another file may have come to the same place.
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        text += &hex(&Sha256::digest(&bytes));
    }
    Ok(hex(&Sha256::digest(text.as_bytes())[..8]))
}
