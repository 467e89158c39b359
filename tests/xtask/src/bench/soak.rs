//! `cargo xtask bench soak`: the long form of the test that runs the program at maximum speed.

use crate::shell::{Failure, command, execute};
use crate::words::Words;
use crate::{install, weights};

/// Minutes, unless others are asked for.
const MINUTES: f64 = 15.0;

/// `cargo xtask bench soak [--minutes N] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let (mut minutes, mut no_install) = (MINUTES, false);
    let mut words = Words::new("bench soak", args);
    while let Some(name) = words.option() {
        match name {
            "--minutes" => minutes = words.number(0.1..=1440.0)?,
            "--no-install" => no_install = true,
            _ => return Err(words.unknown()),
        }
    }
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    let mut cargo = command(
        "cargo",
        ["test", "--release", "--locked", "--workspace", "--test", "soak", "--", "--nocapture"],
    );
    execute(cargo.envs(weights::environment()).env("PAVAD_SOAK_MINUTES", minutes.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_refused() {
        for wrong in [&["--minutes"][..], &["--minutes=0"], &["--minutes", "x"], &["fast"]] {
            let words: Vec<String> = wrong.iter().map(|w| (*w).to_string()).collect();
            assert_eq!(run(&words).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }
}
