//! A Debian system in a folder, thrown away afterwards, to install the package in.
//!
//! mmdebstrap makes it once as an archive, with what the package depends on; each check unpacks it
//! anew. Programs of another processor are run by QEMU, which the kernel is told of for as long as
//! the check lasts. All of that is root's business: without being root it is done through `sudo`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::package::{Arch, io, tool, write};
use crate::shell::{Failure, command, execute, output};
use crate::{apt, emulator};

/// The kernel's list of interpreters for foreign programs.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// How our entries in it begin; the number of the process comes after it.
const ENTRY: &str = "pavad-arm64-";
/// How a program for 64-bit ARM begins, and which bits of that count.
const MAGIC: &str = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str =
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

/// The system in a folder.
pub struct DebianRoot {
    pub path: PathBuf,
    // Ends with it.
    _emulator: Option<Emulator>,
}

impl DebianRoot {
    /// Unpacks a release with these packages into a folder; `purpose` is part of the archive's name.
    pub fn unpack(
        purpose: &str,
        suite: &str,
        arch: Arch,
        packages: &[String],
        path: &Path,
        no_install: bool,
    ) -> Result<Self, Failure> {
        let emulator = match arch {
            Arch::Amd64 => None,
            Arch::Arm64 => Some(Emulator::start(no_install)?),
        };
        let archive = archive(purpose, suite, arch, packages, no_install)?;
        let root = Self { path: path.to_path_buf(), _emulator: emulator };
        root.remove()?;
        std::fs::create_dir_all(path).map_err(|e| io(path, &e))?;
        let mut tar = as_root("tar", &["--extract", "--numeric-owner", "--file"]);
        done(tar.arg(&archive).arg("--directory").arg(path))?;
        Ok(root)
    }

    /// A command in it, as root or as another user. It has `/proc` and `/sys`, where ONNX Runtime looks
    /// for processors, in a view of the file system that ends with the command.
    pub fn command(&self, user: Option<&str>, words: &[&str]) -> Command {
        const SCRIPT: &str = "mount -t proc proc \"$0/proc\" && mount -t sysfs -o ro sys \"$0/sys\" \
                              && cd / && exec chroot \"$@\"";
        let mut command = as_root("env", &["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "unshare", "--mount", "sh", "-c", SCRIPT]);
        command.arg(&self.path);
        if let Some(user) = user {
            command.arg(format!("--userspec={user}:{user}"));
        }
        command.arg(&self.path).args(words).stdin(Stdio::null());
        command
    }

    /// Standard output of a command in it that must succeed.
    pub fn run(&self, words: &[&str]) -> Result<String, Failure> {
        done(&mut self.command(None, words))
    }

    /// Where a path of its own is.
    pub fn at(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Copies files or a folder into it, readable by all.
    pub fn put(&self, from: &Path, to: &str) -> Result<(), Failure> {
        done(as_root("cp", &["-rT"]).arg(from).arg(self.at(to)))?;
        done(as_root("chmod", &["-R", "a+rX"]).arg(self.at(to))).map(drop)
    }

    /// Every path in it.
    pub fn files(&self) -> Result<Vec<String>, Failure> {
        let said = done(as_root("find", &[]).arg(&self.path).args(["-xdev", "-printf", "/%P\n"]))?;
        let mut files: Vec<String> = said.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }

    /// Removes it.
    pub fn remove(&self) -> Result<(), Failure> {
        done(as_root("rm", &["-rf", "--one-file-system"]).arg(&self.path)).map(drop)
    }
}

/// The archive of a release, made if it is not there or has other packages.
fn archive(
    purpose: &str,
    suite: &str,
    arch: Arch,
    packages: &[String],
    no_install: bool,
) -> Result<PathBuf, Failure> {
    let archive = tool(&format!("root-{purpose}-{suite}-{}.tar", arch.name()));
    let list = archive.with_extension("packages");
    let wanted = packages.join(",");
    if archive.exists() && std::fs::read_to_string(&list).is_ok_and(|had| had == wanted) {
        return Ok(archive);
    }
    if no_install {
        return Err(Failure::unavailable(format!(
            "Debian {suite} for {} with {wanted} is missing ({}) and --no-install was given",
            arch.name(),
            archive.display()
        )));
    }
    eprintln!("Fetching Debian {suite} for {} with {wanted}", arch.name());
    let partial = archive.with_extension("partial.tar");
    // Whether the processor can be emulated is not asked of Debian's own list of emulators.
    let mut bootstrap = as_root("mmdebstrap", &["--variant=minbase", "--skip=check/qemu"]);
    bootstrap.arg(format!("--architectures={}", arch.name())).arg(format!("--include={wanted}"));
    bootstrap.arg(format!("--keyring={}", apt::KEYRING)).arg(suite).arg(&partial);
    bootstrap.arg("http://deb.debian.org/debian");
    execute(&mut bootstrap).map_err(|e| Failure::unavailable(e.message))?;
    std::fs::rename(&partial, &archive).map_err(|e| io(&archive, &e))?;
    write(&list, &wanted)?;
    Ok(archive)
}

/// QEMU as the kernel's interpreter of programs for 64-bit ARM, until it is dropped.
struct Emulator {
    mounted: bool,
}

impl Emulator {
    fn start(no_install: bool) -> Result<Self, Failure> {
        let program = emulator::program("aarch64", no_install)?;
        let register = Path::new(BINFMT).join("register");
        let mounted = !register.exists();
        if mounted {
            let mount = as_root("mount", &["-t", "binfmt_misc", "binfmt_misc", BINFMT]).status();
            if !mount.is_ok_and(|status| status.success()) {
                return Err(Failure::unavailable(format!(
                    "{BINFMT} cannot be mounted: this kernel runs no programs for other processors"
                )));
            }
        }
        let emulator = Self { mounted };
        forget_the_dead();
        // `F`: the kernel opens QEMU now, so that it need not be in the root.
        let name = format!("{ENTRY}{}", std::process::id());
        let entry = format!(":{name}:M::{MAGIC}:{MASK}:{}:F", program.display());
        let mut script = as_root("sh", &["-c", "printf '%s' \"$0\" > \"$1\""]);
        done(script.arg(entry).arg(&register))?;
        Ok(emulator)
    }
}

/// Takes an entry out of the kernel's list.
fn forget(entry: &Path) {
    if entry.exists() {
        let _ = as_root("sh", &["-c", "echo -1 > \"$0\""]).arg(entry).status();
    }
}

/// Takes out the entries of checks that were killed.
fn forget_the_dead() {
    let Ok(entries) = std::fs::read_dir(BINFMT) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(process) = name.strip_prefix(ENTRY)
            && !Path::new("/proc").join(process).exists()
        {
            forget(&entry.path());
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        forget(&Path::new(BINFMT).join(format!("{ENTRY}{}", std::process::id())));
        if self.mounted {
            let _ = as_root("umount", &[BINFMT]).status();
        }
    }
}

/// A command as root.
pub fn as_root(program: &str, words: &[&str]) -> Command {
    let root = output(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0");
    let mut all = if root { Vec::new() } else { vec!["sudo"] };
    all.push(program);
    all.extend(words);
    command(all[0], &all[1..])
}

/// Standard output of a command that must succeed; what it said is in the failure.
pub fn done(command: &mut Command) -> Result<String, Failure> {
    let name = format!("{command:?}");
    let out =
        command.output().map_err(|e| Failure::unavailable(format!("cannot start {name}: {e}")))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(said);
    }
    let why = format!("{said}{}", String::from_utf8_lossy(&out.stderr));
    Err(Failure::work(format!("{name} failed ({}): {}", out.status, why.trim())))
}
