//! JPEG pictures: of cameras and folders, read strictly, and for evidence and previews.

mod huffman;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::{Error, Frame};

/// No camera has more; a damaged header must not ask for gigabytes.
const MAX_SIDE: usize = 8192;

/// Decodes a JPEG file, which gives the frame its size; a grey one becomes R = G = B. A picture of
/// which something is missing is refused, not filled up. What follows its end does not matter, and
/// the usual Huffman tables are taken where it has none, as the frames of many cameras.
///
/// # Errors
/// What is wrong with it, on one line.
pub fn decode_jpeg(bytes: &[u8], frame: &mut Frame) -> Result<(), String> {
    let bytes = huffman::checkable(bytes)?;
    let damaged = |e: zune_jpeg::errors::DecodeErrors| {
        let text = format!("{e:?}");
        format!("damaged JPEG: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes.as_slice()), options);
    decoder.decode_headers().map_err(damaged)?;
    let (Some((width, height)), Some(space)) = (decoder.dimensions(), decoder.input_colorspace())
    else {
        return Err("damaged JPEG: no picture".into());
    };
    let grey = space == ColorSpace::Luma;
    let wanted = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    if grey {
        let mut luma = vec![0; width * height];
        decoder.decode_into(&mut luma).map_err(damaged)?;
        frame.reshape(width, height);
        for (pixel, y) in frame.rgb_mut().chunks_exact_mut(3).zip(luma) {
            pixel.fill(y);
        }
    } else {
        frame.reshape(width, height);
        decoder.decode_into(frame.rgb_mut()).map_err(damaged)?;
    }
    Ok(())
}

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

    /// A picture with something in every block.
    fn detailed() -> Vec<u8> {
        let luma: Vec<u8> = (0..160 * 120).map(|i| (i * 7 % 251) as u8).collect();
        encode_jpeg(&Frame::from_luma(160, 120, &luma).unwrap(), 90).unwrap()
    }

    /// Where the data of the picture begins.
    fn scan(jpeg: &[u8]) -> usize {
        jpeg.windows(2).position(|w| w == [0xff, 0xda]).unwrap() + 14
    }

    #[test]
    fn a_picture_that_is_cut_is_refused_wherever_it_is_cut() {
        let jpeg = detailed();
        let mut frame = Frame::default();
        decode_jpeg(&jpeg, &mut frame).unwrap();
        let library = image::load_from_memory(&jpeg).unwrap().into_rgb8();
        assert_eq!(frame.rgb(), library.as_raw().as_slice(), "the same pixels as ever");
        for left in (0..jpeg.len()).step_by(97).chain([jpeg.len() - 2, jpeg.len() - 1]) {
            assert!(decode_jpeg(&jpeg[..left], &mut frame).is_err(), "{left} of {}", jpeg.len());
        }
        // The end is there, but rows before it are not: a packet was lost on the bus.
        let from = scan(&jpeg);
        for (at, lost) in [(from + 200, jpeg.len() / 2), (from + 2000, 3000)] {
            let cut = [&jpeg[..at], &jpeg[at + lost..]].concat();
            assert!(decode_jpeg(&cut, &mut frame).is_err(), "{lost} lost at {at}");
        }
        // What follows the end is padding.
        let padded = [&jpeg[..], &[0; 500]].concat();
        decode_jpeg(&padded, &mut frame).unwrap();
    }

    #[test]
    fn huffman_tables_that_a_camera_leaves_out_are_the_usual_ones() {
        let jpeg = detailed();
        let mut bare = Vec::new();
        let mut at = 2;
        bare.extend_from_slice(&jpeg[..2]);
        while jpeg[at + 1] != 0xda {
            let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])) + 2;
            if jpeg[at + 1] != 0xc4 {
                bare.extend_from_slice(&jpeg[at..at + length]);
            }
            at += length;
        }
        bare.extend_from_slice(&jpeg[at..]);
        assert!(bare.len() < jpeg.len() - 300);
        let (mut with, mut without) = (Frame::default(), Frame::default());
        decode_jpeg(&jpeg, &mut with).unwrap();
        decode_jpeg(&bare, &mut without).unwrap();
        assert!(with == without);
    }

    #[test]
    fn no_jpeg_at_all() {
        let mut frame = Frame::default();
        for bytes in
            [&b"no picture"[..], &[], &[0xff, 0xd8], &[0xff; 64], &[0xff, 0xd8, 0xff, 0xd9]]
        {
            let error = decode_jpeg(bytes, &mut frame).unwrap_err();
            assert!(error.starts_with("damaged JPEG: ") && !error.contains('\n'), "{error}");
        }
    }

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
