//! NumPy's `.npy` files: one array each, format versions 1.0 to 3.0 as `numpy.lib.format` has them.
//!
//! Own code because what is there does not serve for files from outside: candle's reader refuses
//! Fortran order, and `npyz` and `ndarray-npy` take the header for a Python expression of any depth
//! and size. A header of ours is a dictionary of three known keys and nothing else, an array is
//! exactly as long as its header says, and no more memory is taken than the file is long (twice
//! that for float16, four times for bytes).
//!
//! Features, frame labels, pixel masks and score maps are such files. What their shapes must be is
//! the business of those who read them.

mod header;
mod reader;
mod types;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

pub use header::Header;
pub use reader::Reader;
pub use types::Type;
pub use writer::{to_bytes, write};

/// Why an array could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{}: {source}; check the folder and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not a whole `.npy` file.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }

    fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), problem: problem.into() }
    }
}

/// An array; values in C order, the last index fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub values: Vec<f32>,
}

/// Reads the header of a file and checks the file's length against it.
///
/// # Errors
/// As [`Reader::open`].
pub fn header(path: &Path) -> Result<Header, Error> {
    Ok(Reader::open(path)?.header().clone())
}

/// Reads a file.
///
/// # Errors
/// As [`Reader::open`].
pub fn read(path: &Path) -> Result<Array, Error> {
    let reader = Reader::open(path)?;
    let shape = reader.header().shape.clone();
    Ok(Array { shape, values: reader.values().map_err(|e| Error::read(path, e))? })
}

/// An array from the bytes of a file.
///
/// # Errors
/// What is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Array, String> {
    let reader = Reader::new(bytes, bytes.len() as u64)?;
    let shape = reader.header().shape.clone();
    Ok(Array { shape, values: reader.values().map_err(|e| e.to_string())? })
}
