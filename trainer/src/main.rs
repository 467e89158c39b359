//! The `trainer` program.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// From a site's normal footage to a detector of abnormal events.
#[derive(Debug, Parser)]
#[command(name = "trainer", version)]
struct Cli {
    /// More (-v) or less (-q) on stderr; may be repeated.
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Verbosity {
    /// Say more; twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Say less: warnings and errors only.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dataset(commands::dataset::DatasetArgs),
    Scene(commands::scene::SceneArgs),
    Site(commands::site::SiteArgs),
    Train(commands::train::TrainArgs),
    Distill(commands::distill::DistillArgs),
    Ablate(commands::ablate::AblateArgs),
    Select(commands::select::SelectArgs),
    Evaluate(commands::evaluate::EvaluateArgs),
    Cross(commands::cross::CrossArgs),
    Features(commands::features::FeaturesArgs),
    Score(commands::score::ScoreArgs),
    Reproduce(commands::reproduce::ReproduceArgs),
    Report(commands::report::ReportArgs),
    Clip(commands::clip::ClipArgs),
    Synth(commands::synth::SynthArgs),
    Wan(commands::wan::WanArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match (cli.verbosity.quiet, cli.verbosity.verbose) {
        (true, _) => log::LevelFilter::Warn,
        (_, 0) => log::LevelFilter::Info,
        (_, 1) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
    let result = match &cli.command {
        Command::Dataset(args) => commands::dataset::run(args),
        Command::Scene(args) => commands::scene::run(args),
        Command::Site(args) => commands::site::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Distill(args) => commands::distill::run(args),
        Command::Ablate(args) => commands::ablate::run(args),
        Command::Select(args) => commands::select::run(args),
        Command::Evaluate(args) => commands::evaluate::run(args),
        Command::Cross(args) => commands::cross::run(args),
        Command::Features(args) => commands::features::run(args),
        Command::Score(args) => commands::score::run(args),
        Command::Reproduce(args) => commands::reproduce::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Clip(args) => commands::clip::run(args),
        Command::Synth(args) => commands::synth::run(args),
        Command::Wan(args) => commands::wan::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trainer: {}", inference::with_causes(error.as_ref()));
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
