//! A folder of images as a clip.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, RgbImage};

use crate::jpeg::decode_jpeg;
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
    path.file_name().map(crate::clips::text).unwrap_or_default()
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
    let again = |what: String| unreadable(format!("{what}; copy the file again"));
    let picture = decode(&bytes).map_err(again)?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Frame::from_rgb(width, height, picture.into_raw())
        .ok_or_else(|| unreadable("its size does not match its data".into()))
}

/// Decodes a picture and turns it as it says (EXIF) that it is to be shown.
fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let say = |e: image::ImageError| e.to_string();
    let reader = ImageReader::new(Cursor::new(bytes));
    let reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder().map_err(say)?;
    // What cannot be understood of it says nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = if is_jpeg {
        let mut frame = Frame::default();
        decode_jpeg(bytes, &mut frame)?;
        let (width, height) = (frame.width() as u32, frame.height() as u32);
        let pixels = RgbImage::from_raw(width, height, frame.rgb().to_vec());
        DynamicImage::ImageRgb8(pixels.ok_or("its size does not match its data")?)
    } else {
        DynamicImage::from_decoder(decoder).map_err(say)?
    };
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
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

    /// Seconds from the first frame to the one read last.
    pub(crate) fn time(&self) -> f64 {
        self.next.saturating_sub(1) as f64 / self.info.frame_rate
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
