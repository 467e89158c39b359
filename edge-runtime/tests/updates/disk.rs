//! A disk in memory that can be cut at any step.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use edge_runtime::files::Files;

/// What is left when the power comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// The process was killed: the system still has everything that was done.
    Kill,
    /// The power went, and names that were not synced are the old ones.
    PowerOldNames,
    /// The power went, and names that were not synced are the new ones.
    PowerNewNames,
}

#[derive(Debug, Clone, Default)]
pub struct Inode {
    content: Vec<u8>,
    synced: bool,
}

#[derive(Debug, Clone, Default)]
pub struct DiskState {
    inodes: Vec<Inode>,
    pub names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Steps until the cut.
    steps_left: Option<usize>,
    cut: bool,
    steps: usize,
}

/// A disk in memory that can be cut between, and in the middle of, any two steps.
#[derive(Debug, Default)]
pub struct MemoryDisk(pub Mutex<DiskState>);

impl MemoryDisk {
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap().clone()))
    }

    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.write(path, bytes).unwrap();
        self.sync(path).unwrap();
        self.sync_folder(path.parent().unwrap()).unwrap();
    }

    pub fn cut_after(&self, steps: usize) {
        self.0.lock().unwrap().steps_left = Some(steps);
    }

    pub fn was_cut(&self) -> bool {
        self.0.lock().unwrap().cut
    }

    /// The machine comes up again.
    pub fn restart(&self, cut: Cut) {
        let mut disk = self.0.lock().unwrap();
        if cut != Cut::Kill {
            // What was written and not synced is there in part, which is worse than not at all.
            for inode in disk.inodes.iter_mut().filter(|inode| !inode.synced) {
                let half = inode.content.len() / 2;
                inode.content.truncate(half);
            }
            if cut == Cut::PowerOldNames {
                disk.names = disk.synced_names.clone();
            }
        }
        (disk.cut, disk.steps_left) = (false, None);
    }

    /// Counts a step; tells whether it may be done.
    pub fn step(disk: &mut DiskState) -> io::Result<()> {
        disk.steps += 1;
        if let Some(left) = &mut disk.steps_left {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => disk.cut = true,
            }
        }
        if disk.cut { Err(io::Error::other("cut")) } else { Ok(()) }
    }
}

impl Files for MemoryDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let disk = self.0.lock().unwrap();
        if disk.cut {
            return Err(io::Error::other("cut"));
        }
        let inode = disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let content = disk.inodes[*inode].content.clone();
        assert!(content.len() as u64 <= limit);
        Ok(content)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let was_cut = disk.cut;
        let done = Self::step(&mut disk);
        if was_cut {
            return done;
        }
        let fresh = disk.inodes.len();
        let inode = *disk.names.entry(path.into()).or_insert(fresh);
        if inode == fresh {
            disk.inodes.push(Inode::default());
        }
        // Cut in the middle: half of it is there.
        let length = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        disk.inodes[inode] = Inode { content: bytes[..length].to_vec(), synced: false };
        done
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        disk.inodes[inode].synced = true;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.into(), inode);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        Self::step(&mut disk)?;
        disk.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let disk = self.0.lock().unwrap();
        let inside = disk.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside.map(|(path, &i)| (path.clone(), disk.inodes[i].content.len() as u64)).collect())
    }
}
