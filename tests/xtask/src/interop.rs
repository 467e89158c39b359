//! `cargo xtask interop`: the camera program with other people's programs.
//!
//! They are fetched first, each into a folder of its own below `target/tools` but for what apt installs;
//! then `interop` of the crate `tests` runs the checks and says which version held what.

use std::path::{Path, PathBuf};

use crate::install::{self, Package};
use crate::shell::{Failure, command, execute, output, quiet, root, target};
use crate::words::Words;
use crate::{apt, weights};

/// The server of network cameras.
const GSTREAMER: &[Package] = &[
    Package("python3-gi", "GStreamer's RTSP server, from a script"),
    Package("gir1.2-gst-rtsp-server-1.0", "GStreamer's RTSP server"),
    Package("gstreamer1.0-plugins-base", "its test pictures and sound"),
    Package("gstreamer1.0-plugins-good", "RTP packets"),
    Package("gstreamer1.0-plugins-ugly", "H.264 of its pictures"),
];
/// The Python of the distribution, which `python3-gi` is for.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// What runs aedes.
const NODE: &[Package] =
    &[Package("nodejs", "the MQTT broker aedes"), Package("npm", "fetching aedes from npm")];

/// Debian's Prometheus, unpacked and not installed: as a package it would start a server.
const PROMETHEUS_SUITE: &str = "bookworm";
const ARCHIVE: &[Package] = &[Package("debian-archive-keyring", "checking what comes from Debian")];

/// The peers by name, as `--only` takes them.
const PEERS: [&str; 4] = ["gstreamer", "aedes", "home-assistant", "promtool"];

/// What was asked for.
struct Asked<'a> {
    only: Option<&'a str>,
    allow_missing: bool,
    no_install: bool,
}

/// `cargo xtask interop [--only PEER] [--allow-missing] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut asked = Asked { only: None, allow_missing: false, no_install: false };
    let mut words = Words::new("interop", args);
    while let Some(option) = words.option() {
        match option {
            "--only" => {
                let name = words.value()?;
                if !PEERS.contains(&name) {
                    let known = PEERS.join(", ");
                    return Err(Failure::usage(format!(
                        "interop: no peer '{name}'; there are: {known}"
                    )));
                }
                asked.only = Some(name);
            }
            "--allow-missing" => asked.allow_missing = true,
            "--no-install" => asked.no_install = true,
            _ => return Err(words.unknown()),
        }
    }
    install::ensure(&[install::BUILD, install::RUN], asked.no_install)?;
    let mut peers: Vec<(&str, PathBuf)> = Vec::new();
    let mut missing = Vec::new();
    for name in PEERS {
        if asked.only.is_some_and(|only| only != name) {
            continue;
        }
        let had = match name {
            "gstreamer" => gstreamer(asked.no_install),
            "aedes" => aedes(asked.no_install),
            "home-assistant" => home_assistant(asked.no_install),
            _ => promtool(asked.no_install),
        };
        match had {
            Ok(path) => peers.push((name, path)),
            Err(failure) if asked.allow_missing => {
                missing.push(name);
                eprintln!("skipped: {name} ({failure})");
            }
            Err(failure) => {
                let message =
                    format!("{name}: {failure}; --allow-missing does without it, by name");
                return Err(Failure { message, code: failure.code });
            }
        }
    }
    if peers.is_empty() {
        return Err(Failure::unavailable(format!(
            "interop: none of {} can be had",
            missing.join(", ")
        )));
    }
    build()?;
    let program = target().join("release/interop");
    let mut checks = command(&program.to_string_lossy(), ["--out"]);
    checks.arg(root().join("target/interop"));
    for (name, path) in &peers {
        checks.arg(format!("--{name}")).arg(path);
    }
    execute(checks.envs(weights::environment()))?;
    if !missing.is_empty() {
        println!("NOT CHECKED, because they could not be had: {}", missing.join(", "));
    }
    Ok(())
}

/// The program with the checks, and those that it runs.
fn build() -> Result<(), Failure> {
    let mut cargo = command("cargo", ["build", "--release", "--locked", "--workspace"]);
    for name in ["interop", "edge-runtime", "model-export"] {
        cargo.args(["--bin", name]);
    }
    execute(&mut cargo)
}

/// A Python with GStreamer's RTSP server.
fn gstreamer(no_install: bool) -> Result<PathBuf, Failure> {
    install::ensure(&[GSTREAMER], no_install)?;
    Ok(SYSTEM_PYTHON.into())
}

/// The folder in which npm has installed aedes, as the lock file says.
fn aedes(no_install: bool) -> Result<PathBuf, Failure> {
    install::ensure(&[NODE], no_install)?;
    let folder = root().join("target/tools/aedes");
    let lists =
        ["package.json", "package-lock.json"].map(|name| root().join("tests/interop").join(name));
    let stamp = folder.join("installed");
    let mut wanted = Vec::new();
    for list in &lists {
        wanted.extend(std::fs::read(list).map_err(|e| io(list, &e))?);
    }
    if std::fs::read(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(folder);
    }
    if no_install {
        return Err(missing("aedes", &folder));
    }
    eprintln!("Fetching the MQTT broker aedes from npm (tests/interop/package-lock.json)");
    std::fs::create_dir_all(&folder).map_err(|e| io(&folder, &e))?;
    for list in &lists {
        let to = folder.join(list.file_name().unwrap_or_default());
        std::fs::copy(list, &to).map_err(|e| io(&to, &e))?;
    }
    let mut npm = command("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    execute(npm.current_dir(&folder)).map_err(|e| unreachable(&e, "npm's registry"))?;
    // Last, so that an interrupted run begins again.
    std::fs::write(&stamp, wanted).map_err(|e| io(&stamp, &e))?;
    Ok(folder)
}

/// The Python of an environment that has Home Assistant, as the list of requirements says.
fn home_assistant(no_install: bool) -> Result<PathBuf, Failure> {
    const LIST: &str = "tests/interop/home-assistant.txt";
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable(format!("{LIST} is for x86-64 only")));
    }
    let venv = root().join("target/tools/home-assistant");
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let list = root().join(LIST);
    let wanted = std::fs::read(&list).map_err(|e| io(&list, &e))?;
    if python.exists() && std::fs::read(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(python);
    }
    if no_install {
        return Err(missing("Home Assistant", &venv));
    }
    let base = python_3_13().ok_or_else(|| {
        Failure::unavailable(
            "Home Assistant needs Python 3.13 with `venv`: install it as `python3.13`",
        )
    })?;
    eprintln!("Fetching Home Assistant from PyPI into {} ({LIST})", venv.display());
    if venv.exists() {
        std::fs::remove_dir_all(&venv).map_err(|e| io(&venv, &e))?;
    }
    execute(command(&base.to_string_lossy(), ["-m", "venv"]).arg(&venv))?;
    let words = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"];
    let mut pip = command(&python.to_string_lossy(), words);
    pip.args(["--require-hashes", "--only-binary=:all:", "--requirement", LIST]);
    execute(&mut pip).map_err(|e| unreachable(&e, "the package index"))?;
    std::fs::write(&stamp, wanted).map_err(|e| io(&stamp, &e))?;
    Ok(python)
}

/// Python 3.13: on the path, the distribution's, or one of pyenv's.
fn python_3_13() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    let versions = pyenv.and_then(|pyenv| std::fs::read_dir(pyenv.join("versions")).ok());
    let own =
        versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python3"));
    let mut found: Vec<PathBuf> = own.collect();
    found.sort();
    let usual = ["python3.13", "python3", SYSTEM_PYTHON].map(PathBuf::from);
    let fits = |python: &PathBuf| {
        const ASK: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 13))";
        quiet(&mut command(&python.to_string_lossy(), ["-c", ASK]))
    };
    usual.into_iter().chain(found).find(fits)
}

/// Prometheus' checker.
fn promtool(no_install: bool) -> Result<PathBuf, Failure> {
    let folder = root().join("target/tools/prometheus");
    let program = folder.join("usr/bin/promtool");
    if program.exists() {
        return Ok(program);
    }
    if no_install {
        return Err(missing("promtool", &folder));
    }
    install::ensure(&[ARCHIVE], no_install)?;
    let arch = output(&mut command("dpkg", ["--print-architecture"]))?;
    let debian = apt::Suite::update(PROMETHEUS_SUITE, arch.trim())?;
    eprintln!("Fetching Prometheus' promtool from Debian {PROMETHEUS_SUITE}");
    debian.unpack(&["prometheus".to_owned()], &folder)?;
    Ok(program)
}

fn missing(what: &str, folder: &Path) -> Failure {
    Failure::unavailable(format!(
        "{what} is missing ({}) and --no-install was given: run 'cargo xtask interop' without it",
        folder.display()
    ))
}

fn unreachable(failure: &Failure, what: &str) -> Failure {
    Failure::unavailable(format!("{failure}; is {what} within reach?"))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_there_is_not_is_refused() {
        let failure = run(&["--only".into(), "openhab".into()]).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("gstreamer, aedes"), "{failure}");
    }
}
