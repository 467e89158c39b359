//! `cargo xtask bench chaos`: the long form of the test that kills broker and program at random.

use crate::shell::{Failure, command, execute};
use crate::{install, weights};

/// What the long form does, as `edge-runtime/tests/chaos.rs` reads it.
const LONG: [(&str, &str); 3] = [
    ("PAVAD_CHAOS_EVENTS", "10000"),
    ("PAVAD_CHAOS_BROKER_KILLS", "50"),
    ("PAVAD_CHAOS_PROGRAM_KILLS", "20"),
];

/// `cargo xtask bench chaos [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    if let Some(other) = args.iter().find(|a| *a != "--no-install") {
        return Err(Failure::usage(format!("bench chaos: no option '{other}'")));
    }
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    let mut cargo = command(
        "cargo",
        ["test", "--release", "--locked", "--workspace", "--test", "chaos", "--", "--nocapture"],
    );
    execute(cargo.envs(weights::environment()).envs(LONG))
}
