//! The machine for 64-bit ARM: a Debian system with the package in it, as on a device.

use std::path::PathBuf;

use super::{kernel, start};
use crate::debian_root::{DebianRoot, as_root, done};
use crate::install::{self, Package};
use crate::package::{self, Arch};
use crate::shell::{Failure, command, execute, root};

/// To make and run it.
const PACKAGES: &[Package] = &[
    Package("qemu-system-arm", "the virtual machine"),
    Package("xz-utils", "unpacking kernel modules"),
    Package("mmdebstrap", "the Debian system in it"),
    Package("cpio", "its file system"),
    Package("debian-archive-keyring", "checking what comes from Debian"),
];
/// The Debian release with the oldest C library that the package is for.
const SUITE: &str = "bullseye";
/// What a device has and a minimal Debian system has not.
const SYSTEM: [&str; 6] = ["systemd", "systemd-sysv", "udev", "kmod", "iproute2", "v4l-utils"];

/// Builds everything and runs it.
pub fn run(broken: Option<&str>, no_install: bool) -> Result<(), Failure> {
    install::ensure(&[install::BUILD, install::RUN, PACKAGES], no_install)?;
    let kernel = kernel(Arch::Arm64, no_install)?;
    let system = system(no_install)?;
    let mut build = command("cargo", ["build", "--release", "--locked", "--workspace"]);
    execute(build.args(["--bin", "vm", "--bin", "model-export"]))?;
    let more = ["--arch".as_ref(), "arm64".as_ref(), "--root".as_ref(), system.as_os_str()];
    start(&kernel, "vm-arm64", &more, broken)
}

/// The archive of a Debian system in which the package is installed.
fn system(no_install: bool) -> Result<PathBuf, Failure> {
    let built = package::build(Arch::Arm64, no_install)?;
    let folder = root().join("target/vm-arm64");
    std::fs::create_dir_all(&folder).map_err(|e| package::io(&folder, &e))?;
    let mut packages = built.dependencies();
    packages.extend(SYSTEM.map(str::to_owned));
    let path = folder.join("root");
    let debian = DebianRoot::unpack("vm", SUITE, Arch::Arm64, &packages, &path, no_install)?;
    debian.put(&built.package, "/run/package.deb")?;
    debian.run(&["dpkg", "--install", "/run/package.deb"])?;
    debian.run(&["rm", "/run/package.deb"])?;
    let archive = folder.join("root.cpio");
    const SCRIPT: &str = "cd \"$0\" && find . -xdev | cpio --quiet -o -H newc > \"$1\"";
    done(as_root("sh", &["-c", SCRIPT]).arg(&path).arg(&archive))?;
    debian.remove()?;
    Ok(archive)
}
