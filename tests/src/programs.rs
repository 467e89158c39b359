//! The programs of this workspace, beside the one that runs.

use std::path::PathBuf;
use std::process::Command;

/// The path of a program of this workspace, built with the same profile as this one.
///
/// # Errors
/// If it is not there; the message says how to build it.
pub fn path(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    // A test's program lies in deps/, one folder below.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!("program {name} is not built: run 'cargo build --release --workspace'")
        })
}

/// A command that runs a program of this workspace.
///
/// # Errors
/// As [`path`].
pub fn command(name: &str) -> Result<Command, String> {
    Ok(Command::new(path(name)?))
}
