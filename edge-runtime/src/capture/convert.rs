//! From a camera's pixel formats to RGB.

use video::{Frame, YuvColour};

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

/// Which lines of the picture a buffer holds, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// All, one below the other.
    All,
    /// All: every second one, then the others. `true` if the first lines are those of the first part.
    Parts(bool),
    /// Every second one.
    Half,
}

/// How a driver fills its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pixel format.
    pub format: PixelFormat,
    /// Pixels in a line.
    pub width: usize,
    /// Lines in a buffer.
    pub height: usize,
    /// Bytes of a line of luma (or of packed pixels); not used for MJPEG.
    pub stride: usize,
    /// Which lines these are.
    pub lines: Lines,
    /// Whether luma goes from 0 to 255, instead of from 16 to 235.
    pub full_range: bool,
    /// Whether the colours are those of BT.709, instead of BT.601.
    pub bt709: bool,
}

impl Layout {
    /// All lines, in the kernel's usual colours: BT.601 with limited range.
    pub fn plain(format: PixelFormat, width: usize, height: usize, stride: usize) -> Self {
        let (lines, full_range, bt709) = (Lines::All, false, false);
        Self { format, width, height, stride, lines, full_range, bt709 }
    }
}

/// Converts a buffer as the driver filled it. JPEG is decoded strictly: a picture of which something is
/// missing is refused.
///
/// # Errors
/// If the buffer is too short or its JPEG damaged; the message says what is wrong.
pub fn to_rgb(layout: &Layout, bytes: &[u8], frame: &mut Frame) -> Result<(), String> {
    let &Layout { format, width, height, stride, .. } = layout;
    let row = match format {
        PixelFormat::Yuyv => width.next_multiple_of(2) * 2,
        PixelFormat::Nv12 => width,
        PixelFormat::Mjpeg => {
            video::decode_jpeg(bytes, frame)?;
            arrange(layout.lines, frame);
            return Ok(());
        }
    };
    let stride = stride.max(row);
    let needed = match format {
        PixelFormat::Nv12 => stride * height + stride * height.div_ceil(2),
        _ => stride * height,
    };
    if bytes.len() < needed {
        return Err(format!("the frame has {} of {needed} bytes", bytes.len()));
    }
    let colour = YuvColour { full_range: layout.full_range, bt709: layout.bt709 };
    if format == PixelFormat::Yuyv {
        video::yuyv_to_rgb(bytes, stride, (width, height), colour, frame);
    } else {
        video::nv12_to_rgb(bytes, stride, (width, height), colour, frame);
    }
    arrange(layout.lines, frame);
    Ok(())
}

/// Puts the lines of a picture where they belong. Of half of them each is shown twice, so that things
/// keep their shape.
fn arrange(lines: Lines, frame: &mut Frame) {
    let (width, height) = (frame.width(), frame.height());
    let row = width * 3;
    match lines {
        Lines::All => {}
        Lines::Parts(first_is_upper) => {
            let parts = frame.rgb().to_vec();
            let half = height / 2;
            for (y, line) in frame.rgb_mut().chunks_exact_mut(row).enumerate().take(half * 2) {
                let part = usize::from((y % 2 == 0) != first_is_upper);
                let from = (part * half + y / 2) * row;
                line.copy_from_slice(&parts[from..from + row]);
            }
        }
        Lines::Half => {
            let half = frame.rgb().to_vec();
            frame.reshape(width, height * 2);
            for (y, line) in frame.rgb_mut().chunks_exact_mut(row).enumerate() {
                line.copy_from_slice(&half[y / 2 * row..][..row]);
            }
        }
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

    fn layout(format: PixelFormat, width: usize, height: usize, stride: usize) -> Layout {
        Layout::plain(format, width, height, stride)
    }

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
            to_rgb(&layout(PixelFormat::Yuyv, width, height, 16), &yuyv, &mut frame).unwrap();
            assert_eq!((frame.width(), frame.height()), (width, height));
            assert_close(&frame, rgb);

            let mut luma = vec![y; width];
            luma.resize(8, 0);
            let mut chroma = [u, v].repeat(width / 2);
            chroma.resize(8, 0);
            let nv12 = [luma.repeat(height), chroma.repeat(height / 2)].concat();
            to_rgb(&layout(PixelFormat::Nv12, width, height, 8), &nv12, &mut frame).unwrap();
            assert_close(&frame, rgb);
        }
    }

    #[test]
    fn jpegs_and_damaged_ones() {
        let source = Frame::from_rgb(16, 16, [200, 30, 60].repeat(256)).unwrap();
        let jpeg = video::encode_jpeg(&source, 95).unwrap();
        let mut frame = Frame::default();
        let mjpeg = layout(PixelFormat::Mjpeg, 16, 16, 0);
        to_rgb(&mjpeg, &jpeg, &mut frame).unwrap();
        assert_close(&frame, [200, 30, 60]);
        assert!(to_rgb(&mjpeg, b"no picture", &mut frame).is_err());
        assert!(to_rgb(&mjpeg, &[], &mut frame).is_err());
        assert!(to_rgb(&mjpeg, &jpeg[..jpeg.len() - 20], &mut frame).is_err());
    }

    #[test]
    fn colours_of_full_range_and_of_bt709() {
        let mut frame = Frame::default();
        let white = [255, 128].repeat(8);
        let full = Layout { full_range: true, ..layout(PixelFormat::Yuyv, 4, 2, 8) };
        to_rgb(&full, &white, &mut frame).unwrap();
        assert_close(&frame, [255, 255, 255]);
        let grey = [64, 128].repeat(8);
        to_rgb(&full, &grey, &mut frame).unwrap();
        assert_close(&frame, [64, 64, 64]);
        // Red in BT.709, limited range.
        let red = [63, 102, 63, 240].repeat(4);
        let bt709 = Layout { bt709: true, ..layout(PixelFormat::Yuyv, 4, 2, 8) };
        to_rgb(&bt709, &red, &mut frame).unwrap();
        assert_close(&frame, [255, 0, 0]);
    }

    #[test]
    fn fields_become_a_picture() {
        // Four lines of grey 40, 80, 120, 160.
        let line = |y: u8| [y, 128].repeat(4);
        let buffer = |levels: &[u8]| levels.iter().flat_map(|y| line(*y)).collect::<Vec<u8>>();
        let reds = |lines: Lines, levels: &[u8]| {
            let all = layout(PixelFormat::Yuyv, 4, levels.len(), 8);
            let layout = Layout { lines, full_range: true, ..all };
            let mut frame = Frame::default();
            to_rgb(&layout, &buffer(levels), &mut frame).unwrap();
            let rows: Vec<u8> = frame.rgb().chunks_exact(12).map(|row| row[0]).collect();
            (frame.height(), rows)
        };
        assert_eq!(reds(Lines::All, &[40, 80, 120, 160]).1, [40, 80, 120, 160]);
        assert_eq!(reds(Lines::Parts(true), &[40, 120, 80, 160]).1, [40, 80, 120, 160]);
        assert_eq!(reds(Lines::Parts(false), &[80, 160, 40, 120]).1, [40, 80, 120, 160]);
        assert_eq!(reds(Lines::Half, &[40, 120]), (4, vec![40, 40, 120, 120]));
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
            let layout = layout(format, 8, 4, 8);
            assert!(to_rgb(&layout, &vec![128; enough], &mut frame).is_ok());
            let error = to_rgb(&layout, &vec![128; enough - 1], &mut frame).unwrap_err();
            assert!(error.contains(&format!("of {enough} bytes")), "{error}");
        }
    }
}
