//! Labels in NumPy files: one number a frame, or one a pixel.
//!
//! Label values are 0 and 1; whatever else is there is not a label file.

use std::io::Read;
use std::path::Path;

use super::{Error, Mask};
use crate::npy::Reader;

/// Labels of a video at most: 93 hours at 30 frames a second.
const MAX_FRAMES: usize = 10_000_000;
/// Pixels of a mask at most.
const MAX_PIXELS: usize = 1 << 24;

/// The labels of a video's frames: `[frames]`, or with further dimensions of 1.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub fn read_labels(path: &Path) -> Result<Vec<bool>, Error> {
    frames(Reader::open(path)?).map_err(|reason| Error::damaged(path, reason))
}

/// The labels in the bytes of a file.
///
/// # Errors
/// One line that says what is wrong.
pub fn labels(bytes: &[u8]) -> Result<Vec<bool>, String> {
    frames(Reader::new(bytes, bytes.len() as u64)?)
}

fn frames(mut array: Reader<impl Read>) -> Result<Vec<bool>, String> {
    let header = array.header();
    header.in_c_order()?;
    if header.shape.iter().filter(|n| **n != 1).count() > 1 {
        return Err(format!("an array of shape {:?}, [frames] expected", header.shape));
    }
    let count = header.shape.iter().product();
    take(&mut array, count, MAX_FRAMES)
}

/// Hands `to` the mask of each frame of a `[frames, height, width]` file.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], or what `to` gives.
pub fn each_mask(path: &Path, mut to: impl FnMut(Mask) -> Result<(), Error>) -> Result<(), Error> {
    let damaged = |reason| Error::damaged(path, reason);
    let mut array = Reader::open(path)?;
    array.header().in_c_order().map_err(damaged)?;
    let (frames, height, width) = match array.header().shape[..] {
        [frames, height, width] if height > 0 && width > 0 => (frames, height, width),
        ref shape => {
            let reason = format!("an array of shape {shape:?}, [frames, height, width] expected");
            return Err(damaged(reason));
        }
    };
    for _ in 0..frames {
        let abnormal = take(&mut array, height * width, MAX_PIXELS).map_err(damaged)?;
        to(Mask { width, height, abnormal })?;
    }
    Ok(())
}

/// The next `count` labels.
fn take(array: &mut Reader<impl Read>, count: usize, limit: usize) -> Result<Vec<bool>, String> {
    if count > limit {
        return Err(format!("{count} labels, more than {limit}"));
    }
    let (mut labels, mut wrong) = (Vec::with_capacity(count), None);
    array
        .take(count, |value| {
            if value != 0.0 && value != 1.0 {
                wrong = wrong.or(Some((labels.len(), value)));
            }
            labels.push(value == 1.0);
        })
        .map_err(|e| e.to_string())?;
    match wrong {
        None => Ok(labels),
        Some((at, value)) => Err(format!("value {value} at {at} is neither 0 nor 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::tests;

    fn file(dtype: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        tests::file(1, &tests::header(dtype, order, shape), data)
    }

    #[test]
    fn labels_of_every_type_numpy_has() {
        let expected = [false, true, true];
        for (descr, one) in [
            ("|b1", vec![1]),
            ("|u1", vec![1]),
            ("<i2", vec![1, 0]),
            ("<i4", vec![1, 0, 0, 0]),
            ("<i8", vec![1, 0, 0, 0, 0, 0, 0, 0]),
            ("<f4", 1_f32.to_le_bytes().to_vec()),
            ("<f8", 1_f64.to_le_bytes().to_vec()),
        ] {
            let data = [vec![0; one.len()], one.clone(), one].concat();
            assert_eq!(labels(&file(descr, "False", "(3,)", &data)).unwrap(), expected, "{descr}");
        }
        assert_eq!(labels(&file("|u1", "False", "(1, 3)", &[0, 1, 1])).unwrap(), expected);
        assert_eq!(labels(&file("|u1", "False", "(0,)", &[])).unwrap(), [false; 0]);
    }

    #[test]
    fn wrong_files_are_named() {
        let message = |bytes: &[u8]| labels(bytes).unwrap_err();
        assert!(message(b"PK\x03\x04....").contains("not a NumPy file"));
        assert!(message(b"\x93NUMPY\x01").contains("not a whole"));
        assert!(message(&file("|u1", "False", "(3,)", &[0, 1])).contains("does not fit"));
        assert!(message(&file("|u1", "False", "(2,)", &[0, 7])).contains("neither 0 nor 1"));
        assert!(message(&file("|u1", "True", "(2,)", &[0, 1])).contains("Fortran"));
        assert!(message(&file("|u1", "False", "(2, 2)", &[0; 4])).contains("[frames]"));
        assert!(message(&file("|O", "False", "(2,)", &[0; 2])).contains("\"|O\""));
        let huge = file("|u1", "False", "(18446744073709551615, 9)", &[]);
        assert!(message(&huge).contains("does not fit"));
        // Labels of 64 bits are not rounded to 1 or 0.
        let almost = |value: f64| file("<f8", "False", "(1,)", &value.to_le_bytes());
        assert!(message(&almost(1.0 + f64::EPSILON)).contains("neither"));
        assert!(message(&almost(1e-300)).contains("neither"));
    }

    #[test]
    fn masks_frame_by_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let data = [0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0];
        std::fs::write(&path, file("|u1", "False", "(2, 2, 3)", &data)).unwrap();
        let mut masks = Vec::new();
        each_mask(&path, |mask| {
            masks.push(mask);
            Ok(())
        })
        .unwrap();
        assert_eq!((masks[0].width, masks[0].height, masks.len()), (3, 2, 2));
        assert_eq!(masks[0].abnormal, [false, true, false, false, false, false]);
        assert_eq!(masks[1].abnormal, [true, true, true, false, false, false]);
    }
}
