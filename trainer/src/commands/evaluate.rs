//! `trainer evaluate`: what a camera scored and announced, against the truth.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::evaluation::{Labels, evaluate, incidents, read_alerts, read_scores};

/// Compares scores and announced events with the truth.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer evaluate --videos videos/test --labels labels.json --scores scores \
                  --events events.jsonl --json"
)]
pub struct EvaluateArgs {
    /// The videos that were scored.
    #[arg(long, value_name = "DIR")]
    videos: PathBuf,
    /// Scores: CLIP.csv with the header frame,score; CLIP.detectors.csv has each detector's own.
    #[arg(long, value_name = "DIR")]
    scores: PathBuf,
    /// Ground truth; without it every frame counts as normal.
    #[arg(long, value_name = "FILE.json")]
    labels: Option<PathBuf>,
    /// Alerts as a subscriber received them, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let labels = match &args.labels {
        Some(path) => Labels::read(path)?,
        None => Labels::default(),
    };
    let clips = read_scores(&args.videos, &args.scores)?;
    let alerts =
        args.events.as_ref().map(|path| read_alerts(path)).transpose()?.unwrap_or_default();
    let announced: Vec<_> = incidents(&alerts).into_iter().map(|(event, _)| event).collect();
    let evaluation = evaluate(&clips, &labels, &announced)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
        return Ok(());
    }
    let show = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.4}"));
    println!("frame AUC (micro)          {}", show(evaluation.auc_micro));
    println!("frame AUC (mean of clips)  {}", show(evaluation.auc_macro));
    println!("average precision          {}", show(evaluation.average_precision));
    println!("  local detector alone     {}", show(evaluation.auc_local));
    println!("  motion prior alone       {}", show(evaluation.auc_motion));
    println!("  semantic detector alone  {}", show(evaluation.auc_semantic));
    println!("  frame difference         {}", show(evaluation.auc_frame_difference));
    println!(
        "events detected            {} of {}",
        evaluation.events_detected, evaluation.events_truth
    );
    println!(
        "false alarms               {} in {:.1} minutes of normal footage",
        evaluation.false_alarms,
        60.0 * evaluation.normal_hours
    );
    Ok(())
}
