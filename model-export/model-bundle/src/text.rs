//! Small text forms that the file format fixes.

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
    out
}

/// `[a-z0-9-]{1,64}`: names of models and device classes.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// `[A-Za-z0-9_.-]{1,64}`: names of kinds, tensors and provenance entries.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A semantic version (semver.org 2.0): `MAJOR.MINOR.PATCH[-PRE][+BUILD]`, at most 64 characters.
pub(crate) fn is_version(text: &str) -> bool {
    let identifiers = |part: &str| {
        part.split('.')
            .all(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let (rest, build) = text.split_once('+').map_or((text, None), |(r, b)| (r, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(c, p)| (c, Some(p)));
    text.len() <= 64
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(identifiers)
        && build.is_none_or(identifiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_known_bytes() {
        assert_eq!(hex(&[0x00, 0x9f, 0xff]), "009fff");
    }

    #[test]
    fn names() {
        assert!(is_name("ped2-site-7") && is_name(&"a".repeat(64)));
        for bad in ["", "Ped2", "a b", "ä", "a/b", "..", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_label("local.stem_0-x") && !is_label("a b") && !is_label("../x"));
    }

    #[test]
    fn versions() {
        for good in ["0.1.0", "1.20.3-rc.1", "1.0.0+build.5", "1.0.0-a-b+c"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0+", "1.0.0-a..b"]
        {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
