//! Reading an array block by block.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{Error, Header, header};

/// Elements converted at a time.
const BLOCK: usize = 8192;

/// An array being read, in the file's order; memory is that of a block.
pub struct Reader<R> {
    reader: R,
    header: Header,
    block: Vec<u8>,
}

impl Reader<BufReader<File>> {
    /// Opens a file, reads its header and checks its length against it.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Damaged`] if it is not a whole `.npy` file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::read(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::read(path, e))?;
        if !metadata.is_file() {
            return Err(Error::damaged(path, "not a file"));
        }
        Self::new(BufReader::new(file), metadata.len()).map_err(|e| Error::damaged(path, e))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header of an array that has `length` bytes with it.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub fn new(mut reader: R, length: u64) -> Result<Self, String> {
        let header = header::read(&mut reader, length)?;
        Ok(Self { reader, header, block: Vec::new() })
    }

    /// What the file says of its array.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Gives `each` the next `count` elements. Their number is the shape's at most, all calls
    /// together.
    ///
    /// # Errors
    /// What the operating system said, or that there are no more.
    pub fn take(&mut self, count: usize, mut each: impl FnMut(f64)) -> io::Result<()> {
        let dtype = self.header.dtype;
        let size = dtype.size();
        let mut left = count;
        while left > 0 {
            let part = left.min(BLOCK);
            self.block.resize(part * size, 0);
            self.reader.read_exact(&mut self.block)?;
            self.block.chunks_exact(size).for_each(|element| each(dtype.value(element)));
            left -= part;
        }
        Ok(())
    }

    /// All elements in C order.
    pub(super) fn values(mut self) -> io::Result<Vec<f32>> {
        let count: usize = self.header.shape.iter().product();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut places = Places::new(&self.header);
        let mut values = vec![0.0; count];
        self.take(count, |value| values[places.next()] = value as f32)?;
        Ok(values)
    }
}

/// Where each element of a file belongs in C order.
struct Places {
    /// Size, index and stride in C order of each dimension, the fastest in the file first.
    dimensions: Vec<(usize, usize, usize)>,
    at: usize,
}

impl Places {
    fn new(header: &Header) -> Self {
        let mut stride = 1;
        let mut dimensions: Vec<_> = (header.shape.iter().rev())
            .map(|&size| {
                let dimension = (size, 0, stride);
                stride *= size;
                dimension
            })
            .collect();
        if header.fortran {
            dimensions.reverse();
        }
        Self { dimensions, at: 0 }
    }

    fn next(&mut self) -> usize {
        let here = self.at;
        for (size, index, stride) in &mut self.dimensions {
            *index += 1;
            self.at += *stride;
            if index < size {
                break;
            }
            self.at -= *index * *stride;
            *index = 0;
        }
        here
    }
}
