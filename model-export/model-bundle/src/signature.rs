//! The detached minisign signature inside a bundle, in its one accepted text form.
//!
//! minisign leaves freedom in a signature's text: any untrusted comment, either line end, anything
//! after the fourth line. A bundle allows none of it, so that every byte of the file is covered by
//! the signature or by a comparison:
//!
//! ```text
//! untrusted comment: pavad model bundle
//! <base64 of "ED", key id, Ed25519 signature of the payload's BLAKE2b-512>
//! trusted comment: <printable ASCII, covered by the next line>
//! <base64 of the Ed25519 signature of the signature above and the trusted comment>
//! ```
//!
//! Each line ends with one line feed. `minisign -V` reads it like any other signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, PublicKey};

/// The untrusted comment of every bundle's signature; a fixed text because nothing covers it.
pub const UNTRUSTED_COMMENT: &str = "pavad model bundle";

/// Longest accepted signature text, in bytes.
pub const MAX_SIGNATURE_SIZE: u64 = 1024;

/// Bytes in an Ed25519 signature.
const SIGNATURE: usize = 64;

/// The parts of a minisign signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureText<'a> {
    /// Algorithm `ED`, key id, signature of the payload's BLAKE2b-512.
    pub signature: [u8; 2 + 8 + SIGNATURE],
    /// Comment covered by `global_signature`.
    pub trusted_comment: &'a str,
    /// Signature of `signature`'s last 64 bytes and the trusted comment.
    pub global_signature: [u8; SIGNATURE],
}

impl<'a> SignatureText<'a> {
    /// Reads the parts out of any minisign signature text; `None` if it is not one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next()?.strip_prefix("untrusted comment: ")?;
        let signature = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let trusted_comment = lines.next()?.strip_prefix("trusted comment: ")?;
        let global_signature = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let printable = trusted_comment.bytes().all(|b| (b' '..=b'~').contains(&b));
        (printable && lines.next().is_none()).then_some(Self {
            signature,
            trusted_comment,
            global_signature,
        })
    }

    /// The one text form that a bundle accepts.
    pub fn to_canonical(&self) -> String {
        format!(
            "untrusted comment: {UNTRUSTED_COMMENT}\n{}\ntrusted comment: {}\n{}\n",
            STANDARD.encode(self.signature),
            self.trusted_comment,
            STANDARD.encode(self.global_signature)
        )
    }
}

/// Verifies a bundle's signature text over the payload; every departure is [`Error::BadSignature`].
pub(crate) fn verify(payload: &[u8], text: &[u8], key: &PublicKey) -> Result<(), Error> {
    let check = || {
        let text = std::str::from_utf8(text).ok()?;
        let parsed = SignatureText::parse(text)?;
        if parsed.to_canonical() != text || &parsed.signature[2..10] != key.key_number() {
            return None;
        }
        let key = minisign_verify::PublicKey::from_base64(&key.to_string()).ok()?;
        let signature = minisign_verify::Signature::decode(text).ok()?;
        // No legacy signatures: those are not prehashed, and one form is enough.
        key.verify(payload, &signature, false).ok()
    };
    check().ok_or(Error::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Key, text and data from minisign-verify's documentation.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const LINE_2: &str = "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=";
    const LINE_3: &str = "trusted comment: timestamp:1633700835 file:test prehashed";
    const LINE_4: &str =
        "wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==";

    fn text(first: &str, end: &str) -> String {
        format!("{first}{end}{LINE_2}{end}{LINE_3}{end}{LINE_4}{end}")
    }

    #[test]
    fn parsing_normalises_any_minisign_text() {
        let canonical = text("untrusted comment: pavad model bundle", "\n");
        for other in [
            canonical.clone(),
            text("untrusted comment: signature from minisign secret key", "\r\n"),
            canonical.trim_end().to_owned(),
        ] {
            assert_eq!(SignatureText::parse(&other).unwrap().to_canonical(), canonical);
        }
    }

    #[test]
    fn other_texts_are_not_signatures() {
        let good = text("untrusted comment: x", "\n");
        for bad in [
            String::new(),
            good.replace(LINE_2, LINE_4),
            good.replace("trusted comment: t", "comment: t"),
            good.replace(" file", "\u{7}file"),
            format!("{good}more\n"),
            good.replace("Zwo=", "Zwp="), // base64 with non-zero trailing bits
            good.replace("Zwo=", "Zwo"),
        ] {
            assert!(SignatureText::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn verification_wants_the_canonical_form() {
        // The trusted comment was signed with tabs, which the canonical form does not allow.
        let key: PublicKey = KEY.parse().unwrap();
        let canonical = text("untrusted comment: pavad model bundle", "\n");
        assert!(matches!(verify(b"test", canonical.as_bytes(), &key), Err(Error::BadSignature)));
    }
}
