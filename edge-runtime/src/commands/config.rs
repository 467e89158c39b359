//! `edge-runtime config`: check or show a configuration.

use anyhow::Context as _;
use edge_runtime::Error;
use edge_runtime::config::Config;

use crate::{ConfigArgument, print};

/// What to do with it.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Check a configuration; says nothing but that it is fine.
    #[command(after_help = "Example: edge-runtime config check --config edge.toml")]
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Show a configuration with all defaults filled in.
    #[command(after_help = "Example: edge-runtime config show --config edge.toml --json")]
    Show {
        #[command(flatten)]
        config: ConfigArgument,
        /// As JSON instead of TOML.
        #[arg(long)]
        json: bool,
    },
    /// List the files that a configuration names beside the bundle: what it holds, the field, the path,
    /// one file a line, with tabs between.
    #[command(after_help = "Example: edge-runtime config files --config edge.toml")]
    Files {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

pub fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Check { config } => {
            Config::load(&config.config).map_err(Error::from)?;
            print(&format!("{}: ok", config.config.display()))?;
        }
        Command::Show { config, json } => {
            let config = Config::load(&config.config).map_err(Error::from)?;
            let text = if *json {
                serde_json::to_string_pretty(&config).context("configuration as JSON")?
            } else {
                toml::to_string(&config).context("configuration as TOML")?
            };
            print(text.trim_end())?;
        }
        Command::Files { config } => {
            let config = Config::load(&config.config).map_err(Error::from)?;
            for file in config.files() {
                let (kind, path) = (file.kind.name(), file.path.display());
                print(&format!("{kind}\t{}\t{path}", file.field))?;
            }
        }
    }
    Ok(0)
}
