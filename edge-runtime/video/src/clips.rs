//! Finding the clips of a data set.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::images::{entries, extension, is_image, name};

/// Extensions of video files, in lower case.
const VIDEO_EXTENSIONS: [&str; 6] = ["mp4", "avi", "mkv", "mov", "m4v", "webm"];

/// Whether a file's name is that of a video: mp4, avi, mkv, mov, m4v or webm.
pub fn is_video(path: &Path) -> bool {
    VIDEO_EXTENSIONS.contains(&extension(path).as_str())
}

/// A clip of a data set: a video file or a folder of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The file's name without extension, or the folder's name.
    pub name: String,
    /// The file or folder, for [`crate::Reader::open`].
    pub path: PathBuf,
}

impl Clip {
    fn file(path: PathBuf) -> Self {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, path }
    }
}

/// The clips of a folder in natural order of their names: its video files (mp4, avi, mkv, mov,
/// m4v, webm) and its subfolders of images. A folder that itself holds images is one clip, and so
/// is a single video file.
///
/// # Errors
/// [`Error::Missing`], [`Error::Empty`] if there is no clip, [`Error::DuplicateClip`] if two would
/// have the same name, [`Error::Io`].
pub fn list_clips(dir: &Path) -> Result<Vec<Clip>, Error> {
    if !dir.exists() {
        return Err(Error::Missing { path: dir.into() });
    }
    if dir.is_file() {
        return Ok(vec![Clip::file(dir.into())]);
    }
    let mut clips: Vec<Clip> = Vec::new();
    let mut images = false;
    for path in entries(dir)? {
        if path.is_dir() {
            if entries(&path)?.iter().any(|p| p.is_file() && is_image(p)) {
                clips.push(Clip { name: name(&path), path });
            }
        } else if is_video(&path) {
            clips.push(Clip::file(path));
        } else {
            images |= is_image(&path);
        }
    }
    if clips.is_empty() && images {
        // `frames/..` and `.` have no last component; the canonical path has.
        let full = dir.canonicalize().map_err(|source| Error::Io { path: dir.into(), source })?;
        clips.push(Clip { name: name(&full), path: dir.into() });
    }
    if clips.is_empty() {
        return Err(Error::Empty { path: dir.into() });
    }
    clips.sort_by(|a, b| crate::order::natural(&a.name, &b.name));
    if let Some(pair) = clips.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::DuplicateClip {
            name: pair[0].name.clone(),
            first: pair[0].path.clone(),
            second: pair[1].path.clone(),
        });
    }
    Ok(clips)
}
