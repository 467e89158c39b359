//! Writing H.264 video files through FFmpeg and libx264.

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::format::context::Output;
use ffmpeg::util::frame::Video;
use ffmpeg::{Dictionary, Packet, Rational, codec, color, encoder, format};

use crate::file::{output, quiet, rational};
use crate::scaler::Scaler;
use crate::{Error, Frame};

/// Constant rate factor: 18 is x264's customary value for visually lossless.
const CRF: &str = "18";
/// Compression effort; `fast` costs half of `medium`'s time for about 5 % larger files.
const PRESET: &str = "fast";
/// Without this, x264 chooses faster code on some processors (AVX-512) whose macroblock tree differs
/// with the alignment of its buffers: two runs of one program then write different files.
const X264_PARAMS: &str = "cpu-independent=1";

/// Writes an H.264 file (yuv420p, one fixed quality); the extension chooses the container, `mp4`
/// as a rule. The same frames give the same bytes, on every processor: one encoder thread, nothing
/// of the clock.
///
/// The file is complete only after [`Writer::finish`].
pub struct Writer {
    path: PathBuf,
    output: Output,
    encoder: encoder::Video,
    scaler: Scaler,
    rgb: Video,
    /// Length of one frame, the unit of timestamps sent to the encoder.
    frame_time: Rational,
    next: i64,
}

impl Writer {
    /// Creates the file for frames of `width` × `height` pixels, both even, at `frame_rate` frames
    /// per second.
    ///
    /// # Errors
    /// [`Error::Size`] for an odd or empty size or a rate outside 0.001 to 1000, [`Error::Codec`]
    /// if FFmpeg lacks libx264, [`Error::Write`] if the file cannot be created.
    pub fn create(
        path: &Path,
        width: usize,
        height: usize,
        frame_rate: f64,
    ) -> Result<Self, Error> {
        quiet();
        let size = |reason| Error::Size { what: path.display().to_string(), width, height, reason };
        // 16384 is libx264's own limit.
        if !(2..=16384).contains(&width) || !(2..=16384).contains(&height) {
            return Err(size("H.264 is written from 2 to 16384 pixels a side"));
        }
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return Err(size("H.264 with yuv420p needs even sides; crop or resize"));
        }
        if !(0.001..=1000.0).contains(&frame_rate) {
            return Err(size("the frame rate must be from 0.001 to 1000 frames per second"));
        }
        let write = |e: ffmpeg::Error| Error::Write { path: path.into(), reason: e.to_string() };
        let codec = encoder::find_by_name("libx264")
            .ok_or_else(|| Error::Codec { path: path.into(), codec: "libx264".into() })?;
        let rate = rational(frame_rate);
        let frame_time = rate.invert();
        let mut output = output(path).map_err(write)?;
        let mut video = codec::Context::new_with_codec(codec).encoder().video().map_err(write)?;
        video.set_width(width as u32);
        video.set_height(height as u32);
        video.set_format(Pixel::YUV420P);
        video.set_frame_rate(Some(rate));
        video.set_time_base(frame_time);
        video.set_colorspace(color::Space::SMPTE170M);
        video.set_color_range(color::Range::MPEG);
        video.set_threading(ffmpeg::threading::Config::count(1));
        if output.format().flags().contains(format::Flags::GLOBAL_HEADER) {
            // Setting flags replaces libx264's own default, closed groups of pictures.
            video.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
        }
        let mut options = Dictionary::new();
        options.set("crf", CRF);
        options.set("preset", PRESET);
        options.set("x264-params", X264_PARAMS);
        let encoder = video.open_as_with(codec, options).map_err(write)?;
        let mut stream = output.add_stream(Some(codec)).map_err(write)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(frame_time);
        stream.set_avg_frame_rate(rate);
        // The muxer would otherwise write its version and, for some containers, random ids.
        let mut options = Dictionary::new();
        options.set("fflags", "+bitexact");
        output.write_header_with(options).map_err(write)?;
        Ok(Self {
            path: path.into(),
            output,
            encoder,
            scaler: Scaler::new(),
            rgb: Video::new(Pixel::RGB24, width as u32, height as u32),
            frame_time,
            next: 0,
        })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// [`Error::Size`] if the frame's size is not the file's, [`Error::Write`].
    pub fn write(&mut self, frame: &Frame) -> Result<(), Error> {
        let (width, height) = (self.rgb.width() as usize, self.rgb.height() as usize);
        if (frame.width(), frame.height()) != (width, height) {
            return Err(Error::Size {
                what: format!("{}: frame {}", self.path.display(), self.next),
                width: frame.width(),
                height: frame.height(),
                reason: "not the size that the file was created with",
            });
        }
        let stride = self.rgb.stride(0);
        let rows = self.rgb.data_mut(0).chunks_mut(stride);
        for (row, source) in rows.zip(frame.rgb().chunks_exact(width * 3)) {
            row[..width * 3].copy_from_slice(source);
        }
        // The encoder keeps references to the pictures it was sent, so each frame is a new one.
        let mut yuv = Video::new(Pixel::YUV420P, width as u32, height as u32);
        yuv.set_color_space(color::Space::SMPTE170M);
        yuv.set_color_range(color::Range::MPEG);
        self.scaler.convert(&self.rgb, &mut yuv).map_err(|e| self.error(e))?;
        yuv.set_pts(Some(self.next));
        self.encoder.send_frame(&yuv).map_err(|e| self.error(e))?;
        self.next += 1;
        self.drain()
    }

    /// Writes what the encoder still holds and the file's index.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.encoder.send_eof().map_err(|e| self.error(e))?;
        self.drain()?;
        self.output.write_trailer().map_err(|e| self.error(e))
    }

    /// Moves the packets that the encoder has ready into the file.
    fn drain(&mut self) -> Result<(), Error> {
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => {
                    return Ok(());
                }
                Err(error) => return Err(self.error(error)),
            }
            packet.set_stream(0);
            packet.set_duration(1);
            let time_base = self.output.stream(0).map_or(self.frame_time, |s| s.time_base());
            packet.rescale_ts(self.frame_time, time_base);
            packet.write_interleaved(&mut self.output).map_err(|e| self.error(e))?;
        }
    }

    fn error(&self, error: ffmpeg::Error) -> Error {
        Error::Write { path: self.path.clone(), reason: error.to_string() }
    }
}
