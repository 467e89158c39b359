//! The outer layout of a bundle: where its parts are, before anything in them is believed.
//!
//! | Offset | Size | Part |
//! |---:|---:|---|
//! | 0 | 8 | magic, [`MAGIC`] |
//! | 8 | 4 | format version, [`FORMAT`], little-endian like every number |
//! | 12 | 4 | length `s` of the signature text |
//! | 16 | 8 | length `p` of the payload |
//! | 24 | 42 | signer's minisign public key |
//! | 66 | `s` | detached minisign signature of the payload |
//! | 66 + `s` | `p` | payload: manifest length (4), manifest (JSON), blobs |
//!
//! There is nothing between the parts and nothing after them.

use crate::key::KEY_SIZE;
use crate::signature::MAX_SIGNATURE_SIZE;
use crate::{Error, check_limit};

/// First bytes of every bundle. As in PNG, a byte above 127 and both kinds of line end show a
/// transfer that took the file for text.
pub const MAGIC: [u8; 8] = *b"\x89PAVAD\r\n";

/// The format version that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// Largest accepted file. I3D in fp32 is 50 MB, in INT8 13 MB; four of each leave room to spare,
/// and a camera with 2 GB of memory can still hold one whole.
pub const MAX_FILE_SIZE: u64 = 256 << 20;

/// Largest accepted manifest.
pub const MAX_MANIFEST_SIZE: u64 = 1 << 20;

/// The parts of a bundle file. Only their lengths have been checked.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) key: [u8; KEY_SIZE],
    pub(crate) signature: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Container<'a> {
    /// Finds the parts of a file.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Self, Error> {
        check_limit("file", bytes.len() as u64, MAX_FILE_SIZE)?;
        let prefix = bytes.len().min(MAGIC.len());
        if prefix == 0 || bytes[..prefix] != MAGIC[..prefix] {
            return Err(Error::NotABundle);
        }
        // The version comes before all else: another format may have another header.
        let (_, rest) = take(bytes, MAGIC.len() as u64, "header")?;
        let (version, rest) = take_u32(rest, "header")?;
        if version != FORMAT {
            return Err(Error::UnsupportedFormat { version });
        }
        let (signature_size, rest) = take_u32(rest, "header")?;
        let (payload_size, rest) = take_u64(rest, "header")?;
        check_limit("signature", signature_size.into(), MAX_SIGNATURE_SIZE)?;
        check_limit("payload", payload_size, MAX_FILE_SIZE)?;
        let (key_bytes, rest) = take(rest, KEY_SIZE as u64, "header")?;
        let mut key = [0; KEY_SIZE];
        key.copy_from_slice(key_bytes);
        let (signature, rest) = take(rest, signature_size.into(), "signature")?;
        let (payload, rest) = take(rest, payload_size, "payload")?;
        if !rest.is_empty() {
            return Err(Error::TrailingBytes { extra: rest.len() as u64 });
        }
        Ok(Self { key, signature, payload })
    }

    /// Splits the payload into manifest and blobs. For a payload whose signature has been verified.
    pub(crate) fn split_payload(&self) -> Result<(&'a [u8], &'a [u8]), Error> {
        let (size, rest) = take_u32(self.payload, "manifest")?;
        check_limit("manifest", size.into(), MAX_MANIFEST_SIZE)?;
        take(rest, size.into(), "manifest")
    }
}

/// The first `count` bytes and the rest.
fn take<'a>(
    bytes: &'a [u8],
    count: u64,
    what: &'static str,
) -> Result<(&'a [u8], &'a [u8]), Error> {
    usize::try_from(count)
        .ok()
        .and_then(|count| bytes.split_at_checked(count))
        .ok_or(Error::Truncated { what, needed: count, available: bytes.len() as u64 })
}

fn take_u32<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u32, &'a [u8]), Error> {
    let (head, rest) = take(bytes, 4, what)?;
    let value = head.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
    Ok((value, rest))
}

fn take_u64<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u64, &'a [u8]), Error> {
    let (head, rest) = take(bytes, 8, what)?;
    let value = head.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Ok((value, rest))
}
