//! The main job, end to end: normal footage → pseudo-abnormal clips → detectors → INT8 bundle →
//! camera program → alerts on MQTT, as a subscriber receives them.
//!
//! It runs the programs that users run; `cargo xtask demo` installs, builds and starts it.

mod report;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

/// The procedural scene that has a short training of its own.
const PLAZA: &str = "plaza";

/// The main job, end to end.
#[derive(Debug, Parser)]
#[command(name = "demo")]
pub struct Args {
    /// The site's normal videos; without them, a procedural scene.
    #[arg(long, value_name = "DIR", requires = "test")]
    normal: Option<PathBuf>,
    /// The videos that the camera watches.
    #[arg(long, value_name = "DIR", requires = "normal")]
    test: Option<PathBuf>,
    /// Ground truth of the test videos: {"clip": [[first, last], ...]}, 1-based, inclusive.
    #[arg(long, value_name = "FILE", requires = "test")]
    labels: Option<PathBuf>,
    /// Which procedural scene, as of `trainer scene --site`.
    #[arg(long, value_name = "NAME", default_value = PLAZA, conflicts_with = "normal")]
    site: String,
    /// The same seed gives the same result on the same machine.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the results.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
    /// Configuration of the training.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).parse_default_env().init();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", format!("{error:#}").replace('\n', " "));
            let code = error.downcast_ref::<stages::Failed>().map_or(1, |failed| failed.code);
            ExitCode::from(code)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    for path in [&args.normal, &args.test, &args.labels].into_iter().flatten() {
        if !path.exists() {
            bail!(stages::Failed::usage(format!("{}: not there; check the path", path.display())));
        }
    }
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let mut stages = stages::Stages::new(args)?;
    let site = stages.site()?;
    stages.train(&site)?;
    stages.export()?;
    let watched = stages.watch(&site)?;
    let summary = report::write(args, &site, &watched, stages.seconds())?;
    println!("{summary}");
    Ok(())
}
