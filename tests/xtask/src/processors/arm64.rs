//! The test programs cross-built for 64-bit ARM, without FFmpeg, and run by QEMU.

use crate::apt;
use crate::emulator;
use crate::install::{self, Package};
use crate::package::{arm64, tool};
use crate::shell::{Failure, root};
use crate::weights;

use super::kinds::Kind;
use super::programs::{self, Built};

const PACKAGES: &[Package] =
    &[Package("debian-archive-keyring", "checking what comes from Debian")];
/// The release with the oldest C library that the camera program is for.
const SUITE: &str = "bullseye";
/// What test programs and ONNX Runtime are linked with.
const LIBRARIES: [&str; 3] = ["libc6", "libgcc-s1", "libstdc++6"];
/// Packages of the test programs.
const CRATES: [&str; 4] = ["inference", "lesser-processor", "model-export", "video"];

/// Builds the programs and runs them on processors with and without `dotprod`.
pub fn run(quickly: bool, no_install: bool) -> Result<(), Failure> {
    let qemu = emulator::program("aarch64", no_install)?;
    let libraries = libraries(no_install)?;
    weights::onnx_runtime(true).ensure(no_install)?;
    let folder = root().join("target/processors-arm64");
    let mut words: Vec<String> =
        CRATES.iter().flat_map(|name| ["--package".to_owned(), (*name).to_owned()]).collect();
    words.extend(["--no-default-features", "--bin", "processor"].map(str::to_owned));
    words.extend(programs::targets());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let programs = programs::built(&mut arm64::cargo(&words, &folder, no_install)?)?;
    let processor = folder.join(arm64::TARGET).join("release/processor");
    let kind = |name, cpu, has, lacks| Kind::arm64(name, cpu, &qemu, &libraries, has, lacks);
    let kinds = [
        kind("arm64 without dotprod (Cortex-A53)", "cortex-a53", &["neon"], &["dotprod", "i8mm"]),
        kind("arm64 with dotprod (Neoverse N1)", "neoverse-n1", &["neon", "dotprod"], &["i8mm"]),
        kind("arm64 with i8mm (Neoverse V1)", "neoverse-v1", &["dotprod", "i8mm"], &[]),
    ];
    super::try_all(&kinds, &Built { programs, processor }, quickly)
}

/// The libraries of a Debian system for arm64, unpacked.
fn libraries(no_install: bool) -> Result<std::path::PathBuf, Failure> {
    let folder = tool(&format!("libraries-{SUITE}-arm64"));
    if folder.exists() {
        return Ok(folder);
    }
    if no_install {
        return Err(Failure::unavailable(format!(
            "{} of Debian {SUITE} for arm64 are missing ({}) and --no-install was given",
            LIBRARIES.join(", "),
            folder.display()
        )));
    }
    install::ensure(&[PACKAGES], no_install)?;
    let debian = apt::Suite::update(SUITE, "arm64")?;
    eprintln!("Fetching {} for arm64 from Debian {SUITE}", LIBRARIES.join(", "));
    debian.unpack(&LIBRARIES.map(str::to_owned), &folder)
}
