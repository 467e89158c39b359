//! Finding the clips of a data set.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::images::{entries, extension, is_image, name};

/// Extensions of video files, in lower case: what editors, phones and browsers write, then what
/// recorders do.
const VIDEO_EXTENSIONS: [&str; 26] = [
    "mp4", "avi", "mkv", "mov", "m4v", "webm", "ts", "m2ts", "mts", "m2t", "flv", "h264", "264",
    "avc", "h265", "265", "hevc", "dav", "mpg", "mpeg", "ps", "vob", "3gp", "wmv", "asf", "mjpeg",
];
/// Folders within folders are looked into so deep: recorders have one for each day, hour and camera.
const DEEPEST: usize = 8;
/// Files passed over that are named; of more there is only the number.
const NAMED: usize = 10;

/// Whether a file's name is that of a video.
pub fn is_video(path: &Path) -> bool {
    VIDEO_EXTENSIONS.contains(&extension(path).as_str())
}

/// A clip of a data set: a video file or a folder of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The file's name without extension, or the folder's name; of what lies in a folder within the
    /// folder, with that folder's name and a `-` before it. Bytes that are no text are written `%FC`.
    /// Where two would have the same name, files keep their extension.
    pub name: String,
    /// The file or folder, for [`crate::Reader::open`].
    pub path: PathBuf,
}

impl Clip {
    fn file(path: PathBuf) -> Self {
        let name = path.file_stem().map(text).unwrap_or_default();
        Self { name, path }
    }
}

/// A name as text: what it is, but bytes that are no UTF-8 as `%` and two digits, so that two names
/// never become one.
pub(crate) fn text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Longest name of a camera in an event, in bytes.
const LONGEST_NAME: usize = 64;

/// The camera's name in the events of a clip that is replayed: the clip's own. One that is too long ends
/// with a number made of the whole, so that two clips never have the same.
pub fn event_name(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    // FNV-1a: the same on every machine and in every version.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let end = format!("-{hash:016x}");
    let mut length = LONGEST_NAME - end.len();
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    format!("{}{end}", &name[..length])
}

/// What was found in a folder, and those within it.
#[derive(Default)]
struct Found {
    clips: Vec<Clip>,
    /// Files that are neither videos nor parts of a clip.
    others: Vec<PathBuf>,
}

/// The clips of a folder in natural order of their names: its video files, its subfolders of images,
/// and the videos of its other subfolders, by the hour or the day. A folder that itself holds images is
/// one clip, and so is a single video file. Files that are passed over are named in the log.
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
    let mut found = Found::default();
    look(dir, "", 0, &mut found)?;
    let Found { mut clips, mut others } = found;
    if clips.is_empty() && others.iter().any(|path| is_image(path)) {
        // `frames/..` and `.` have no last component; the canonical path has.
        let full = dir.canonicalize().map_err(|source| Error::Io { path: dir.into(), source })?;
        clips.push(Clip { name: name(&full), path: dir.into() });
        others.retain(|path| !is_image(path));
    }
    if clips.is_empty() {
        return Err(Error::Empty { path: dir.into() });
    }
    tell_of(dir, &others);
    tell_apart(&mut clips);
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

/// Gives the files among clips of one name their extension: a recorder's `b.MTS` and a copy `b.ts`.
fn tell_apart(clips: &mut [Clip]) {
    let mut often = HashMap::<String, usize>::new();
    for clip in clips.iter() {
        *often.entry(clip.name.clone()).or_default() += 1;
    }
    for clip in clips.iter_mut().filter(|clip| often[&clip.name] > 1 && clip.path.is_file()) {
        if let Some(extension) = clip.path.extension() {
            clip.name = format!("{}.{}", clip.name, text(extension));
        }
    }
}

/// Looks into a folder; `before` goes before the names of what is in it.
fn look(dir: &Path, before: &str, depth: usize, found: &mut Found) -> Result<(), Error> {
    for path in entries(dir)? {
        if path.is_dir() {
            let own = format!("{before}{}", name(&path));
            if entries(&path)?.iter().any(|p| p.is_file() && is_image(p) && !has_videos(&path)) {
                found.clips.push(Clip { name: own, path });
            } else if depth < DEEPEST {
                look(&path, &format!("{own}-"), depth + 1, found)?;
            } else {
                found.others.push(path);
            }
        } else if is_video(&path) {
            let Clip { name, path } = Clip::file(path);
            found.clips.push(Clip { name: format!("{before}{name}"), path });
        } else {
            found.others.push(path);
        }
    }
    Ok(())
}

/// Whether a folder holds videos: pictures beside them are previews.
fn has_videos(dir: &Path) -> bool {
    entries(dir).is_ok_and(|paths| paths.iter().any(|p| p.is_file() && is_video(p)))
}

/// Names files that were passed over.
fn tell_of(dir: &Path, others: &[PathBuf]) {
    if others.is_empty() {
        return;
    }
    let names: Vec<String> = others.iter().take(NAMED).map(|path| name(path)).collect();
    let more = match others.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    log::warn!("{}: passed over, being no videos: {}{more}", dir.display(), names.join(", "));
}
