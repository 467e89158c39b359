//! `edge-runtime bundle`: installing model bundles on the device.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edge_runtime::Error;
use edge_runtime::config::Config;
use edge_runtime::files::{Disk, Files as _};
use edge_runtime::model::Model;
use edge_runtime::update::{Condition, Installed, Lock, Slot, State, Store, fetch, is_url};
use model_bundle::Bundle;
use model_bundle::container::MAX_FILE_SIZE;
use serde::Serialize;

use super::{profile, store};
use crate::{ConfigArgument, print};

/// What to do with bundles.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Verify a bundle, write it to the inactive slot, test it, and put it on trial.
    #[command(after_help = "\
A running `edge-runtime run` takes it over within seconds, without losing cameras or broker, and goes
back by itself if it fails. If none runs, the next start takes it.

Examples:
  edge-runtime bundle install gate-4.pavad --config /etc/pavad/edge.toml
  edge-runtime bundle install https://updates.example/gate-4.pavad --config edge.toml")]
    Install {
        /// The bundle: a file, or an https:// or http:// address.
        #[arg(value_name = "FILE|URL")]
        source: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Show the slots.
    #[command(after_help = "Example: edge-runtime bundle list --config edge.toml --json")]
    List {
        #[command(flatten)]
        config: ConfigArgument,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go back to the bundle before.
    #[command(after_help = "Example: edge-runtime bundle rollback --config edge.toml")]
    Rollback {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

pub fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Install { source, config } => install(source, &config.config),
        Command::List { config, json } => list(&config.config, *json),
        Command::Rollback { config } => rollback(&config.config),
    }
}

/// The configuration and its slots.
fn open(path: &Path) -> Result<(Config, Store), Error> {
    let config = Config::load(path)?;
    let Some(updates) = &config.updates else {
        return Err(Error::Usage(format!("{}: has no [updates]; add it", path.display())));
    };
    let store = store(&config, updates, &profile(&config)?)?;
    Ok((config, store))
}

/// Loads a bundle, golden vectors included, and checks that the configuration's rules fit it.
fn test(config: &Config, bundle: Bundle, path: &Path) -> Result<(), Error> {
    let model = Model::from_bundle(bundle, &config.model, path)?;
    let detectors = &model.bundle.manifest().detectors;
    for camera in &config.cameras {
        config.rules(detectors, camera).map_err(Error::Usage)?;
    }
    Ok(())
}

fn install(source: &str, config: &Path) -> anyhow::Result<u8> {
    let (config, store) = open(config)?;
    let origin = PathBuf::from(source);
    let bytes = if is_url(source) {
        fetch(source, config.updates.as_ref().and_then(|u| u.ca_file.as_deref()))?
    } else {
        Disk.read(&origin, MAX_FILE_SIZE).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => {
                Error::Bundle { path: origin.clone(), message: e.to_string() }
            }
            _ => Error::Usage(format!("{source}: {e}; check the path")),
        })?
    };
    let _lock = Lock::take(store.dir())?;
    let installed = store.install(bytes, &origin, |bundle| test(&config, bundle, &origin))?;
    print(&match installed {
        Installed::OnTrial(slot) => format!("{source}: installed in slot {slot}, on trial"),
        Installed::Already => format!("{source}: is in use already"),
    })?;
    Ok(0)
}

fn rollback(config: &Path) -> anyhow::Result<u8> {
    let (config, store) = open(config)?;
    let _lock = Lock::take(store.dir())?;
    let to = store.rollback(|bundle, path| test(&config, bundle, path))?;
    print(&format!("in use: {}", store.path(to).display()))?;
    Ok(0)
}

#[derive(Serialize)]
struct Listing<'a> {
    #[serde(flatten)]
    state: &'a State,
    factory: PathBuf,
}

fn list(config: &Path, json: bool) -> anyhow::Result<u8> {
    let (_, store) = open(config)?;
    let state = store.state()?;
    if json {
        let listing = Listing { state: &state, factory: store.path(None) };
        print(&serde_json::to_string_pretty(&listing).context("report as JSON")?)?;
        return Ok(0);
    }
    for slot in [Slot::A, Slot::B] {
        let Some(info) = state.slot(slot) else {
            print(&format!("{slot}  empty"))?;
            continue;
        };
        let condition = match info.condition {
            Condition::Candidate => "candidate",
            Condition::Good => "good",
            Condition::Bad => "bad",
        };
        let use_ = match (state.active == Some(slot), state.trial) {
            (true, _) => ", in use".into(),
            (_, Some(trial)) if trial.slot == slot => {
                format!(", on trial with {} starts left", trial.starts_left)
            }
            _ => String::new(),
        };
        let why = info.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        print(&format!(
            "{slot}  {} {}, epoch {}, SHA-256 {}, {condition}{use_}{why}",
            info.name, info.version, info.epoch, info.digest
        ))?;
    }
    let use_ = if state.active.is_none() { ", in use" } else { "" };
    print(&format!("-  {}{use_}", store.path(None).display()))?;
    print(&format!("lowest security epoch accepted: {}", state.epoch))?;
    Ok(0)
}
