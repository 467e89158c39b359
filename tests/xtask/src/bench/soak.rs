//! `cargo xtask bench soak`: the long form of the test that runs the program at maximum speed.

use crate::shell::{Failure, command, execute};
use crate::{install, weights};

/// Minutes, unless others are asked for.
const MINUTES: &str = "15";

/// `cargo xtask bench soak [--minutes N] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let (mut minutes, mut no_install) = (MINUTES.to_owned(), false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--no-install" => no_install = true,
            "--minutes" => {
                let wrong = || Failure::usage("bench soak: --minutes needs a number, 0.1 to 1440");
                minutes = args.next().cloned().ok_or_else(wrong)?;
                let valid = minutes.parse::<f64>().is_ok_and(|m| (0.1..=1440.0).contains(&m));
                valid.then_some(()).ok_or_else(wrong)?;
            }
            _ => return Err(Failure::usage(format!("bench soak: no option '{arg}'"))),
        }
    }
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    let mut cargo = command(
        "cargo",
        ["test", "--release", "--locked", "--workspace", "--test", "soak", "--", "--nocapture"],
    );
    execute(cargo.envs(weights::environment()).env("PAVAD_SOAK_MINUTES", minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_refused() {
        for wrong in [&["--minutes"][..], &["--minutes", "0"], &["--minutes", "x"], &["fast"]] {
            let words: Vec<String> = wrong.iter().map(|w| (*w).to_string()).collect();
            assert_eq!(run(&words).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }
}
