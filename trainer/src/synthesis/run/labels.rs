//! The labels of a composite clip: one byte a pixel, as a gzipped `.npy` file.
//!
//! `numpy.load(gzip.open(path))` gives `uint8[frames, height, width]`: 0 normal, 255 not to be judged,
//! k + 1 kind k of the manifest's `kinds`. Most bytes are 0, so a clip's labels take some kilobytes.

use std::io::{self, Read as _, Write as _};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::synthesis::LabelMap;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The file's bytes; the same labels give the same bytes.
///
/// # Panics
/// If the maps differ in size.
pub fn encode(labels: &[LabelMap]) -> io::Result<Vec<u8>> {
    let (width, height) = labels.first().map_or((0, 0), |map| (map.width, map.height));
    let shape = format!("({}, {height}, {width})", labels.len());
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    let start = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', start - MAGIC.len() - 2 - header.len() - 1));
    header.push('\n');
    // No name and no time of writing.
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(4));
    gzip.write_all(MAGIC)?;
    gzip.write_all(&(header.len() as u16).to_le_bytes())?;
    gzip.write_all(header.as_bytes())?;
    for map in labels {
        assert_eq!((map.width, map.height), (width, height), "one size in a clip");
        gzip.write_all(&map.data)?;
    }
    gzip.finish()
}

/// Largest array that is read, in bytes: two minutes of large pictures.
const LARGEST: u64 = 1 << 30;

/// The labels in a file's bytes.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Vec<LabelMap>, String> {
    let mut array = Vec::new();
    GzDecoder::new(bytes)
        .take(LARGEST)
        .read_to_end(&mut array)
        .map_err(|e| format!("not gzip: {e}"))?;
    let mut reader = crate::npy::Reader::new(&array[..], array.len() as u64)?;
    let [_, height, width] = reader.header().shape[..] else {
        return Err(format!("shape {:?} is not [frames, height, width]", reader.header().shape));
    };
    let (count, fortran) = (reader.header().shape.iter().product(), reader.header().fortran);
    if fortran || reader.header().dtype != crate::npy::Type::U8 {
        return Err("labels are uint8 in C order".into());
    }
    let mut data: Vec<u8> = Vec::with_capacity(count);
    reader.take(count, |value| data.push(value as u8)).map_err(|e| e.to_string())?;
    let maps = data.chunks_exact((width * height).max(1));
    Ok(maps.map(|data| LabelMap { width, height, data: data.to_vec() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_and_are_small() {
        let labels: Vec<LabelMap> = (0..64)
            .map(|t| {
                let mut map = LabelMap::new(360, 240);
                map.data[1000 + t..1040 + t].fill(4);
                map.data[9] = LabelMap::IGNORE;
                map
            })
            .collect();
        let bytes = encode(&labels).unwrap();
        assert!(bytes.len() < 64 * 1024, "{}", bytes.len());
        assert_eq!(bytes, encode(&labels).unwrap());
        assert_eq!(decode(&bytes).unwrap(), labels);
        assert!(decode(&bytes[..bytes.len() / 2]).is_err());
        assert!(decode(b"nothing").is_err());
    }
}
