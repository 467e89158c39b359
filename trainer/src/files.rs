//! Writing files so that a reader, or a power cut, meets the old content or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` beside `path`, onto the disk, and puts the result in its place.
///
/// # Errors
/// What the operating system said; the old file, if there was one, is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Two programs that write the same file do not write into each other's part.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let write = || {
        let mut file = File::create(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(beside, path)
    };
    // What is half written helps nobody; that it cannot be removed either changes nothing.
    write().inspect_err(|_| drop(fs::remove_file(beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_content_or_the_new_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let path = folder.path().join("a.txt");
        for text in ["first", "second"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(count(), 1);
        }
        // A folder's place cannot be taken.
        let taken = folder.path().join("b");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"third").is_err());
        assert_eq!(count(), 2);
        assert!(replace(&folder.path().join("no/such/c.txt"), b"fourth").is_err());
    }
}
