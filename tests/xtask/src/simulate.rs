//! `cargo xtask simulate`: the camera program's machines with simulated cameras, disks, brokers and
//! clocks, their faults drawn by seed.
//!
//! The simulations are unit tests of `edge-runtime` whose names end in `_by_seed`; this runs them over
//! more seeds than the tests do, or one of them over one seed again.

use std::time::Instant;

use crate::install;
use crate::shell::{Failure, command, execute};
use crate::weights;
use crate::words::Words;

/// The simulations there are.
const NAMES: [&str; 2] = ["network_camera", "publisher"];
/// The seeds that are run unless others are asked for.
const SEEDS: &str = "0..10000";

/// What was asked for, as the simulations read it from the environment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    only: Option<String>,
    variables: Vec<(&'static str, String)>,
}

/// `cargo xtask simulate [--seeds A..B] [--steps N] [--without LIST] [--only NAME] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut no_install = false;
    let asked = parse(args, &mut no_install)?;
    install::ensure(&[install::BUILD], no_install)?;
    let filter = format!("{}_by_seed", asked.only.as_deref().unwrap_or_default());
    let mut cargo =
        command("cargo", ["test", "--release", "--locked", "-p", "edge-runtime", "--lib"]);
    // Each simulation takes all cores, so they go one after the other.
    cargo.arg(&filter).args(["--", "--nocapture", "--test-threads", "1"]);
    cargo.envs(weights::environment()).envs(asked.variables.iter().cloned());
    // A panic is what a failing seed prints; its stack says nothing.
    cargo.env("RUST_BACKTRACE", "0");
    let started = Instant::now();
    execute(&mut cargo).map_err(|e| Failure::work(format!("a seed fails: {e}")))?;
    eprintln!("Every property holds ({:.0} s).", started.elapsed().as_secs_f64());
    Ok(())
}

fn parse(args: &[String], no_install: &mut bool) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    let mut seeds = SEEDS.to_owned();
    let mut words = Words::new("simulate", args);
    while let Some(option) = words.option() {
        match option {
            "--seeds" => seeds = range(words.value()?)?,
            "--steps" => {
                let steps = words.number(1..=u64::MAX)?;
                asked.variables.push(("PAVAD_SIMULATE_STEPS", steps.to_string()));
            }
            "--without" => {
                let list = words.value()?;
                if !list.split(',').all(|number| number.parse::<u64>().is_ok()) {
                    return Err(Failure::usage(format!(
                        "simulate: --without {list}: numbers, with commas"
                    )));
                }
                asked.variables.push(("PAVAD_SIMULATE_WITHOUT", list.to_owned()));
            }
            "--only" => {
                let name = words.value()?;
                if !NAMES.contains(&name) {
                    let known = NAMES.join(", ");
                    let message = format!("simulate: no simulation '{name}'; there are: {known}");
                    return Err(Failure::usage(message));
                }
                asked.only = Some(name.to_owned());
            }
            "--no-install" => *no_install = true,
            _ => return Err(words.unknown()),
        }
    }
    asked.variables.push(("PAVAD_SIMULATE_SEEDS", seeds));
    Ok(asked)
}

/// Seeds as they were given, if they are a range that is not empty.
fn range(text: &str) -> Result<String, Failure> {
    let parts = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse::<u64>().ok()?, to.parse::<u64>().ok()?);
        (from < to).then_some(())
    });
    parts
        .map(|()| text.to_owned())
        .ok_or_else(|| Failure::usage(format!("simulate: --seeds {text}: A..B, such as 0..300")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked, Failure> {
        parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), &mut false)
    }

    #[test]
    fn what_a_failing_seed_prints_can_be_given() {
        let words = "--only publisher --seeds 17..18 --steps 212 --without 1,4";
        let asked = parsed(&words.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(asked.only.as_deref(), Some("publisher"));
        let variables: Vec<&str> = asked.variables.iter().map(|(_, value)| &**value).collect();
        assert_eq!(variables, ["212", "1,4", "17..18"]);
        assert_eq!(parsed(&[]).unwrap().variables[0].1, SEEDS);
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for words in [["--seeds", "9"], ["--seeds", "5..5"], ["--only", "disk"], ["--without", "x"]]
        {
            assert_eq!(parsed(&words).unwrap_err().code, 2, "{words:?}");
        }
    }
}
