//! The engines that TensorRT has built, kept for the next start.
//!
//! | Path | What it is |
//! |---|---|
//! | `<key>/` | the engines of one bundle on one machine; `<key>` is a hash of everything they depend on |
//! | `<key>/key.txt` | what they depend on, for people, and against a hash that happens to be the same |
//! | `<key>/<graph>/` | the engines of one graph, in files named by ONNX Runtime |
//! | `<key>/engines.sha256` | the files and their checksums, in the form of `sha256sum`; written last, when the bundle's golden vectors have agreed on these engines |
//! | `<key>.aside` | a folder that could not be used |
//! | `lock` | held by the program that builds engines or proves them |
//!
//! A folder is used only if it has its list and every file agrees with it: TensorRT runs an engine as
//! code, and a damaged one need not fail in an orderly way.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use model_bundle::hex;
use sha2::{Digest as _, Sha256};

const KEY: &str = "key.txt";
const LIST: &str = "engines.sha256";
const ASIDE: &str = "aside";
const LOCK: &str = "lock";
/// Letters of a folder's name: half of a SHA-256.
const NAME: usize = 32;
/// Folders of other keys that are kept: the bundle of the other slot, to which an update may have to go
/// back.
const OTHERS: usize = 1;

/// Everything that an engine depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineKey {
    /// SHA-256 of the bundle.
    pub bundle: String,
    /// The GPU.
    pub device: String,
    /// The GPU's driver.
    pub driver: String,
    /// The version of TensorRT.
    pub tensorrt: String,
    /// The build of ONNX Runtime, which decides what becomes part of an engine.
    pub onnxruntime: String,
}

impl EngineKey {
    /// One line for each part.
    fn text(&self) -> String {
        let Self { bundle, device, driver, tensorrt, onnxruntime } = self;
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let parts = [
            ("bundle", bundle),
            ("device", device),
            ("driver", driver),
            ("tensorrt", tensorrt),
            ("onnxruntime", onnxruntime),
        ];
        parts.into_iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name} = {}", line(value));
            text
        })
    }

    /// The folder's name.
    fn name(&self) -> String {
        let mut name = hex(&Sha256::digest(self.text()));
        name.truncate(NAME);
        name
    }
}

/// The engines of one bundle on this machine.
#[derive(Debug)]
pub struct EngineCache {
    root: PathBuf,
    key: EngineKey,
    kept: AtomicBool,
    /// Held until the engines are proven: another program would take a half-built folder for a damaged
    /// one.
    lock: Mutex<Option<std::fs::File>>,
}

impl EngineCache {
    /// Looks for the engines of a key below `root`; what cannot be used is set aside.
    ///
    /// # Errors
    /// If the folder cannot be made or written, or another program is at it.
    pub fn open(root: &Path, key: EngineKey) -> io::Result<Self> {
        create(root)?;
        let lock = std::fs::File::create(root.join(LOCK))?;
        lock.try_lock().map_err(|e| match e {
            std::fs::TryLockError::WouldBlock => {
                io::Error::other("another program is building engines there")
            }
            std::fs::TryLockError::Error(e) => e,
        })?;
        let cache = Self {
            root: root.to_owned(),
            key,
            kept: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        };
        match cache.examine() {
            Ok(kept) => cache.kept.store(kept, Ordering::Relaxed),
            Err(reason) => cache.set_aside(&reason)?,
        }
        if !cache.is_kept() {
            cache.begin()?;
        }
        Ok(cache)
    }

    /// The folder of all engines of this key.
    pub fn folder(&self) -> PathBuf {
        self.root.join(self.key.name())
    }

    /// Whether the engines were there, whole, when they were looked for.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// The folder for the engines of a graph. Each has its own: ONNX Runtime names engines of models
    /// that it was given in memory by their nodes alone.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn graph_folder(&self, graph: &str) -> io::Result<PathBuf> {
        let folder = self.folder().join(graph);
        create(&folder)?;
        Ok(folder)
    }

    /// Keeps what has been built: writes the list, and deletes engines that nobody needs any more.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn keep(&self) -> io::Result<()> {
        let lock = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if self.is_kept() || lock.is_none() {
            return Ok(());
        }
        let folder = self.folder();
        let mut files = Vec::new();
        for graph in folders(&folder)? {
            for entry in std::fs::read_dir(&graph)? {
                files.push(entry?.path());
            }
        }
        files.sort();
        let mut list = String::new();
        for path in &files {
            let name = path.strip_prefix(&folder).unwrap_or(path);
            let _ = writeln!(list, "{}  {}", checksum(path)?, name.display());
        }
        // The engines first, then the list that vouches for them.
        for path in &files {
            std::fs::File::open(path)?.sync_all()?;
        }
        let partial = folder.join("engines.sha256.partial");
        std::fs::write(&partial, list)?;
        std::fs::File::open(&partial)?.sync_all()?;
        std::fs::rename(&partial, folder.join(LIST))?;
        self.kept.store(true, Ordering::Relaxed);
        self.tidy()
    }

    /// Gives up engines that were there but do not do what they should. False if there were none:
    /// then building them again would give the same.
    pub fn forget(&self, reason: &str) -> bool {
        if !self.kept.swap(false, Ordering::Relaxed) {
            return false;
        }
        match self.set_aside(reason).and_then(|()| self.begin()) {
            Ok(()) => true,
            Err(e) => {
                log::warn!("TensorRT engines in {}: {e}", self.folder().display());
                false
            }
        }
    }

    /// Whether there are whole engines; why not, if there is something else.
    fn examine(&self) -> Result<bool, String> {
        let folder = self.folder();
        if !folder.exists() {
            return Ok(false);
        }
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).map_err(|e| format!("{name}: {e}"))
        };
        if read(KEY)? != self.key.text() {
            return Err(format!("{KEY} is of another machine or bundle"));
        }
        let list = match read(LIST) {
            Ok(list) => list,
            Err(_) if !folder.join(LIST).exists() => {
                return Err("building them was broken off".into());
            }
            Err(reason) => return Err(reason),
        };
        let mut files = 0;
        for line in list.lines() {
            let (sum, name) =
                line.split_once("  ").ok_or(format!("{LIST}: no such line: {line}"))?;
            let found = checksum(&folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
            if found != sum {
                return Err(format!("{name}: the checksum is another"));
            }
            files += 1;
        }
        let mut present = 0;
        for graph in folders(&folder).map_err(|e| e.to_string())? {
            present += std::fs::read_dir(graph).map_err(|e| e.to_string())?.count();
        }
        if present != files {
            return Err(format!("{present} files, {files} in {LIST}"));
        }
        Ok(true)
    }

    fn begin(&self) -> io::Result<()> {
        let folder = self.folder();
        create(&folder)?;
        std::fs::write(folder.join(KEY), self.key.text())
    }

    /// Moves the folder out of the way, in place of one moved earlier.
    fn set_aside(&self, reason: &str) -> io::Result<()> {
        let folder = self.folder();
        let aside = folder.with_extension(ASIDE);
        log::warn!(
            "TensorRT engines in {}: {reason}; set aside as {}, they are built again",
            folder.display(),
            aside.display()
        );
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::rename(&folder, &aside)
    }

    /// Deletes what is not of this key: engines may have hundreds of megabytes.
    fn tidy(&self) -> io::Result<()> {
        let own = self.key.name();
        let mut others = Vec::new();
        for folder in folders(&self.root)? {
            let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
            // Whatever else somebody put here is left alone.
            if stem.len() != NAME || !stem.bytes().all(|b| b.is_ascii_hexdigit()) {
                continue;
            }
            match extension {
                ASIDE if stem != own => std::fs::remove_dir_all(&folder)?,
                "" if stem != own => {
                    let list = std::fs::metadata(folder.join(LIST)).and_then(|m| m.modified());
                    // Without a list it is useless, however young.
                    others.push((list.ok(), folder));
                }
                _ => {}
            }
        }
        others.sort();
        others.reverse();
        for (_, folder) in others.into_iter().skip(OTHERS) {
            log::info!("TensorRT engines in {} are not needed any more; deleted", folder.display());
            std::fs::remove_dir_all(&folder)?;
        }
        Ok(())
    }
}

/// Makes a folder that nobody else may write to.
fn create(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn checksum(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key() -> EngineKey {
        EngineKey {
            bundle: "aa".into(),
            device: "Orin, compute capability 8.7".into(),
            driver: "540.4.0".into(),
            tensorrt: "101303".into(),
            onnxruntime: "git-branch=rel-1.24.0".into(),
        }
    }

    /// Opens, builds the engines of two graphs, and keeps them.
    fn built(root: &Path, key: EngineKey) -> EngineCache {
        let cache = EngineCache::open(root, key).unwrap();
        for graph in ["local", "head"] {
            let folder = cache.graph_folder(graph).unwrap();
            std::fs::write(folder.join("a.engine"), graph).unwrap();
            std::fs::write(folder.join("a.profile"), "p").unwrap();
        }
        cache.keep().unwrap();
        cache
    }

    #[test]
    fn every_part_changes_the_folder() {
        let changes: [fn(&mut EngineKey); 5] = [
            |k| k.bundle = "ab".into(),
            |k| k.device = "Orin, compute capability 8.6".into(),
            |k| k.driver = "540.4.1".into(),
            |k| k.tensorrt = "101302".into(),
            |k| k.onnxruntime = "git-branch=rel-1.24.1".into(),
        ];
        let mut names = vec![key().name()];
        for change in changes {
            let mut other = key();
            change(&mut other);
            names.push(other.name());
        }
        assert!(names.iter().all(|n| n.len() == NAME));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
        // A part cannot pose as the next one.
        let mut sly = key();
        sly.bundle = "aa\ndevice = x".into();
        assert_eq!(sly.text().lines().count(), 5);
    }

    #[test]
    fn whole_engines_are_kept_and_used_again() {
        let root = tempfile::tempdir().unwrap();
        let first = EngineCache::open(root.path(), key()).unwrap();
        assert!(!first.is_kept() && !first.forget("none are there"));
        drop(first);
        assert!(built(&root.path().join("sub"), key()).is_kept());
        let again = EngineCache::open(&root.path().join("sub"), key()).unwrap();
        assert!(again.is_kept());
        let engine = again.graph_folder("local").unwrap().join("a.engine");
        assert_eq!(std::fs::read(engine).unwrap(), b"local");
    }

    #[test]
    fn damaged_engines_are_set_aside() {
        let damages: [fn(&Path); 6] = [
            |f| std::fs::write(f.join("local/a.engine"), "locaL").unwrap(),
            |f| std::fs::remove_file(f.join("head/a.profile")).unwrap(),
            |f| std::fs::write(f.join("head/b.engine"), "more").unwrap(),
            |f| std::fs::remove_file(f.join(LIST)).unwrap(),
            |f| std::fs::write(f.join(LIST), "nonsense\n").unwrap(),
            |f| std::fs::write(f.join(KEY), "bundle = other\n").unwrap(),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let folder = built(root.path(), key()).folder();
            damage(&folder);
            let cache = EngineCache::open(root.path(), key()).unwrap();
            assert!(!cache.is_kept(), "damage {number}");
            assert!(!folder.join("local").exists(), "damage {number}");
            assert!(folder.with_extension(ASIDE).join("local").exists(), "damage {number}");
            drop(cache);
            // And it can be built again.
            assert!(built(root.path(), key()).is_kept());
            assert!(EngineCache::open(root.path(), key()).unwrap().is_kept());
        }
    }

    #[test]
    fn one_program_builds_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = EngineCache::open(root.path(), key()).unwrap();
        let refused = EngineCache::open(root.path(), key()).unwrap_err().to_string();
        assert!(refused.contains("another program"), "{refused}");
        first.keep().unwrap();
        assert!(EngineCache::open(root.path(), key()).unwrap().is_kept());
    }

    #[test]
    fn engines_that_fail_are_given_up_once() {
        let root = tempfile::tempdir().unwrap();
        built(root.path(), key());
        let cache = EngineCache::open(root.path(), key()).unwrap();
        assert!(cache.forget("golden vectors do not agree"));
        assert!(!cache.is_kept() && !cache.forget("again"));
        assert!(cache.folder().join(KEY).exists() && !cache.folder().join("local").exists());
    }

    #[test]
    fn engines_of_other_bundles_do_not_pile_up() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("notes")).unwrap();
        let other = |bundle: &str| EngineKey { bundle: bundle.into(), ..key() };
        for (age, bundle) in ["1", "2", "3"].into_iter().enumerate() {
            let folder = built(root.path(), other(bundle)).folder();
            let list = std::fs::File::options().write(true).open(folder.join(LIST)).unwrap();
            let then =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
            list.set_modified(then).unwrap();
        }
        built(root.path(), key());
        let there = |k: EngineKey| EngineCache::open(root.path(), k).unwrap().is_kept();
        assert!(there(key()) && there(other("3")));
        assert!(!there(other("1")) && !there(other("2")));
        assert!(root.path().join("notes").exists());
    }
}
