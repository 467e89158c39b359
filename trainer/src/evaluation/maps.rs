//! Reading score maps: NumPy files of `float32`, frame by frame.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::regions::RegionsError;
use crate::npy::{Reader, Type};

/// The maps of a clip: `[frames, height, width]`.
pub struct MapReader {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    /// Frames, rows, columns.
    shape: [usize; 3],
    next: usize,
}

impl MapReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`RegionsError::Io`] if it cannot be read, [`RegionsError::Maps`] if it is not a whole file
    /// of `float32` maps.
    pub fn open(path: &Path) -> Result<Self, RegionsError> {
        let bad = |reason: String| RegionsError::Maps { path: path.into(), reason };
        let reader = Reader::open(path)?;
        let header = reader.header();
        header.in_c_order().map_err(bad)?;
        if header.dtype != Type::F32 {
            return Err(bad(format!("{:?} values; maps are float32", header.dtype)));
        }
        let shape = match header.shape[..] {
            [frames, height, width] if height > 0 && width > 0 => [frames, height, width],
            ref shape => {
                let reason = format!("its shape is {shape:?}, expected [frames, height, width]");
                return Err(bad(reason));
            }
        };
        Ok(Self { path: path.into(), reader, shape, next: 0 })
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
        map.clear();
        self.reader
            .take(self.shape[1] * self.shape[2], |value| map.push(value as f32))
            .map_err(|source| RegionsError::Io { path: self.path.clone(), source })?;
        if map.iter().any(|v| v.is_nan()) {
            let reason = format!("map {} has a value that is not a number", self.next);
            return Err(RegionsError::Maps { path: self.path.clone(), reason });
        }
        self.next += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::tests;

    const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3), }  \n";

    fn npy(header: &str, values: &[f32]) -> Vec<u8> {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tests::file(1, header, &data)
    }

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
    fn what_is_wrong_is_said() {
        let says = |bytes: &[u8], what: &str| {
            let message = open(bytes).err().unwrap().to_string();
            assert!(message.contains(what) && message.contains("clip.npy"), "{message}");
        };
        let six = [0.0; 6];
        says(b"no maps", "not a NumPy file");
        says(&npy(GOOD, &six[..5]), "[2, 1, 3] of F32 does not fit its 20 bytes");
        says(&npy(&GOOD.replace("<f4", "<i4"), &six), "I32 values; maps are float32");
        says(&npy(&GOOD.replace("False", "True"), &six), "Fortran");
        says(&npy(&GOOD.replace("(2, 1, 3)", "(2, 3)"), &six), "[2, 3], expected");
        let none = GOOD.replace("(2, 1, 3)", "(2, 0, 3)");
        says(&npy(&none, &[]), "[2, 0, 3], expected");
        says(&npy(&GOOD.replace("'shape'", "'form'"), &six), "'form'");
        let mut maps = open(&npy(GOOD, &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0])).unwrap();
        let mut map = Vec::new();
        maps.read(&mut map).unwrap();
        assert!(maps.read(&mut map).unwrap_err().to_string().contains("map 1"));
    }
}
