//! `cargo xtask bench`: measurements beside other implementations. Never a test: figures depend on
//! the machine and on what else it does.

mod chaos;
mod local;
mod python;
mod quantize;
mod student;
mod train;

use crate::shell::Failure;

/// The benchmarks there are.
const NAMES: &str = "chaos, local, quantize, student, train";

/// `cargo xtask bench NAME [OPTIONS]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    match args.split_first() {
        Some((name, rest)) if name == "train" => train::run(rest),
        Some((name, rest)) if name == "chaos" => chaos::run(rest),
        Some((name, rest)) if name == "local" => local::run(rest),
        Some((name, rest)) if name == "quantize" => quantize::run(rest),
        Some((name, rest)) if name == "student" => student::run(rest),
        Some((name, _)) => {
            Err(Failure::usage(format!("bench: no benchmark '{name}'; there are: {NAMES}")))
        }
        None => Err(Failure::usage(format!("bench: say which one; there are: {NAMES}"))),
    }
}
