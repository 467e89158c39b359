//! candle's CUDA code changed so that one program starts with and without CUDA.
//!
//! As published, the `cuda` feature links NVIDIA's libraries, and the program does not start where
//! they are missing. Two changes to fresh copies of what cargo downloaded, nothing of which is in this
//! repository:
//!
//! - candle-core asks cudarc to load the libraries when they are first used (`dynamic-loading`)
//!   instead of linking them;
//! - candle-kernels gets a build script of ours, `build_kernels.rs`. It leaves out the crate's static
//!   library (mixture-of-experts and quantized products), the one part that needs CUDA's runtime
//!   library; no model of ours calls it, and the linker drops what would. It compiles for plain
//!   architectures, where candle's asks for `sm_90a`, which only Hopper takes. And it marks the PTX with
//!   the version that suffices: nvcc 13.0 writes 9.0, which only drivers of CUDA 13 (580 and later)
//!   take, though the kernels use nothing so new. NVIDIA's assembler proves afterwards that it suffices.
//!
//! candle-kernels' own build needs the crate cudaforge, and through it other features of crates that all
//! else uses, which would then be compiled once more. It stays in the lock file and out of the build.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{Failure, command, execute, target};

/// The crates that are changed.
pub const NAMES: [&str; 2] = ["candle-core", "candle-kernels"];

const BUILD_KERNELS: &str = include_str!("build_kernels.rs");

/// Copies both crates of the lock file below `target/cuda/crates`, changed, and gives their folders.
pub fn patched(lock: &str) -> Result<[PathBuf; 2], Failure> {
    let sources = NAMES.map(|name| version(lock, name).and_then(|version| source(name, &version)));
    let [core, kernels] = sources;
    let (core, kernels) = (core?, kernels?);
    let folder = target().join("cuda/crates");
    let out = NAMES.map(|name| folder.join(name));
    copy(&core, &out[0], &mut |path, text| match path {
        "Cargo.toml" => dynamic_loading(text).map(Some),
        _ => Ok(None),
    })?;
    copy(&kernels, &out[1], &mut |path, text| match path {
        "Cargo.toml" => without_cudaforge(text).map(Some),
        "build.rs" => Ok(Some(BUILD_KERNELS.to_owned())),
        _ => Ok(None),
    })?;
    Ok(out)
}

/// A crate's version in the lock file.
fn version(lock: &str, name: &str) -> Result<String, Failure> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    let line = lines.nth(1).unwrap_or_default();
    match line.strip_prefix("version = \"").and_then(|rest| rest.strip_suffix('"')) {
        Some(version) => Ok(version.to_owned()),
        None => Err(Failure::work(format!("Cargo.lock: no version of {name}"))),
    }
}

/// Where cargo has unpacked a crate; asks cargo to, if it has not.
fn source(name: &str, version: &str) -> Result<PathBuf, Failure> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).unwrap_or_default();
    let find = || {
        let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
        let folders = registries.map(|entry| entry.path().join(format!("{name}-{version}")));
        folders.into_iter().find(|folder| folder.join("Cargo.toml").exists())
    };
    if let Some(folder) = find() {
        return Ok(folder);
    }
    execute(&mut command("cargo", ["fetch", "--locked"]))?;
    find().ok_or_else(|| {
        Failure::work(format!(
            "{name} {version} is not below {}",
            home.join("registry/src").display()
        ))
    })
}

/// Given a file's name in its crate and its text: the text anew, or nothing.
type Change<'a> = dyn FnMut(&str, &str) -> Result<Option<String>, Failure> + 'a;

/// Copies a folder; `change` may give a file's text anew. A file that is right already is left alone,
/// so that cargo sees no change where there is none.
fn copy(from: &Path, to: &Path, change: &mut Change<'_>) -> Result<(), Failure> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = from.join(&folder);
        fs::create_dir_all(to.join(&folder)).map_err(|e| io(&to.join(&folder), &e))?;
        for entry in fs::read_dir(&here).map_err(|e| io(&here, &e))? {
            let entry = entry.map_err(|e| io(&here, &e))?;
            let name = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
                continue;
            }
            let mut bytes = fs::read(entry.path()).map_err(|e| io(&entry.path(), &e))?;
            if let Some(text) = std::str::from_utf8(&bytes).ok()
                && let Some(changed) = change(&name.to_string_lossy(), text)?
            {
                bytes = changed.into_bytes();
            }
            let out = to.join(&name);
            if fs::read(&out).ok().as_deref() != Some(&bytes) {
                fs::write(&out, bytes).map_err(|e| io(&out, &e))?;
            }
        }
    }
    Ok(())
}

/// candle-core's manifest with cudarc's libraries loaded at run time.
fn dynamic_loading(manifest: &str) -> Result<String, Failure> {
    replace_one(manifest, "candle-core: Cargo.toml", "\"dynamic-linking\"", "\"dynamic-loading\"")
}

/// candle-kernels' manifest with its build dependency for no platform at all.
fn without_cudaforge(manifest: &str) -> Result<String, Failure> {
    let nowhere = "[target.'cfg(any())'.build-dependencies.cudaforge]";
    replace_one(manifest, "candle-kernels: Cargo.toml", "[build-dependencies.cudaforge]", nowhere)
}

/// The lock file with the changed crates taken from a folder: without source and checksum.
pub fn unlocked(lock: &str) -> String {
    let mut ours = false;
    let mut out = String::with_capacity(lock.len());
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ") {
            ours = NAMES.contains(&name.trim_matches('"'));
        }
        if !(ours && (line.starts_with("source = ") || line.starts_with("checksum = "))) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn replace_one(text: &str, what: &str, from: &str, to: &str) -> Result<String, Failure> {
    if text.matches(from).count() == 1 {
        Ok(text.replacen(from, to, 1))
    } else {
        Err(changed(what, from))
    }
}

fn changed(what: &str, expected: &str) -> Failure {
    Failure::work(format!(
        "{what}: '{}' is not there once: this version of candle is not the one that the change was \
         made for",
        expected.trim()
    ))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "\
version = 4

[[package]]
name = \"candle-core\"
version = \"0.11.1\"
source = \"registry+https://github.com/rust-lang/crates.io-index\"
checksum = \"aa\"
dependencies = [
 \"candle-kernels\",
]

[[package]]
name = \"candle-nn\"
version = \"0.11.2\"
source = \"registry+https://github.com/rust-lang/crates.io-index\"
checksum = \"bb\"
";

    #[test]
    fn the_lock_file_tells_versions_and_loses_the_sources_of_the_changed_crates() {
        assert_eq!(version(LOCK, "candle-core").unwrap(), "0.11.1");
        assert_eq!(version(LOCK, "candle-nn").unwrap(), "0.11.2");
        assert_eq!(version(LOCK, "candle").unwrap_err().code, 1);
        let unlocked = unlocked(LOCK);
        assert!(!unlocked.contains("\"aa\"") && unlocked.contains("\"bb\""), "{unlocked}");
        assert_eq!(unlocked.matches("source = ").count(), 1);
        assert!(unlocked.contains(" \"candle-kernels\",\n]\n"));
    }

    #[test]
    fn the_libraries_are_loaded_instead_of_linked() {
        let manifest = "features = [\n    \"f8\",\n    \"dynamic-linking\",\n]\n";
        let got = dynamic_loading(manifest).unwrap();
        assert_eq!(got, "features = [\n    \"f8\",\n    \"dynamic-loading\",\n]\n");
        // A manifest that has changed is not guessed at.
        assert!(dynamic_loading("features = []").unwrap_err().message.contains("dynamic-linking"));
        assert!(dynamic_loading(&manifest.repeat(2)).is_err());
    }

    #[test]
    fn the_kernels_are_built_without_other_crates() {
        let manifest = "[build-dependencies.cudaforge]\nversion = \"0.1.2\"\n";
        let got = without_cudaforge(manifest).unwrap();
        let nowhere = "[target.'cfg(any())'.build-dependencies.cudaforge]\nversion = \"0.1.2\"\n";
        assert_eq!(got, nowhere);
        assert!(without_cudaforge("[build-dependencies]").is_err());
        assert!(!BUILD_KERNELS.contains("cudaforge") && !BUILD_KERNELS.contains("cudart"));
    }

    #[test]
    fn a_copy_is_written_once_and_only_where_it_differs() {
        let folder = target().join("xtask-tests/copy");
        let _ = fs::remove_dir_all(&folder);
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::write(from.join("Cargo.toml"), "one").unwrap();
        fs::write(from.join("src/lib.rs"), [0xff, 0xfe]).unwrap();
        let mut change =
            |path: &str, text: &str| Ok((path == "Cargo.toml").then(|| text.replace("one", "two")));
        copy(&from, &to, &mut change).unwrap();
        assert_eq!(fs::read_to_string(to.join("Cargo.toml")).unwrap(), "two");
        assert_eq!(fs::read(to.join("src/lib.rs")).unwrap(), [0xff, 0xfe]);
        let written = |name: &str| fs::metadata(to.join(name)).unwrap().modified().unwrap();
        let before = written("Cargo.toml");
        copy(&from, &to, &mut change).unwrap();
        assert_eq!(written("Cargo.toml"), before);
    }
}
