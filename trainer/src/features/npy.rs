//! NumPy's `.npy` files: one array each, format versions 1.0 to 3.0 as `numpy.lib.format` has them.
//!
//! Own code because what is there does not serve for files from outside: candle's reader refuses
//! Fortran order, and `npyz` and `ndarray-npy` take the header for a Python expression of any depth
//! and size. A header of ours is a dictionary of three known keys and nothing else, an array is
//! exactly as long as its header says, and no more memory is taken than the file is long (twice
//! that for float16).

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use half::f16;

use super::Error;

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers than 10 000 bytes unless they are trusted.
const MAX_HEADER: usize = 10_000;
/// NumPy's own limit of dimensions.
const MAX_DIMENSIONS: usize = 64;
/// Elements converted at a time.
const BLOCK: usize = 8192;

/// What an element is, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum Type {
    F16,
    F32,
    F64,
    /// Also `bool`.
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

impl Type {
    /// From NumPy's description, such as `<f4`.
    fn of(description: &str) -> Result<Self, String> {
        Ok(match description {
            "<f2" => Self::F16,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            "|u1" | "<u1" | "|b1" => Self::U8,
            "|i1" | "<i1" => Self::I8,
            "<i2" => Self::I16,
            "<u2" => Self::U16,
            "<i4" => Self::I32,
            "<u4" => Self::U32,
            "<i8" => Self::I64,
            "<u8" => Self::U64,
            other if other.starts_with('>') => {
                return Err(format!("type {other:?} is big-endian; save it little-endian"));
            }
            other => return Err(format!("type {other:?} is none of numbers; save it as float32")),
        })
    }

    /// Whether it is one of the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The value of exactly `size` bytes.
    fn value(self, bytes: &[u8]) -> f32 {
        let mut raw = [0; 8];
        raw[..bytes.len()].copy_from_slice(bytes);
        let [a, b, c, d, ..] = raw;
        match self {
            Self::F16 => f16::from_le_bytes([a, b]).to_f32(),
            Self::F32 => f32::from_le_bytes([a, b, c, d]),
            Self::F64 => f64::from_le_bytes(raw) as f32,
            Self::U8 => a as f32,
            Self::I8 => a as i8 as f32,
            Self::I16 => i16::from_le_bytes([a, b]) as f32,
            Self::U16 => u16::from_le_bytes([a, b]) as f32,
            Self::I32 => i32::from_le_bytes([a, b, c, d]) as f32,
            Self::U32 => u32::from_le_bytes([a, b, c, d]) as f32,
            Self::I64 => i64::from_le_bytes(raw) as f32,
            Self::U64 => u64::from_le_bytes(raw) as f32,
        }
    }
}

/// What a file says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// Type of an element.
    pub dtype: Type,
    /// Whether the first index runs fastest.
    pub fortran: bool,
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
/// [`Error::Missing`], [`Error::Io`], or [`Error::Damaged`] if it is not a whole `.npy` file.
pub fn header(path: &Path) -> Result<Header, Error> {
    Ok(open(path)?.1)
}

/// Reads a file.
///
/// # Errors
/// As [`header`].
pub fn read(path: &Path) -> Result<Array, Error> {
    let (mut reader, header) = open(path)?;
    let values = values(&mut reader, &header).map_err(|e| damaged(path, e))?;
    Ok(Array { shape: header.shape, values })
}

/// An array from the bytes of a file.
///
/// # Errors
/// What is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Array, String> {
    let mut reader = bytes;
    let header = read_header(&mut reader, bytes.len() as u64)?;
    let values = values(&mut reader, &header)?;
    Ok(Array { shape: header.shape, values })
}

/// Writes an array of `f32`; a reader sees the old file or the new one, never a part.
///
/// # Errors
/// [`Error::Io`].
///
/// # Panics
/// If there are not as many values as the shape says.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let failed = |e| Error::Io { path: path.to_path_buf(), source: e };
    let mut file = File::create(beside).map_err(failed)?;
    let written = file.write_all(&to_bytes(shape, values)).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(beside, path)) {
        // What is half written helps nobody; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(beside);
        return Err(failed(error));
    }
    Ok(())
}

/// The bytes of a file: version 1.0, `float32`, C order, the data on a multiple of 64 bytes.
///
/// # Panics
/// If there are not as many values as the shape says.
pub fn to_bytes(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), values.len(), "as many values as the shape says");
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let sizes = if let [one] = sizes.as_slice() { format!("{one},") } else { sizes.join(", ") };
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    let start = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', start - MAGIC.len() - 4 - text.len() - 1));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn open(path: &Path) -> Result<(BufReader<File>, Header), Error> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(damaged(path, "not a file".into()));
    }
    let mut reader = BufReader::new(file);
    let header = read_header(&mut reader, metadata.len()).map_err(|e| damaged(path, e))?;
    Ok((reader, header))
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::Damaged { path: path.to_path_buf(), problem }
}

/// Reads up to the data; `length` is that of the whole file.
fn read_header(reader: &mut impl Read, length: u64) -> Result<Header, String> {
    let short = |e: std::io::Error| format!("not a whole .npy header: {e}");
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(short)?;
    if !start.starts_with(MAGIC) {
        return Err("not a .npy file: it does not begin with \\x93NUMPY".into());
    }
    let mut size = [0; 4];
    let prefix = match start[6..] {
        [1, 0] => 2,
        [2 | 3, 0] => 4,
        [major, minor, ..] => {
            return Err(format!("format version {major}.{minor} is not read; 1.0 to 3.0 are"));
        }
        _ => return Err("not a whole .npy header".into()),
    };
    reader.read_exact(&mut size[..prefix]).map_err(short)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_HEADER {
        return Err(format!("a header of {size} bytes; at most {MAX_HEADER} are read"));
    }
    let mut text = vec![0; size];
    reader.read_exact(&mut text).map_err(short)?;
    let text = std::str::from_utf8(&text).map_err(|_| "the header is no text".to_string())?;
    let header =
        Scanner(text).header().map_err(|e| format!("header {:?}: {e}", text.trim_end()))?;
    let data = length.saturating_sub((start.len() + prefix + size) as u64);
    let bytes = header
        .shape
        .iter()
        .try_fold(header.dtype.size() as u64, |n, &size| n.checked_mul(size as u64));
    // Sizes with a zero among them fit whatever the others are, so each counts on its own.
    if bytes != Some(data) || header.shape.iter().any(|&n| n as u64 > u32::MAX as u64) {
        return Err(format!(
            "shape {:?} of {:?} does not fit its {data} bytes of data; the file is cut or damaged",
            header.shape, header.dtype
        ));
    }
    Ok(header)
}

/// Reads the data in C order.
fn values(reader: &mut impl Read, header: &Header) -> Result<Vec<f32>, String> {
    let count: usize = header.shape.iter().product();
    if count == 0 {
        return Ok(Vec::new());
    }
    let size = header.dtype.size();
    let mut place = Places::new(header);
    let mut values = vec![0.0; count];
    let mut block = vec![0; BLOCK.min(count) * size];
    let mut left = count;
    while left > 0 {
        let part = &mut block[..left.min(BLOCK) * size];
        reader.read_exact(part).map_err(|e| format!("{left} values are missing: {e}"))?;
        for element in part.chunks_exact(size) {
            values[place.next()] = header.dtype.value(element);
        }
        left -= part.len() / size;
    }
    Ok(values)
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

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn header(mut self) -> Result<Header, String> {
        let (mut dtype, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.string()?;
            self.expect(':')?;
            let again = match key {
                "descr" if self.peek() == Some('[') => {
                    return Err("records are not read; save a plain array".into());
                }
                "descr" => dtype.replace(Type::of(self.string()?)?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.sizes()?).is_some(),
                _ => return Err(format!("unknown key {key:?}")),
            };
            if again {
                return Err(format!("key {key:?} twice"));
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return Err("something after the dictionary".into());
        }
        match (dtype, fortran, shape) {
            (Some(dtype), Some(fortran), Some(shape)) => Ok(Header { shape, dtype, fortran }),
            _ => Err("needs descr, fortran_order and shape".into()),
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.0 = self.0.trim_start();
        self.0.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.0 = &self.0[wanted.len_utf8()..];
        }
        there
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(format!("{wanted:?} is missing")) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = self.peek().filter(|c| ['\'', '"'].contains(c)).ok_or("a string is missing")?;
        let (text, rest) = self.0[1..].split_once(quote).ok_or("a string has no end")?;
        self.0 = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err("fortran_order is neither True nor False".into())
    }

    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        let mut sizes = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            self.peek();
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            sizes.push(number.parse().map_err(|_| "a size of the shape is no number")?);
            // Python 2 wrote long integers with an L.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if sizes.len() > MAX_DIMENSIONS {
                return Err(format!("more than {MAX_DIMENSIONS} dimensions"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(dtype: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn what_is_written_is_what_numpy_writes_and_is_read() {
        // `numpy.save` of `numpy.array([[1.5], [-2]], "<f4")`.
        let mut numpy = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, \
                          'shape': (2, 1), }"
            .to_vec();
        numpy.resize(127, b' ');
        numpy.extend(b"\n\x00\x00\xc0\x3f\x00\x00\x00\xc0");
        assert_eq!(to_bytes(&[2, 1], &[1.5, -2.0]), numpy);
        assert_eq!(parse(&numpy).unwrap(), Array { shape: vec![2, 1], values: vec![1.5, -2.0] });
        for shape in [vec![], vec![1], vec![0, 4], vec![1, 1, 1]] {
            let values = vec![7.0; shape.iter().product()];
            let bytes = to_bytes(&shape, &values);
            assert_eq!(parse(&bytes).unwrap(), Array { shape, values });
        }
    }

    #[test]
    fn every_type_has_its_value() {
        let one = |dtype: &str, data: &[u8]| {
            parse(&file(2, &header(dtype, "False", "(1,)"), data)).unwrap().values[0]
        };
        assert_eq!(one("<f2", &[0x00, 0xc1]), -2.5);
        assert_eq!(one("<f4", &(-0.25f32).to_le_bytes()), -0.25);
        assert_eq!(one("<f8", &1e-3f64.to_le_bytes()), 1e-3);
        assert_eq!(one("|b1", &[1]), 1.0);
        assert_eq!(one("|u1", &[255]), 255.0);
        assert_eq!(one("|i1", &[255]), -1.0);
        assert_eq!(one("<i2", &(-300i16).to_le_bytes()), -300.0);
        assert_eq!(one("<u2", &65535u16.to_le_bytes()), 65535.0);
        assert_eq!(one("<i4", &(-70_000i32).to_le_bytes()), -70_000.0);
        assert_eq!(one("<u4", &70_000u32.to_le_bytes()), 70_000.0);
        assert_eq!(one("<i8", &(-5i64).to_le_bytes()), -5.0);
        assert_eq!(one("<u8", &9u64.to_le_bytes()), 9.0);
    }

    #[test]
    fn fortran_order_becomes_c_order() {
        // `numpy.arange(12).reshape(2, 3, 2)` saved in Fortran order.
        let data = [0u8, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
        let array = parse(&file(1, &header("|u1", "True", "(2, 3, 2)"), &data)).unwrap();
        assert_eq!(array.values, (0..12).map(|v| v as f32).collect::<Vec<_>>());
    }

    #[test]
    fn other_ways_to_write_a_header_are_read() {
        let text = "  {\"shape\":(2L , 1L),\n'fortran_order':True,'descr':\"|u1\"}   ";
        for version in [1, 2, 3] {
            let array = parse(&file(version, text, &[3, 4])).unwrap();
            assert_eq!(array, Array { shape: vec![2, 1], values: vec![3.0, 4.0] });
        }
    }

    #[test]
    fn damage_is_named() {
        let refused = |header: &str, data: &[u8], part: &str| {
            let error = parse(&file(1, header, data)).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(&header("<f4", "False", "(2,)"), &[0; 7], "does not fit its 7 bytes");
        refused(&header("<f4", "False", "(2,)"), &[0; 9], "[2]");
        refused(&header(">f4", "False", "(1,)"), &[0; 4], "little-endian");
        refused(&header("|O", "False", "(1,)"), &[0; 8], "float32");
        refused(&header("<f4", "Maybe", "(1,)"), &[0; 4], "neither True nor False");
        refused(&header("<f4", "False", "(-1,)"), &[0; 4], "no number");
        refused(&header("<f4", "False", "(99999999999999999999,)"), &[0; 4], "no number");
        refused(&header("<f8", "False", "(4294967295, 4294967295, 9)"), &[], "does not fit");
        refused(&header("<f8", "False", "(0, 18446744073709551615, 2)"), &[], "does not fit");
        let wide = "(0, 4294967295, 4294967295, 4294967295)";
        assert!(parse(&file(1, &header("<f8", "False", wide), &[])).unwrap().values.is_empty());
        refused("{'descr': [('a', '<f4')], }", &[], "records");
        refused("{'descr': '<f4', 'descr': '<f4'}", &[], "twice");
        refused("{'descr': '<f4'}", &[], "needs descr");
        refused("{'more': 1}", &[], "unknown key");
        refused("{'descr': '<f4", &[], "no end");
        refused(&format!("{} 1", header("<f4", "False", "()").trim()), &[0; 4], "after");
        refused(&header("<f4", "False", &format!("({})", "1,".repeat(70))), &[0; 4], "64");
        assert!(parse(b"").unwrap_err().contains("not a whole"));
        assert!(parse(b"PK\x03\x04 and more").unwrap_err().contains("not a .npy file"));
        assert!(parse(&file(9, "", &[])).unwrap_err().contains("9.0"));
        let mut huge = file(2, "", &[]);
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&huge).unwrap_err().contains("at most"));
    }

    #[test]
    fn no_change_of_a_byte_panics() {
        let whole = to_bytes(&[3, 2], &[0.0; 6]);
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err());
        }
        for at in 0..whole.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Ok(array) = parse(&bytes) {
                    assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
                }
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::create_dir(&path).unwrap();
        let error = write(&path, &[1], &[0.0]).unwrap_err();
        assert!(error.to_string().contains("x.npy"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
