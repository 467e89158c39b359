//! The header of a `.npy` file: type, order and shape of its array.

use std::io::Read;

use super::Type;

/// How every file begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers than 10 000 bytes unless they are trusted.
const MAX_HEADER: usize = 10_000;
/// NumPy's own limit of dimensions.
const MAX_DIMENSIONS: usize = 64;

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

impl Header {
    /// For what is read in the file's order: refuses the one in which the first index runs fastest.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn in_c_order(&self) -> Result<(), String> {
        if self.fortran {
            return Err("an array in Fortran order; save numpy.ascontiguousarray of it".into());
        }
        Ok(())
    }
}

/// Reads up to the data; `length` is that of the whole file.
pub(super) fn read(reader: &mut impl Read, length: u64) -> Result<Header, String> {
    let short = |e: std::io::Error| format!("not a whole .npy header: {e}");
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(short)?;
    if magic != MAGIC {
        return Err("not a NumPy file: it does not begin with \\x93NUMPY".into());
    }
    let mut version = [0; 2];
    reader.read_exact(&mut version).map_err(short)?;
    let mut size = [0; 4];
    let prefix = match version {
        [1, 0] => 2,
        [2 | 3, 0] => 4,
        [major, minor] => {
            return Err(format!("format version {major}.{minor} is not read; 1.0 to 3.0 are"));
        }
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
    let data = length.saturating_sub((magic.len() + version.len() + prefix + size) as u64);
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
