//! `cargo xtask processors`: test programs run as if on other processors.
//!
//! What must not depend on the processor is tested by programs of the workspace ([`programs`]). They
//! are run here on each kind of processor ([`kinds`]): emulated by QEMU, or on this one with
//! instructions hidden from them.

mod arm64;
mod kinds;
mod programs;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::package::Arch;
use crate::shell::{Failure, target};
use crate::{install, weights};
use kinds::Kind;
use programs::Built;

/// `cargo xtask processors [--arch amd64|arm64] [--quick] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let (mut arch, mut quickly, mut no_install) = (Arch::Amd64, false, false);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => quickly = true,
            "--no-install" => no_install = true,
            "--arch" => match words.next().map(String::as_str) {
                Some("amd64") => arch = Arch::Amd64,
                Some("arm64") => arch = Arch::Arm64,
                _ => return Err(Failure::usage("processors: --arch can be amd64 or arm64")),
            },
            other => return Err(Failure::usage(format!("processors: no option '{other}'"))),
        }
    }
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable("processors: other processors are tried on x86-64 only"));
    }
    install::ensure(&[install::BUILD], no_install)?;
    weights::ensure(no_install)?;
    match arch {
        Arch::Amd64 => {
            let mut all = vec![Kind::this()];
            all.extend(kinds::amd64(no_install)?);
            try_all(&all, &programs::build()?, quickly)
        }
        Arch::Arm64 => arm64::run(quickly, no_install),
    }
}

/// As part of all tests, on what has been built and run on this processor: what cannot be had is said
/// and skipped, unless it could be fetched.
pub fn test(no_install: bool) -> Result<(), Failure> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: other processors are tried on x86-64 only");
        return Ok(());
    }
    match kinds::amd64(no_install) {
        Ok(kinds) => {
            let built = programs::build()?;
            let this = Kind::this();
            let has = this.check(&built.processor).map_err(Failure::work)?;
            eprintln!("{}, on which all other tests have run: {has}", this.name);
            try_all(&kinds, &built, true)
        }
        Err(failure) if no_install => {
            eprintln!("skipped: other processors ({failure})");
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Runs all programs on all kinds; what fails is shown, and the rest goes on. `quickly`, slow tests are
/// left out where they are emulated.
fn try_all(kinds: &[Kind], built: &Built, quickly: bool) -> Result<(), Failure> {
    let (mut failed, mut digests) = (Vec::new(), BTreeMap::new());
    for kind in kinds {
        let has = match kind.check(&built.processor) {
            Ok(has) => has,
            Err(why) => {
                eprintln!("skipped: {} ({why})", kind.name);
                continue;
            }
        };
        eprintln!("{}: {has}", kind.name);
        if let Some(why) = kind.wrong(&has) {
            return Err(Failure::work(format!("{}: {why}", kind.name)));
        }
        for program in &built.programs {
            let start = Instant::now();
            let outcome = program.run(kind, quickly)?;
            let seconds = start.elapsed().as_secs_f64();
            eprintln!("  {:<44} {} in {seconds:.0} s", program.source, outcome.counts);
            for line in &outcome.skipped {
                eprintln!("    {line}");
            }
            if !outcome.passed {
                eprintln!("{}", outcome.output);
                failed.push(format!("{} on {}", program.source, kind.name));
            }
            for (name, value) in outcome.digests {
                let (first, where_first) =
                    digests.entry(name.clone()).or_insert_with(|| (value.clone(), kind.name));
                if *first != value {
                    failed.push(format!(
                        "{name} is {value} on {}, {first} on {where_first}",
                        kind.name
                    ));
                }
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::work(format!("depends on the processor: {}", failed.join("; "))))
}

/// The library that hides instructions.
fn hiding() -> std::path::PathBuf {
    target().join("release/liblesser_processor.so")
}
