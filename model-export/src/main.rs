//! The `model-export` program.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// From weights to a signed INT8 bundle, and back to what a bundle says of itself.
#[derive(Debug, Parser)]
#[command(
    name = "model-export",
    version,
    after_help = "Exit codes: 0 success, 1 the work failed, 2 wrong usage or configuration, \
                  3 input damaged or refused, 4 a backend is not available."
)]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Verbosity {
    /// Say more on stderr; twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Say less: warnings and errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Backbone(commands::backbone::Args),
    Quantize(commands::quantize::Args),
    Keygen(commands::keygen::Args),
    Pack(commands::pack::Args),
    Sign(commands::sign::Args),
    Verify(commands::verify::Args),
    Inspect(commands::inspect::Args),
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
        Command::Backbone(args) => commands::backbone::run(args),
        Command::Quantize(args) => commands::quantize::run(args),
        Command::Keygen(args) => commands::keygen::run(args),
        Command::Pack(args) => commands::pack::run(args),
        Command::Sign(args) => commands::sign::run(args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model-export: {}", inference::with_causes(error.as_ref()));
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
