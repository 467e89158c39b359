//! The camera program for arm64, cross-built on x86-64.
//!
//! zig's C compiler brings the C library's headers and symbols in every version, so the program can
//! be linked for one older than this machine's: JetPack 5 has glibc 2.31. The standard library is
//! built from source, since the toolchain has none for the target. FFmpeg is left out: its versions
//! differ between JetPack 5 and 6, and a camera that watches its own sensor needs none.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{tool, write};
use crate::firmware;
use crate::shell::{Failure, command, execute, output, root};

/// Oldest C library that the program runs with.
const FLOOR: &str = "2.31";
/// What the package depends on: the program needs the C library alone, ONNX Runtime also that of C++.
pub const DEPENDS: &str = "libc6 (>= 2.31), libgcc-s1, libstdc++6 (>= 8)";
/// The target, in Rust's words.
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

/// cargo-zigbuild (MIT) and zig (MIT), as pip checks them.
const REQUIREMENTS: &str = "\
cargo-zigbuild==0.24.1 \
--hash=sha256:238a1ab54a95053a4eadc34775c81f795a8ad75f80bfed63f3f445f518102375
ziglang==0.17.1 \
--hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
";

/// Builds the program; its path.
pub fn build(folder: &Path, no_install: bool) -> Result<PathBuf, Failure> {
    let words = ["--package", "edge-runtime", "--bin", "edge-runtime", "--no-default-features"];
    execute(&mut cargo(&words, folder, no_install)?)?;
    let program = folder.join(TARGET).join("release/edge-runtime");
    floor(&program)?;
    Ok(program)
}

/// `cargo build --release` for the target with these words, into `folder`.
pub fn cargo(words: &[&str], folder: &Path, no_install: bool) -> Result<Command, Failure> {
    let zig = zig(no_install)?;
    let rustc = firmware::rustc_with_sources(no_install)?;
    let python = zig.join("bin/python3");
    let said = output(&mut command(
        &python.to_string_lossy(),
        ["-c", "import os, ziglang; print(os.path.dirname(ziglang.__file__))"],
    ))?;
    let include = Path::new(said.trim()).join("lib/libc/include");
    // Bindings are made by this machine's clang with the target's headers.
    let headers: Vec<String> =
        ["aarch64-linux-any", "any-linux-any", "aarch64-linux-gnu", "generic-glibc"]
            .iter()
            .map(|name| format!("-I{}", include.join(name).display()))
            .collect();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut cargo = command("cargo", ["zigbuild", "--release", "--locked"]);
    cargo.args(words);
    cargo.args(["-Zbuild-std=std,panic_unwind", "--target", &format!("{TARGET}.{FLOOR}")]);
    cargo.arg("--target-dir").arg(folder);
    cargo.env("PATH", format!("{}:{path}", zig.join("bin").display()));
    cargo.env("CARGO_ZIGBUILD_PYTHON_PATH", python);
    cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("BINDGEN_EXTRA_CLANG_ARGS", headers.join(" "));
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "none").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    Ok(cargo)
}

/// A Python environment with both.
fn zig(no_install: bool) -> Result<PathBuf, Failure> {
    let zig = tool("zig");
    if zig.join("bin/cargo-zigbuild").exists() {
        return Ok(zig);
    }
    if no_install {
        return Err(Failure::unavailable(format!(
            "cargo-zigbuild and zig are missing ({}) and --no-install was given",
            zig.display()
        )));
    }
    eprintln!("Fetching cargo-zigbuild and zig from PyPI");
    let requirements = tool("zig.txt");
    write(&requirements, REQUIREMENTS)?;
    // Its programs name the folder that they were installed into, so it is made in place.
    execute(command("python3", ["-m", "venv"]).arg(&zig))?;
    let pip = zig.join("bin/pip");
    let mut install = command(&pip.to_string_lossy(), ["install", "--quiet", "--require-hashes"]);
    install.args(["--only-binary=:all:", "--disable-pip-version-check", "-r"]).arg(&requirements);
    execute(&mut install).map_err(|e| Failure::unavailable(e.message))?;
    Ok(zig)
}

/// Refuses a program or library that needs a newer C library than it should.
pub fn floor(program: &Path) -> Result<(), Failure> {
    let said = output(command("objdump", ["-T"]).arg(program))?;
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    let versions = said
        .split(|c: char| c.is_whitespace() || c == '(' || c == ')')
        .filter_map(|word| parse(word.strip_prefix("GLIBC_")?));
    match (versions.max(), parse(FLOOR)) {
        (Some(needed), Some(floor)) if needed <= floor => {
            let name = program.file_name().unwrap_or_default().display();
            eprintln!("{name} needs glibc {}.{} or later", needed.0, needed.1);
            Ok(())
        }
        (needed, _) => Err(Failure::work(format!(
            "{}: needs glibc {needed:?}, the floor is {FLOOR}",
            program.strip_prefix(root()).unwrap_or(program).display()
        ))),
    }
}
