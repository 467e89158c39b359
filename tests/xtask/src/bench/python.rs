//! A Python with the packages that a benchmark's peer needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Failure, command, execute, quiet, root};

/// What a peer needs of Python.
pub struct Needs {
    /// Name of the benchmark, for messages.
    pub bench: &'static str,
    /// What it is called in messages, and how much is fetched.
    pub what: &'static str,
    /// Modules, as `import` takes them.
    pub modules: &'static str,
    /// What `pip` fetches where a module is missing.
    pub packages: &'static [&'static str],
}

impl Needs {
    /// The Python given, the one fetched earlier, the system's, or a fresh one in `target/bench-venv`.
    pub fn python(&self, given: Option<&Path>, no_install: bool) -> Result<PathBuf, Failure> {
        let import = format!("import {}", self.modules);
        let fits = |python: &Path| quiet(Command::new(python).args(["-c", &import]));
        if let Some(python) = given {
            if fits(python) {
                return Ok(python.to_owned());
            }
            let (python, modules) = (python.display(), self.modules);
            return Err(Failure::unavailable(format!("{python}: cannot import {modules}")));
        }
        let venv = root().join("target/bench-venv");
        let own = venv.join("bin/python");
        if let Some(found) = [own.clone(), "python3".into()].into_iter().find(|p| fits(p)) {
            return Ok(found);
        }
        let Self { bench, what, .. } = self;
        if no_install {
            return Err(Failure::unavailable(format!(
                "bench {bench}: {what} is missing and --no-install was given: name a Python that \
                 has it with --python"
            )));
        }
        eprintln!("{what} is not installed: fetching it from PyPI into {}", venv.display());
        environment(&venv, self.packages)
    }
}

/// The Python of an environment, made if it is not there, with these packages.
pub fn environment(venv: &Path, packages: &[&str]) -> Result<PathBuf, Failure> {
    let python = venv.join("bin/python");
    if !python.exists() {
        execute(command("python3", ["-m", "venv"]).arg(venv))?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut install = command(&python.to_string_lossy(), pip);
    execute(install.args(packages))
        .map_err(|e| Failure::unavailable(format!("{e}; is the package index within reach?")))?;
    Ok(python)
}
