//! `cargo xtask cuda`: the trainer for NVIDIA GPUs, and what checks it where there is one.
//!
//! Reading order: [`toolkit`] (the compiler) → [`crates`] (candle, changed) → [`workspace`] (the build) →
//! [`folder`] (what goes to the other machine).

mod capability;
mod crates;
mod folder;
mod toolkit;
mod workspace;

use std::path::PathBuf;
use std::time::Instant;

use crate::install::{self, Package};
use crate::shell::{Failure, command, quiet};
use crate::words::Words;
use capability::Capability;
use toolkit::Toolkit;

/// Beside what every build needs.
const HOST_COMPILER: &[Package] = &[Package("g++", "the host compiler of NVIDIA's nvcc")];

#[derive(Debug, PartialEq)]
struct Options {
    out: PathBuf,
    capability: Capability,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let (mut out, mut capability, mut no_install) = (None, Capability::HOPPER, false);
        let mut words = Words::new("cuda", args);
        while let Some(name) = words.option() {
            match name {
                "--out" => out = Some(PathBuf::from(words.value()?)),
                "--compute-cap" => capability = Capability::parse(words.value()?)?,
                "--no-install" => no_install = true,
                _ => return Err(words.unknown()),
            }
        }
        let out = out.ok_or_else(|| Failure::usage("cuda: --out DIR is needed"))?;
        Ok(Self { out, capability, no_install })
    }
}

/// `cargo xtask cuda --out DIR [--compute-cap LIST] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(args)?;
    // Relative to where the command was given, not to the workspace.
    let out = std::path::absolute(&options.out)
        .map_err(|e| Failure::usage(format!("{}: {e}", options.out.display())))?;
    folder::may_be_written(&out)?;
    install::ensure(&[install::BUILD, HOST_COMPILER], options.no_install)?;
    let start = Instant::now();
    let toolkit = Toolkit::ensure(options.no_install)?;
    let built = workspace::build(&toolkit, options.capability)?;
    let megabytes = folder::write(&out, &built, options.capability)?;
    println!("{}\t{megabytes:.1} MB, {:.0} s", out.display(), start.elapsed().as_secs_f64());
    println!(
        "On the machine with the GPU: sh {}/check.sh",
        out.file_name().unwrap_or_default().display()
    );
    if !quiet(&mut command("nvidia-smi", ["-L"])) {
        eprintln!("There is no NVIDIA GPU here: nothing of it has been run on one.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>())
        };
        let expected =
            Options { out: "d".into(), capability: Capability::HOPPER, no_install: false };
        assert_eq!(parse(&["--out", "d"]).unwrap(), expected);
        let capability = Capability::parse("87").unwrap();
        let expected = Options { out: "d".into(), capability, no_install: true };
        assert_eq!(parse(&["--out=d", "--compute-cap", "87", "--no-install"]).unwrap(), expected);
        for wrong in [&[][..], &["--out"], &["--out", "d", "--compute-cap", "7"], &["d"]] {
            assert_eq!(parse(wrong).unwrap_err().code, 2, "{wrong:?}");
        }
    }
}
