//! `cargo xtask alarm-node`: the siren's logic built for a microcontroller, and its size.
//!
//! The toolchain has no library for the target, so `core` and `alloc` are built from source: from
//! Debian's package of exactly this compiler's version.

use std::path::{Path, PathBuf};

use crate::apt;
use crate::install::{self, Package};
use crate::shell::{Failure, command, execute, output, root};

const PACKAGES: &[Package] = &[
    Package("binutils", "measuring the program"),
    Package("debian-archive-keyring", "checking what comes from Debian"),
];
const SUITE: &str = "trixie-backports";
const TARGET: &str = "thumbv7em-none-eabihf";

/// `cargo xtask alarm-node [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    if let Some(other) = args.iter().find(|a| *a != "--no-install") {
        return Err(Failure::usage(format!("alarm-node: no option '{other}'")));
    }
    install::ensure(&[PACKAGES], no_install)?;
    let rustc = rustc_with_sources(no_install)?;
    let folder = root().join("boards/alarm-node/firmware");
    let target = root().join("target/alarm-node");
    let mut build = command("cargo", ["build", "--release", "--locked", "--target", TARGET]);
    build.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"]);
    // The compiler is a stable one; building the library is the only unstable thing asked of it.
    build.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &target);
    execute(build.current_dir(&folder))?;
    let program = target.join(TARGET).join("release/alarm-node-firmware");
    let sections = output(command("size", ["-A"]).arg(&program))?;
    let of = |names: &[&str]| -> u64 {
        let size = |line: &str| {
            let mut words = line.split_whitespace();
            names.contains(&words.next()?).then(|| words.next()?.parse::<u64>().ok())?
        };
        sections.lines().filter_map(size).sum()
    };
    let flash = of(&[".vectors", ".text", ".rodata", ".data"]);
    let ram = of(&[".data", ".bss"]);
    println!(
        "alarm-node for {TARGET}: {flash} bytes of flash, {ram} bytes of RAM without the stack"
    );
    Ok(())
}

/// A compiler that finds the sources of its own library.
pub fn rustc_with_sources(no_install: bool) -> Result<PathBuf, Failure> {
    let wrapper = root().join("target/tools/rustc-with-sources");
    let said = output(&mut command("rustc", ["--version", "--verbose"]))?;
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .ok_or_else(|| Failure::unavailable("rustc does not say its version"))?;
    let sources = root().join(format!("target/tools/rust-src-{version}"));
    if !sources.exists() {
        if no_install {
            return Err(Failure::unavailable(format!(
                "the sources of Rust {version} are missing ({}) and --no-install was given",
                sources.display()
            )));
        }
        let debian = apt::Suite::update(SUITE, "amd64")?;
        let package = debian.version("rust-src", version)?;
        eprintln!("Fetching {package} from Debian {SUITE}");
        debian.unpack(&[package], &sources)?;
    }
    let library = sources.join(format!("usr/src/rustc-{version}"));
    let sysroot = output(&mut command("rustc", ["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let copy = root().join(format!("target/tools/sysroot-{version}"));
    mirror(sysroot, &copy, &library)?;
    let text = format!(
        "#!/bin/sh\nexec '{}' --sysroot '{}' \"$@\"\n",
        sysroot.join("bin/rustc").display(),
        copy.display()
    );
    std::fs::write(&wrapper, text).map_err(|e| io(&wrapper, &e))?;
    execute(command("chmod", ["755"]).arg(&wrapper))?;
    Ok(wrapper)
}

/// The toolchain's folder as links, with the sources where cargo looks for them.
fn mirror(from: &Path, to: &Path, library: &Path) -> Result<(), Failure> {
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(|e| io(to, &e))?;
    }
    let rustlib = to.join("lib/rustlib");
    std::fs::create_dir_all(rustlib.join("src")).map_err(|e| io(&rustlib, &e))?;
    link(&from.join("bin"), &to.join("bin"))?;
    for (folder, leave_out) in [("lib", "rustlib"), ("lib/rustlib", "src")] {
        let place = from.join(folder);
        for entry in std::fs::read_dir(&place).map_err(|e| io(&place, &e))? {
            let path = entry.map_err(|e| io(&place, &e))?.path();
            let name = path.file_name().unwrap_or_default();
            if name != leave_out {
                link(&path, &to.join(folder).join(name))?;
            }
        }
    }
    link(library, &rustlib.join("src/rust"))
}

fn link(from: &Path, to: &Path) -> Result<(), Failure> {
    std::os::unix::fs::symlink(from, to).map_err(|e| io(to, &e))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}
