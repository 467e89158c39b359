//! Ids of incidents: UUIDs (version 4, RFC 9562) in text form.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;

use heapless::String;

/// Makes ids that no other incident has.
#[derive(Debug)]
pub enum IncidentIds {
    /// From the system's random numbers.
    Random(File),
    /// From a seed and a count: the same in every replay of a recording.
    Seeded(u64),
}

impl IncidentIds {
    /// Ids that are unique across devices and restarts.
    ///
    /// # Errors
    /// If `/dev/urandom` cannot be opened.
    pub fn random() -> std::io::Result<Self> {
        File::open("/dev/urandom").map(Self::Random)
    }

    /// The id of the incident `number` at `camera`.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn make(&mut self, camera: &str, number: u64) -> std::io::Result<String<36>> {
        let mut bytes = [0; 16];
        match self {
            Self::Random(file) => file.read_exact(&mut bytes)?,
            Self::Seeded(seed) => {
                let mut state = *seed;
                for &b in camera.as_bytes().iter().chain(&number.to_le_bytes()) {
                    state = split_mix(state ^ u64::from(b));
                }
                bytes[..8].copy_from_slice(&state.to_le_bytes());
                bytes[8..].copy_from_slice(&split_mix(state).to_le_bytes());
            }
        }
        Ok(format(bytes))
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): a bijection that mixes all bits.
fn split_mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn format(mut bytes: [u8; 16]) -> String<36> {
    bytes[6] = bytes[6] & 0x0f | 0x40; // version 4
    bytes[8] = bytes[8] & 0x3f | 0x80; // variant 1
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(text, "{dash}{byte:02x}").expect("32 digits and 4 dashes are 36 characters");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_a_version_4_uuid() {
        let id = format([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn seeded_ids_repeat_and_differ_by_camera_and_number() {
        let mut a = IncidentIds::Seeded(7);
        let mut b = IncidentIds::Seeded(7);
        assert_eq!(a.make("door", 3).unwrap(), b.make("door", 3).unwrap());
        assert_ne!(a.make("door", 3).unwrap(), a.make("door", 4).unwrap());
        assert_ne!(a.make("door", 3).unwrap(), a.make("gate", 3).unwrap());
    }

    #[test]
    fn random_ids_differ() {
        let mut ids = IncidentIds::random().unwrap();
        assert_ne!(ids.make("a", 0).unwrap(), ids.make("a", 0).unwrap());
    }
}
