//! `trainer synth classes`: the built-in class file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::synthesis::classes::{BUILT_IN, Classes};

/// Prints the built-in class file for editing, or checks one.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer synth classes > site.toml\n  trainer synth classes --check site.toml"
)]
pub struct ClassesArgs {
    /// Check this class file, and print the classes' names.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ClassesArgs) -> Result<()> {
    match &args.check {
        None => print!("{BUILT_IN}"),
        Some(path) => {
            for class in Classes::read(Some(path))?.classes {
                println!("{}", class.name);
            }
        }
    }
    Ok(())
}
