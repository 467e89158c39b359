//! The units of H.264 in a packet.

/// Type of a unit that belongs to a picture with which decoding can begin and before which nothing is
/// remembered.
const IDR: u8 = 5;

/// How units are told apart: by their length before each (MP4), or by start codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nals {
    Length(usize),
    StartCode,
}

impl Nals {
    /// As the header of the stream has it.
    pub(super) fn of(header: &[u8]) -> Self {
        match header {
            [1, _, _, _, sizes, ..] => Self::Length(usize::from(sizes & 3) + 1),
            _ => Self::StartCode,
        }
    }

    /// Whether a packet has a unit of an IDR picture.
    pub(super) fn has_idr(self, packet: &[u8]) -> bool {
        match self {
            Self::StartCode => {
                packet.windows(4).any(|bytes| bytes[..3] == [0, 0, 1] && bytes[3] & 31 == IDR)
            }
            Self::Length(size) => {
                let mut rest = packet;
                while let Some((length, units)) = rest.split_at_checked(size) {
                    if units.first().is_some_and(|unit| unit & 31 == IDR) {
                        return true;
                    }
                    let length =
                        length.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
                    rest = units.get(length..).unwrap_or_default();
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_a_packet_are_told_apart() {
        let length = Nals::of(&[1, 100, 0, 31, 0xff, 0xe1]);
        assert_eq!(length, Nals::Length(4));
        let packet = [0, 0, 0, 2, 6, 5, 0, 0, 0, 1, 0x65];
        assert!(length.has_idr(&packet) && !length.has_idr(&packet[..6]));
        assert_eq!(Nals::of(&[0, 0, 0, 1, 0x67]), Nals::StartCode);
        assert!(Nals::StartCode.has_idr(&[0, 0, 0, 1, 6, 5, 0, 0, 1, 0x65, 1]));
        assert!(!Nals::StartCode.has_idr(&[0, 0, 0, 1, 6, 5, 0, 0, 1, 0x41, 1]));
    }

    #[test]
    fn a_length_that_is_wrong_ends_the_packet() {
        assert!(!Nals::Length(4).has_idr(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1, 5]));
        assert!(!Nals::Length(1).has_idr(&[0, 0, 0]));
        assert!(!Nals::StartCode.has_idr(&[0, 0, 1]));
    }
}
