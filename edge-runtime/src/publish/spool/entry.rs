//! The content of a spool file.
//!
//! ```text
//! version 2   "PVE2", CRC-32 of the rest, then: length of the camera's id (1 byte), the id,
//!             length of the JSON (2 bytes), the JSON, the postcard
//! version 1   "PVE1", CRC-32 of the rest, then: the postcard, of the alert's schema 1 or 2
//! ```
//!
//! Numbers are little-endian. Version 2 holds what is sent, word for word, so that a later program
//! can send it without knowing the alert's schema of today.

use alert_wire::{Alert, EncodeError, MAX_POSTCARD, check_id};

const HEADER: usize = 8;

/// An event as it is sent, in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    /// Id of its camera.
    pub camera: String,
    /// Its JSON.
    pub json: Vec<u8>,
    /// Its postcard.
    pub postcard: Vec<u8>,
}

/// Why bytes are no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later version of this program wrote it.
    #[error("is of a later version of this program; it is kept for that one")]
    Newer,
    /// It is not an event, or is no longer.
    #[error("{0}")]
    Damaged(&'static str),
}

impl SpooledEvent {
    /// An alert in the forms in which it is sent.
    ///
    /// # Errors
    /// If it has a number that is not finite.
    pub fn of(alert: &Alert) -> Result<Self, EncodeError> {
        let mut buffer = [0; MAX_POSTCARD];
        let postcard = alert.to_postcard(&mut buffer)?.to_vec();
        let json = alert.to_json()?.into_bytes();
        Ok(Self { camera: alert.camera.as_str().to_owned(), json, postcard })
    }

    /// The content of its file; `None` if the camera has no valid id or a form is far too long.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        check_id(&self.camera).ok()?;
        let camera = u8::try_from(self.camera.len()).ok()?;
        let json = u16::try_from(self.json.len()).ok()?;
        let mut bytes = b"PVE2\0\0\0\0".to_vec();
        bytes.push(camera);
        bytes.extend_from_slice(self.camera.as_bytes());
        bytes.extend_from_slice(&json.to_le_bytes());
        bytes.extend_from_slice(&self.json);
        bytes.extend_from_slice(&self.postcard);
        let checksum = crc32(&bytes[HEADER..]).to_le_bytes();
        bytes[4..HEADER].copy_from_slice(&checksum);
        Some(bytes)
    }

    /// Reads the content of a file, of this version or of the one before.
    ///
    /// # Errors
    /// Says why it is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (header, rest) =
            bytes.split_first_chunk::<HEADER>().ok_or(Unreadable::Damaged("is cut"))?;
        let (magic, checksum) = header.split_at(4);
        match magic {
            b"PVE1" | b"PVE2" => {}
            [b'P', b'V', b'E', b'3'..=b'9'] => return Err(Unreadable::Newer),
            _ => return Err(Unreadable::Damaged("is not an event")),
        }
        if checksum != crc32(rest).to_le_bytes() {
            return Err(Unreadable::Damaged("is damaged: its checksum differs"));
        }
        if magic == b"PVE1" {
            let alert = Alert::from_stored_postcard(rest);
            let event = alert.ok().and_then(|alert| Self::of(&alert).ok());
            return event.ok_or(Unreadable::Damaged("holds no event that this program knows"));
        }
        Self::from_parts(rest).ok_or(Unreadable::Damaged("is not an event: its parts do not fit"))
    }

    fn from_parts(rest: &[u8]) -> Option<Self> {
        let (&length, rest) = rest.split_first()?;
        let (camera, rest) = rest.split_at_checked(length.into())?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (json, postcard) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let camera = std::str::from_utf8(camera).ok().filter(|id| check_id(id).is_ok())?;
        Some(Self { camera: camera.into(), json: json.into(), postcard: postcard.into() })
    }
}

/// CRC-32 (ISO-HDLC, as in zip and Ethernet), bit by bit: events are some 900 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use alert_wire::{ModelId, Phase, SCHEMA, truncate};

    use super::*;

    pub fn alert(frame: u64) -> Alert {
        Alert {
            schema: SCHEMA,
            id: truncate(&format!("00000000-0000-4000-8000-{frame:012}")),
            sequence: 3,
            phase: Phase::Update,
            device: truncate("cam-01"),
            camera: truncate("door"),
            kind: truncate("fast"),
            score: 0.5,
            peak_score: 0.75,
            threshold: 0.5,
            region: None,
            started_ms: 1,
            time_ms: 2,
            uptime_ms: 3,
            duration_ms: 4,
            first_frame: 5,
            frame,
            peak_frame: 7,
            time_synced: true,
            snapshot: Some(truncate("door/a.jpg")),
            clip: None,
            model: ModelId { name: truncate("m"), version: truncate("1") },
        }
    }

    /// A file as the version before wrote it.
    pub fn version_1(payload: &[u8]) -> Vec<u8> {
        let mut bytes = b"PVE1".to_vec();
        bytes.extend_from_slice(&crc32(payload).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The postcard of [`alert`] as schema 1 had it: the byte of the absent `clip` is not there.
    pub fn schema_1(alert: &Alert) -> Vec<u8> {
        let mut buffer = [0; MAX_POSTCARD];
        let mut bytes = alert.to_postcard(&mut buffer).unwrap().to_vec();
        bytes[0] = 1;
        let model = 1 + alert.model.name.len() + 1 + alert.model.version.len();
        assert_eq!(bytes.remove(bytes.len() - model - 1), 0);
        bytes
    }

    #[test]
    fn crc_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_written_is_read() {
        let event = SpooledEvent::of(&alert(9)).unwrap();
        let bytes = event.to_bytes().unwrap();
        assert_eq!(SpooledEvent::from_bytes(&bytes), Ok(event));
        for cut in 0..bytes.len() {
            assert!(SpooledEvent::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let bad = SpooledEvent { camera: "a/b".into(), json: vec![], postcard: vec![] };
        assert_eq!(bad.to_bytes(), None);
    }

    #[test]
    fn an_upgrade_reads_what_the_version_before_has_stored() {
        let alert = alert(9);
        let today = SpooledEvent::of(&alert).unwrap();
        for payload in [today.postcard.clone(), schema_1(&alert)] {
            assert_eq!(SpooledEvent::from_bytes(&version_1(&payload)), Ok(today.clone()));
        }
        let other = [9, 1, 2, 3];
        assert!(matches!(
            SpooledEvent::from_bytes(&version_1(&other)),
            Err(Unreadable::Damaged(_))
        ));
    }

    #[test]
    fn what_a_later_version_has_stored_is_known_as_such() {
        let mut bytes = SpooledEvent::of(&alert(9)).unwrap().to_bytes().unwrap();
        bytes[3] = b'3';
        assert_eq!(SpooledEvent::from_bytes(&bytes), Err(Unreadable::Newer));
    }
}
