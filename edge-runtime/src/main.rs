//! `edge-runtime`: the camera program. See `edge-runtime --help`.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Finds anomalies in camera streams and publishes them as events over MQTT.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 success, 1 the work failed, 2 wrong usage or configuration, \
                  3 input damaged or refused, 4 a device or service is not available."
)]
struct Arguments {
    /// Say more on standard error; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only errors on standard error.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the camera program until it is stopped.
    Run(commands::run::Arguments),
    /// Run recorded video through the camera's path, as fast as it goes, without a broker.
    Replay(commands::replay::Arguments),
    /// Measure how fast this machine scores a camera's frames.
    Bench(commands::bench::Arguments),
    /// Check or show a configuration.
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Install a model bundle, list what is installed, go back to the one before.
    #[command(subcommand)]
    Bundle(commands::bundle::Command),
    /// Check everything the camera program needs, and say how to mend what is missing.
    Doctor(commands::doctor::Arguments),
}

/// `--config FILE`.
#[derive(clap::Args)]
struct ConfigArgument {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

fn start_log(arguments: &Arguments) {
    // A service's log tells what it does; a command on a terminal tells only what goes wrong.
    let usual = if matches!(arguments.command, Command::Run(_)) { "info" } else { "warn" };
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(match (arguments.quiet, arguments.verbose) {
        (true, _) => "error",
        (_, 0) => usual,
        (_, 1) => "debug,rumqttc=info,rustls=info,tract=info",
        _ => "trace",
    });
    if arguments.verbose == 0 && !arguments.quiet {
        builder.parse_default_env();
    }
    // What this library writes has addresses of cameras in it, and many of them hold a password.
    builder.filter_module("retina", log::LevelFilter::Off);
    builder.init();
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(&arguments);
    let done = match &arguments.command {
        Command::Run(a) => commands::run::run(a),
        Command::Replay(a) => commands::replay::run(a),
        Command::Bench(a) => commands::bench::run(a),
        Command::Bundle(a) => commands::bundle::run(a),
        Command::Config(a) => commands::config::run(a),
        Command::Doctor(a) => commands::doctor::run(a),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("edge-runtime: {}", inference::with_causes(error.as_ref()));
            let code = error.downcast_ref::<edge_runtime::Error>().map_or(1, |e| e.exit_code());
            ExitCode::from(code)
        }
    }
}

/// Prints a line of data; a reader that has gone away (`| head`) is not an error worth a panic.
fn print(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").context("standard output")
}
