//! `trainer cross`: models of several sites, each on every site.

mod matrix;
mod programs;
mod sites;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use trainer::evaluation::{
    Evaluation, Labels, ScoredClip, check_clips, evaluate, incidents, read_alerts, read_scores,
    rescored, rival,
};

use self::matrix::{Cell, LEAST_IOU, Matrix, Watched};
use self::programs::Programs;
use self::sites::Site;
use super::evaluate::name_clips;
use super::{Usage, write_file};

/// Scores every model on every site, through the camera's own path.
///
/// A model is a bundle, or a checkpoint of `trainer train`, which is made a bundle. DIR gets cross.md and
/// cross.json, the matrix, and for each cell MODEL/SITE/scores and events.jsonl.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer cross --site hall=hall.pavad,hall/test,hall/labels.json --site \
                  yard=yard/checkpoint,yard/test,yard/labels.json --out cross"
)]
pub struct CrossArgs {
    /// A site: its name, its model, the videos to watch, and their ground truth if there is any. A model
    /// '-' makes a site that is only watched, videos '-' one that is only trained on. May be repeated.
    #[arg(long = "site", value_name = "NAME=MODEL,DIR[,LABELS]")]
    sites: Vec<String>,
    /// The sites in a file: [[site]] with name, model, videos and labels, paths relative to the file.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Folder for the matrix, the scores and the events.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of the programs edge-runtime and model-export; without it where this one is.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &CrossArgs) -> Result<()> {
    let sites = sites::read(&args.sites, args.config.as_deref())?;
    let programs = Programs::find(args.programs.as_deref())?;
    let mut bundles = Vec::new();
    for site in &sites {
        if let Some(model) = &site.model {
            bundles.push((site.name.as_str(), programs.bundle(model, &site.name, &args.out)?));
        }
    }
    let (mut cells, mut watched) = (Vec::new(), Vec::new());
    for site in &sites {
        let Some(videos) = &site.videos else { continue };
        let labels = match &site.labels {
            Some(path) => Labels::read(path)?,
            None => Labels::default(),
        };
        let (mut clips, mut auc): (Option<Vec<ScoredClip>>, Option<f64>) = (None, None);
        for (trained, bundle) in &bundles {
            let folder = args.out.join(trained).join(&site.name);
            let bundle = model_for(bundle, site);
            log::info!("{trained} watches {}", site.name);
            programs.replay(bundle, videos, &folder)?;
            // The videos are looked at once for all models.
            let scored = match &clips {
                Some(clips) => rescored(clips, &folder.join("scores"))?,
                None => read_scores(videos, &folder.join("scores"))?,
            };
            let evaluation = judged(&scored, &labels, &folder.join("events.jsonl"))?;
            cells.push(Cell::of(trained, &site.name, &evaluation));
            auc = evaluation.auc_frame_difference;
            clips = Some(scored);
        }
        let clips = clips.unwrap_or_default();
        let best = rival(&clips, &labels, LEAST_IOU)?;
        watched.push(Watched::of(&site.name, &clips, &best, auc));
    }
    let matrix = Matrix { cells, watched };
    write_file(&args.out.join("cross.json"), serde_json::to_string_pretty(&matrix)?.as_bytes())?;
    write_file(&args.out.join("cross.md"), matrix.markdown().as_bytes())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&matrix)?);
    } else {
        print!("{}", matrix.markdown());
    }
    Ok(())
}

/// The bundle with which a site is watched: that of the site trained on, as it is. Where a model is fitted
/// to the site first, by its own unlabelled footage, this is the place to do it.
fn model_for<'a>(bundle: &'a Path, _watched: &Site) -> &'a Path {
    bundle
}

/// Scores and events against the truth.
fn judged(clips: &[ScoredClip], labels: &Labels, events: &Path) -> Result<Evaluation> {
    let mut alerts = read_alerts(events)?;
    name_clips(&mut alerts, clips);
    let announced: Vec<_> = incidents(&alerts).into_iter().map(|(event, _)| event).collect();
    check_clips(&announced, clips.iter().map(|clip| clip.name.as_str()))?;
    evaluate(clips, labels, Some(&announced)).context("evaluating")
}

/// Wrong usage.
fn usage(message: String) -> anyhow::Error {
    Usage(message).into()
}
