//! `cargo xtask vm`: a kernel with simulated hardware, then the program that boots it.

use std::path::{Path, PathBuf};

use crate::install::{self, Package};
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
const KERNEL: &str = "linux-image-amd64";

/// `cargo xtask vm [--break WHAT] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut broken = None;
    let mut no_install = false;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-install" => no_install = true,
            "--break" => match words.next() {
                Some(what) => broken = Some(what.clone()),
                None => return Err(Failure::usage("vm: --break wants a word")),
            },
            "--arch" => match words.next().map(String::as_str) {
                Some("amd64") => {}
                _ => return Err(Failure::usage("vm: --arch can be amd64 only")),
            },
            other => return Err(Failure::usage(format!("vm: no option '{other}'"))),
        }
    }
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable("vm: the virtual machine is for x86-64 only"));
    }
    install::ensure(&[install::BUILD, install::RUN, PACKAGES], no_install)?;
    let kernel = kernel(no_install)?;
    demo::build()?;
    boot(&kernel, broken.as_deref())
}

/// As part of all tests: what cannot be had is said and skipped, unless it could be fetched.
pub fn test(no_install: bool) -> Result<(), Failure> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: the virtual machine is for x86-64 only");
        return Ok(());
    }
    let had = install::ensure(&[PACKAGES], no_install).and_then(|()| kernel(no_install));
    match had {
        Ok(kernel) => boot(&kernel, None),
        Err(failure) if no_install => {
            eprintln!("skipped: the virtual machine ({failure})");
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

fn boot(kernel: &Path, broken: Option<&str>) -> Result<(), Failure> {
    let program = target().join("release/vm");
    let mut vm = command(&program.to_string_lossy(), ["--kernel"]);
    vm.arg(kernel).arg("--out").arg(root().join("target/vm"));
    if let Some(what) = broken {
        vm.args(["--break", what]);
    }
    execute(&mut vm)
}

/// The folder of the unpacked kernel; fetched if it is not there.
fn kernel(no_install: bool) -> Result<PathBuf, Failure> {
    let folder = root().join("target/tools/kernel");
    if folder.exists() {
        return Ok(folder);
    }
    if no_install {
        return Err(Failure::unavailable(format!(
            "{KERNEL} of Debian {SUITE} is missing ({}) and --no-install was given: run 'cargo xtask \
             vm' without it",
            folder.display()
        )));
    }
    let debian = apt::Suite::update(SUITE, "amd64")?;
    // The package depends on the one of the newest version, that one on those with the files.
    let image = debian.depends(KERNEL, "linux-image-")?;
    let image = image.first().ok_or_else(|| {
        Failure::unavailable(format!("{KERNEL} of Debian {SUITE} depends on no kernel"))
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
        "busybox-static" => return Some(static_busybox()),
        "v4l-utils" => "v4l2-ctl",
        "xz-utils" => "xz",
        "binutils" => "strip",
        "dpkg-dev" => "dpkg-shlibdeps",
        "lintian" => "lintian",
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
