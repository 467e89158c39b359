//! The spool: events on disk until the broker has them.
//!
//! One file an event, so that every step is one rename or one unlink and a power cut at any point
//! leaves either the whole event or none:
//!
//! ```text
//! lock                          held while a process uses the folder
//! 0000000000000007-door.event   event of the camera `door`; `spool/entry.rs` has its form
//! 0000000000000008-door.part    being written; deleted when the spool is opened
//! 0000000000000006.event        as the version before has named them; read all the same
//! ```
//!
//! An event is written to `.part`, synced, renamed and the folder synced before [`Spool::append`]
//! returns. It is deleted only by [`Spool::remove`], after the broker's acknowledgement. A crash
//! between acknowledgement and deletion publishes it again; subscribers drop it by its id and
//! sequence.
//!
//! When the size limit is reached the **oldest** events are dropped and counted: the newest say
//! what is happening now. If the disk refuses a write, the event is kept in memory (at most
//! [`MAX_IN_MEMORY`]), the failure is counted, and it is written once the disk takes writes again.

mod entry;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alert_wire::check_id;

use crate::files::{self, Disk, Files};

pub use entry::SpooledEvent;
use entry::Unreadable;

/// Most events that are kept in memory while the disk refuses writes.
pub const MAX_IN_MEMORY: usize = 256;
/// Events in memory that are written after a write has gone well.
const CATCH_UP: usize = 4;
/// Far above what a device can count to.
const MAX_NUMBER: u64 = 1 << 63;
/// Far above any event; a larger file is not ours.
const MAX_FILE: u64 = 1 << 16;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be read or written.
    #[error("spool folder {path}: {source}; make it writable or change `spool.dir`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("spool folder {0} is in use by another process; give each device its own `spool.dir`")]
    InUse(PathBuf),
}

/// What has happened to events since the spool was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events dropped because the spool was full.
    pub dropped: u64,
    /// Files that were damaged, and deleted.
    pub corrupt: u64,
    /// Events that the disk refused and that were kept in memory.
    pub write_errors: u64,
}

/// What has become of an event that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub number: u64,
    /// Numbers of older events that gave way to it.
    pub dropped: Vec<u64>,
}

/// An event that was asked for.
#[derive(Debug)]
pub enum Loaded {
    /// Here it is.
    Event(SpooledEvent),
    /// It is no longer there, or was damaged and has been deleted.
    Gone,
    /// The disk does not give it now.
    Failed(io::Error),
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// The number and the camera in the name of its file.
    file: u64,
    camera: Option<Box<str>>,
    size: u64,
    /// The event itself, where the disk refused it.
    memory: Option<SpooledEvent>,
}

impl Entry {
    fn name(&self) -> String {
        match &self.camera {
            Some(camera) => format!("{:016}-{camera}.event", self.file),
            None => format!("{:016}.event", self.file),
        }
    }
}

/// A first-in, first-out queue of events in a folder.
pub struct Spool {
    files: Arc<dyn Files>,
    dir: PathBuf,
    max_bytes: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    next: u64,
    next_file: u64,
    in_memory: usize,
    counters: Counters,
    /// Keeps the lock until the spool is dropped.
    _lock: Option<File>,
}

impl Spool {
    /// Opens the folder, making it if needed, with all events that an earlier process left.
    ///
    /// # Errors
    /// If the folder cannot be used or another process uses it.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, Error> {
        let folder = |source| Error::Folder { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse(dir.to_owned())),
            Err(fs::TryLockError::Error(e)) => return Err(folder(e)),
        }
        let mut spool = Self::on(Arc::new(Disk), dir, max_bytes)?;
        spool._lock = Some(lock);
        Ok(spool)
    }

    /// As [`Spool::open`], on files of any kind, whose folder is there and nobody else's.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn on(files: Arc<dyn Files>, dir: &Path, max_bytes: u64) -> Result<Self, Error> {
        let listed = files.list(dir);
        let listed = listed.map_err(|source| Error::Folder { path: dir.to_owned(), source })?;
        let mut found = Vec::new();
        for (path, size) in listed {
            match path.extension().and_then(|e| e.to_str()) {
                // Cut while being written: it was never announced as stored.
                Some("part") => {
                    let _ = files.remove(&path);
                }
                Some("event") => {
                    if let Some((file, camera)) = parse(&path) {
                        found.push((file, camera, size));
                    }
                }
                _ => {}
            }
        }
        // The version before has no camera in its names; what it wrote is older.
        found.sort_unstable();
        let mut spool = Self {
            files,
            dir: dir.to_owned(),
            max_bytes,
            bytes: found.iter().map(|&(_, _, size)| size).sum(),
            next: 1 + found.len() as u64,
            next_file: found.last().map_or(1, |&(file, ..)| file + 1),
            entries: (1..)
                .zip(found)
                .map(|(number, (file, camera, size))| Entry {
                    number,
                    file,
                    camera,
                    size,
                    memory: None,
                })
                .collect(),
            in_memory: 0,
            counters: Counters::default(),
            _lock: None,
        };
        let dropped = spool.make_room(0);
        spool.sync_if(!dropped.is_empty());
        Ok(spool)
    }

    /// Every event that waits, oldest first: its number, and its camera unless only the event itself
    /// can tell.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, Option<&str>)> {
        self.entries.iter().map(|entry| (entry.number, entry.camera.as_deref()))
    }

    /// Stores an event. Numbers rise; they mean nothing across restarts. `None`, and a word, if it
    /// is not one that can be sent.
    ///
    /// When this returns the event survives a power cut, unless the disk refused it, which is
    /// counted and logged.
    pub fn append(&mut self, event: &SpooledEvent) -> Option<Appended> {
        let Some(bytes) = event.to_bytes() else {
            log::error!("an event of camera {:?} cannot be stored; dropped", event.camera);
            return None;
        };
        let (number, file) = (self.next, self.next_file);
        (self.next, self.next_file) = (number + 1, file + 1);
        let size = bytes.len() as u64;
        let mut dropped = self.make_room(size);
        let camera = Some(event.camera.as_str().into());
        let mut entry = Entry { number, file, camera, size, memory: None };
        match self.write(&entry.name(), &bytes) {
            Ok(()) => self.catch_up(),
            Err(e) => {
                self.counters.write_errors += 1;
                if self.counters.write_errors.is_power_of_two() {
                    log::error!(
                        "spool {}: {e}; events are kept in memory only ({} so far), free some disk \
                         space",
                        self.dir.display(),
                        self.counters.write_errors
                    );
                }
                entry.memory = Some(event.clone());
                self.in_memory += 1;
                // Otherwise the write has made it durable: what gave way must not come back after a
                // power cut, behind later ones.
                self.sync_if(!dropped.is_empty());
            }
        }
        self.entries.push_back(entry);
        self.bytes += size;
        while self.in_memory > MAX_IN_MEMORY {
            let Some(at) = self.entries.iter().position(|e| e.memory.is_some()) else { break };
            dropped.extend(self.drop_at(at));
        }
        Some(Appended { number, dropped })
    }

    /// Writes some of the events that the disk has refused before.
    fn catch_up(&mut self) {
        for _ in 0..CATCH_UP.min(self.in_memory) {
            let Some(at) = self.entries.iter().position(|e| e.memory.is_some()) else { return };
            let entry = &self.entries[at];
            let bytes = entry.memory.as_ref().and_then(SpooledEvent::to_bytes).unwrap_or_default();
            if self.write(&entry.name(), &bytes).is_err() {
                return;
            }
            self.entries[at].memory = None;
            self.in_memory -= 1;
        }
    }

    /// An event. A damaged file is deleted and counted; one of a later version of this program is
    /// left where it is, and no longer waits here.
    pub fn load(&mut self, number: u64) -> Loaded {
        let Some(at) = self.at(number) else { return Loaded::Gone };
        let entry = &self.entries[at];
        if let Some(event) = &entry.memory {
            return Loaded::Event(event.clone());
        }
        let path = self.dir.join(entry.name());
        let bytes = match self.files.read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                log::error!("spool {}: {e}; the event is lost", path.display());
                self.counters.corrupt += 1;
                self.forget(at);
                return Loaded::Gone;
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Vec::new(),
            // Not the event's fault: it is asked for again.
            Err(e) => return Loaded::Failed(e),
        };
        match SpooledEvent::from_bytes(&bytes) {
            Ok(event) => return Loaded::Event(event),
            Err(e @ Unreadable::Newer) => {
                log::warn!("spool {}: {e}", path.display());
                self.forget(at);
            }
            Err(e @ Unreadable::Damaged(_)) => {
                self.counters.corrupt += 1;
                log::error!("spool {}: {e}; deleted", path.display());
                self.remove(number);
            }
        }
        Loaded::Gone
    }

    /// Deletes an event; does nothing if it is no longer there.
    pub fn remove(&mut self, number: u64) {
        let Some(entry) = self.at(number).and_then(|at| self.forget(at)) else { return };
        if entry.memory.is_some() {
            return;
        }
        let path = self.dir.join(entry.name());
        if let Err(e) = self.files.remove(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            // It will be published again after a restart, which a subscriber recognises.
            log::warn!("spool {}: {e}", path.display());
        }
    }

    /// As [`Spool::remove`]; when this returns, that survives a power cut.
    pub fn remove_synced(&mut self, number: u64) {
        self.remove(number);
        self.sync_if(true);
    }

    /// Makes what was deleted durable.
    fn sync_if(&self, deleted: bool) {
        if deleted && let Err(e) = self.files.sync_folder(&self.dir) {
            log::warn!("spool {}: {e}", self.dir.display());
        }
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was dropped or damaged since the spool was opened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn at(&self, number: u64) -> Option<usize> {
        let at = self.entries.partition_point(|e| e.number < number);
        self.entries.get(at).is_some_and(|e| e.number == number).then_some(at)
    }

    fn forget(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.size;
        self.in_memory -= usize::from(entry.memory.is_some());
        Some(entry)
    }

    fn make_room(&mut self, size: u64) -> Vec<u64> {
        let mut dropped = Vec::new();
        while !self.entries.is_empty() && self.bytes + size > self.max_bytes {
            dropped.extend(self.drop_at(0));
        }
        dropped
    }

    fn drop_at(&mut self, at: usize) -> Option<u64> {
        let number = self.entries.get(at)?.number;
        self.remove(number);
        self.counters.dropped += 1;
        if self.counters.dropped.is_power_of_two() {
            log::warn!(
                "spool {}: full; {} old events dropped so far",
                self.dir.display(),
                self.counters.dropped
            );
        }
        Some(number)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(name);
        let written = files::replace(self.files.as_ref(), &path, bytes);
        if written.is_err() {
            let _ = self.files.remove(&path.with_extension("part"));
            let _ = self.files.remove(&path);
        }
        written
    }
}

/// The number and the camera in a file's name. A number that events cannot have reached is not
/// ours: there must be room to count on.
fn parse(path: &Path) -> Option<(u64, Option<Box<str>>)> {
    let stem = path.file_stem()?.to_str()?;
    let (number, camera) = match stem.split_once('-') {
        Some((number, camera)) => (number, Some(check_id(camera).ok().map(|()| camera)?.into())),
        None => (stem, None),
    };
    let number = number.parse().ok().filter(|number| *number < MAX_NUMBER)?;
    Some((number, camera))
}

#[cfg(test)]
mod tests;
