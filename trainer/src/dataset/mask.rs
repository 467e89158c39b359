//! Pixel masks: which pixels of a test video are abnormal.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use video::{Frame, Reader};

use super::mat::Cells;
use super::{Error, arrays};
pub use crate::evaluation::masks::Mask;

/// The variable of an Avenue ground-truth file.
pub(super) const AVENUE_VARIABLE: &str = "volLabel";

/// Where the masks of a video are, one for each frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Masks {
    /// A folder of pictures, not black where something is abnormal.
    Pictures(PathBuf),
    /// A MATLAB file with a cell array of matrices, `volLabel`.
    Mat(PathBuf),
    /// A NumPy file, `[frames, height, width]`.
    Npy(PathBuf),
}

impl Masks {
    /// Calls `take` with the mask of each frame, in order; one mask is in memory at a time.
    ///
    /// # Errors
    /// [`Error`], which names the file; or what `take` gives.
    pub fn each(&self, mut take: impl FnMut(Mask) -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::Npy(path) => arrays::each_mask(path, take),
            Self::Pictures(folder) => {
                let mut reader = Reader::open(folder)?;
                let mut frame = Frame::default();
                while reader.read(&mut frame)? {
                    take(Mask::of(&frame))?;
                }
                Ok(())
            }
            Self::Mat(path) => {
                let damaged = |reason| Error::damaged(path, reason);
                let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
                let mut cells = Cells::find(file, AVENUE_VARIABLE).map_err(damaged)?;
                while let Some(matrix) = cells.next_matrix().map_err(damaged)? {
                    let (width, height) = (matrix.columns, matrix.rows);
                    take(Mask { width, height, abnormal: matrix.nonzero })?;
                }
                Ok(())
            }
        }
    }

    /// Whether each frame has an abnormal pixel.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn frames(&self) -> Result<Vec<bool>, Error> {
        let mut frames = Vec::new();
        self.each(|mask| {
            frames.push(mask.any());
            Ok(())
        })?;
        Ok(frames)
    }
}
