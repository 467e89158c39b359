//! Writing an array of `f32`.

use std::path::Path;

use super::Error;
use super::header::MAGIC;
use crate::files;

/// Writes a file; a reader sees the old one or the new one, never a part.
///
/// # Errors
/// [`Error::Write`].
///
/// # Panics
/// If there are not as many values as the shape says.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), Error> {
    files::replace(path, &to_bytes(shape, values))
        .map_err(|source| Error::Write { path: path.to_path_buf(), source })
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
