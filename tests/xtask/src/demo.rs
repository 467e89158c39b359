//! `cargo xtask demo`: install, build, then hand over to the demonstration program.

use std::ffi::OsString;

use crate::shell::{Failure, command, execute, root, target};
use crate::{install, weights};

/// `cargo xtask demo [OPTIONS]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    weights::ensure(no_install)?;
    build()?;

    let mut words: Vec<OsString> =
        args.iter().filter(|a| *a != "--no-install").map(OsString::from).collect();
    // Paths of the user are relative to where the user stands, not to the workspace root.
    let here = std::env::current_dir().unwrap_or_else(|_| root());
    if !args.iter().any(|a| a == "--out" || a.starts_with("--out=")) {
        words.push("--out".into());
        words.push(root().join("target/demo").into());
    }
    let program = target().join("release/demo");
    let mut demo = command(&program.to_string_lossy(), words);
    demo.current_dir(here).envs(weights::environment());
    execute(&mut demo)
}

/// Builds everything. The whole workspace at once: cargo then chooses the same features of every
/// dependency as for the tests, and compiles none twice.
pub fn build() -> Result<(), Failure> {
    execute(&mut command("cargo", ["build", "--release", "--locked", "--workspace"]))
}
