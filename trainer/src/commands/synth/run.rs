//! `trainer synth run`: carries out a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::{Args, ValueEnum};
use serde::Serialize;
use trainer::device::DeviceChoice;
use trainer::synthesis::plan::{Plan, PlanLine};
use trainer::synthesis::run::{
    Actors, CompositeRenderer, DiffusionRenderer, Done, Notice, Renderer, Run, Shard, Status, Step,
    fingerprint, operations,
};
use trainer::synthesis::store::Store;
use trainer::wan::Options;
use trainer::wan::vae::Tiling;

use super::{footage, read_plan, stop_on_signal};
use crate::commands::NoDevice;
use crate::commands::Usage;
use crate::commands::train::progress::Progress;

/// Frames per second that the composite synthesizer makes on one core, clips coded and judged; for
/// estimates before the first clip (docs/guide/synthesize.md says on what it was measured).
const COMPOSITE_RATE: f64 = 60.0;

/// Makes the clips of a plan.
///
/// The output gets clips/ID.mp4, for the composite synthesizer labels/ID.npy.gz, records/ID.json and
/// manifest.jsonl. It may be stopped or killed at any moment: the same command goes on, and no clip is
/// made twice. Processes with different shards share one output.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer synth run --plan plan --normal videos --out clips\n  \
    trainer synth run --plan s3://bucket/plan --normal s3://bucket/videos --out s3://bucket/clips --shard 3/16"
)]
pub struct RunArgs {
    /// The plan: its folder or plan.jsonl, local or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    plan: String,
    /// Where the clips go: a folder, or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    out: String,
    /// What makes the clips.
    #[arg(long, value_enum, default_value_t = Kind::Composite)]
    synthesizer: Kind,
    /// The normal videos that were planned with (composite): a folder, or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    normal: Option<String>,
    /// The diffusion model's folder, in diffusers' layout (diffusion).
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where diffusion computes, one clip at a time on each: cpu, cuda (every GPU), cuda:0,cuda:2.
    #[arg(long, value_name = "LIST", default_value = "cpu")]
    devices: String,
    /// Keep no weights on the device between clips: less memory, and loading for each clip (diffusion).
    #[arg(long)]
    lean: bool,
    /// Encode and decode in tiles of 256 pixels: less memory, slightly other pixels (diffusion).
    #[arg(long)]
    tiling: bool,
    /// Floating-point operations per second of a device, in TFLOP/s, for the estimate of a dry run:
    /// what it sustains, not its peak (diffusion).
    #[arg(long, value_name = "N", default_value_t = 300.0)]
    tflops: f64,
    /// This process's part of the plan: of N parts the I-th, from 0 (0/4 to 3/4) or from 1 (1/4 to
    /// 4/4).
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: ShardArg,
    /// Clips made at once (composite); the processor's cores otherwise.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Print what is to be done and what it will cost, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Folder for clips in progress and fetched videos, for a remote output; the system's temporary
    /// folder otherwise.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Pastes into the normal footage; no GPU, no weights, labels of every pixel.
    Composite,
    /// Wan 2.2 image-to-video from the initial frame and the prompt.
    Diffusion,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Composite => "composite",
            Self::Diffusion => "diffusion",
        }
    }
}

/// `I/N`, I from 0 to N: N stands for 0, so that counting from 1 covers the same parts.
#[derive(Debug, Clone, Copy)]
struct ShardArg(Shard);

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().ok();
        let parts = text.split_once('/').and_then(|(i, n)| Some((number(i)?, number(n)?)));
        match parts {
            Some((index, of)) if of > 0 && index <= of => Ok(Self(Shard { index: index % of, of })),
            _ => Err("must be I/N with I from 0 to N, such as 0/4".into()),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    /// Lines of the shard; made, rejected and done before add up to it.
    lines: usize,
    made: usize,
    rejected: usize,
    before: usize,
    /// Records in the manifest, of all shards.
    manifest: usize,
}

/// What a dry run tells.
#[derive(Serialize)]
struct Estimate {
    lines: usize,
    before: usize,
    /// Clips to be made, and their frames.
    clips: usize,
    frames: usize,
    /// Floating-point operations of denoising, in 10^15 (diffusion).
    #[serde(skip_serializing_if = "Option::is_none")]
    petaflops: Option<f64>,
    /// Seconds it will take here, about.
    seconds: f64,
    /// What the estimate is from: finished clips, or a figure in the program.
    from: String,
}

/// Runs the command.
pub fn run(args: &RunArgs) -> Result<()> {
    let (plan, source) = read_plan(&args.plan)?;
    let out = Store::open(&args.out)?;
    let stop = stop_on_signal();
    let work = match (&args.work, &out) {
        // On the same file system as the place it is renamed to.
        (_, Store::Local(folder)) => folder.join("clips"),
        (Some(work), _) => work.clone(),
        (None, _) => std::env::temp_dir().join("trainer-synth-work"),
    };
    let progress: Mutex<Option<Progress>> = Mutex::new(None);
    let finished = Mutex::new((0, 0));
    let notice = |notice: Notice<'_>| match notice {
        Notice::Lost(problem) => log::error!("{problem}"),
        Notice::Step { device, step: Step { done, of, memory } } => {
            let memory = memory.map(|bytes| format!(", {:.1} GB at most", bytes as f64 / 1e9));
            let message = format!("{device}: step {done} of {of}{}", memory.unwrap_or_default());
            log::debug!("{message}");
            let counts = finished.lock().expect("nothing panics while it is held");
            if let Some(p) = progress.lock().expect("nothing panics while it is held").as_ref()
                && of > 1
            {
                p.at(counts.0, &message);
            }
        }
        Notice::Finished(record) => {
            let mut counts = finished.lock().expect("nothing panics while it is held");
            counts.0 += 1;
            if record.status == Status::Rejected {
                counts.1 += 1;
                let reason = record.reason.as_deref().unwrap_or_default();
                log::warn!("{} ({}): rejected, {reason}", record.id, record.line.class);
            }
            if let Some(p) = progress.lock().expect("nothing panics while it is held").as_ref() {
                let rejected = counts.1;
                let message =
                    if rejected > 0 { format!("{rejected} rejected") } else { String::new() };
                p.at(counts.0, &message);
            }
        }
    };
    let model = match (args.synthesizer, &args.model) {
        (Kind::Composite, _) => None,
        (Kind::Diffusion, Some(model)) => Some(model.as_path()),
        (Kind::Diffusion, None) => {
            bail!(Usage(
                "--synthesizer diffusion needs --model, a folder in diffusers' layout".into()
            ))
        }
    };
    let mut run = Run {
        plan: &plan,
        source: &source,
        out: &out,
        shard: args.shard.0,
        synthesizer: args.synthesizer.name(),
        models: BTreeMap::new(),
        work: &work,
        notice: &notice,
        stop: &stop,
    };
    let workers = args
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    if workers == 0 {
        bail!(Usage("--workers must be at least 1".into()));
    }
    if args.dry_run {
        let (pending, lines) = run.pending()?;
        let estimate = match model {
            None => estimate_composite(&run, &pending, lines, workers)?,
            Some(model) => estimate_diffusion(args, &run, &pending, lines, model)?,
        };
        return tell(&estimate, args.json);
    }
    let lock = run.claim()?;
    let mut renderers = Vec::new();
    if let Some(model) = model {
        // Before anything is hashed or made: what is wrong with the model or the devices.
        renderers = diffusion(args, model)?;
        run.models.insert("diffusion".into(), fingerprint(model)?);
    }
    let run = run;
    let (pending, lines) = run.pending()?;
    run.clean(&pending)?;
    *progress.lock().expect("nothing panics while it is held") =
        Some(Progress::new("clips", pending.len()));
    let mut done = Done { lines, before: lines - pending.len(), ..Done::default() };
    let result = match model {
        None => composite(args, &run, &plan, &pending, workers, &work, &mut done),
        Some(_) => run.make(&pending, renderers).map_err(Into::into).map(|made| {
            done.made = made.made;
            done.rejected = made.rejected;
        }),
    };
    progress.lock().expect("nothing panics while it is held").take();
    // What is finished is in the manifest, whatever stopped the rest.
    let manifest = run.manifest();
    drop(lock);
    result?;
    let summary = Summary {
        lines: done.lines,
        made: done.made,
        rejected: done.rejected,
        before: done.before,
        manifest: manifest?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!(
            "{}: {} made, {} rejected, {} done before; {} of the plan's {} lines are in the manifest",
            out.address("manifest.jsonl"),
            summary.made,
            summary.rejected,
            summary.before,
            summary.manifest,
            plan.lines.len()
        );
    }
    Ok(())
}

/// Scene by scene: what is learned of a scene is shared by its clips, and memory holds one at a time.
fn composite(
    args: &RunArgs,
    run: &Run<'_>,
    plan: &Plan,
    pending: &[&PlanLine],
    workers: usize,
    work: &Path,
    done: &mut Done,
) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let Some(normal) = &args.normal else {
        bail!(Usage(
            "--synthesizer composite needs --normal, the videos that were planned with".into()
        ));
    };
    let mut scenes: Vec<(String, Vec<&PlanLine>)> = Vec::new();
    for &line in pending {
        let job = &line.composite;
        let key = format!("{} {} {} {}", line.scene, job.width, job.height, job.frame_rate);
        match scenes.iter_mut().find(|(other, _)| *other == key) {
            Some((_, lines)) => lines.push(line),
            None => scenes.push((key, vec![line])),
        }
    }
    let names = |lines: &[&PlanLine]| -> Vec<String> {
        plan.scenes[&lines[0].scene].videos.keys().cloned().collect()
    };
    for (_, lines) in &scenes {
        let scene = &plan.scenes[&lines[0].scene];
        let folder = footage(normal, Some(names(lines)), &work.join("footage"))?;
        let actors = Actors::read(&folder, scene, lines[0])?;
        let synthesizer = actors.composite(lines[0])?;
        let renderers = (0..workers.min(lines.len()))
            .map(|_| {
                Box::new(CompositeRenderer::new(&actors, &synthesizer)) as Box<dyn Renderer + '_>
            })
            .collect();
        let part = run.make(lines, renderers)?;
        done.made += part.made;
        done.rejected += part.rejected;
    }
    Ok(())
}

/// A renderer on each device.
fn diffusion(args: &RunArgs, model: &Path) -> Result<Vec<Box<dyn Renderer>>> {
    // With one expert or two, the transformers are what takes longest to load; the text encoder is
    // needed for a moment only.
    let options = Options {
        keep_text_encoder: false,
        keep_transformers: !args.lean,
        tiling: args.tiling.then(Tiling::default),
    };
    let renderer = |(name, device): (String, Device)| -> Result<Box<dyn Renderer>> {
        Ok(Box::new(DiffusionRenderer::new(model, name, &device, options.clone())?))
    };
    devices(&args.devices)?.into_iter().map(renderer).collect()
}

/// The devices of a list: `cpu`, `cuda` for every GPU, `cuda:N`.
fn devices(list: &str) -> Result<Vec<(String, Device)>> {
    let mut found: Vec<(String, Device)> = Vec::new();
    for name in list.split(',').map(str::trim) {
        let number = name.strip_prefix("cuda:").map(str::parse::<usize>);
        match (name, number) {
            ("cpu", _) => found.push((name.into(), Device::Cpu)),
            ("cuda", _) => {
                found.push(("cuda:0".into(), gpu(0)?));
                // As many as there are.
                found.extend((1..64).map_while(|n| Some((format!("cuda:{n}"), gpu(n).ok()?))));
            }
            (_, Some(Ok(number))) => found.push((name.into(), gpu(number)?)),
            _ => bail!(Usage(format!("--devices: {name:?} is none of cpu, cuda and cuda:N"))),
        }
    }
    let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(Usage(format!("--devices: {} is there twice", pair[0])));
    }
    Ok(found)
}

fn gpu(number: usize) -> Result<Device> {
    // Whether there is a driver at all shows with the first one; candle may panic for the others.
    let first = DeviceChoice::Cuda.open()?;
    if number == 0 {
        return Ok(first);
    }
    Device::new_cuda(number).map_err(|e| NoDevice(format!("cuda:{number}: {e}")).into())
}

fn estimate_composite(
    run: &Run<'_>,
    pending: &[&PlanLine],
    lines: usize,
    workers: usize,
) -> Result<Estimate> {
    let frames = pending.iter().map(|line| line.composite.frames).sum::<usize>();
    let (seconds, from) = match run.seconds_per_clip()? {
        Some((seconds, clips)) => {
            (seconds * pending.len() as f64, format!("{clips} finished clips, {workers} at once"))
        }
        None => (
            frames as f64 / COMPOSITE_RATE,
            format!("{COMPOSITE_RATE} frames a second and core, {workers} at once"),
        ),
    };
    Ok(Estimate {
        lines,
        before: lines - pending.len(),
        clips: pending.len(),
        frames,
        petaflops: None,
        seconds: seconds / workers as f64,
        from,
    })
}

fn estimate_diffusion(
    args: &RunArgs,
    run: &Run<'_>,
    pending: &[&PlanLine],
    lines: usize,
    model: &Path,
) -> Result<Estimate> {
    let mut petaflops = 0.0;
    for line in pending {
        petaflops += operations(model, &line.diffusion)? / 1e15;
    }
    let devices = args.devices.split(',').count() as f64;
    let (seconds, from) = match run.seconds_per_clip()? {
        Some((seconds, clips)) => {
            (seconds * pending.len() as f64, format!("{clips} finished clips, {devices} device(s)"))
        }
        None => (
            petaflops * 1000.0 / args.tflops,
            format!("{} TFLOP/s a device, {devices} device(s)", args.tflops),
        ),
    };
    Ok(Estimate {
        lines,
        before: lines - pending.len(),
        clips: pending.len(),
        frames: pending.iter().map(|line| line.diffusion.frames).sum(),
        petaflops: Some(petaflops),
        seconds: seconds / devices,
        from,
    })
}

fn tell(estimate: &Estimate, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(estimate)?);
    } else {
        let work = estimate.petaflops.map_or(String::new(), |p| format!(", {p:.1} PFLOP"));
        println!(
            "{} clips to make ({} frames{work}), {} done before; about {:.0} s ({})",
            estimate.clips, estimate.frames, estimate.before, estimate.seconds, estimate.from
        );
    }
    Ok(())
}
