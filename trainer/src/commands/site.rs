//! `trainer site`: what a site's footage shows, before anything is trained on it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use trainer::synthesis::{Composite, PseudoClip, Synthesizer, contact_sheet};

use super::train::config::TrainConfig;
use super::train::normals;

/// Reads a site's normal footage and shows what was understood of it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer site --normal videos/normal --out site")]
pub struct SiteArgs {
    /// The site's normal videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// Folder for the page.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Configuration of the training; without it, the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The same seed shows the same examples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &SiteArgs) -> Result<()> {
    let config = TrainConfig::read(args.config.as_deref())?;
    let footage = normals::read(&args.normal, &config)?;
    let composite = Composite::new(&footage.training, &config.composite, args.seed)?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    for (i, reading) in composite.readings().iter().enumerate() {
        let picture = |name: &str, frame| {
            super::train::checkpoint::write_picture(&args.out.join(format!("{i}-{name}.jpg")), frame)
        };
        picture("background", &reading.background)?;
        picture("people", &reading.people)?;
    }
    let clips: Vec<PseudoClip> =
        (0..8).map(|i| composite.synthesize(i)).collect::<Result<_, _>>()?;
    let sheet = contact_sheet(&clips, composite.kinds(), 5);
    super::train::checkpoint::write_picture(&args.out.join("pseudo.jpg"), &sheet)?;
    Ok(())
}
