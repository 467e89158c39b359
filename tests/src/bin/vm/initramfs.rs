//! The machine's file system: an archive in the kernel's `newc` cpio format, unpacked at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// The archive's content: paths without a leading slash.
pub struct Initramfs {
    folders: BTreeSet<String>,
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Initramfs {
    /// Nothing.
    pub fn new() -> Self {
        Self { folders: BTreeSet::new(), entries: BTreeMap::new() }
    }

    /// A folder, and those above it.
    pub fn folder(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.folders.insert(path[..end].into());
        }
        self.folders.insert(path.into());
    }

    fn insert(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries.insert(path.into(), (mode, content));
    }

    /// A file with this text.
    pub fn text(&mut self, path: &str, text: &str) {
        self.insert(path, FILE | 0o644, text.as_bytes().to_vec());
    }

    /// A file with these bytes.
    pub fn bytes(&mut self, path: &str, content: Vec<u8>) {
        self.insert(path, FILE | 0o644, content);
    }

    /// A copy of a file.
    pub fn add(&mut self, path: &str, from: &Path, permissions: u32) -> Result<()> {
        let content = std::fs::read(from).with_context(|| from.display().to_string())?;
        self.insert(path, FILE | permissions, content);
        Ok(())
    }

    /// Busybox, with a link for each of its commands.
    pub fn busybox(&mut self) -> Result<()> {
        let from = Path::new("/bin/busybox");
        self.add("bin/busybox", from, 0o755)?;
        let list = output(Command::new(from).arg("--list"))?;
        for command in list.lines().filter(|name| *name != "busybox") {
            self.insert(&format!("bin/{command}"), LINK, b"busybox".to_vec());
        }
        Ok(())
    }

    /// A program without its debugging information, and the shared libraries that it needs, where it
    /// looks for them. `work` is a folder for the smaller copy.
    pub fn program(&mut self, path: &str, from: &Path, work: &Path) -> Result<()> {
        let stripped = work.join("stripped");
        output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(from))?;
        self.add(path, &stripped, 0o755)?;
        std::fs::remove_file(&stripped)?;
        for library in libraries(&output(Command::new("ldd").arg(from))?) {
            let inside = library.trim_start_matches('/');
            if !self.entries.contains_key(inside) {
                self.add(inside, Path::new(&library), 0o755)?;
            }
        }
        Ok(())
    }

    /// Writes the archive.
    pub fn write(&self, to: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            let mut out = BufWriter::new(File::create(to)?);
            let mut number = 0;
            let folders = self.folders.iter().map(|path| (path, FOLDER, &[][..]));
            let entries = self.entries.iter().map(|(p, (mode, content))| (p, *mode, &content[..]));
            // Folders come first, each after the one that it is in.
            for (path, mode, content) in folders.chain(entries) {
                number += 1;
                entry(&mut out, number, path, mode, content)?;
            }
            entry(&mut out, 0, "TRAILER!!!", 0, &[])?;
            out.flush()
        };
        write().with_context(|| to.display().to_string())
    }
}

/// One header, name and content, each padded to four bytes.
fn entry(
    out: &mut impl Write,
    number: u32,
    path: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    let name = path.len() as u32 + 1;
    // inode, mode, uid, gid, links, mtime, size, device (2), own device (2), length of name, checksum
    let fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    write!(out, "{path}\0")?;
    pad(out, 110 + name)?;
    out.write_all(content)?;
    pad(out, size)
}

fn pad(out: &mut impl Write, length: u32) -> io::Result<()> {
    out.write_all(&[0; 3][..(length.wrapping_neg() % 4) as usize])
}

/// The paths in what `ldd` prints: `libm.so.6 => /lib/libm.so.6 (0x...)`, `/lib64/ld.so (0x...)`.
fn libraries(ldd: &str) -> Vec<String> {
    let path = |line: &str| {
        let line = line.trim();
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        path.starts_with('/').then(|| path.split_whitespace().next().unwrap_or(path).to_owned())
    };
    ldd.lines().filter_map(path).collect()
}

/// Standard output of a command that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr);
        bail!("{command:?} failed ({}): {}", out.status, why.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_as_the_kernel_wants_it() {
        let mut files = Initramfs::new();
        files.text("a/b/c", "hello");
        let dir = std::env::temp_dir().join(format!("pavad-cpio-{}", std::process::id()));
        files.write(&dir).unwrap();
        let bytes = std::fs::read(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let order: Vec<_> = ["\0a\0", "a/b\0", "a/b/c\0", "hello", "TRAILER!!!"]
            .iter()
            .map(|part| text.find(part.trim_start_matches('\0')).unwrap())
            .collect();
        assert!(order.is_sorted(), "{order:?}");
        // Magic, thirteen fields of eight digits, then the name; the size is the seventh field.
        let file = text.find("a/b/c\0").unwrap();
        assert_eq!(&text[file - 110..file - 104], "070701");
        assert_eq!(&text[file - 104 + 6 * 8..file - 104 + 7 * 8], "00000005");
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        let said = "\tlinux-vdso.so.1 (0x0007)\n\tlibm.so.6 => /lib/libm.so.6 (0x01)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x02)\n\tlibnone.so => not found\n";
        assert_eq!(libraries(said), ["/lib/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
