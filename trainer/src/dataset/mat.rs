//! Pixel masks in MATLAB files: a cell array of matrices, one matrix at a time.
//!
//! Reads MAT-files of level 5 (MATLAB's `-v6` and `-v7`, and what `scipy.io.savemat` writes), as the
//! format's documentation describes them (MathWorks, *MAT-File Format*, "Level 5 MAT-File Format"),
//! little-endian, and of those only what CUHK Avenue's ground truth is made of: a cell array of
//! two-dimensional real matrices, compressed or not. No library does: `matrw` reads cell arrays, but
//! unpacks the whole variable first (a gigabyte for an Avenue video stored as doubles) and panics on
//! damaged bytes; `mat5` and `matfile` have no cell arrays. This reader holds one matrix at a time,
//! and only whether each element is zero.

use std::io::{BufRead, Read};

use flate2::bufread::ZlibDecoder;

/// Elements of a matrix at most: 16 Mpixel, more than any camera of these data sets.
const MAX_ELEMENTS: u64 = 1 << 24;
/// Matrices of a cell array at most: more frames than any test video has.
const MAX_CELLS: u64 = 1 << 20;
/// Longest name of a variable: MATLAB's `namelengthmax` is 63.
const MAX_NAME: u64 = 256;

const HEADER: usize = 128;

const MI_INT8: u32 = 1;
const MI_INT32: u32 = 5;
const MI_UINT32: u32 = 6;
const MI_MATRIX: u32 = 14;
const MI_COMPRESSED: u32 = 15;

const MX_CELL: u8 = 1;
/// Double, single, and the eight integer classes, in MATLAB's order.
const MX_NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;
const COMPLEX: u32 = 0x0800;

/// A matrix, reduced to where it is not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// `rows * columns` values, row by row (the file has them column by column).
    pub nonzero: Vec<bool>,
}

/// The matrices of a cell array, read one after the other.
pub struct Cells<R: BufRead> {
    source: Source<R>,
    left: u64,
}

/// Where a variable's bytes come from.
enum Source<R: BufRead> {
    Plain(std::io::Take<R>),
    Compressed(ZlibDecoder<std::io::Take<R>>),
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Compressed(reader) => reader.read(buffer),
        }
    }
}

impl<R: BufRead> Source<R> {
    /// Checks that the variable ends here, and with it the checksum of a compressed one.
    fn end(&mut self) -> Result<(), String> {
        let more = self.read(&mut [0]).map_err(|e| e.to_string())?;
        let left = match self {
            Self::Plain(rest) => rest.limit(),
            Self::Compressed(decoder) => decoder.get_ref().limit(),
        };
        match (more, left) {
            (0, 0) => Ok(()),
            (0, _) => Err("it ends too early".into()),
            _ => Err("data after the last matrix".into()),
        }
    }

    /// The file behind what is left of the variable.
    fn skip(self) -> Result<R, String> {
        let mut rest = match self {
            Self::Plain(rest) => rest,
            Self::Compressed(decoder) => decoder.into_inner(),
        };
        std::io::copy(&mut rest, &mut std::io::sink()).map_err(|e| e.to_string())?;
        Ok(rest.into_inner())
    }
}

impl<R: BufRead> Cells<R> {
    /// Finds a cell array by its name.
    ///
    /// # Errors
    /// One line that says what is wrong with the file.
    pub fn find(mut reader: R, variable: &str) -> Result<Self, String> {
        header(&mut reader)?;
        loop {
            let Some(tag) = Tag::read_or_end(&mut reader)? else {
                return Err(format!("no variable {variable} in it"));
            };
            let mut source = match tag.kind {
                MI_COMPRESSED => Source::Compressed(ZlibDecoder::new(reader.take(tag.size))),
                _ => Source::Plain(reader.take(tag.size)),
            };
            let is_matrix = match source {
                Source::Compressed(_) => Tag::read(&mut source)?.kind == MI_MATRIX,
                Source::Plain(_) => tag.kind == MI_MATRIX,
            };
            if is_matrix {
                let array = ArrayHeader::read(&mut source)?;
                if array.name == variable.as_bytes() {
                    if array.class != MX_CELL {
                        return Err(format!("variable {variable} is no cell array"));
                    }
                    let left = array.elements(MAX_CELLS)?;
                    return Ok(Self { source, left });
                }
            }
            reader = source.skip()?;
        }
    }

    /// The number of matrices not yet read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next matrix; `None` after the last.
    ///
    /// # Errors
    /// One line that says what is wrong. Nothing can be read after an error.
    pub fn next_matrix(&mut self) -> Result<Option<Matrix>, String> {
        if self.left == 0 {
            return self.source.end().map(|()| None);
        }
        self.left -= 1;
        let tag = Tag::read(&mut self.source)?;
        if tag.kind != MI_MATRIX {
            return Err(format!("an element of type {} where a matrix should be", tag.kind));
        }
        // MATLAB writes an empty cell as a matrix without content.
        if tag.size == 0 {
            return Ok(Some(Matrix { rows: 0, columns: 0, nonzero: Vec::new() }));
        }
        let array = ArrayHeader::read(&mut self.source)?;
        if !MX_NUMBERS.contains(&array.class) || array.complex {
            return Err(format!("a cell of class {} instead of real numbers", array.class));
        }
        let count = array.elements(MAX_ELEMENTS)?;
        let (rows, columns) = match array.dimensions[..] {
            [rows, columns] => (rows as usize, columns as usize),
            _ => return Err(format!("a matrix of {} dimensions", array.dimensions.len())),
        };
        let by_column = values(&mut self.source, count)?;
        let mut nonzero = vec![false; by_column.len()];
        for (at, value) in by_column.into_iter().enumerate().filter(|(_, value)| *value) {
            nonzero[at % rows * columns + at / rows] = value;
        }
        Ok(Some(Matrix { rows, columns, nonzero }))
    }
}

/// Checks the file's header.
fn header(reader: &mut impl Read) -> Result<(), String> {
    let mut header = [0; HEADER];
    fill(reader, &mut header)?;
    if header.starts_with(b"MATLAB 7.3") || header.starts_with(b"\x89HDF") {
        return Err("a v7.3 (HDF5) file; save it with '-v7'".into());
    }
    match &header[124..] {
        [0, 1, b'I', b'M'] => Ok(()),
        [1, 0, b'M', b'I'] => Err("a big-endian file; save it again on a PC".into()),
        _ => Err("no MATLAB file of level 5".into()),
    }
}

/// Type and size in bytes of the element that follows; small elements carry their data along.
struct Tag {
    kind: u32,
    size: u64,
    small: Option<[u8; 4]>,
}

impl Tag {
    fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut bytes = [0; 8];
        fill(reader, &mut bytes)?;
        Self::parse(bytes)
    }

    /// A tag, or the clean end of the file before one.
    fn read_or_end(reader: &mut impl BufRead) -> Result<Option<Self>, String> {
        let at_end = reader.fill_buf().map_err(|e| e.to_string())?.is_empty();
        if at_end { Ok(None) } else { Self::read(reader).map(Some) }
    }

    fn parse([a, b, c, d, data @ ..]: [u8; 8]) -> Result<Self, String> {
        let first = u32::from_le_bytes([a, b, c, d]);
        let (kind, size) = (first & 0xffff, first >> 16);
        if size == 0 {
            let size = u32::from_le_bytes(data).into();
            return Ok(Self { kind: first, size, small: None });
        }
        if size > 4 {
            return Err(format!("an element of type {kind} with {size} bytes in 4"));
        }
        Ok(Self { kind, size: size.into(), small: Some(data) })
    }

    /// The element's data, of at most `limit` bytes.
    fn data(&self, reader: &mut impl Read, limit: u64) -> Result<Vec<u8>, String> {
        if self.size > limit {
            return Err(format!("an element of {} bytes, {limit} expected", self.size));
        }
        if let Some(data) = self.small {
            return Ok(data[..self.size as usize].to_vec());
        }
        let mut data = vec![0; self.size.next_multiple_of(8) as usize];
        fill(reader, &mut data)?;
        data.truncate(self.size as usize);
        Ok(data)
    }
}

/// What an array says of itself before its data.
struct ArrayHeader {
    class: u8,
    complex: bool,
    dimensions: Vec<u64>,
    name: Vec<u8>,
}

impl ArrayHeader {
    fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut part = |kind: u32, limit: u64, what: &str| {
            let tag = Tag::read(reader)?;
            if tag.kind != kind {
                return Err(format!("an element of type {} where {what} should be", tag.kind));
            }
            tag.data(reader, limit)
        };
        let flags = part(MI_UINT32, 8, "array flags")?;
        let dimensions = part(MI_INT32, 4 * 8, "dimensions")?;
        let name = part(MI_INT8, MAX_NAME, "a name")?;
        let [a, b, c, d, ..] = flags[..] else {
            return Err("array flags that are cut short".into());
        };
        let (dimensions, rest) = dimensions.as_chunks::<4>();
        if dimensions.len() < 2 || !rest.is_empty() {
            return Err("dimensions that are cut short".into());
        }
        let dimensions = dimensions
            .iter()
            .map(|bytes| u64::try_from(i32::from_le_bytes(*bytes)))
            .collect::<Result<_, _>>()
            .map_err(|_| "a negative dimension")?;
        let flags = u32::from_le_bytes([a, b, c, d]);
        Ok(Self { class: a, complex: flags & COMPLEX != 0, dimensions, name })
    }

    /// The number of elements, at most `limit`.
    fn elements(&self, limit: u64) -> Result<u64, String> {
        self.dimensions
            .iter()
            .try_fold(1_u64, |product, n| product.checked_mul(*n))
            .filter(|product| *product <= limit)
            .ok_or_else(|| format!("an array of {:?}, more than {limit} elements", self.dimensions))
    }
}

/// Whether each of `count` numbers is not zero.
fn values(reader: &mut impl Read, count: u64) -> Result<Vec<bool>, String> {
    let tag = Tag::read(reader)?;
    // int8, uint8, int16, uint16, int32, uint32, single, double, int64, uint64
    let width: usize = match tag.kind {
        1 | 2 => 1,
        3 | 4 => 2,
        5..=7 => 4,
        9 | 12 | 13 => 8,
        kind => return Err(format!("numbers of type {kind}")),
    };
    let float = matches!(tag.kind, 7 | 9);
    if tag.size != count * width as u64 {
        return Err(format!("{} bytes for {count} numbers of {width} bytes", tag.size));
    }
    let nonzero = |number: &[u8]| match number.split_last() {
        // The sign of a floating-point zero does not make it one.
        Some((top, rest)) if float => rest.iter().any(|b| *b != 0) || top & 0x7f != 0,
        _ => number.iter().any(|b| *b != 0),
    };
    let mut found = Vec::with_capacity(count as usize);
    if tag.small.is_some() {
        let data = tag.data(reader, 4)?;
        found.extend(data.chunks_exact(width).map(nonzero));
        return Ok(found);
    }
    let mut buffer = [0; 8192];
    let mut left = tag.size as usize;
    while left > 0 {
        let part = left.min(buffer.len());
        fill(reader, &mut buffer[..part])?;
        found.extend(buffer[..part].chunks_exact(width).map(nonzero));
        left -= part;
    }
    let padding = (tag.size.next_multiple_of(8) - tag.size) as usize;
    fill(reader, &mut buffer[..padding])?;
    Ok(found)
}

/// Reads exactly as many bytes as fit.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), String> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => error.to_string(),
    })
}
