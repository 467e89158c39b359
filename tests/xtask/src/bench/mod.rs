//! `cargo xtask bench`: measurements beside other implementations. Never a test: figures depend on
//! the machine and on what else it does.

mod chaos;
mod edge;
mod local;
mod python;
mod quantize;
mod report;
mod sites;
mod soak;
mod student;
mod train;

use crate::shell::Failure;

/// The benchmarks there are.
const NAMES: &str = "chaos, edge, local, quantize, sites, soak, student, train";

/// `cargo xtask bench NAME [OPTIONS]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    match args.split_first() {
        Some((name, rest)) => match name.as_str() {
            "chaos" => chaos::run(rest),
            "edge" => edge::run(rest),
            "local" => local::run(rest),
            "quantize" => quantize::run(rest),
            "sites" => sites::run(rest),
            "soak" => soak::run(rest),
            "student" => student::run(rest),
            "train" => train::run(rest),
            _ => Err(Failure::usage(format!("bench: no benchmark '{name}'; there are: {NAMES}"))),
        },
        None => Err(Failure::usage(format!("bench: say which one; there are: {NAMES}"))),
    }
}
