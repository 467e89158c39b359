//! `cargo xtask bench local`: the local detector given a stack of frames beside the one that keeps them.

use crate::shell::{Failure, command, execute, target};
use crate::{install, weights};

/// `cargo xtask bench local [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    if let Some(other) = args.iter().find(|a| *a != "--no-install") {
        return Err(Failure::usage(format!("bench local: no option '{other}'")));
    }
    install::ensure(&[install::BUILD], no_install)?;
    weights::ensure(no_install)?;
    let build = ["build", "--release", "--locked", "--workspace", "--example", "local_forms"];
    execute(&mut command("cargo", build))?;
    let program = target().join("release/examples/local_forms");
    let mut forms = command(&program.to_string_lossy(), ["9", "100"]);
    execute(forms.envs(weights::environment()))
}
