//! `trainer report`: an evaluation as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use trainer::evaluation::report::{ReportData, render};

use super::Usage;

/// Makes one HTML page of an evaluation: figures, charts and pictures in a single file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer report --data report.json --out report.html")]
pub struct ReportArgs {
    /// What the report shows; paths of pictures in it are relative to this file.
    #[arg(long, value_name = "FILE.json")]
    data: PathBuf,
    /// The page.
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<()> {
    let data = ReportData::read(&args.data).map_err(|e| Usage(e.to_string()))?;
    let report = render(&data, args.data.parent().unwrap_or(Path::new(".")));
    for (path, reason) in &report.missing {
        log::warn!("picture {}: {reason}; the report shows it as missing", path.display());
    }
    std::fs::write(&args.out, &report.html).with_context(|| args.out.display().to_string())?;
    let kib = report.html.len() / 1024;
    log::info!("wrote {} ({kib} KiB)", args.out.display());
    Ok(())
}
