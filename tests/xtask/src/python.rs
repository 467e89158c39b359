//! Python packages for the subscriber in another language that the tests check messages with.

use std::path::PathBuf;

use crate::shell::{Failure, command, execute, root};

/// What `pip` is to install, with hashes.
const REQUIREMENTS: &str = "tests/subscriber/requirements.txt";

/// Where the packages go; nothing is installed into the system's Python.
fn folder() -> PathBuf {
    root().join("target/tools/python")
}

/// For the tests.
pub fn environment() -> (&'static str, PathBuf) {
    ("PAVAD_PYTHON", folder())
}

/// Fetches the packages unless those of this list of requirements are there.
pub fn ensure(no_install: bool) -> Result<(), Failure> {
    let io =
        |path: PathBuf| move |e: std::io::Error| Failure::work(format!("{}: {e}", path.display()));
    let list = root().join(REQUIREMENTS);
    let wanted = std::fs::read(&list).map_err(io(list))?;
    let stamp = folder().join("requirements.txt");
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if no_install {
        eprintln!(
            "skipped: the Python subscriber's packages are missing and --no-install was given; \
             its part of the tests will say so"
        );
        return Ok(());
    }
    eprintln!("Fetching the Python subscriber's packages from PyPI ({REQUIREMENTS})");
    if folder().exists() {
        std::fs::remove_dir_all(folder()).map_err(io(folder()))?;
    }
    let mut pip = command("python3", ["-m", "pip", "install", "--quiet", "--no-deps"]);
    pip.args(["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]);
    pip.args(["--root-user-action=ignore", "--requirement", REQUIREMENTS, "--target"]);
    execute(pip.arg(folder()))
        .map_err(|e| Failure::unavailable(format!("{e}; is the package index within reach?")))?;
    // Last, so that an interrupted run begins again.
    std::fs::write(&stamp, wanted).map_err(io(stamp))
}
