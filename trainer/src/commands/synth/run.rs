//! `trainer synth run`: carries out a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use trainer::synthesis::plan::{Plan, PlanLine};
use trainer::synthesis::run::{
    Actors, CompositeRenderer, Done, Notice, Renderer, Run, Shard, Status,
};
use trainer::synthesis::store::Store;

use super::{footage, read_plan, stop_on_signal};
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
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Composite => "composite",
        }
    }
}

/// `I/N`, I from 0 to N: N stands for 0, so that counting from 1 covers the same parts.
#[derive(Debug, Clone, Copy)]
struct ShardArg(Shard);

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
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
        Notice::Step { .. } => {}
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
    let run = Run {
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
        return tell(&estimate(&run, &pending, lines, workers)?, args.json);
    }
    let lock = run.claim()?;
    let (pending, lines) = run.pending()?;
    run.clean(&pending)?;
    *progress.lock().expect("nothing panics while it is held") =
        Some(Progress::new("clips", pending.len()));
    let mut done = Done { lines, before: lines - pending.len(), ..Done::default() };
    let result = composite(args, &run, &plan, &pending, workers, &work, &mut done);
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
    work: &std::path::Path,
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

fn estimate(
    run: &Run<'_>,
    pending: &[&PlanLine],
    lines: usize,
    workers: usize,
) -> Result<Estimate> {
    let frames = pending.iter().map(|line| line.composite.frames).sum::<usize>();
    let measured = run.seconds_per_clip()?;
    let (seconds, from) = match measured {
        Some((seconds, clips)) => (
            seconds * pending.len() as f64 / workers as f64,
            format!("{clips} finished clips, {workers} at once"),
        ),
        None => (
            frames as f64 / COMPOSITE_RATE / workers as f64,
            format!("{COMPOSITE_RATE} frames a second and core, {workers} at once"),
        ),
    };
    Ok(Estimate {
        lines,
        before: lines - pending.len(),
        clips: pending.len(),
        frames,
        seconds,
        from,
    })
}

fn tell(estimate: &Estimate, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(estimate)?);
    } else {
        println!(
            "{} clips to make ({} frames), {} done before; about {:.0} s ({})",
            estimate.clips, estimate.frames, estimate.before, estimate.seconds, estimate.from
        );
    }
    Ok(())
}
