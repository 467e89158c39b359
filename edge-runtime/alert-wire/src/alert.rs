//! The message itself.

use heapless::String;
use serde::{Deserialize, Serialize};

/// The message schema this crate writes and reads.
pub const SCHEMA: u8 = 2;
/// Longest device and camera id, in bytes.
pub const MAX_ID: usize = 64;
/// Longest name of a kind of anomaly and longest model version, in bytes.
pub const MAX_NAME: usize = 32;

/// One message about one incident at one camera.
///
/// Postcard encodes the fields in the order in which they stand here, so the order is part of the
/// format: a change of any field needs a new [`SCHEMA`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Message schema, [`SCHEMA`].
    pub schema: u8,
    /// Id of the incident, a UUID in text form; the same in all its messages.
    pub id: String<36>,
    /// Number of the message within its incident, from 0.
    pub sequence: u32,
    /// Where in its life the incident is.
    pub phase: Phase,
    /// Name of the device.
    pub device: String<MAX_ID>,
    /// Id of the camera.
    pub camera: String<MAX_ID>,
    /// Kind of anomaly at the peak, as the model names it, or `anomaly`.
    pub kind: String<MAX_NAME>,
    /// Score of `frame`, 0 to 1.
    pub score: f32,
    /// Highest score of the incident so far.
    pub peak_score: f32,
    /// Score at which an incident may start.
    pub threshold: f32,
    /// Where in the picture the peak is, if the model can tell.
    pub region: Option<Region>,
    /// Wall time of the incident's first frame, milliseconds of the Unix epoch.
    pub started_ms: u64,
    /// Wall time of the frame that caused this message, milliseconds of the Unix epoch.
    pub time_ms: u64,
    /// The same moment on the device's monotonic clock, milliseconds. Use it for the order of
    /// messages where `time_synced` is false.
    pub uptime_ms: u64,
    /// Milliseconds of stream time from the first frame to `frame`.
    pub duration_ms: u64,
    /// First frame of the incident; frames of a stream count from 0.
    pub first_frame: u64,
    /// Newest frame that belongs to the incident.
    pub frame: u64,
    /// Frame with the highest score so far.
    pub peak_frame: u64,
    /// Whether the device's wall clock was set when the message was made.
    pub time_synced: bool,
    /// Path of the picture of the peak frame, relative to the device's evidence folder.
    pub snapshot: Option<String<128>>,
    /// Path of the incident's clip, relative to the device's evidence folder, if clips are kept. The
    /// file is there once the incident is over and the time after it has passed.
    pub clip: Option<String<128>>,
    /// The model that scored the stream.
    pub model: ModelId,
}

/// Where in its life an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It has just been announced.
    New,
    /// It goes on.
    Update,
    /// It is over.
    End,
}

/// A rectangle in the picture, relative to its size: 0 is left or top, 1 is right or bottom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// Which model scored the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelId {
    /// Name of the bundle.
    pub name: String<MAX_ID>,
    /// Version of the bundle.
    pub version: String<MAX_NAME>,
}

/// The longest beginning of `text` that fits in `N` bytes and ends between two characters.
pub fn truncate<const N: usize>(text: &str) -> String<N> {
    let mut out = String::new();
    for c in text.chars() {
        if out.push(c).is_err() {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_whole_characters() {
        assert_eq!(truncate::<4>("abcd").as_str(), "abcd");
        assert_eq!(truncate::<4>("abcde").as_str(), "abcd");
        // 'é' takes two bytes and does not fit in the one left; nothing after it may slip in.
        assert_eq!(truncate::<4>("abcéd").as_str(), "abc");
        assert_eq!(truncate::<2>("日").as_str(), "");
        assert_eq!(truncate::<0>("x").as_str(), "");
    }
}
