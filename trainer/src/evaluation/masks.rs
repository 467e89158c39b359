//! Ground truth of pixels: one picture for each frame of a clip.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use video::{Frame, read_image};

use super::regions::RegionsError;

/// Pictures that keep every pixel as it is; JPEG does not.
const EXTENSIONS: [&str; 2] = ["png", "bmp"];

/// The masks of a clip: `NNN.png`, or any name that ends in the frame's number, from 1. A pixel that
/// is not black is abnormal.
#[derive(Debug)]
pub struct Masks {
    folder: PathBuf,
    files: BTreeMap<u64, PathBuf>,
}

/// Which pixels of a frame are abnormal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Rows from the top, `[height, width]`.
    pub abnormal: Vec<bool>,
}

impl Mask {
    /// Of a picture: a pixel that is not black is abnormal.
    pub fn of(picture: &Frame) -> Self {
        Self {
            width: picture.width(),
            height: picture.height(),
            abnormal: picture.rgb().chunks_exact(3).map(|rgb| rgb != [0; 3]).collect(),
        }
    }

    /// Whether any pixel is abnormal.
    pub fn any(&self) -> bool {
        self.abnormal.contains(&true)
    }
}

impl Masks {
    /// The masks in a folder; `None` if there is no such folder.
    ///
    /// # Errors
    /// [`RegionsError::Io`], [`RegionsError::Masks`] if a name has no number or two have the same.
    pub fn open(folder: &Path) -> Result<Option<Self>, RegionsError> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let io = |source| RegionsError::Io { path: folder.into(), source };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            if !EXTENSIONS.contains(&extension.as_str()) {
                continue;
            }
            let bad = |reason| RegionsError::Masks { path: path.clone(), reason };
            let number = number(&path)
                .ok_or_else(|| bad("its name does not end in a frame's number, from 1".into()))?;
            if let Some(other) = files.insert(number, path.clone()) {
                let reason = format!("a second mask of frame {number} beside {}", other.display());
                return Err(bad(reason));
            }
        }
        Ok(Some(Self { folder: folder.into(), files }))
    }

    /// That there is a mask for each of `frames` frames, and no other.
    ///
    /// # Errors
    /// [`RegionsError::Masks`], which names the first frame that is missing or too many.
    pub fn check(&self, frames: usize) -> Result<(), RegionsError> {
        let frames = frames as u64;
        let missing = (1..=frames).find(|frame| !self.files.contains_key(frame));
        let beyond = self.files.keys().next_back().filter(|last| **last > frames);
        let reason = match (missing, beyond) {
            (Some(frame), _) => format!("no mask of frame {frame}; the clip has {frames} frames"),
            (None, Some(last)) => format!("a mask of frame {last}, but the clip has {frames}"),
            (None, None) => return Ok(()),
        };
        Err(RegionsError::Masks { path: self.folder.clone(), reason })
    }

    /// The mask of a frame, from 0.
    ///
    /// # Errors
    /// [`RegionsError::Masks`] if there is none, [`RegionsError::Video`] if it cannot be read.
    pub fn read(&self, frame: usize) -> Result<Mask, RegionsError> {
        let path = self.files.get(&(frame as u64 + 1)).ok_or_else(|| RegionsError::Masks {
            path: self.folder.clone(),
            reason: format!("no mask of frame {}", frame + 1),
        })?;
        Ok(Mask::of(&read_image(path)?))
    }
}

/// The number at the end of a file's name.
fn number(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem[digits..].parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, [u8; 2])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, pixels) in files {
            let picture = image::GrayImage::from_raw(2, 1, pixels.to_vec()).unwrap();
            picture.save(folder.path().join(name)).unwrap();
        }
        folder
    }

    #[test]
    fn every_pixel_that_is_not_black_is_abnormal() {
        let folder = folder(&[("frame001.png", [0, 255]), ("frame002.png", [1, 0])]);
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let masks = Masks::open(folder.path()).unwrap().unwrap();
        masks.check(2).unwrap();
        let mask = |abnormal: [bool; 2]| Mask { width: 2, height: 1, abnormal: abnormal.into() };
        assert_eq!(masks.read(0).unwrap(), mask([false, true]));
        assert_eq!(masks.read(1).unwrap(), mask([true, false]));
        assert!(Masks::open(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn masks_that_do_not_fit_the_clip_are_named() {
        let folder = folder(&[("001.png", [0, 0]), ("003.png", [0, 0])]);
        let masks = Masks::open(folder.path()).unwrap().unwrap();
        assert!(masks.check(3).unwrap_err().to_string().contains("no mask of frame 2"));
        assert!(masks.check(1).unwrap_err().to_string().contains("a mask of frame 3"));
        assert!(masks.read(1).unwrap_err().to_string().contains("frame 2"));
    }

    #[test]
    fn names_without_a_number_of_their_own_are_refused() {
        let refused =
            |files: &[(&str, [u8; 2])]| Masks::open(folder(files).path()).unwrap_err().to_string();
        assert!(refused(&[("mask.png", [0, 0])]).contains("mask.png"));
        assert!(refused(&[("000.png", [0, 0])]).contains("from 1"));
        assert!(refused(&[("1.png", [0, 0]), ("01.png", [0, 0])]).contains("second mask"));
    }
}
