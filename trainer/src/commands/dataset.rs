//! `trainer dataset check`: a copy of a data set against the official totals.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use trainer::dataset::check::{Options, check};
use trainer::dataset::report::Outcome;
use trainer::dataset::{Error, Name};

/// Public data sets, and one's own videos.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
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

/// Accepts the names of data sets, and lists them in the help.
fn names() -> impl TypedValueParser<Value = Name> {
    PossibleValuesParser::new(Name::ALL.map(Name::as_str)).try_map(|name| name.parse::<Name>())
}

/// Runs the command.
pub fn run(args: &DatasetArgs) -> Result<()> {
    let Command::Check(args) = &args.command;
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
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    if report.outcome == Outcome::Differs {
        let (points, folder) = (report.points(), args.dir.display());
        bail!("{folder}: differs from {} in {points} points, listed above", report.title);
    }
    Ok(())
}

/// The exit code of a data set's error: 2 if something is not there, 3 if something is damaged.
pub fn exit_code(error: &Error) -> u8 {
    match error {
        Error::NoFolder { .. } | Error::Missing { .. } => 2,
        Error::Line { .. } | Error::Damaged { .. } | Error::Length { .. } => 3,
        Error::Io { .. } => 1,
        Error::Video(error) => super::video_exit_code(error),
    }
}
