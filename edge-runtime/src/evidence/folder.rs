//! The folder of pictures and clips, with one limit of size and age for both.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{CLIP, Error, PICTURE};
use crate::config::EvidenceConfig;

/// 2026-01-01. A file of an earlier time was written while the clock was not set, and how old it is
/// nobody knows: its age is no reason to delete it.
const CLOCK_SET: Duration = Duration::from_secs(1_767_225_600);
const DAY: f64 = 86_400.0;
/// A file being written.
const PART: &str = "part";

/// A file in the folder.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    size: u64,
    written: SystemTime,
}

#[derive(Debug)]
struct Files {
    /// Oldest first.
    kept: VecDeque<Kept>,
    /// Their bytes, and those of files that are being written.
    bytes: u64,
}

/// A folder with a limit of size, and of age if one is set; beyond it the oldest files are deleted.
/// Shared by the frame path, which writes pictures, and the worker that writes clips.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: Arc<Path>,
    max_bytes: u64,
    max_days: Option<f64>,
    files: Arc<Mutex<Files>>,
}

impl Folder {
    /// Opens the folder, making it if needed; what is there counts towards the limit, and what an
    /// earlier process left half written is deleted.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(config: &EvidenceConfig) -> Result<Self, Error> {
        let fail = |path: &Path, source| Error::Io { path: path.into(), source };
        fs::create_dir_all(&config.dir).map_err(|e| fail(&config.dir, e))?;
        let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for camera in fs::read_dir(&config.dir).map_err(|e| fail(&config.dir, e))?.flatten() {
            let Ok(files) = fs::read_dir(camera.path()) else {
                continue;
            };
            for file in files.flatten() {
                let path = file.path();
                let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                match (ending, file.metadata()) {
                    (PICTURE | CLIP, Ok(meta)) => {
                        let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                        found.push((written, path, meta.len()));
                    }
                    (PART, _) => delete(&path),
                    _ => {}
                }
            }
        }
        found.sort();
        let bytes = found.iter().map(|f| f.2).sum();
        let kept =
            found.into_iter().map(|(written, path, size)| Kept { path, size, written }).collect();
        let folder = Self {
            dir: config.dir.as_path().into(),
            max_bytes: config.max_bytes,
            max_days: config.max_days,
            files: Arc::new(Mutex::new(Files { kept, bytes })),
        };
        folder.lock().make_room(0, folder.max_bytes);
        folder.expire(SystemTime::now());
        Ok(folder)
    }

    /// Keeps a file of `size` bytes under `name`, in place of an earlier one of that name. Who looks
    /// finds it whole or not at all; to be so after a power cut too, `write` must sync.
    ///
    /// # Errors
    /// If it is larger than the folder may be, or cannot be written.
    pub fn store(
        &self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.dir.join(name);
        if size > self.max_bytes {
            return Err(Error::TooLarge { path, size, limit: self.max_bytes });
        }
        {
            let mut files = self.lock();
            if let Some(at) = files.kept.iter().position(|kept| kept.path == path)
                && let Some(kept) = files.kept.remove(at)
            {
                files.bytes -= kept.size;
            }
            files.make_room(size, self.max_bytes);
            files.bytes += size;
        }
        // Without the lock: a clip takes its time on a slow card, and a picture must not wait for it.
        // An incident's picture and its clip differ in their endings alone, and may be written together.
        let mut part = path.clone();
        part.add_extension(PART);
        let written = fs::create_dir_all(path.parent().unwrap_or(&self.dir))
            .and_then(|()| File::create(&part))
            .and_then(|mut file| write(&mut file))
            .and_then(|()| fs::rename(&part, &path));
        let mut files = self.lock();
        match written {
            Ok(()) => {
                files.kept.push_back(Kept { path, size, written: SystemTime::now() });
                Ok(())
            }
            Err(source) => {
                files.bytes -= size;
                drop(files);
                // The space it took may be all that is wrong.
                let _ = fs::remove_file(&part);
                Err(Error::Io { path, source })
            }
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Deletes what is too old at this time.
    pub fn expire(&self, now: SystemTime) {
        let Some(days) = self.max_days else { return };
        let set = SystemTime::UNIX_EPOCH + CLOCK_SET;
        // The clock may jump, so the oldest file need not have the earliest time.
        let old = |kept: &Kept| {
            let age = now.duration_since(kept.written).unwrap_or_default();
            kept.written >= set && age.as_secs_f64() > days * DAY
        };
        let mut files = self.lock();
        while let Some(at) = files.kept.iter().position(old) {
            files.remove(at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn make_room(&mut self, size: u64, limit: u64) {
        while self.bytes + size > limit && !self.kept.is_empty() {
            self.remove(0);
        }
    }

    fn remove(&mut self, at: usize) {
        if let Some(kept) = self.kept.remove(at) {
            self.bytes -= kept.size;
            delete(&kept.path);
        }
    }
}

fn delete(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        log::warn!("{}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn config(dir: &Path, max_bytes: u64) -> EvidenceConfig {
        EvidenceConfig { max_bytes, ..super::super::tests::config(dir) }
    }

    fn put(folder: &Folder, name: &str, size: usize) -> Result<(), Error> {
        folder.store(name, size as u64, |file| file.write_all(&vec![7; size]))
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir.join("door"))
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_picture_is_kept_while_the_clip_of_its_incident_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&config(dir.path(), 1000)).unwrap();
        let clip = |file: &mut File| {
            file.write_all(&[1; 20])?;
            put(&folder, "door/a.jpg", 10).unwrap();
            file.write_all(&[1; 20])
        };
        folder.store("door/a.mov", 40, clip).unwrap();
        assert_eq!(names(dir.path()), ["a.jpg", "a.mov"]);
        assert_eq!(fs::read(dir.path().join("door/a.jpg")).unwrap(), [7; 10]);
        assert_eq!(fs::read(dir.path().join("door/a.mov")).unwrap(), [1; 40]);
    }

    #[test]
    fn the_oldest_files_give_way_pictures_and_clips_alike() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&config(dir.path(), 1000)).unwrap();
        for (name, size) in
            [("door/a.jpg", 100), ("door/a.mov", 700), ("door/b.jpg", 100), ("door/b.mov", 500)]
        {
            put(&folder, name, size).unwrap();
            assert!(folder.bytes() <= 1000);
        }
        assert_eq!(names(dir.path()), ["b.jpg", "b.mov"]);
        // Again under the same name counts once.
        put(&folder, "door/b.jpg", 150).unwrap();
        assert_eq!(folder.bytes(), 650);
        // After a restart with a smaller limit; what was half written is gone.
        std::thread::sleep(Duration::from_millis(20));
        put(&folder, "door/c.jpg", 50).unwrap();
        fs::write(dir.path().join("door/d.part"), b"half").unwrap();
        let folder = Folder::open(&config(dir.path(), 60)).unwrap();
        assert_eq!((names(dir.path()), folder.bytes()), (vec!["c.jpg".into()], 50));
    }

    #[test]
    fn what_cannot_be_kept_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&config(dir.path(), 1000)).unwrap();
        put(&folder, "door/a.jpg", 100).unwrap();
        let error = put(&folder, "door/big.mov", 1001).unwrap_err().to_string();
        assert!(error.contains("door/big.mov: 1001 bytes") && error.contains("evidence.max_bytes"));
        let fail = |_: &mut File| Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(folder.store("door/b.mov", 500, fail).is_err());
        assert_eq!((names(dir.path()), folder.bytes()), (vec!["a.jpg".into()], 100));
    }

    #[test]
    fn files_grow_old() {
        let dir = tempfile::tempdir().unwrap();
        let config = EvidenceConfig { max_days: Some(2.0), ..config(dir.path(), 1 << 20) };
        let folder = Folder::open(&config).unwrap();
        for name in ["door/old.jpg", "door/old.mov", "door/unset.jpg"] {
            put(&folder, name, 10).unwrap();
        }
        let now = SystemTime::now();
        // Two are three days old, one was written while the clock still stood in 1970.
        for (name, written) in [
            ("old.jpg", now - Duration::from_secs(3 * 86_400)),
            ("old.mov", now - Duration::from_secs(3 * 86_400)),
            ("unset.jpg", SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
        ] {
            let file = File::options().write(true).open(dir.path().join("door").join(name));
            file.unwrap().set_modified(written).unwrap();
        }
        let folder = Folder::open(&config).unwrap();
        put(&folder, "door/new.mov", 10).unwrap();
        assert_eq!(names(dir.path()), ["new.mov", "unset.jpg"]);
        folder.expire(now + Duration::from_secs(86_400));
        assert_eq!(names(dir.path()), ["new.mov", "unset.jpg"]);
        folder.expire(now + Duration::from_secs(3 * 86_400));
        assert_eq!((names(dir.path()), folder.bytes()), (vec!["unset.jpg".into()], 10));
    }
}
