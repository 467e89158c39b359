//! Reading score maps: NumPy files of `float32`, frame by frame.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::regions::RegionsError;

/// Longest description of an array that is read; NumPy writes about a hundred bytes.
const MAX_HEADER: usize = 64 << 10;

/// The maps of a clip: `[frames, height, width]`.
pub struct MapReader {
    path: PathBuf,
    reader: BufReader<File>,
    /// Frames, rows, columns.
    shape: [usize; 3],
    next: usize,
    bytes: Vec<u8>,
}

impl MapReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`RegionsError::Io`] if it cannot be read, [`RegionsError::Maps`] if it is not a whole file
    /// of `float32` maps.
    pub fn open(path: &Path) -> Result<Self, RegionsError> {
        let io = |source| RegionsError::Io { path: path.into(), source };
        let bad = |reason: String| RegionsError::Maps { path: path.into(), reason };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::new(file);
        let mut start = Vec::new();
        reader.by_ref().take(12).read_to_end(&mut start).map_err(io)?;
        let text = description(&start).map_err(bad)?;
        let end = text.end;
        start.resize(start.len().max(end), 0);
        reader.read_exact(&mut start[12.min(end)..end]).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => bad("its header is cut off".into()),
            _ => io(e),
        })?;
        let shape = shape(&start[text]).map_err(bad)?;
        let whole = shape
            .iter()
            .try_fold(4u64, |n, &axis| n.checked_mul(axis as u64))
            .and_then(|n| n.checked_add(end as u64));
        if whole != Some(size) {
            let [frames, height, width] = shape;
            let reason = format!("{size} bytes do not hold {frames} maps of {width}x{height}");
            return Err(bad(reason));
        }
        Ok(Self { path: path.into(), reader, shape, next: 0, bytes: Vec::new() })
    }

    /// Number of maps.
    pub fn frames(&self) -> usize {
        self.shape[0]
    }

    /// Columns and rows of a map.
    pub fn size(&self) -> (usize, usize) {
        (self.shape[2], self.shape[1])
    }

    /// Reads the next map, `[height, width]`; `false` at the end.
    ///
    /// # Errors
    /// [`RegionsError::Io`], [`RegionsError::Maps`] if a value is not a number.
    pub fn read(&mut self, map: &mut Vec<f32>) -> Result<bool, RegionsError> {
        if self.next == self.shape[0] {
            return Ok(false);
        }
        // The file was seen to be that long, so there is no more to reserve than it holds.
        self.bytes.resize(4 * self.shape[1] * self.shape[2], 0);
        self.reader
            .read_exact(&mut self.bytes)
            .map_err(|source| RegionsError::Io { path: self.path.clone(), source })?;
        map.clear();
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        map.extend(self.bytes.chunks_exact(4).map(value));
        if map.iter().any(|v| v.is_nan()) {
            let reason = format!("map {} has a value that is not a number", self.next);
            return Err(RegionsError::Maps { path: self.path.clone(), reason });
        }
        self.next += 1;
        Ok(true)
    }
}

/// Where the description of the array lies in a file that begins with `start`, its first 12 bytes.
fn description(start: &[u8]) -> Result<std::ops::Range<usize>, String> {
    let no_npy = || "not a NumPy file".to_string();
    if !start.starts_with(b"\x93NUMPY") {
        return Err(no_npy());
    }
    let (from, length) = match *start {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([a, b, c, d]) as usize)
        }
        _ => return Err(no_npy()),
    };
    // The shortest description is longer than the two bytes that version 1 leaves of the 12.
    if !(2..=MAX_HEADER).contains(&length) {
        return Err(format!("a header of {length} bytes"));
    }
    Ok(from..from + length)
}

/// The shape of an array of three axes from its description, a literal of a Python dictionary.
fn shape(description: &[u8]) -> Result<[usize; 3], String> {
    let text = std::str::from_utf8(description).map_err(|_| "its header is no text".to_string())?;
    let value = |key: &str| {
        let after = text.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
        after.ok_or_else(|| format!("its header has no '{key}'"))
    };
    if !value("descr")?.starts_with("'<f4'") {
        return Err("its values are not little-endian float32 ('<f4')".into());
    }
    if !value("fortran_order")?.starts_with("False") {
        return Err("its values are in Fortran order".into());
    }
    let axes = value("shape")?
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .ok_or("its shape is not a tuple")?
        .0;
    let axes: Vec<usize> = axes
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| {
            axis.parse().map_err(|_| format!("its shape has the axis {:.20}", format!("{axis:?}")))
        })
        .collect::<Result<_, String>>()?;
    match axes[..] {
        [frames, height, width] if height > 0 && width > 0 => Ok([frames, height, width]),
        _ => Err(format!("its shape is {axes:?}, expected [frames, height, width]")),
    }
}

/// Any bytes as a file of maps: a shape, or why there is none. For fuzzing.
///
/// # Errors
/// What is wrong, on one line.
pub fn parse_header(bytes: &[u8]) -> Result<[usize; 3], String> {
    let text = description(&bytes[..bytes.len().min(12)])?;
    shape(bytes.get(text).ok_or("its header is cut off")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in NumPy's format 1.0.
    fn npy(description: &str, values: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((description.len() as u16).to_le_bytes());
        bytes.extend(description.as_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3), }  \n";

    fn open(bytes: &[u8]) -> Result<MapReader, RegionsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.npy");
        std::fs::write(&path, bytes).unwrap();
        MapReader::open(&path)
    }

    #[test]
    fn maps_come_one_by_one() {
        let mut maps = open(&npy(GOOD, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        assert_eq!((maps.frames(), maps.size()), (2, (3, 1)));
        let mut map = Vec::new();
        assert!(maps.read(&mut map).unwrap());
        assert_eq!(map, [1.0, 2.0, 3.0]);
        assert!(maps.read(&mut map).unwrap());
        assert_eq!(map, [4.0, 5.0, 6.0]);
        assert!(!maps.read(&mut map).unwrap());
    }

    #[test]
    fn version_2_has_a_longer_length() {
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((GOOD.len() as u32).to_le_bytes());
        bytes.extend(GOOD.as_bytes());
        assert_eq!(parse_header(&bytes), Ok([2, 1, 3]));
        bytes.extend([0; 24]);
        assert_eq!(open(&bytes).unwrap().frames(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let says = |bytes: &[u8], what: &str| {
            let message = open(bytes).err().unwrap().to_string();
            assert!(message.contains(what) && message.contains("clip.npy"), "{message}");
        };
        let six = [0.0; 6];
        says(b"no maps", "not a NumPy file");
        says(b"\x93NUMPY\x09\x00aaaa", "not a NumPy file");
        says(b"\x93NUMPY\x01\x00\x00\x00aaaa", "a header of 0 bytes");
        says(&npy(GOOD, &six)[..40], "cut off");
        says(&npy(GOOD, &six[..5]), "95 bytes do not hold 2 maps of 3x1");
        says(&npy(&GOOD.replace("<f4", "<f8"), &six), "float32");
        says(&npy(&GOOD.replace("False", "True"), &six), "Fortran");
        says(&npy(&GOOD.replace("(2, 1, 3)", "(2, 3)"), &six), "[2, 3], expected");
        says(&npy(&GOOD.replace("(2, 1, 3)", "(2, 0, 3)"), &six), "expected");
        says(&npy(&GOOD.replace("(2, 1, 3)", "(2, x, 3)"), &six), "\"x\"");
        says(&npy(&GOOD.replace("'shape'", "'form'"), &six), "no 'shape'");
        let huge = GOOD.replace("(2, 1, 3)", "(18446744073709551615, 9, 9)");
        says(&npy(&huge, &six), "do not hold");
        let mut maps = open(&npy(GOOD, &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0])).unwrap();
        let mut map = Vec::new();
        maps.read(&mut map).unwrap();
        assert!(maps.read(&mut map).unwrap_err().to_string().contains("map 1"));
    }
}
