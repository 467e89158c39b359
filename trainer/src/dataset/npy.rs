//! Labels in NumPy files: one number a frame, or one a pixel.
//!
//! The format is NEP 1's (`numpy.lib.format`), versions 1 to 3, C order, little-endian. Label values
//! are 0 and 1; whatever else is there is not a label file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::error::quote;
use super::{Error, Mask};

/// Labels of a video at most: 93 hours at 30 frames a second.
const MAX_FRAMES: u64 = 10_000_000;
/// Pixels of a mask at most.
const MAX_PIXELS: u64 = 1 << 24;
/// A header has a hundred bytes.
const MAX_HEADER: u32 = 1 << 16;

/// The labels of a video's frames: `[frames]`, or with further dimensions of 1.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub fn read_labels(path: &Path) -> Result<Vec<bool>, Error> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let file = File::open(path).map_err(Error::io(path))?;
    labels(BufReader::new(file), size).map_err(|reason| Error::damaged(path, reason))
}

/// The labels in a file of `size` bytes.
///
/// # Errors
/// One line that says what is wrong.
pub fn labels(reader: impl Read, size: u64) -> Result<Vec<bool>, String> {
    let mut array = Array::open(reader, size)?;
    if array.shape.iter().filter(|n| **n != 1).count() > 1 {
        return Err(format!("an array of shape {:?}, [frames] expected", array.shape));
    }
    let count = array.shape.iter().product();
    array.take(count, MAX_FRAMES)
}

/// Calls `take` with the mask of each frame of a `[frames, height, width]` file.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], or what `take` gives.
pub fn each_mask(
    path: &Path,
    mut take: impl FnMut(Mask) -> Result<(), Error>,
) -> Result<(), Error> {
    let damaged = |reason| Error::damaged(path, reason);
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let file = File::open(path).map_err(Error::io(path))?;
    let mut array = Array::open(BufReader::new(file), size).map_err(damaged)?;
    let [frames, height, width] = array.shape[..] else {
        let shape = &array.shape;
        let reason = format!("an array of shape {shape:?}, [frames, height, width] expected");
        return Err(damaged(reason));
    };
    for _ in 0..frames {
        let pixels = array.take(height * width, MAX_PIXELS).map_err(damaged)?;
        take(Mask { width: width as usize, height: height as usize, pixels })?;
    }
    Ok(())
}

/// An array being read.
struct Array<R: Read> {
    reader: R,
    shape: Vec<u64>,
    kind: Kind,
}

/// How numbers are stored.
#[derive(Clone, Copy)]
struct Kind {
    width: usize,
    float: bool,
}

impl<R: Read> Array<R> {
    /// Reads the header of a file of `size` bytes, and holds it against the size.
    fn open(mut reader: R, size: u64) -> Result<Self, String> {
        let mut magic = [0; 8];
        fill(&mut reader, &mut magic)?;
        let length = match magic {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
                let mut length = [0; 2];
                fill(&mut reader, &mut length)?;
                u16::from_le_bytes(length).into()
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => {
                let mut length = [0; 4];
                fill(&mut reader, &mut length)?;
                u32::from_le_bytes(length)
            }
            _ => return Err("no NumPy array file".into()),
        };
        if length > MAX_HEADER {
            return Err(format!("a header of {length} bytes"));
        }
        let before = if magic[6] == 1 { 10 } else { 12 };
        let mut header = vec![0; length as usize];
        fill(&mut reader, &mut header)?;
        let header = String::from_utf8_lossy(&header).into_owned();
        if !field(&header, "fortran_order")?.starts_with("False") {
            return Err("an array in Fortran order; save numpy.ascontiguousarray of it".into());
        }
        let kind = kind(field(&header, "descr")?)?;
        let shape = shape(field(&header, "shape")?)?;
        let bytes = shape
            .iter()
            .try_fold(kind.width as u64, |product, n| product.checked_mul(*n))
            .and_then(|bytes| bytes.checked_add(before + u64::from(length)));
        if bytes != Some(size) {
            return Err(format!("{size} bytes, which do not fit its shape {shape:?}"));
        }
        Ok(Self { reader, shape, kind })
    }

    /// The next `count` labels.
    fn take(&mut self, count: u64, limit: u64) -> Result<Vec<bool>, String> {
        if count > limit {
            return Err(format!("{count} labels, more than {limit}"));
        }
        let Kind { width, float } = self.kind;
        let mut bytes = vec![0; count as usize * width];
        fill(&mut self.reader, &mut bytes)?;
        let label = |number: &[u8]| {
            let is_one = match (float, width) {
                (true, 4) => number == 1_f32.to_le_bytes(),
                (true, _) => number == 1_f64.to_le_bytes(),
                _ => number[0] == 1 && number[1..].iter().all(|b| *b == 0),
            };
            match is_one {
                true => Ok(true),
                false if number.iter().all(|b| *b == 0) => Ok(false),
                false => Err("a value that is neither 0 nor 1".into()),
            }
        };
        bytes.chunks_exact(width).map(label).collect()
    }
}

/// What follows a key of the header's dictionary.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = format!("'{key}':");
    let at = header.find(&quoted).ok_or_else(|| format!("a header without {key}"))?;
    Ok(header[at + quoted.len()..].trim_start())
}

/// The number type of a `descr`.
fn kind(descr: &str) -> Result<Kind, String> {
    let name = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or(descr);
    let (width, float) = match name {
        "|b1" | "|u1" | "|i1" => (1, false),
        "<u2" | "<i2" => (2, false),
        "<u4" | "<i4" => (4, false),
        "<u8" | "<i8" => (8, false),
        "<f4" => (4, true),
        "<f8" => (8, true),
        other => return Err(format!("numbers of type {}", quote(other))),
    };
    Ok(Kind { width, float })
}

/// The sizes of a `shape`.
fn shape(tuple: &str) -> Result<Vec<u64>, String> {
    let wrong = || format!("shape {}", quote(tuple));
    let inner = tuple.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(wrong)?.0;
    let sizes = inner.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Vec<u64> =
        sizes.map(|size| size.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    if sizes.len() > 4 { Err(wrong()) } else { Ok(sizes) }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), String> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<bool>, String> {
        labels(bytes, bytes.len() as u64)
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
            assert_eq!(read(&file(descr, "False", "(3,)", &data)).unwrap(), expected, "{descr}");
        }
        assert_eq!(read(&file("|u1", "False", "(1, 3)", &[0, 1, 1])).unwrap(), expected);
        assert_eq!(read(&file("|u1", "False", "(0,)", &[])).unwrap(), [false; 0]);
    }

    #[test]
    fn wrong_files_are_named() {
        let message = |bytes: &[u8]| read(bytes).unwrap_err();
        assert!(message(b"PK\x03\x04....").contains("no NumPy"));
        assert!(message(b"\x93NUMPY\x01").contains("too early"));
        assert!(message(&file("|u1", "False", "(3,)", &[0, 1])).contains("do not fit"));
        assert!(message(&file("|u1", "False", "(2,)", &[0, 7])).contains("neither 0 nor 1"));
        assert!(message(&file("|u1", "True", "(2,)", &[0, 1])).contains("Fortran"));
        assert!(message(&file("|u1", "False", "(2, 2)", &[0; 4])).contains("[frames]"));
        assert!(message(&file("|O", "False", "(2,)", &[0; 2])).contains("'|O'"));
        let huge = file("|u1", "False", "(18446744073709551615, 9)", &[]);
        assert!(message(&huge).contains("do not fit"));
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
        assert_eq!(masks[0].pixels, [false, true, false, false, false, false]);
        assert_eq!(masks[1].pixels, [true, true, true, false, false, false]);
    }
}
