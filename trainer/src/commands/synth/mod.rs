//! `trainer synth`: CA-PAG, from normal footage to pseudo-abnormal clips.

mod classes;
mod plan;
mod preview;
mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use trainer::synthesis::plan::Plan;
use trainer::synthesis::store::Store;
use video::is_video;

use super::Usage;

/// Makes pseudo-abnormal clips of a site: plans them, shows the plan, carries it out.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer synth plan --normal videos --clip clip-vit-base-patch32 --out plan\n  \
    trainer synth preview --plan plan --out preview.html\n  \
    trainer synth run --plan plan --normal videos --synthesizer composite --out clips"
)]
pub struct SynthArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Classes(classes::ClassesArgs),
    Plan(plan::PlanArgs),
    Preview(preview::PreviewArgs),
    Run(run::RunArgs),
}

/// Runs the command.
pub fn run(args: &SynthArgs) -> Result<()> {
    match &args.command {
        Command::Classes(args) => classes::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Preview(args) => preview::run(args),
        Command::Run(args) => run::run(args),
    }
}

/// Set by Ctrl-C and by the termination signal; a second one ends the process at once.
fn stop_on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    let handled = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        log::warn!("stopping; what is finished stays, and the same command goes on from there");
    });
    if let Err(error) = handled {
        log::warn!("an interruption will not be clean: {error}");
    }
    stop
}

/// The plan at an address, which is the plan's folder or its `plan.jsonl`, and the folder.
fn read_plan(address: &str) -> Result<(Plan, Store)> {
    let (folder, file) = match address.rsplit_once('/') {
        Some((folder, file)) if file.ends_with(".jsonl") => (folder, file),
        None if address.ends_with(".jsonl") => (".", address),
        _ => (address.trim_end_matches('/'), "plan.jsonl"),
    };
    let store = Store::open(folder)?;
    let read = |name: &str| -> Result<String> {
        let bytes = store.read(name)?.ok_or_else(|| {
            Usage(format!(
                "{}: no such file; make it with `trainer synth plan`",
                store.address(name)
            ))
        })?;
        String::from_utf8(bytes).with_context(|| format!("{}: not text", store.address(name)))
    };
    let plan = Plan::parse(&store.address(file), &read(file)?, &read("scenes.json")?)?;
    Ok((plan, store))
}

/// A local folder with the footage: the folder itself, or a copy of a store's videos in `cache`; of
/// all videos, or of those named.
fn footage(address: &str, names: Option<Vec<String>>, cache: &std::path::Path) -> Result<PathBuf> {
    let store = Store::open(address)?;
    let names = match (&store, names) {
        (Store::Local(folder), _) => return Ok(folder.clone()),
        (Store::Remote(_), Some(names)) => names,
        (Store::Remote(_), None) => {
            store.list("")?.into_keys().filter(|n| is_video(n.as_ref())).collect()
        }
    };
    if names.is_empty() {
        return Err(Usage(format!("{address}: no videos here")).into());
    }
    Ok(store.local(&names, cache)?)
}
