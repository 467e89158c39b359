//! Decoding a live stream, one access unit at a time, through FFmpeg.
//!
//! Unlike a file, a stream from a network loses packets and is joined in the middle: what cannot be
//! decoded is left out, and decoding goes on with the next key frame.

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::util::frame::Video;
use ffmpeg::{Dictionary, Packet, codec, decoder};

use crate::file::quiet;
use crate::scaler::Scaler;
use crate::{Error, Frame};

/// Larger pictures are refused: no camera has them, and a damaged header must not ask for gigabytes.
const MAX_SIDE: u32 = 8192;

/// How a live stream is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// H.264, Annex B, with parameter sets before key frames.
    H264,
    /// H.265, in the same form.
    H265,
}

/// A decoder of a live stream.
pub struct LiveDecoder {
    decoder: decoder::Video,
    decoded: Video,
    rgb: Video,
    scaler: Scaler,
}

impl LiveDecoder {
    /// Opens a decoder.
    ///
    /// # Errors
    /// [`Error::Codec`] if FFmpeg has none for this coding.
    pub fn new(coding: Codec) -> Result<Self, Error> {
        quiet();
        let (id, name) = match coding {
            Codec::H264 => (codec::Id::H264, "h264"),
            Codec::H265 => (codec::Id::HEVC, "hevc"),
        };
        let missing = || Error::Codec { path: "live stream".into(), codec: name.into() };
        let found = decoder::find(id).ok_or_else(missing)?;
        let mut context = codec::Context::new_with_codec(found);
        // More threads would hold back as many frames.
        context.set_threading(ffmpeg::threading::Config::count(1));
        context.set_flags(codec::Flags::LOW_DELAY | codec::Flags::BITEXACT);
        let mut options = Dictionary::new();
        options.set("err_detect", "explode");
        let decoder = context
            .decoder()
            .open_as_with(found, options)
            .and_then(|opened| opened.video())
            .map_err(|_| missing())?;
        Ok(Self { decoder, decoded: Video::empty(), rgb: Video::empty(), scaler: Scaler::new() })
    }

    /// Takes the next access unit, whose picture is to be shown at `time`. If a picture is complete its
    /// own time comes back, and [`LiveDecoder::picture`] has it until the next call.
    ///
    /// # Errors
    /// What is wrong with it, for the log; decoding may go on with a key frame, after
    /// [`LiveDecoder::flush`].
    pub fn decode(&mut self, access_unit: &[u8], time: i64) -> Result<Option<i64>, String> {
        let mut packet = Packet::copy(access_unit);
        packet.set_pts(Some(time));
        self.decoder.send_packet(&packet).map_err(|e| e.to_string())?;
        match self.decoder.receive_frame(&mut self.decoded) {
            Ok(()) => {}
            Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        }
        if self.decoded.is_corrupt() || self.decoded.has_decode_errors() {
            return Err("damaged picture".into());
        }
        let (width, height) = (self.decoded.width(), self.decoded.height());
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(format!("a picture of {width}x{height} pixels"));
        }
        Ok(Some(self.decoded.pts().unwrap_or(time)))
    }

    /// Writes the picture that was completed last to `frame`, which takes its size.
    ///
    /// # Errors
    /// If there is none, or it cannot be converted.
    pub fn picture(&mut self, frame: &mut Frame) -> Result<(), String> {
        let (width, height) = (self.decoded.width(), self.decoded.height());
        if width == 0 || height == 0 {
            return Err("no picture".into());
        }
        if (self.rgb.width(), self.rgb.height()) != (width, height) {
            self.rgb = Video::new(Pixel::RGB24, width, height);
        }
        self.scaler.convert(&self.decoded, &mut self.rgb).map_err(|e| e.to_string())?;
        let row = width as usize * 3;
        frame.reshape(width as usize, height as usize);
        let rows = self.rgb.data(0).chunks(self.rgb.stride(0));
        for (out, source) in frame.rgb_mut().chunks_exact_mut(row).zip(rows) {
            out.copy_from_slice(&source[..row]);
        }
        Ok(())
    }

    /// Forgets what has been decoded; the next access unit must be of a key frame.
    pub fn flush(&mut self) {
        self.decoder.flush();
    }
}
