//! `trainer synth plan`: from normal videos and classes to a list of clips to be made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use trainer::clip::Clip;
use trainer::synthesis::classes::Classes;
use trainer::synthesis::plan::{Planner, PromptFrom};
use trainer::synthesis::refine::{OpenAi, OpenAiConfig, PromptRefiner};
use trainer::synthesis::store::Store;

use super::{footage, stop_on_signal};
use crate::commands::Usage;
use crate::commands::train::progress::Progress;

/// The environment variable with the language model server's key.
const KEY: &str = "OPENAI_API_KEY";

/// Plans clips: chooses frames of normal videos for each class, and writes plan.jsonl.
///
/// The output gets plan.jsonl (a line a clip), scenes.json and frames/*.png. Without --clip the frames
/// are drawn at random; without --refine the prompts are the class phrases. Embeddings and
/// descriptions are kept in the cache, so that the same command goes on where it was interrupted, and
/// asks again only where the language model gave nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer synth plan --normal videos --clip clip-vit-base-patch32 \\\n    \
    --refine http://localhost:8000/v1 --out plan"
)]
pub struct PlanArgs {
    /// Normal videos: a folder, or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    normal: String,
    /// Where the plan goes: a folder, or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    out: String,
    /// Class file; UCF-Crime's thirteen classes otherwise (`trainer synth classes` prints them).
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// CLIP folder in Hugging Face's layout.
    #[arg(long, value_name = "DIR")]
    clip: Option<PathBuf>,
    /// Clips of each class, instead of the class file's numbers.
    #[arg(long, value_name = "K")]
    per_class: Option<usize>,
    /// OpenAI-compatible server that writes the prompts, address up to /v1. A key is taken from the
    /// environment variable OPENAI_API_KEY or from --api-key-file.
    #[arg(long, value_name = "URL")]
    refine: Option<String>,
    /// The server's model; its first otherwise.
    #[arg(long, value_name = "NAME", requires = "refine", default_value = "")]
    refine_model: String,
    /// File with the server's key.
    #[arg(long, value_name = "FILE", requires = "refine")]
    api_key_file: Option<PathBuf>,
    /// Seconds for one answer of the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Tries after a failed one; then the class phrase is used.
    #[arg(long, value_name = "N", default_value_t = 4)]
    retries: u32,
    /// Requests to the server at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    requests: usize,
    /// The same seed gives the same plan.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for embeddings, descriptions and fetched videos; cache in a local output otherwise.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print what was planned as JSON.
    #[arg(long)]
    json: bool,
}

/// What was planned.
#[derive(Serialize)]
struct Summary {
    plan: String,
    lines: usize,
    classes: BTreeMap<String, usize>,
    scenes: usize,
    /// Frames sampled and frames left without near-duplicates.
    candidates: usize,
    pool: usize,
    refined: usize,
    fallbacks: usize,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<()> {
    if !(0.1..=86_400.0).contains(&args.timeout) {
        bail!(Usage(format!("--timeout {} must be 0.1 to 86400 seconds", args.timeout)));
    }
    let mut classes = Classes::read(args.classes.as_deref())?;
    if let Some(k) = args.per_class {
        if k == 0 {
            bail!(Usage("--per-class must be at least 1".into()));
        }
        classes.selection.per_class = k;
        classes.classes.iter_mut().for_each(|class| class.per_class = None);
    }
    let out = Store::open(&args.out)?;
    let cache = match (&args.cache, &out) {
        (Some(cache), _) => cache.clone(),
        (None, Store::Local(folder)) => folder.join("cache"),
        (None, Store::Remote(_)) => std::env::temp_dir().join("trainer-synth-cache"),
    };
    let normal = footage(&args.normal, None, &cache.join("footage"))?;
    let clip = match &args.clip {
        Some(folder) => Some(Clip::load(folder, &candle_core::Device::Cpu)?),
        None => {
            log::warn!("no --clip: frames are drawn at random, whether they suit a class or not");
            None
        }
    };
    let refiner = args.refine.as_ref().map(|url| refiner(args, url)).transpose()?;
    let stop = stop_on_signal();
    let progress: Mutex<Option<(&str, Progress)>> = Mutex::new(None);
    let planned = Planner {
        classes: &classes,
        clip: clip.as_ref(),
        refiner: refiner.as_ref().map(|r| r as &dyn PromptRefiner),
        requests: args.requests,
        seed: args.seed,
        cache: &cache,
        stop: &stop,
        progress: &|what, done, total| {
            let mut progress = progress.lock().expect("nothing panics while it is held");
            if progress.as_ref().is_none_or(|(shown, _)| *shown != what) {
                *progress = Some((what, Progress::new(what, total)));
            }
            if let Some((_, progress)) = progress.as_ref() {
                progress.at(done, "");
            }
        },
    }
    .plan(&normal)?;
    drop(progress);

    let plan = &planned.plan;
    // The plan is written last: who finds it finds its frames.
    for (name, png) in planned.pictures {
        out.write(&name, png)?;
    }
    out.write("scenes.json", plan.scenes_json().into_bytes())?;
    out.write("plan.jsonl", plan.to_jsonl().into_bytes())?;
    let from = |wanted| plan.lines.iter().filter(|l| l.prompt_from == wanted).count();
    let mut counts = BTreeMap::new();
    for line in &plan.lines {
        *counts.entry(line.class.clone()).or_insert(0) += 1;
    }
    let summary = Summary {
        plan: out.address("plan.jsonl"),
        lines: plan.lines.len(),
        classes: counts,
        scenes: plan.scenes.len(),
        candidates: planned.candidates,
        pool: planned.pool,
        refined: from(PromptFrom::Refined),
        fallbacks: from(PromptFrom::Fallback),
    };
    if summary.fallbacks > 0 {
        log::warn!(
            "{} of {} prompts are the bare class phrase, for the reasons in `fallback`; run the same \
             command again to ask again for those",
            summary.fallbacks,
            summary.lines
        );
    }
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!(
            "{}: {} clips of {} classes from {} frames of {} scenes",
            summary.plan,
            summary.lines,
            summary.classes.len(),
            summary.pool,
            summary.scenes
        );
    }
    Ok(())
}

fn refiner(args: &PlanArgs, url: &str) -> Result<OpenAi> {
    let key = match &args.api_key_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Usage(format!("{}: {e}", path.display())))?;
            Some(text.trim().to_owned())
        }
        None => std::env::var(KEY).ok(),
    };
    let refiner = OpenAi::new(OpenAiConfig {
        base: url.to_owned(),
        model: args.refine_model.clone(),
        key: key.filter(|key| !key.is_empty()),
        timeout: Duration::from_secs_f64(args.timeout),
        retries: args.retries,
        pause: Duration::from_secs(1),
    });
    refiner.with_context(|| format!("--refine {url}"))
}
