//! The file system of the machine that runs the package as a device does: a Debian system with
//! systemd, in which the package is installed, and beside it what the check needs.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};

use crate::Material;
use crate::initramfs::Initramfs;
use crate::modules::{AT_START, GPU, Kernel};

/// Everything of the check but its unit. A folder of its own: one that the system has as a link, as
/// `/lib`, would be made a folder by this archive.
const FOLDER: &str = "check";

/// Writes the system's archive and that of the check one after the other: the kernel unpacks both.
pub fn write(root: &Path, material: &Material, kernel: &Kernel, image: &Path) -> Result<()> {
    let mut files = Initramfs::new();
    let at = |name: &str| format!("{FOLDER}/{name}");
    files.add(&at("check.sh"), &Material::file("packaged.sh"), 0o755)?;
    files.add(&at("common.sh"), &Material::file("common.sh"), 0o644)?;
    files.add(&at("board.toml"), &Material::file("board.toml"), 0o644)?;
    files.add(&at("model.pavad"), &material.bundle, 0o644)?;
    files.add(&at("model.pub"), &material.key, 0o644)?;
    files.text(&at("edge.toml.in"), &material.config()?);
    files.add(
        "etc/systemd/system/pavad-check.service",
        &Material::file("packaged.service"),
        0o644,
    )?;
    let at_start: Vec<&str> = AT_START.into_iter().chain([GPU]).collect();
    kernel.add_modules(&mut files, &at("modules"), &at_start)?;
    let own = image.with_extension("check.cpio");
    files.write(&own)?;
    let join = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(image)?);
        for part in [root, &own] {
            io::copy(&mut File::open(part)?, &mut out)?;
        }
        out.flush()?;
        std::fs::remove_file(&own)
    };
    join().with_context(|| image.display().to_string())
}
