//! Postcard and JSON.

use core::fmt;

use heapless::String;
use serde::Deserialize;

use crate::alert::{Alert, MAX_ID, MAX_NAME, ModelId, Phase, Region, SCHEMA};

/// No encoded alert is longer than this many bytes of postcard.
///
/// Byte fields: schema 1, phase 1, synced 1. Strings (length + bytes): id 1+36, device and camera
/// 2 × (1+64), kind 1+32, snapshot and clip 2 × (1+2+128), model 1+64 and 1+32. Numbers: sequence 5, three
/// scores 3 × 4, region 1+16, seven 64-bit numbers 7 × 10.
pub const MAX_POSTCARD: usize = 3 + 37 + 130 + 33 + 262 + 65 + 33 + 5 + 12 + 17 + 70;

/// Why an alert could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is shorter than the message; [`MAX_POSTCARD`] bytes are always enough.
    BufferTooSmall,
    /// A score or a region is not a finite number.
    NotFinite,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall => {
                write!(f, "the buffer is too small for the alert; {MAX_POSTCARD} bytes are enough")
            }
            Self::NotFinite => f.write_str("the alert's score or region is not a finite number"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Why bytes are not an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The message is of another schema, given here; update the older side.
    Schema(u8),
    /// The bytes are cut, too long or not an alert at all.
    Malformed,
    /// A score or a region is not a finite number.
    NotFinite,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema(schema) => write!(
                f,
                "the alert has schema {schema}, this program reads {SCHEMA}; update the older side"
            ),
            Self::Malformed => f.write_str("the message is cut or is not an alert"),
            Self::NotFinite => f.write_str("the alert's score or region is not a finite number"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Alert {
    /// Writes the alert to the beginning of `buffer` as postcard and returns the part written.
    ///
    /// # Errors
    /// If the buffer is too small or a number is not finite.
    pub fn to_postcard<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], EncodeError> {
        if !self.is_finite() {
            return Err(EncodeError::NotFinite);
        }
        match postcard::to_slice(self, buffer) {
            Ok(written) => Ok(written),
            Err(_) => Err(EncodeError::BufferTooSmall),
        }
    }

    /// Reads an alert from postcard; `bytes` is the whole message.
    ///
    /// # Errors
    /// If the message is of another schema, cut, followed by other bytes, or not an alert.
    pub fn from_postcard(bytes: &[u8]) -> Result<Self, DecodeError> {
        // The schema comes first and alone decides how the rest is laid out.
        match bytes.first() {
            None => return Err(DecodeError::Malformed),
            Some(&schema) if schema != SCHEMA => return Err(DecodeError::Schema(schema)),
            Some(_) => {}
        }
        match postcard::take_from_bytes::<Self>(bytes) {
            Ok((alert, [])) => alert.checked(),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// As [`Alert::from_postcard`], and also from postcard of the schema before: what an earlier
    /// version of the program has stored. The alert is then of today's schema; what the earlier one
    /// did not have is absent.
    ///
    /// # Errors
    /// As [`Alert::from_postcard`].
    pub fn from_stored_postcard(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.first() != Some(&1) {
            return Self::from_postcard(bytes);
        }
        match postcard::take_from_bytes::<Schema1>(bytes) {
            Ok((alert, [])) => Self::from(alert).checked(),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// The alert as one line of JSON.
    ///
    /// # Errors
    /// If a number is not finite.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> Result<alloc::string::String, EncodeError> {
        if !self.is_finite() {
            return Err(EncodeError::NotFinite);
        }
        serde_json::to_string(self).map_err(|_| EncodeError::NotFinite)
    }

    /// Reads an alert from JSON. Fields that this program does not know are ignored.
    ///
    /// # Errors
    /// If the message is of another schema or not an alert.
    #[cfg(feature = "json")]
    pub fn from_json(text: &[u8]) -> Result<Self, DecodeError> {
        let alert: Self = serde_json::from_slice(text).map_err(|_| DecodeError::Malformed)?;
        if alert.schema != SCHEMA {
            return Err(DecodeError::Schema(alert.schema));
        }
        alert.checked()
    }

    fn checked(self) -> Result<Self, DecodeError> {
        if self.is_finite() { Ok(self) } else { Err(DecodeError::NotFinite) }
    }

    fn is_finite(&self) -> bool {
        let region = self.region.as_ref().map_or([0.0; 4], |r| [r.x, r.y, r.width, r.height]);
        [self.score, self.peak_score, self.threshold].iter().chain(&region).all(|v| v.is_finite())
    }
}

/// Schema 1, in the order of its fields: no `clip`.
#[derive(Deserialize)]
struct Schema1 {
    #[serde(rename = "schema")]
    _schema: u8,
    id: String<36>,
    sequence: u32,
    phase: Phase,
    device: String<MAX_ID>,
    camera: String<MAX_ID>,
    kind: String<MAX_NAME>,
    score: f32,
    peak_score: f32,
    threshold: f32,
    region: Option<Region>,
    started_ms: u64,
    time_ms: u64,
    uptime_ms: u64,
    duration_ms: u64,
    first_frame: u64,
    frame: u64,
    peak_frame: u64,
    time_synced: bool,
    snapshot: Option<String<128>>,
    model: ModelId,
}

impl From<Schema1> for Alert {
    fn from(old: Schema1) -> Self {
        Self {
            schema: SCHEMA,
            id: old.id,
            sequence: old.sequence,
            phase: old.phase,
            device: old.device,
            camera: old.camera,
            kind: old.kind,
            score: old.score,
            peak_score: old.peak_score,
            threshold: old.threshold,
            region: old.region,
            started_ms: old.started_ms,
            time_ms: old.time_ms,
            uptime_ms: old.uptime_ms,
            duration_ms: old.duration_ms,
            first_frame: old.first_frame,
            frame: old.frame,
            peak_frame: old.peak_frame,
            time_synced: old.time_synced,
            snapshot: old.snapshot,
            clip: None,
            model: old.model,
        }
    }
}
