//! `trainer synth preview`: a plan to look at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use trainer::synthesis::plan::preview;

use super::read_plan;
use crate::commands::write_file;

/// Writes one HTML page with the frames, scores and prompts of a plan.
///
/// The page needs no network. Lines that are struck on it are left out of the plan.jsonl that it
/// offers to save; put that in the place of the old one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer synth preview --plan plan --out preview.html")]
pub struct PreviewArgs {
    /// The plan: its folder or plan.jsonl, local or s3://bucket/prefix.
    #[arg(long, value_name = "DIR")]
    plan: String,
    /// The page.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &PreviewArgs) -> Result<()> {
    let (plan, source) = read_plan(&args.plan)?;
    let mut pictures = BTreeMap::new();
    for line in &plan.lines {
        if pictures.contains_key(line.image.as_str()) {
            continue;
        }
        let name = source.address(&line.image);
        let thumbnail = match source.read(&line.image)? {
            Some(png) => Some(preview::thumbnail(&png).with_context(|| name)?),
            None => {
                log::warn!("{name}: is not there");
                None
            }
        };
        pictures.insert(line.image.as_str(), thumbnail);
    }
    write_file(&args.out, preview::page(&plan, &pictures).as_bytes())?;
    println!("{}: {} clips", args.out.display(), plan.lines.len());
    Ok(())
}
