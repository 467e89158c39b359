//! `trainer report`: an evaluation as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use trainer::evaluation::NormHistogram;
use trainer::evaluation::report::{CheckpointError, ReportData, read_checkpoint, render};

use super::{Usage, write_file};

/// Makes one HTML page of an evaluation: figures, charts and pictures in a single file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer report --data report.json --out report.html\n  trainer report \
                  --data report.json --norms norms.csv --checkpoint checkpoint --out report.html"
)]
pub struct ReportArgs {
    /// What the report shows; paths of pictures and videos in it are relative to this file.
    #[arg(long, value_name = "FILE.json")]
    data: PathBuf,
    /// Norms of features: header set,norm, one row a feature vector.
    #[arg(long, value_name = "FILE.csv")]
    norms: Option<PathBuf>,
    /// The checkpoint, for configuration, seed and hashes.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<()> {
    let mut data = ReportData::read(&args.data).map_err(|e| Usage(e.to_string()))?;
    if let Some(path) = &args.norms {
        data.norms = Some(NormHistogram::read(path)?);
    }
    if let Some(folder) = &args.checkpoint {
        let checkpoint = read_checkpoint(folder).map_err(|e| match e {
            CheckpointError::Io { .. } => Usage(e.to_string()).into(),
            CheckpointError::Config { .. } => anyhow::Error::from(e),
        })?;
        let facts = &mut data.facts;
        facts.seed = checkpoint.seed.or(facts.seed);
        facts.configuration = Some(checkpoint.configuration);
        facts.hashes.retain(|(name, _)| checkpoint.hashes.iter().all(|(own, _)| own != name));
        facts.hashes.extend(checkpoint.hashes);
    }
    let report = render(&data, args.data.parent().unwrap_or(Path::new(".")));
    for (path, reason) in &report.missing {
        log::warn!("picture {}: {reason}; the report shows it as missing", path.display());
    }
    write_file(&args.out, report.html.as_bytes())?;
    let kib = report.html.len() / 1024;
    log::info!("wrote {} ({kib} KiB)", args.out.display());
    Ok(())
}
