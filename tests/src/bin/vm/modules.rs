//! The kernel and its modules, out of Debian's unpacked packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::initramfs::Initramfs;

/// What a machine loads at its start, in this order, each after what it depends on.
pub const AT_START: [&str; 4] = ["virtio_net", "virtio_blk", "softdog", "gpio_sim"];
/// A graphics processor without a picture, for the machine that has udev and systemd.
pub const GPU: &str = "vgem";
/// What `init.sh` loads and unloads itself; only what it depends on is loaded at the start.
const LATER: &str = "vivid";

/// A kernel's image and modules.
pub struct Kernel {
    /// The image that is booted.
    pub image: PathBuf,
    /// Compressed modules by their names.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Looks through a folder of unpacked packages.
    pub fn find(folder: &Path) -> Result<Self> {
        let mut found = Self { image: PathBuf::new(), modules: BTreeMap::new() };
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries =
                std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
            for entry in entries {
                let path = entry?.path();
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
                let name = name.unwrap_or_default();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if name == "vmlinuz" || name.starts_with("vmlinuz-") {
                    found.image = path;
                } else if let Some((module, "ko" | "ko.xz")) = name.split_once('.') {
                    // Files write `-` where the kernel writes `_`.
                    found.modules.insert(module.replace('-', "_"), path);
                }
            }
        }
        if found.image.as_os_str().is_empty() {
            return Err(anyhow!("{}: no kernel image", folder.display()));
        }
        Ok(found)
    }

    /// Puts modules into a folder of the machine, and the order of those that are loaded at the start
    /// into `order`.
    pub fn add_modules(
        &self,
        files: &mut Initramfs,
        folder: &str,
        at_start: &[&str],
    ) -> Result<()> {
        let mut loaded = BTreeMap::new();
        let mut order = Vec::new();
        for name in at_start {
            self.load(name, &mut loaded, &mut order)?;
        }
        self.load(LATER, &mut loaded, &mut order)?;
        let text: String =
            order.iter().filter(|name| *name != LATER).map(|name| format!("{name}.ko\n")).collect();
        files.text(&format!("{folder}/order"), &text);
        for (name, module) in loaded {
            files.bytes(&format!("{folder}/{name}.ko"), module);
        }
        Ok(())
    }

    /// Unpacks a module after those that it depends on.
    fn load(
        &self,
        name: &str,
        loaded: &mut BTreeMap<String, Vec<u8>>,
        order: &mut Vec<String>,
    ) -> Result<()> {
        if loaded.contains_key(name) {
            return Ok(());
        }
        let path = self.modules.get(name).ok_or_else(|| anyhow!("the kernel has no {name}"))?;
        let module = if path.extension().is_some_and(|e| e == "xz") {
            let out = Command::new("xz").arg("-dc").arg(path).output().context("xz")?;
            anyhow::ensure!(out.status.success(), "{}: cannot be unpacked", path.display());
            out.stdout
        } else {
            std::fs::read(path).with_context(|| path.display().to_string())?
        };
        let needed = dependencies(&module);
        // Before its own dependencies are looked at, so that a circle comes to an end.
        loaded.insert(name.into(), module);
        for other in needed {
            self.load(&other.replace('-', "_"), loaded, order)?;
        }
        order.push(name.into());
        Ok(())
    }
}

/// The names in the `depends=` of a module's information section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = &module[start + KEY.len()..];
    let end = list.iter().position(|&b| b == 0).unwrap_or(list.len());
    let list = String::from_utf8_lossy(&list[..end]);
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn dependencies_are_read_from_a_module() {
        let module = b"\x7fELF...\0license=GPL\0depends=videodev,mc,v4l2-tpg\0intree=Y\0";
        assert_eq!(dependencies(module), ["videodev", "mc", "v4l2-tpg"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"no module").is_empty());
    }
}
