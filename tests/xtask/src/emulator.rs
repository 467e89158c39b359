//! QEMU's user emulation: programs of other processors, run by this kernel.

use std::path::PathBuf;

use crate::apt;
use crate::install::{self, Package};
use crate::package::tool;
use crate::shell::Failure;

/// QEMU 7.2, of Debian 12, crashes in ONNX Runtime.
const QEMU: (&str, &str) = ("bookworm-backports", "qemu-user");
const PACKAGES: &[Package] =
    &[Package("debian-archive-keyring", "checking what comes from Debian")];

/// QEMU for the programs of an architecture, fetched if it is not there.
pub fn program(architecture: &str, no_install: bool) -> Result<PathBuf, Failure> {
    let (suite, package) = QEMU;
    let folder = tool("qemu-user");
    let program = folder.join(format!("usr/bin/qemu-{architecture}"));
    if !program.exists() {
        if no_install {
            return Err(Failure::unavailable(format!(
                "{package} of Debian {suite} is missing ({}) and --no-install was given",
                folder.display()
            )));
        }
        install::ensure(&[PACKAGES], no_install)?;
        let debian = apt::Suite::update(suite, "amd64")?;
        eprintln!("Fetching {package} from Debian {suite}");
        debian.unpack(&[package.to_owned()], &folder)?;
    }
    Ok(program)
}
