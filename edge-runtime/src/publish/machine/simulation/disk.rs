//! A disk in memory: writes that are not synced are lost in a power cut, and it can refuse, or lie.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::files::Files;
use crate::random::Random;

#[derive(Debug, Default)]
struct State {
    /// Content, and whether it is synced.
    inodes: Vec<(Vec<u8>, bool)>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    full: bool,
    unreadable: bool,
    /// Says that it has synced, and has not.
    lies: bool,
}

#[derive(Debug, Default)]
pub struct Disk(Mutex<State>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    pub fn set_unreadable(&self, unreadable: bool) {
        self.state().unreadable = unreadable;
    }

    pub fn set_lies(&self, lies: bool) {
        self.state().lies = lies;
    }

    /// Of what was not synced some is there and some is not.
    pub fn power_cut(&self, random: &mut Random) {
        let disk = &mut *self.state();
        for (content, _) in disk.inodes.iter_mut().filter(|(_, synced)| !synced) {
            content.truncate(random.below(content.len() as u64 + 1) as usize);
        }
        let both: Vec<PathBuf> =
            disk.names.keys().chain(disk.synced_names.keys()).cloned().collect();
        for path in both {
            if random.one_in(2) {
                match disk.synced_names.get(&path).copied() {
                    Some(inode) => disk.names.insert(path, inode),
                    None => disk.names.remove(&path),
                };
            }
        }
        disk.synced_names = disk.names.clone();
    }
}

impl Files for Disk {
    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        let disk = self.state();
        if disk.unreadable {
            return Err(io::Error::other("i/o error"));
        }
        let inode = disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(disk.inodes[*inode].0.clone())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let disk = &mut *self.state();
        if disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.inodes.push((bytes.to_vec(), false));
        disk.names.insert(path.into(), disk.inodes.len() - 1);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let disk = &mut *self.state();
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        disk.inodes[inode].1 |= !disk.lies;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let disk = &mut *self.state();
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.into(), inode);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let disk = &mut *self.state();
        if !disk.lies {
            disk.synced_names = disk.names.clone();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let disk = self.state();
        let size = |&inode: &usize| disk.inodes[inode].0.len() as u64;
        Ok(disk.names.iter().map(|(path, inode)| (path.clone(), size(inode))).collect())
    }
}
