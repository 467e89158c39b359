//! Reading a video file through FFmpeg.
//!
//! A clip that was cut off or damaged must not pass for a shorter one: its missing frames would
//! silently count as read. So errors the decoder would conceal are errors here (`err_detect
//! explode`), a packet that is shorter than its index says is one, and at the end of the file the
//! packets read are compared with what the container declares.

use std::path::{Path, PathBuf};
use std::sync::Once;

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::format::context::Input;
use ffmpeg::util::frame::Video;
use ffmpeg::{Dictionary, Packet, Rational, decoder, media};

use crate::scaler::Scaler;
use crate::{Error, Frame, VideoInfo};

/// Seconds by which a Matroska file's packets may end before its declared duration. Writers round
/// it and count subtitles and the like; a cut recording lacks more than this.
const DURATION_SLACK: f64 = 1.0;

/// Silences FFmpeg, whose messages would otherwise go to stderr beside our own errors.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = ffmpeg::init() {
            log::warn!("FFmpeg did not initialise: {error}");
        }
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
    });
}

/// A video file being read.
pub(crate) struct File {
    path: PathBuf,
    input: Input,
    decoder: decoder::Video,
    stream: usize,
    info: VideoInfo,
    decoded: Video,
    rgb: Video,
    scaler: Scaler,
    end: End,
    /// Frames delivered so far, the number of the next one.
    next: u64,
    draining: bool,
}

/// What the container declares about its end, and how far the packets have come.
struct End {
    /// Packets of the video stream, where the container has an index or states a count.
    declared: Option<u64>,
    /// Packets of the video stream read so far.
    packets: u64,
    /// Frame number that the timestamps have reached: AVI states the number of frames but leaves
    /// out the packets of repeated ones.
    reached: u64,
    /// Duration in seconds that the container declares, for containers without a count.
    duration: Option<f64>,
    /// End of the last packet of any stream, in seconds.
    last: f64,
}

impl End {
    fn is_early(&self) -> bool {
        match (self.declared, self.duration) {
            (Some(declared), _) => self.packets.max(self.reached) < declared,
            (None, Some(duration)) => self.last < duration - DURATION_SLACK,
            (None, None) => false,
        }
    }
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        quiet();
        let unreadable = |reason: String| Error::Unreadable { path: path.into(), reason };
        let input = ffmpeg::format::input(path).map_err(|e| {
            unreadable(format!("{e}; it may be cut off before its index, copy or convert it again"))
        })?;
        let stream = input
            .streams()
            .best(media::Type::Video)
            .ok_or_else(|| unreadable("it holds no video stream; check the file".into()))?;
        let index = stream.index();
        let codec = decoder::find(stream.parameters().id()).ok_or_else(|| Error::Codec {
            path: path.into(),
            codec: stream.parameters().id().name().into(),
        })?;
        let frame_rate = [stream.avg_frame_rate(), stream.rate()]
            .into_iter()
            .map(f64::from)
            .find(|rate| rate.is_finite() && *rate > 0.0)
            .ok_or_else(|| unreadable("it declares no frame rate; convert it again".into()))?;
        let indexed = index_frames(&input, index, stream.frames());
        let mut context = ffmpeg::codec::Context::from_parameters(stream.parameters())
            .map_err(|e| unreadable(format!("{e}; convert it again")))?;
        // One thread: an error then belongs to the packet just sent, and clips are read in
        // parallel anyway.
        context.set_threading(ffmpeg::threading::Config::count(1));
        // Without it MPEG-4's half pixels are rounded otherwise on some processors.
        context.set_flags(ffmpeg::codec::Flags::BITEXACT);
        let mut options = Dictionary::new();
        options.set("err_detect", "explode");
        let decoder = context
            .decoder()
            .open_as_with(codec, options)
            .and_then(|opened| opened.video())
            .map_err(|e| unreadable(format!("{e}; convert it again")))?;
        let (width, height) = (decoder.width(), decoder.height());
        if width == 0 || height == 0 {
            return Err(unreadable("it declares no picture size; convert it again".into()));
        }
        let duration = (input.format().name().contains("matroska") && input.duration() > 0)
            .then(|| input.duration() as f64 / ffmpeg::ffi::AV_TIME_BASE as f64);
        let info = VideoInfo {
            width: width as usize,
            height: height as usize,
            frame_rate,
            frames: indexed.map(|i| i.shown),
        };
        Ok(Self {
            path: path.into(),
            decoder,
            stream: index,
            info,
            decoded: Video::empty(),
            rgb: Video::new(Pixel::RGB24, width, height),
            scaler: Scaler::new(),
            end: End {
                declared: indexed.map(|i| i.packets),
                packets: 0,
                reached: 0,
                duration,
                last: 0.0,
            },
            next: 0,
            draining: false,
            input,
        })
    }

    pub(crate) fn info(&self) -> &VideoInfo {
        &self.info
    }

    pub(crate) fn read(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        loop {
            match self.decoder.receive_frame(&mut self.decoded) {
                Ok(()) => {
                    self.deliver(frame)?;
                    return Ok(true);
                }
                Err(ffmpeg::Error::Eof) => {
                    return if self.end.is_early() { Err(self.truncated()) } else { Ok(false) };
                }
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if !self.draining => {
                    self.feed()?;
                }
                Err(error) => return Err(self.corrupt(&error)),
            }
        }
    }

    /// Sends the decoder its next packet, or the end.
    fn feed(&mut self) -> Result<(), Error> {
        let mut packet = Packet::empty();
        match packet.read(&mut self.input) {
            Ok(()) => {}
            Err(ffmpeg::Error::Eof) => {
                self.draining = true;
                return self.decoder.send_eof().map_err(|e| self.corrupt(&e));
            }
            Err(error) => return Err(self.corrupt(&error)),
        }
        self.note_time(&packet);
        if packet.stream() != self.stream {
            return Ok(());
        }
        // The demuxer marks a packet that the end of the file cut.
        if packet.is_corrupt() {
            return Err(self.truncated());
        }
        self.end.packets += 1;
        self.decoder.send_packet(&packet).map_err(|e| self.corrupt(&e))
    }

    /// Keeps account of how far the packets have come in time.
    fn note_time(&mut self, packet: &Packet) {
        let Some(stream) = self.input.stream(packet.stream()) else {
            return;
        };
        let Some(time) = packet.dts().or(packet.pts()) else {
            return;
        };
        let start = match stream.start_time() {
            ffmpeg::ffi::AV_NOPTS_VALUE => 0,
            start => start,
        };
        let base = f64::from(stream.time_base());
        self.end.last = self.end.last.max((time + packet.duration()) as f64 * base);
        if packet.stream() == self.stream && time >= start {
            let frames = (time - start) as f64 * base * self.info.frame_rate;
            self.end.reached = self.end.reached.max(frames.round() as u64 + 1);
        }
    }

    /// Converts the decoded picture into `frame`.
    fn deliver(&mut self, frame: &mut Frame) -> Result<(), Error> {
        if self.decoded.is_corrupt() || self.decoded.has_decode_errors() {
            return Err(self.corrupt(&ffmpeg::Error::InvalidData));
        }
        // A picture of another size than the first is scaled to it, so that a clip has one size.
        self.scaler.convert(&self.decoded, &mut self.rgb).map_err(|e| self.corrupt(&e))?;
        let (width, height) = (self.info.width, self.info.height);
        frame.reshape(width, height);
        let stride = self.rgb.stride(0);
        let rows = self.rgb.data(0).chunks(stride);
        for (out, row) in frame.rgb_mut().chunks_exact_mut(width * 3).zip(rows) {
            out.copy_from_slice(&row[..width * 3]);
        }
        self.next += 1;
        Ok(())
    }

    fn corrupt(&self, error: &ffmpeg::Error) -> Error {
        Error::Corrupt { path: self.path.clone(), frame: self.next, reason: error.to_string() }
    }

    fn truncated(&self) -> Error {
        let (path, frame) = (self.path.clone(), self.next);
        Error::Truncated { path, frame, expected: self.info.frames }
    }
}

/// What a container declares about its video stream.
#[derive(Clone, Copy)]
struct Indexed {
    /// Packets that reading will give.
    packets: u64,
    /// Frames that decoding them will show.
    shown: u64,
}

/// Counts the frames of a stream: by the index for MP4, whose edit list may show fewer than the
/// file holds; by the declared count otherwise; `None` if nothing is declared.
fn index_frames(input: &Input, stream: usize, declared: i64) -> Option<Indexed> {
    let declared = u64::try_from(declared).ok().filter(|&n| n > 0)?;
    let plain = Some(Indexed { packets: declared, shown: declared });
    if !input.format().name().contains("mp4") {
        return plain;
    }
    // SAFETY: the format context is open, `stream` is one of its streams, and the index entries
    // belong to it and are only read before anything else touches it. FFmpeg's index getters take
    // a mutable stream only because one of them may build the index lazily.
    let (entries, shown) = unsafe {
        let pointer = *(*input.as_ptr()).streams.add(stream);
        let count = ffmpeg::ffi::avformat_index_get_entries_count(pointer);
        let shown = (0..count)
            .filter(|&i| {
                let entry = ffmpeg::ffi::avformat_index_get_entry(pointer, i);
                !entry.is_null() && (*entry).flags() & ffmpeg::ffi::AVINDEX_DISCARD_FRAME == 0
            })
            .count();
        (u64::try_from(count).unwrap_or(0), shown as u64)
    };
    // A fragmented file's index grows as it is read; its header count is of the first fragment.
    if entries == 0 { plain } else { Some(Indexed { packets: entries, shown }) }
}

/// A frame rate as a fraction, to a thousandth of a frame.
pub(crate) fn rational(rate: f64) -> Rational {
    Rational::new((rate * 1000.0).round() as i32, 1000).reduce()
}
