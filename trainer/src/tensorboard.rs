//! Scalars in TensorBoard's event files.
//!
//! A file is a sequence of records (TFRecord: length, masked CRC-32C of the length, data, masked
//! CRC-32C of the data), each a protocol buffer `Event` of TensorFlow's `event.proto`; the first one
//! names the version. The crates that exist for this either pull in picture codecs or are no longer
//! kept, and a scalar needs three messages.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use prost::Message;

/// `tensorflow.Event`, the fields that a scalar needs.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

/// What an event says.
#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // Written even if zero: the field is one of a `oneof` in TensorFlow's message.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes one event file.
#[derive(Debug)]
pub struct EventFile {
    out: BufWriter<File>,
}

impl EventFile {
    /// Makes the file, over one that is there; `time` in seconds since 1970. TensorBoard looks for
    /// names that contain `tfevents`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path, time: f64) -> std::io::Result<Self> {
        let mut file = Self { out: BufWriter::new(File::create(path)?) };
        let version = What::FileVersion("brain.Event:2".into());
        file.write(&Event { wall_time: time, step: 0, what: Some(version) })?;
        Ok(file)
    }

    /// The scalars of a step, each with its tag.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars<'a>(
        &mut self,
        time: f64,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> std::io::Result<()> {
        let value = scalars
            .into_iter()
            .map(|(tag, value)| Value { tag: tag.into(), simple_value: Some(value as f32) })
            .collect();
        let what = Some(What::Summary(Summary { value }));
        self.write(&Event { wall_time: time, step: step as i64, what })
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked_crc(&length).to_le_bytes())?;
        self.out.write_all(&data)?;
        self.out.write_all(&masked_crc(&data).to_le_bytes())
    }
}

/// The checksum as TFRecord stores it: rotated and shifted, so that a checksum over data that itself
/// holds checksums stays a good one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.out.tfevents.1");
        let mut file = EventFile::create(&path, 1_700_000_000.25).unwrap();
        file.scalars(1_700_000_001.5, 1, [("loss/total", 1.5), ("learning_rate", 1e-4)]).unwrap();
        file.scalars(1_700_000_002.75, 300, [("loss/total", 0.0)]).unwrap();
        file.flush().unwrap();
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scalars.tfevents");
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(golden).unwrap());
    }

    #[test]
    fn the_checksum_is_castagnolis_masked() {
        // RFC 3720, appendix B.4: 32 bytes of zeros have the CRC-32C 8a9136aa.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
