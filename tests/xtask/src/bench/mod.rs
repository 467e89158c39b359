//! `cargo xtask bench`: measurements beside other implementations. Never a test: figures depend on
//! the machine and on what else it does.

mod chaos;
mod edge;
mod soak;
mod train;

use crate::shell::Failure;

/// `cargo xtask bench NAME [OPTIONS]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    const NAMES: &str = "chaos, edge, soak, train";
    match args.split_first() {
        Some((name, rest)) => match name.as_str() {
            "chaos" => chaos::run(rest),
            "edge" => edge::run(rest),
            "soak" => soak::run(rest),
            "train" => train::run(rest),
            _ => Err(Failure::usage(format!("bench: no benchmark '{name}'; there are: {NAMES}"))),
        },
        None => Err(Failure::usage(format!("bench: say which one; there are: {NAMES}"))),
    }
}
