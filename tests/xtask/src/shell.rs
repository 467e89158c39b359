//! Running programs, and failing with a message and an exit code.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a command failed: one line, and the exit code of the documented table.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl Failure {
    /// The work failed (exit code 1).
    pub fn work(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// Wrong usage (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// Damaged input (exit code 3).
    pub fn damaged(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 3 }
    }

    /// Something is not there (exit code 4).
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 4 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The workspace root: two folders above this crate.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A command to be run at the workspace root.
pub fn command<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    // Cargo tells a program that it runs about itself. Build scripts that watch these variables (ring's
    // does) would run again whenever cargo is started now by hand, now from here, and with them
    // everything that depends on them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Says and runs a command; fails with exit code 1 if it does.
pub fn execute(command: &mut Command) -> Result<(), Failure> {
    eprintln!("$ {}", line(command));
    let status = command.status().map_err(|e| not_started(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        let code = status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
        Err(Failure { message: format!("'{}' failed ({status})", line(command)), code })
    }
}

/// Runs a command without its output; whether it succeeded.
pub fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The standard output of a command.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let out = command.stderr(Stdio::null()).output().map_err(|e| not_started(command, &e))?;
    if !out.status.success() {
        return Err(Failure::work(format!("'{}' failed ({})", line(command), out.status)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::unavailable(format!("cannot start '{}': {error}", command.get_program().display()))
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
