//! Types of numbers in a `.npy` file.

use half::f16;

/// What an element is, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum Type {
    F16,
    F32,
    F64,
    /// Also `bool`.
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

impl Type {
    /// From NumPy's description, such as `<f4`.
    pub(super) fn of(description: &str) -> Result<Self, String> {
        Ok(match description {
            "<f2" => Self::F16,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            "|u1" | "<u1" | "|b1" => Self::U8,
            "|i1" | "<i1" => Self::I8,
            "<i2" => Self::I16,
            "<u2" => Self::U16,
            "<i4" => Self::I32,
            "<u4" => Self::U32,
            "<i8" => Self::I64,
            "<u8" => Self::U64,
            other if other.starts_with('>') => {
                return Err(format!("type {other:?} is big-endian; save it little-endian"));
            }
            other => return Err(format!("type {other:?} is none of numbers; save it as float32")),
        })
    }

    /// Whether it is one of the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The value of exactly `size` bytes; integers of more than 53 bits are rounded.
    pub(super) fn value(self, bytes: &[u8]) -> f64 {
        let mut raw = [0; 8];
        raw[..bytes.len()].copy_from_slice(bytes);
        let [a, b, c, d, ..] = raw;
        match self {
            Self::F16 => f16::from_le_bytes([a, b]).to_f64(),
            Self::F32 => f32::from_le_bytes([a, b, c, d]).into(),
            Self::F64 => f64::from_le_bytes(raw),
            Self::U8 => a.into(),
            Self::I8 => (a as i8).into(),
            Self::I16 => i16::from_le_bytes([a, b]).into(),
            Self::U16 => u16::from_le_bytes([a, b]).into(),
            Self::I32 => i32::from_le_bytes([a, b, c, d]).into(),
            Self::U32 => u32::from_le_bytes([a, b, c, d]).into(),
            Self::I64 => i64::from_le_bytes(raw) as f64,
            Self::U64 => u64::from_le_bytes(raw) as f64,
        }
    }
}
