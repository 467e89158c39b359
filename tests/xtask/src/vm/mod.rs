//! `cargo xtask vm`: a kernel with simulated hardware, then the program that boots it.

mod arm64;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::install::{self, Package};
use crate::package::Arch;
use crate::shell::{Failure, command, execute, output, root, target};
use crate::{apt, demo};

/// To make and run the machine.
const PACKAGES: &[Package] = &[
    Package("qemu-system-x86", "the virtual machine"),
    Package("busybox-static", "the virtual machine's own programs"),
    Package("v4l-utils", "working the virtual camera"),
    Package("xz-utils", "unpacking kernel modules"),
    Package("binutils", "leaving debugging information out of the machine"),
    Package("debian-archive-keyring", "checking what comes from Debian"),
];

/// The kernel: the first of Debian's that has a simulated camera, GPIO lines and a watchdog.
const SUITE: &str = "trixie-backports";

/// What `--long` adds: a quarter of an hour, in the machine's time.
const LONG: &str = "900";

/// `cargo xtask vm [--arch amd64|arm64] [--break WHAT] [--long] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut broken = None;
    let mut no_install = false;
    let mut long = false;
    let mut arch = Arch::Amd64;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-install" => no_install = true,
            "--long" => long = true,
            "--break" => match words.next() {
                Some(what) => broken = Some(what.clone()),
                None => return Err(Failure::usage("vm: --break wants a word")),
            },
            "--arch" => match words.next().map(String::as_str) {
                Some("amd64") => arch = Arch::Amd64,
                Some("arm64") => arch = Arch::Arm64,
                _ => return Err(Failure::usage("vm: --arch can be amd64 or arm64")),
            },
            other => return Err(Failure::usage(format!("vm: no option '{other}'"))),
        }
    }
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable("vm: the virtual machine runs on x86-64 only"));
    }
    if arch == Arch::Arm64 && long {
        return Err(Failure::usage("vm: --long is for amd64"));
    }
    if arch == Arch::Arm64 {
        return arm64::run(broken.as_deref(), no_install);
    }
    install::ensure(&[install::BUILD, install::RUN, PACKAGES], no_install)?;
    let kernel = kernel(Arch::Amd64, no_install)?;
    demo::build()?;
    boot(&kernel, broken.as_deref(), long)
}

/// As part of all tests: what cannot be had is said and skipped, unless it could be fetched.
pub fn test(no_install: bool) -> Result<(), Failure> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: the virtual machine is for x86-64 only");
        return Ok(());
    }
    let had =
        install::ensure(&[PACKAGES], no_install).and_then(|()| kernel(Arch::Amd64, no_install));
    match had {
        Ok(kernel) => boot(&kernel, None, false),
        Err(failure) if no_install => {
            eprintln!("skipped: the virtual machine ({failure})");
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

fn boot(kernel: &Path, broken: Option<&str>, long: bool) -> Result<(), Failure> {
    let more = ["--long", LONG].map(OsStr::new);
    start(kernel, "vm", if long { &more } else { &[] }, broken)
}

/// Runs the machine; `name` is its folder below `target`.
fn start(kernel: &Path, name: &str, more: &[&OsStr], broken: Option<&str>) -> Result<(), Failure> {
    let program = target().join("release/vm");
    let mut vm = command(&program.to_string_lossy(), ["--kernel"]);
    vm.arg(kernel).arg("--out").arg(root().join("target").join(name)).args(more);
    if let Some(what) = broken {
        vm.args(["--break", what]);
    }
    execute(&mut vm)
}

/// The folder of the unpacked kernel; fetched if it is not there.
fn kernel(arch: Arch, no_install: bool) -> Result<PathBuf, Failure> {
    let (name, folder) = match arch {
        Arch::Amd64 => ("linux-image-amd64", "kernel"),
        Arch::Arm64 => ("linux-image-arm64", "kernel-arm64"),
    };
    let folder = root().join("target/tools").join(folder);
    if folder.exists() {
        return Ok(folder);
    }
    if no_install {
        return Err(Failure::unavailable(format!(
            "{name} of Debian {SUITE} is missing ({}) and --no-install was given: run 'cargo xtask \
             vm --arch {}' without it",
            folder.display(),
            arch.name()
        )));
    }
    let debian = apt::Suite::update(SUITE, arch.name())?;
    // The package depends on the one of the newest version, that one on those with the files.
    let image = debian.depends(name, "linux-image-")?;
    let image = image.first().ok_or_else(|| {
        Failure::unavailable(format!("{name} of Debian {SUITE} depends on no kernel"))
    })?;
    let mut packages = vec![image.clone()];
    packages.extend(debian.depends(image, "linux-binary-")?);
    packages.extend(debian.depends(image, "linux-modules-")?);
    eprintln!("Fetching {} from Debian {SUITE}", packages.join(", "));
    debian.unpack(&packages, &folder)
}

/// Whether a package's program or data is there, for those that are not libraries.
pub fn present(package: &str) -> Option<bool> {
    let place = match package {
        "qemu-system-x86" => "qemu-system-x86_64",
        "qemu-system-arm" => "qemu-system-aarch64",
        "cpio" => "cpio",
        "busybox-static" => return Some(static_busybox()),
        "v4l-utils" => "v4l2-ctl",
        "xz-utils" => "xz",
        "binutils" => "strip",
        "dpkg-dev" => "dpkg-shlibdeps",
        "lintian" => "lintian",
        "mmdebstrap" => "mmdebstrap",
        "systemd" => "systemd-analyze",
        "debian-archive-keyring" => {
            return Some(Path::new(apt::KEYRING).exists());
        }
        _ => return None,
    };
    Some(output(&mut command("which", [place])).is_ok())
}

fn static_busybox() -> bool {
    let busybox = Path::new("/bin/busybox");
    // `ldd` fails on what is not dynamic.
    busybox.exists() && output(&mut command("ldd", [busybox])).is_err()
}
