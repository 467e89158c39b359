//! `trainer dataset`: a copy of a data set against the official totals, its ground truth as labels, and
//! folds of loose videos.

mod folds;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use trainer::dataset::check::{Options, check};
use trainer::dataset::report::Outcome;
use trainer::dataset::{Error, Name, Truth, survey};
use video::Reader;

use super::write_file;

/// Public data sets, and one's own videos.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
    Labels(LabelsArgs),
    Folds(folds::FoldsArgs),
}

/// Counts a copy of a data set against the official totals.
///
/// Works with whatever is there, annotations alone included, and says what could not be checked. Ends
/// with 0 if it agrees, 1 if it differs, 2 if the name is unknown or nothing is there, 3 if a file is
/// damaged.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer dataset check ped2 data/UCSDped2\n  trainer dataset check \
                  ucf-crime data/ucf-crime --quick --json"
)]
struct CheckArgs {
    /// The data set; the two splits of ShanghaiTech are two data sets.
    #[arg(value_name = "NAME", value_parser = names())]
    name: Name,
    /// The folder that holds it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Believe the number of frames that video files declare instead of decoding them; finds no damage.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Writes the ground truth of the test videos as a labels file, whatever form it is published in.
///
/// The videos need not be there; if they are, annotations of UCF-Crime and XD-Violence that go beyond
/// a video's end are cut there. A video without abnormal frames is left out, as labels files have it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer dataset labels avenue data/avenue --out labels.json\n  trainer \
                  evaluate --videos data/avenue/testing_videos --labels labels.json --scores scores"
)]
struct LabelsArgs {
    /// The data set.
    #[arg(value_name = "NAME", value_parser = names())]
    name: Name,
    /// The folder that holds it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The labels file; standard output without it.
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
}

/// Accepts the names of data sets, and lists them in the help.
fn names() -> impl TypedValueParser<Value = Name> {
    PossibleValuesParser::new(Name::ALL.map(Name::as_str)).try_map(|name| name.parse::<Name>())
}

/// Runs the command.
pub fn run(args: &DatasetArgs) -> Result<()> {
    match &args.command {
        Command::Check(args) => run_check(args),
        Command::Labels(args) => run_labels(args),
        Command::Folds(args) => folds::run(args),
    }
}

fn run_check(args: &CheckArgs) -> Result<()> {
    // Drawn on a terminal only.
    let bar = ProgressBar::new(0);
    let step = |videos: usize| {
        bar.set_length(videos as u64);
        bar.inc(1);
    };
    let report = check(args.name, &args.dir, Options { quick: args.quick }, &step);
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        say(&serde_json::to_string_pretty(&report)?)?;
    } else {
        say(&report.to_string())?;
    }
    if report.outcome == Outcome::Differs {
        let (points, folder) = (report.points(), args.dir.display());
        bail!("{folder}: differs from {} in {points} points, listed above", report.title);
    }
    Ok(())
}

fn run_labels(args: &LabelsArgs) -> Result<()> {
    let survey = survey(args.name, &args.dir)?;
    let mut labels: BTreeMap<&String, Vec<(u64, u64)>> = BTreeMap::new();
    for entry in &survey.test {
        let mut ranges = entry.truth.as_ref().map(Truth::ranges).unwrap_or_default();
        if let Some(clip) = entry.clip.as_ref().filter(|_| args.name.cuts_annotations())
            && let Some(frames) = Reader::open(&clip.path)?.info().frames
        {
            ranges.retain(|(first, _)| *first <= frames);
            ranges.iter_mut().for_each(|(_, last)| *last = frames.min(*last));
        }
        if !ranges.is_empty() {
            labels.insert(&entry.name, ranges);
        }
    }
    if labels.is_empty() {
        let (dataset, path) = (args.name, args.dir.clone());
        return Err(Error::Missing { dataset, what: "ground truth".into(), path }.into());
    }
    let text = serde_json::to_string(&labels)?;
    match &args.out {
        Some(path) => write_file(path, text.as_bytes()),
        None => say(&text),
    }
}

/// Prints to standard output; a reader that has gone away is an error and no panic.
fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

/// The exit code of a data set's error: 2 if something is not there, 3 if something is damaged.
pub fn exit_code(error: &Error) -> u8 {
    match error {
        Error::NoFolder { .. } | Error::Missing { .. } => 2,
        Error::Line { .. } | Error::Damaged { .. } | Error::Length { .. } => 3,
        Error::Io { .. } => 1,
        Error::Video(error) => super::video_code(error),
    }
}
