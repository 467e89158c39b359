//! Every site at hand, trained and watched with the same defaults: what a new site gets at the first try.
//!
//! Each cell, a site and a seed, is a run of the demonstration on footage that this program films or puts
//! together. A cell that is done is not done again. `cargo xtask bench sites` builds and starts it.

mod cell;
mod cut;
mod footage;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use ::tests::programs;
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;

use self::cell::{Cell, Outcome};
use self::footage::{Footage, Site};

/// Every site at hand, trained and watched with the same defaults.
#[derive(Debug, Parser)]
#[command(name = "sites")]
struct Args {
    /// Seeds, one training each.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Only these sites.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Folder for everything; goes on with what is there.
    #[arg(long, default_value = "target/bench-sites")]
    out: PathBuf,
    /// Folder of the real sets.
    #[arg(long, value_name = "DIR", default_value = "../shared/data")]
    data: PathBuf,
    /// Configuration of every training, in place of the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).parse_default_env().init();
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sites: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::from(if error.is::<Wrong>() { 2 } else { 1 })
        }
    }
}

/// Wrong usage.
#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Whether every cell could be had.
fn run(args: &Args) -> Result<bool> {
    let all = footage::sites();
    if let Some(name) = args.only.iter().find(|name| !all.iter().any(|s| s.name == **name)) {
        let known: Vec<&str> = all.iter().map(|site| site.name).collect();
        bail!(Wrong(format!("no site '{name}'; there are: {}", known.join(", "))));
    }
    if args.seeds.is_empty() {
        bail!(Wrong("--seeds: at least one".into()));
    }
    let config = match &args.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| Wrong(format!("{}: {e}; check the path", path.display())))?,
        None => String::new(),
    };
    let chosen =
        all.iter().filter(|s| args.only.is_empty() || args.only.iter().any(|n| n == s.name));
    let (mut cells, mut skipped) = (Vec::new(), Vec::new());
    for site in chosen {
        if let Some(missing) = site.missing(&args.data) {
            eprintln!("skipped: {}: {} is not there", site.name, missing.display());
            skipped.push(site.name);
            continue;
        }
        for &seed in &args.seeds {
            let cell = one(args, site, seed, &config)
                .with_context(|| format!("{}, seed {seed}", site.name))?;
            cells.push(cell);
            // After every cell, for whoever looks on.
            table::write(&args.out, &cells, &skipped)?;
        }
    }
    print!("{}", table::write(&args.out, &cells, &skipped)?);
    Ok(cells.iter().all(|cell| matches!(cell.outcome, Outcome::Done(_))))
}

/// A cell, from its file if it is done with this configuration.
fn one(args: &Args, site: &Site, seed: u64, config: &str) -> Result<Cell> {
    let folder = args.out.join(site.name).join(format!("seed-{seed}"));
    // Several cameras in one folder have to be asked for.
    let several = if site.several_cameras { "several_sites = true\n" } else { "" };
    let config = format!("{several}{config}");
    let path = folder.join("cell.json");
    if let Some(done) = cell::read(&path)?
        && done.config == config
        && matches!(done.outcome, Outcome::Done(_))
    {
        eprintln!("{}, seed {seed}: done before", site.name);
        return Ok(done);
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let start = Instant::now();
    eprintln!("{}, seed {seed}: footage", site.name);
    let footage = site.footage(&args.data, &args.out, seed)?;
    eprintln!(
        "{}, seed {seed}: training and watching; {}",
        site.name,
        folder.join("log").display()
    );
    let code = demonstrate(&footage, &folder, seed, &config)?;
    let outcome = match code {
        0 => Outcome::Done(Box::new(cell::figures(&footage, &folder)?)),
        code => Outcome::Failed { code, log: folder.join("log") },
    };
    let seconds = start.elapsed().as_secs_f64();
    let name = site.name.to_string();
    let cell = Cell { site: name, seed, config, seconds, outcome };
    cell.write(&path)?;
    Ok(cell)
}

/// Runs the demonstration; its exit code.
fn demonstrate(footage: &Footage, folder: &Path, seed: u64, config: &str) -> Result<i32> {
    let file = folder.join("train.toml");
    std::fs::write(&file, config).with_context(|| file.display().to_string())?;
    let log = folder.join("log");
    let output = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
    let mut demo = Command::new(programs::path("demo").map_err(|e| anyhow!(e))?);
    demo.args(["--seed", &seed.to_string()]).arg("--out").arg(folder);
    demo.arg("--normal").arg(&footage.normal).arg("--test").arg(&footage.test);
    if let Some(labels) = &footage.labels {
        demo.arg("--labels").arg(labels);
    }
    demo.arg("--config").arg(&file);
    demo.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = demo.status().context("starting the demonstration")?;
    Ok(status.code().unwrap_or(-1))
}
