//! Finding files and folders of a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use video::Clip;

use super::Error;
use super::error::quote;

/// Text annotations are kilobytes; the largest, UCF-Crime's training list, has 70.
const MAX_TEXT: u64 = 16 << 20;

/// The first of several paths that is there, in a folder.
pub(super) fn first(dir: &Path, candidates: &[&str]) -> Option<PathBuf> {
    candidates.iter().map(|candidate| dir.join(candidate)).find(|path| path.exists())
}

/// The clips of a folder; none if the folder is not there or empty.
pub(super) fn clips(dir: &Path) -> Result<Vec<Clip>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    match video::list_clips(dir) {
        Ok(clips) => Ok(clips),
        Err(video::Error::Empty { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// All video files at most `depth` folders deep, in order of their paths.
pub(super) fn videos(dir: &Path, depth: usize) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![(dir.to_path_buf(), depth)];
    while let Some((folder, left)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            if path.is_dir() {
                if left > 0 {
                    folders.push((path, left - 1));
                }
            } else if video::is_video(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A text file of bounded size; bytes that are not UTF-8 become replacement characters, which the
/// line they are on then fails by.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if size > MAX_TEXT {
        return Err(Error::damaged(path, format!("{size} bytes are no annotation")));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lines of a text that are not empty, with their numbers from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(at, line)| (at, line.trim())).filter(|(_, l)| !l.is_empty())
}

/// Names, one a line, each once, with the numbers of their lines.
pub(super) fn names(text: &str, path: &Path) -> Result<Vec<(usize, String)>, Error> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (line, name) in lines(text) {
        let wrong = |reason| Error::Line { path: path.into(), line, reason };
        if name.split_whitespace().count() != 1 || name.contains('\u{fffd}') {
            return Err(wrong(format!("{} is no name of a video", quote(name))));
        }
        if !seen.insert(name) {
            return Err(wrong(format!("{} is named twice", quote(name))));
        }
        names.push((line, name.to_string()));
    }
    Ok(names)
}

/// Clips by name.
pub(super) fn by_name(clips: Vec<Clip>) -> Result<BTreeMap<String, Clip>, Error> {
    let mut map: BTreeMap<String, Clip> = BTreeMap::new();
    for clip in clips {
        if let Some(other) = map.get(&clip.name) {
            let (name, first, second) = (clip.name.clone(), other.path.clone(), clip.path);
            return Err(video::Error::DuplicateClip { name, first, second }.into());
        }
        map.insert(clip.name.clone(), clip);
    }
    Ok(map)
}
