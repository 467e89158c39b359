//! Minisign public keys.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;

/// Bytes of a minisign public key: algorithm, key id, Ed25519 key.
pub const KEY_SIZE: usize = 2 + 8 + 32;

/// The algorithm field of every minisign public key.
const ALGORITHM: [u8; 2] = *b"Ed";

/// A minisign public key.
///
/// Parses from the text of a `.pub` file or from its base64 line alone; prints as the latter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY_SIZE]);

impl PublicKey {
    /// The key of its 42 bytes; `None` if the algorithm is not Ed25519.
    ///
    /// Stricter than minisign, which also takes `ED` here: one key has one encoding, so that no
    /// bit of a bundle can change unnoticed.
    pub fn from_bytes(bytes: [u8; KEY_SIZE]) -> Option<Self> {
        (bytes[..2] == ALGORITHM).then_some(Self(bytes))
    }

    /// The 42 bytes: algorithm, key id, Ed25519 key.
    pub fn as_bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }

    /// Reads a `.pub` file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        std::fs::read_to_string(path).map_err(io)?.parse()
    }

    /// The key id as minisign prints it: 16 upper-case hexadecimal digits.
    pub fn id(&self) -> String {
        let mut id = [0; 8];
        id.copy_from_slice(self.key_number());
        format!("{:016X}", u64::from_le_bytes(id))
    }

    /// The key id's bytes.
    pub(crate) fn key_number(&self) -> &[u8] {
        &self.0[2..10]
    }

    /// The text of a `.pub` file.
    pub fn to_file_text(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{self}\n", self.id())
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut lines = text.trim().lines();
        let mut line = lines.next().unwrap_or_default();
        if line.starts_with("untrusted comment:") {
            line = lines.next().unwrap_or_default();
        }
        if lines.next().is_some() {
            return Err(Error::BadPublicKey);
        }
        let bytes = STANDARD.decode(line.trim()).map_err(|_| Error::BadPublicKey)?;
        let bytes = bytes.try_into().map_err(|_| Error::BadPublicKey)?;
        Self::from_bytes(bytes).ok_or(Error::BadPublicKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The key in minisign-verify's own documentation.
    const KNOWN: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn known_key_reads_in_both_forms() {
        let bare: PublicKey = KNOWN.parse().unwrap();
        // The id's bytes 1f e8 b4 42 18 0f 62 e7, little-endian.
        assert_eq!(bare.id(), "E7620F1842B4E81F");
        assert_eq!(bare.to_string(), KNOWN);
        assert_eq!(bare.to_file_text().parse::<PublicKey>().unwrap(), bare);
        let commented = format!("untrusted comment: anything\r\n{KNOWN}\r\n");
        assert_eq!(commented.parse::<PublicKey>().unwrap(), bare);
    }

    #[test]
    fn other_text_is_refused() {
        let wrong_algorithm = format!("RUQ{}", &KNOWN[3..]);
        let two_keys = format!("{KNOWN}\n{KNOWN}\n");
        for bad in ["", "x", "untrusted comment: only", &KNOWN[..55], &wrong_algorithm, &two_keys] {
            assert!(matches!(bad.parse::<PublicKey>(), Err(Error::BadPublicKey)), "{bad}");
        }
    }
}
