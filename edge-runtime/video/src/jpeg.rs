//! JPEG pictures, for evidence and previews.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::{Error, Frame};

/// The frame as a JPEG file of `quality` 1 (smallest) to 100 (best); values outside are clamped.
///
/// # Errors
/// [`Error::Size`] if the frame is empty or a side is over 65535 pixels, JPEG's limit.
pub fn encode_jpeg(frame: &Frame, quality: u8) -> Result<Vec<u8>, Error> {
    let size_error = |reason| Error::Size {
        what: "JPEG picture".into(),
        width: frame.width(),
        height: frame.height(),
        reason,
    };
    let (Ok(width), Ok(height)) = (u16::try_from(frame.width()), u16::try_from(frame.height()))
    else {
        return Err(size_error("a JPEG has at most 65535 pixels a side"));
    };
    if width == 0 || height == 0 {
        return Err(size_error("there is nothing to encode"));
    }
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, quality.clamp(1, 100))
        .encode(frame.rgb(), width.into(), height.into(), ExtendedColorType::Rgb8)
        .map_err(|_| size_error("the encoder refused the picture"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_round_trip_keeps_the_picture() {
        let luma: Vec<u8> = (0..64 * 48).map(|i| (i % 64 * 3) as u8).collect();
        let frame = Frame::from_luma(64, 48, &luma).unwrap();
        let bytes = encode_jpeg(&frame, 95).unwrap();
        let back = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(back.dimensions(), (64, 48));
        let error: u32 =
            back.iter().zip(frame.rgb()).map(|(a, b)| a.abs_diff(*b) as u32).sum::<u32>();
        assert!(error < 64 * 48 * 3 * 2, "mean error {}", error as f64 / (64.0 * 48.0 * 3.0));
        assert!(encode_jpeg(&Frame::new(0, 4), 90).is_err());
    }
}
