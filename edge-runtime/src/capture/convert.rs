//! From a camera's pixel formats to RGB.

use std::io::Cursor;

use image::{ColorType, ImageDecoder as _};
use video::Frame;

/// A pixel format that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// 4:2:2, packed.
    Yuyv,
    /// 4:2:0, luma plane and interleaved chroma plane.
    Nv12,
    /// A JPEG file for each frame.
    Mjpeg,
}

impl PixelFormat {
    /// All of them, the cheapest to read first.
    pub const ALL: [Self; 3] = [Self::Yuyv, Self::Nv12, Self::Mjpeg];

    /// The kernel's four-character code.
    pub fn code(self) -> [u8; 4] {
        *match self {
            Self::Yuyv => b"YUYV",
            Self::Nv12 => b"NV12",
            Self::Mjpeg => b"MJPG",
        }
    }
}

/// Whether a four-character code is one of the kernel's raw Bayer formats: what an image sensor
/// gives before an image processor has made a picture of it.
pub fn is_bayer(code: [u8; 4]) -> bool {
    // 8 bits: BA81, GBRG, GRBG, RGGB. More: an order of the colours and the bits (RG10, BA12, BG16),
    // packed with a `p` (pRAA is 10 bits, pRCC 12), compressed BGA8, bDG0 and the like.
    match &code {
        b"BA81" | b"GBRG" | b"GRBG" | b"RGGB" | b"BYR2" => true,
        [b'B' | b'G' | b'R', b'G' | b'B' | b'A' | b'R', tens, ones] => {
            tens.is_ascii_digit() && ones.is_ascii_digit()
        }
        [b'p', b'B' | b'G' | b'R' | b'g', rest @ ..] => {
            matches!(rest, b"AA" | b"CC" | b"EE" | b"FF")
        }
        _ => false,
    }
}

/// Converts a buffer as the driver filled it. `stride` is the number of bytes of a row of luma (or
/// of packed pixels); it is ignored for MJPEG.
///
/// YUV is taken as BT.601 with limited range, the kernel's default for cameras.
///
/// # Errors
/// If the buffer is too short or its JPEG damaged; the message says what is wrong.
pub fn to_rgb(
    format: PixelFormat,
    bytes: &[u8],
    width: usize,
    height: usize,
    stride: usize,
    frame: &mut Frame,
) -> Result<(), String> {
    let row = match format {
        PixelFormat::Yuyv => width.next_multiple_of(2) * 2,
        PixelFormat::Nv12 => width,
        PixelFormat::Mjpeg => return jpeg(bytes, frame),
    };
    let stride = stride.max(row);
    let needed = match format {
        PixelFormat::Nv12 => stride * height + stride * height.div_ceil(2),
        _ => stride * height,
    };
    if bytes.len() < needed {
        return Err(format!("the frame has {} of {needed} bytes", bytes.len()));
    }
    if format == PixelFormat::Yuyv {
        video::yuyv_to_rgb(bytes, stride, width, height, frame);
    } else {
        video::nv12_to_rgb(bytes, stride, width, height, frame);
    }
    Ok(())
}

/// On one line: some of the decoder's messages end with a line break.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn damaged(error: image::ImageError) -> String {
    let text = error.to_string();
    format!("damaged JPEG: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn jpeg(bytes: &[u8], frame: &mut Frame) -> Result<(), String> {
    /// No camera has more; a damaged header must not ask for gigabytes.
    const MAX_SIDE: u32 = 8192;
    let decoder = image::codecs::jpeg::JpegDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("the JPEG says it has {width}x{height} pixels"));
    }
    match decoder.color_type() {
        ColorType::Rgb8 => {
            frame.reshape(width as usize, height as usize);
            decoder.read_image(frame.rgb_mut()).map_err(damaged)
        }
        ColorType::L8 => {
            let mut luma = vec![0; width as usize * height as usize];
            decoder.read_image(&mut luma).map_err(damaged)?;
            frame.reshape(width as usize, height as usize);
            for (pixel, y) in frame.rgb_mut().chunks_exact_mut(3).zip(luma) {
                pixel.fill(y);
            }
            Ok(())
        }
        other => Err(format!("the JPEG has {other:?} pixels")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BT.601 limited range: Y, Cb, Cr and the RGB they stand for.
    const COLOURS: [([u8; 3], [u8; 3]); 5] = [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([81, 90, 240], [255, 0, 0]),
        ([145, 54, 34], [0, 255, 0]),
        ([41, 240, 110], [0, 0, 255]),
    ];

    fn assert_close(frame: &Frame, expected: [u8; 3]) {
        for pixel in frame.rgb().chunks_exact(3) {
            for (found, wanted) in pixel.iter().zip(expected) {
                assert!(found.abs_diff(wanted) <= 3, "{pixel:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn colours_with_padded_rows() {
        let (width, height) = (6, 4);
        let mut frame = Frame::default();
        for ([y, u, v], rgb) in COLOURS {
            let mut row = [y, u, y, v].repeat(width / 2);
            row.resize(16, 0);
            let yuyv = row.repeat(height);
            to_rgb(PixelFormat::Yuyv, &yuyv, width, height, 16, &mut frame).unwrap();
            assert_eq!((frame.width(), frame.height()), (width, height));
            assert_close(&frame, rgb);

            let mut luma = vec![y; width];
            luma.resize(8, 0);
            let mut chroma = [u, v].repeat(width / 2);
            chroma.resize(8, 0);
            let nv12 = [luma.repeat(height), chroma.repeat(height / 2)].concat();
            to_rgb(PixelFormat::Nv12, &nv12, width, height, 8, &mut frame).unwrap();
            assert_close(&frame, rgb);
        }
    }

    #[test]
    fn jpegs_and_damaged_ones() {
        let source = Frame::from_rgb(16, 16, [200, 30, 60].repeat(256)).unwrap();
        let jpeg = video::encode_jpeg(&source, 95).unwrap();
        let mut frame = Frame::default();
        to_rgb(PixelFormat::Mjpeg, &jpeg, 16, 16, 0, &mut frame).unwrap();
        assert_close(&frame, [200, 30, 60]);
        assert!(to_rgb(PixelFormat::Mjpeg, b"no picture", 16, 16, 0, &mut frame).is_err());
        assert!(to_rgb(PixelFormat::Mjpeg, &[], 16, 16, 0, &mut frame).is_err());
    }

    #[test]
    fn raw_bayer_is_recognised() {
        for code in
            [b"BA81", b"GBRG", b"RGGB", b"RG10", b"BA10", b"BG12", b"GR16", b"pRAA", b"pgCC"]
        {
            assert!(is_bayer(*code), "{}", String::from_utf8_lossy(code));
        }
        for code in
            [b"YUYV", b"NV12", b"MJPG", b"RGB3", b"BGR4", b"GREY", b"RGBP", b"YU12", b"pAAA"]
        {
            assert!(!is_bayer(*code), "{}", String::from_utf8_lossy(code));
        }
    }

    #[test]
    fn short_buffers_are_refused() {
        let mut frame = Frame::default();
        for (format, enough) in [(PixelFormat::Yuyv, 64), (PixelFormat::Nv12, 48)] {
            assert!(to_rgb(format, &vec![128; enough], 8, 4, 8, &mut frame).is_ok());
            let error = to_rgb(format, &vec![128; enough - 1], 8, 4, 8, &mut frame).unwrap_err();
            assert!(error.contains(&format!("of {enough} bytes")), "{error}");
        }
    }
}
