//! The build: this workspace seen through links, with a lock file of its own.
//!
//! Taking candle from a folder changes the lock file. So that ours stays as it is, even if the build is
//! broken off, cargo sees a folder of links with a copy of the lock file in it; with the sources of the
//! two changed crates struck from that copy, `--locked` still holds for everything else.

use std::fs;
use std::path::{Path, PathBuf};

use super::capability::Capability;
use super::crates;
use super::toolkit::Toolkit;
use crate::shell::{Failure, command, execute, root, target};

/// What the workspace manifest refers to.
const MEMBERS: [&str; 5] = ["boards", "edge-runtime", "model-export", "tests", "trainer"];

/// The programs.
pub struct Built {
    /// The trainer; it needs FFmpeg's libraries, as without CUDA.
    pub trainer: PathBuf,
    /// The check, which needs nothing but the C library.
    pub check: PathBuf,
}

/// Builds the programs for GPUs of a compute capability.
pub fn build(toolkit: &Toolkit, capability: Capability) -> Result<Built, Failure> {
    let lock = root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(|e| io(&lock, &e))?;
    let patched = crates::patched(&lock)?;
    let folder = target().join("cuda/workspace");
    links(&root(), &folder, &crates::unlocked(&lock))?;

    // All of the workspace, so that every crate is built as for the other commands, and intermediate
    // files where they leave theirs: what is there already is not compiled again. The programs go to
    // a folder of their own.
    let (programs, build) = (target().join("cuda/programs"), target());
    let mut cargo = command("cargo", ["build", "--release", "--locked", "--workspace"]);
    cargo.args(["--bin", "trainer", "--bin", "gpu-check", "--features", "trainer/cuda"]);
    cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&programs).env("CARGO_BUILD_BUILD_DIR", &build);
    for (name, path) in crates::NAMES.iter().zip(&patched) {
        cargo.arg("--config");
        cargo.arg(format!("patch.crates-io.{name}.path={:?}", path.display().to_string()));
    }
    toolkit.environment(&mut cargo, capability);
    execute(&mut cargo)?;
    assemble(toolkit, &build, capability)?;
    let program = |name: &str| programs.join("release").join(name);
    Ok(Built { trainer: program("trainer"), check: program("gpu-check") })
}

/// Makes the folder that cargo is given: links to the members, a copy of manifest and lock file.
fn links(root: &Path, folder: &Path, lock: &str) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| io(folder, &e))?;
    for member in MEMBERS {
        let (original, link) = (root.join(member), folder.join(member));
        if fs::read_link(&link).ok().as_ref() != Some(&original) {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&original, &link).map_err(|e| io(&link, &e))?;
        }
    }
    let manifest = root.join("Cargo.toml");
    fs::copy(&manifest, folder.join("Cargo.toml")).map_err(|e| io(&manifest, &e))?;
    fs::write(folder.join("Cargo.lock"), lock).map_err(|e| io(folder, &e))
}

/// Has NVIDIA's assembler take the kernels as they were marked for older drivers and other GPUs.
fn assemble(toolkit: &Toolkit, build: &Path, capability: Capability) -> Result<(), Failure> {
    let kernels = kernels(&build.join("release/build"))?;
    eprintln!("Checking {} kernel modules as PTX {}", kernels.len(), capability.ptx_version());
    for kernel in kernels {
        let mut ptxas = command(&toolkit.ptxas().to_string_lossy(), ["-O0", "-arch"]);
        ptxas.arg(capability.architecture()).args(["-o", "/dev/null"]).arg(&kernel);
        execute(&mut ptxas)?;
    }
    Ok(())
}

/// The PTX files of the latest build of candle-kernels.
fn kernels(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, Failure> {
        let entries = fs::read_dir(folder).map_err(|e| io(folder, &e))?;
        entries.map(|entry| entry.map(|e| e.path()).map_err(|e| io(folder, &e))).collect()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let outputs = list(folder)?;
    let outputs = outputs.iter().filter(|path| name(path).starts_with("candle-kernels-"));
    let latest = outputs
        .map(|path| path.join("out"))
        .filter_map(|out| Some((out.join("ptx.rs").metadata().ok()?.modified().ok()?, out)))
        .max();
    let Some((_, out)) = latest else {
        return Err(Failure::work(format!("{}: no kernels were built", folder.display())));
    };
    let mut found = list(&out)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "ptx"));
    found.sort();
    Ok(found)
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_links_with_a_lock_file_of_its_own() {
        let folder = target().join("xtask-tests/links");
        let _ = fs::remove_dir_all(&folder);
        for _ in 0..2 {
            links(&root(), &folder, "lock").unwrap();
            assert_eq!(fs::read_to_string(folder.join("Cargo.lock")).unwrap(), "lock");
            for member in MEMBERS {
                assert_eq!(fs::read_link(folder.join(member)).unwrap(), root().join(member));
            }
        }
        // All that the manifest names is there.
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
        for member in
            members.split(',').map(|m| m.trim().trim_matches('"')).filter(|m| !m.is_empty())
        {
            assert!(folder.join(member).join("Cargo.toml").exists(), "{member}");
        }
        assert_ne!(fs::read_to_string(root().join("Cargo.lock")).unwrap(), "lock");
    }

    #[test]
    fn the_kernels_are_those_of_the_latest_build() {
        let folder = target().join("xtask-tests/kernels");
        let _ = fs::remove_dir_all(&folder);
        assert!(kernels(&folder).is_err());
        for (name, module) in [("candle-kernels-a", "old.ptx"), ("candle-kernels-b", "new.ptx")] {
            let out = folder.join(name).join("out");
            fs::create_dir_all(&out).unwrap();
            fs::write(out.join(module), "").unwrap();
            fs::write(out.join("ptx.rs"), "").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        fs::create_dir_all(folder.join("other-c/out")).unwrap();
        let found = kernels(&folder).unwrap();
        assert_eq!(found, [folder.join("candle-kernels-b/out/new.ptx")]);
    }
}
