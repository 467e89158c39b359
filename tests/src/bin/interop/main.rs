//! The camera program with other people's programs: GStreamer's RTSP server, a broker that is not
//! Mosquitto, Home Assistant's own code, Prometheus' own checker.
//!
//! `cargo xtask interop` fetches them and starts this program, which says of each what was held and in
//! which version.

mod aedes;
mod gstreamer;
mod home_assistant;
mod peer;
mod promtool;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use site::Model;

/// The camera program with other people's programs. Each that is named is a check.
#[derive(Debug, Parser)]
#[command(name = "interop")]
struct Args {
    /// A Python that has GStreamer's RTSP server.
    #[arg(long, value_name = "PYTHON")]
    gstreamer: Option<PathBuf>,
    /// The folder in which npm has installed aedes.
    #[arg(long, value_name = "DIR")]
    aedes: Option<PathBuf>,
    /// A Python that has Home Assistant.
    #[arg(long, value_name = "PYTHON")]
    home_assistant: Option<PathBuf>,
    /// Prometheus' `promtool`.
    #[arg(long, value_name = "FILE")]
    promtool: Option<PathBuf>,
    /// Folder for what the checks need and leave.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What a check has found: the peer's version, and what held.
struct Held {
    version: String,
    what: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interop: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let model = Model::make(&args.out)?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Option<Result<Held>>| match result {
        None => {}
        Some(Ok(held)) => {
            for what in &held.what {
                println!("     {what}");
            }
            println!("PASS {name}: {}", held.version);
        }
        Some(Err(error)) => {
            println!("FAIL {name}: {error:#}");
            failed.push(name);
        }
    };
    check("gstreamer", args.gstreamer.as_ref().map(|python| gstreamer::check(&model, python)));
    check("aedes", args.aedes.as_ref().map(|folder| aedes::check(&model, folder)));
    let home_assistant =
        args.home_assistant.as_ref().map(|python| home_assistant::check(&model, python));
    check("home-assistant", home_assistant);
    check("promtool", args.promtool.as_ref().map(|program| promtool::check(&model, program)));
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}
