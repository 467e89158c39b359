//! A folder of images as a clip.

use std::path::{Path, PathBuf};

use crate::order::natural;
use crate::{Error, Frame, VideoInfo};

/// Extensions of the images that are read, in lower case.
const EXTENSIONS: [&str; 9] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "pgm", "ppm", "pnm"];

/// Images that data sets come in and that are refused with an explanation instead of skipped.
const UNSUPPORTED: [&str; 1] = ["webp"];

/// The extension of a path in lower case.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Whether `path` looks like an image: one that is read, or one that is refused by name.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = extension(path);
    EXTENSIONS.contains(&extension.as_str()) || UNSUPPORTED.contains(&extension.as_str())
}

/// The visible entries of a folder, in natural order of their names.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io { path: dir.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !name(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| natural(&name(a), &name(b)));
    Ok(paths)
}

/// The last component of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Reads one image file (PNG, JPEG, BMP, TIFF or PNM) as RGB; a grey image becomes R = G = B, alpha is
/// dropped, 16-bit levels are reduced to 8.
///
/// # Errors
/// [`Error::Missing`], [`Error::Io`], or [`Error::Unreadable`] naming the file.
pub fn read_image(path: &Path) -> Result<Frame, Error> {
    let unreadable = |reason: String| Error::Unreadable { path: path.into(), reason };
    let extension = extension(path);
    if UNSUPPORTED.contains(&extension.as_str()) {
        return Err(unreadable(format!("{extension} images are not supported; convert to PNG")));
    }
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::Io { path: path.into(), source },
    })?;
    let picture = image::load_from_memory(&bytes)
        .map_err(|e| unreadable(format!("{e}; copy the file again")))?
        .into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Frame::from_rgb(width, height, picture.into_raw())
        .ok_or_else(|| unreadable("its size does not match its data".into()))
}

/// Reads the images of a folder one after another.
pub(crate) struct Folder {
    files: Vec<PathBuf>,
    next: usize,
    info: VideoInfo,
}

impl Folder {
    pub(crate) fn open(dir: &Path, frame_rate: f64) -> Result<Self, Error> {
        let files: Vec<PathBuf> =
            entries(dir)?.into_iter().filter(|p| p.is_file() && is_image(p)).collect();
        let Some(first) = files.first() else {
            return Err(Error::Empty { path: dir.into() });
        };
        let first = read_image(first)?;
        let info = VideoInfo {
            width: first.width(),
            height: first.height(),
            frame_rate,
            frames: Some(files.len() as u64),
        };
        Ok(Self { files, next: 0, info })
    }

    pub(crate) fn info(&self) -> &VideoInfo {
        &self.info
    }

    pub(crate) fn read(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        let Some(path) = self.files.get(self.next) else {
            return Ok(false);
        };
        let picture = read_image(path)?;
        if (picture.width(), picture.height()) != (self.info.width, self.info.height) {
            return Err(Error::SizeChanged {
                path: path.clone(),
                frame: self.next as u64,
                width: picture.width(),
                height: picture.height(),
                expected_width: self.info.width,
                expected_height: self.info.height,
            });
        }
        *frame = picture;
        self.next += 1;
        Ok(true)
    }
}
