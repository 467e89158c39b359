//! The spool: events on disk until the broker has them.
//!
//! One file an event, so that every step is one rename or one unlink and a power cut at any point
//! leaves either the whole event or none:
//!
//! ```text
//! lock                     held while a process uses the folder
//! 0000000000000007.event   magic "PVE1", CRC-32 of the payload (little-endian), payload
//! 0000000000000008.part    being written; deleted when the spool is opened
//! ```
//!
//! An event is written to `.part`, synced, renamed and the folder synced before [`Spool::append`]
//! returns. It is deleted only by [`Spool::remove`], after the broker's acknowledgement. A crash
//! between acknowledgement and deletion publishes it again; subscribers drop it by its id and
//! sequence.
//!
//! When the size limit is reached the **oldest** events are dropped and counted: the newest say
//! what is happening now. If the disk refuses a write, the event is kept in memory (at most
//! [`MAX_IN_MEMORY`]) and the failure is counted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Most events that are kept in memory while the disk refuses writes.
pub const MAX_IN_MEMORY: usize = 256;

const MAGIC: &[u8; 4] = b"PVE1";
const HEADER: usize = 8;
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

#[derive(Debug)]
struct Entry {
    number: u64,
    size: u64,
    /// The payload, where the disk refused it.
    memory: Option<Vec<u8>>,
}

/// A first-in, first-out queue of events in a folder.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    next: u64,
    counters: Counters,
    /// Keeps the lock until the spool is dropped.
    _lock: File,
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
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(folder)? {
            let entry = entry.map_err(folder)?;
            let path = entry.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("part") => {
                    // Cut while being written: it was never announced as stored.
                    let _ = fs::remove_file(&path);
                }
                Some("event") => {
                    let number = path.file_stem().and_then(|s| s.to_str()).map(str::parse::<u64>);
                    // A number that events cannot have reached is not ours: there must be room to count on.
                    if let Some(Ok(number @ ..MAX_NUMBER)) = number {
                        found.push((number, entry.metadata().map_err(folder)?.len()));
                    }
                }
                _ => {}
            }
        }
        found.sort_unstable();
        let mut spool = Self {
            dir: dir.to_owned(),
            max_bytes,
            bytes: found.iter().map(|&(_, size)| size).sum(),
            next: found.last().map_or(1, |&(number, _)| number + 1),
            entries: found
                .into_iter()
                .map(|(number, size)| Entry { number, size, memory: None })
                .collect(),
            counters: Counters::default(),
            _lock: lock,
        };
        spool.make_room(0);
        Ok(spool)
    }

    /// Stores an event and returns its number. Numbers rise; they mean nothing across restarts.
    ///
    /// When this returns the event survives a power cut, unless the disk refused it, which is
    /// counted and logged.
    pub fn append(&mut self, payload: &[u8]) -> u64 {
        let number = self.next;
        self.next += 1;
        let size = (HEADER + payload.len()) as u64;
        self.make_room(size);
        let memory = match self.write(number, payload) {
            Ok(()) => None,
            Err(e) => {
                self.counters.write_errors += 1;
                log::error!(
                    "spool {}: {e}; the event is kept in memory only, free some disk space",
                    self.dir.display()
                );
                Some(payload.to_vec())
            }
        };
        self.entries.push_back(Entry { number, size, memory });
        self.bytes += size;
        while self.entries.iter().filter(|e| e.memory.is_some()).count() > MAX_IN_MEMORY {
            let Some(at) = self.entries.iter().position(|e| e.memory.is_some()) else {
                break;
            };
            self.drop_at(at);
        }
        number
    }

    /// The event after `number`, or the oldest for `None`; `None` if there is no such event.
    /// Damaged files are deleted, counted and skipped.
    pub fn next_after(&mut self, number: Option<u64>) -> Option<(u64, Vec<u8>)> {
        loop {
            let at = self.entries.partition_point(|e| number.is_some_and(|n| e.number <= n));
            let entry = self.entries.get(at)?;
            let found = entry.number;
            if let Some(payload) = &entry.memory {
                return Some((found, payload.clone()));
            }
            match read(&self.path(found)) {
                Ok(payload) => return Some((found, payload)),
                Err(e) => {
                    self.counters.corrupt += 1;
                    log::error!("spool {}: {e}; deleted", self.path(found).display());
                    self.remove(found);
                }
            }
        }
    }

    /// Deletes an event; does nothing if it is no longer there.
    pub fn remove(&mut self, number: u64) {
        let at = self.entries.partition_point(|e| e.number < number);
        if self.entries.get(at).is_some_and(|e| e.number == number)
            && let Some(entry) = self.entries.remove(at)
        {
            self.bytes -= entry.size;
            if entry.memory.is_none()
                && let Err(e) = fs::remove_file(self.path(number))
                && e.kind() != io::ErrorKind::NotFound
            {
                // It will be published again after a restart, which a subscriber recognises.
                log::warn!("spool {}: {e}", self.path(number).display());
            }
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

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016}.event"))
    }

    fn make_room(&mut self, size: u64) {
        while !self.entries.is_empty() && self.bytes + size > self.max_bytes {
            self.drop_at(0);
        }
    }

    fn drop_at(&mut self, at: usize) {
        if let Some(number) = self.entries.get(at).map(|e| e.number) {
            self.remove(number);
            self.counters.dropped += 1;
            if self.counters.dropped.is_power_of_two() {
                log::warn!(
                    "spool {}: full; {} old events dropped so far",
                    self.dir.display(),
                    self.counters.dropped
                );
            }
        }
    }

    fn write(&self, number: u64, payload: &[u8]) -> io::Result<()> {
        let part = self.dir.join(format!("{number:016}.part"));
        let written = (|| {
            let mut file = File::create(&part)?;
            let mut bytes = Vec::with_capacity(HEADER + payload.len());
            bytes.extend_from_slice(MAGIC);
            bytes.extend_from_slice(&crc32(payload).to_le_bytes());
            bytes.extend_from_slice(payload);
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&part, self.path(number))?;
            File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&part);
            let _ = fs::remove_file(self.path(number));
        }
        written
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(damaged("is too large to be an event"));
    }
    let bytes = fs::read(path)?;
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(damaged("is cut"));
    };
    let (magic, checksum) = header.split_at(4);
    if magic != MAGIC {
        return Err(damaged("is not an event"));
    }
    if checksum != crc32(payload).to_le_bytes() {
        return Err(damaged("is damaged: its checksum differs"));
    }
    Ok(payload.to_vec())
}

/// CRC-32 (ISO-HDLC, as in zip and Ethernet), bit by bit: events are some 200 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests;
