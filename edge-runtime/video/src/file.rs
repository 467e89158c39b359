//! Reading a video file through FFmpeg.
//!
//! A clip that was cut off or damaged must not pass for a shorter one: its missing frames would
//! silently count as read. So errors the decoder would conceal are errors here (`err_detect
//! explode`), a packet that is shorter than its index says is one, and at the end of the file the
//! packets read are compared with what the container declares.
//!
//! One thing is no damage: a recording that was cut or joined without being coded anew begins, or goes
//! on, with pictures that refer to some that are not there. They are left out, with a word.

mod account;
mod nal;
mod open;
mod rate;
mod recovery;
mod time;
mod turn;

use std::path::{Path, PathBuf};
use std::sync::Once;

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::format::context::Input;
use ffmpeg::util::frame::Video;
use ffmpeg::{Dictionary, Packet, Rational, decoder, media};

use crate::scaler::Scaler;
use crate::{Error, Frame, VideoInfo};
use account::{End, index_frames};
use nal::Nals;
pub(crate) use open::output;
use recovery::Recovery;
use time::Times;
use turn::Turn;

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
    times: Times,
    recovery: Recovery,
    turn: Turn,
    /// The first picture, which is decoded when the file is opened, since it says how it is turned.
    first: Option<Result<bool, Error>>,
    /// Frames delivered so far, the number of the next one.
    next: u64,
    draining: bool,
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        quiet();
        let unreadable = |reason: String| Error::Unreadable { path: path.into(), reason };
        let input = open::input(path).map_err(|e| {
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
        let base = f64::from(stream.time_base());
        let frame_rate = rate::rate(path, &stream)
            .ok_or_else(|| unreadable("it declares no frame rate; convert it again".into()))?;
        let indexed = index_frames(&input, index, stream.frames());
        let nals = (stream.parameters().id() == ffmpeg::codec::Id::H264)
            .then(|| Nals::of(header(&stream)));
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
        let info = VideoInfo {
            width: width as usize,
            height: height as usize,
            frame_rate,
            frames: indexed.map(|i| i.shown),
        };
        let mut file = Self {
            path: path.into(),
            decoder,
            stream: index,
            info,
            decoded: Video::empty(),
            rgb: Video::new(Pixel::RGB24, width, height),
            scaler: Scaler::new(),
            end: End::new(&input, indexed),
            times: Times::new(base, frame_rate),
            recovery: Recovery::new(base, nals),
            turn: Turn::NONE,
            first: None,
            next: 0,
            draining: false,
            input,
        };
        let first = file.decode();
        if let Ok(true) = first {
            file.turn = Turn::of(&file.decoded, path);
            (file.info.width, file.info.height) = file.turn.size(file.info.width, file.info.height);
        }
        file.first = Some(first);
        Ok(file)
    }

    pub(crate) fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Seconds from the first frame to the one read last.
    pub(crate) fn time(&self) -> f64 {
        self.times.last()
    }

    pub(crate) fn read(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        let first = self.first.take();
        let there = first.unwrap_or_else(|| self.decode())?;
        if there {
            self.deliver(frame)?;
        }
        Ok(there)
    }

    /// Decodes the next picture; false at the clean end of the file.
    fn decode(&mut self) -> Result<bool, Error> {
        loop {
            match self.decoder.receive_frame(&mut self.decoded) {
                Ok(()) => {
                    let damaged = self.decoded.is_corrupt() || self.decoded.has_decode_errors();
                    if !damaged {
                        if self.recovery.leaves_out(self.decoded.pts()) {
                            continue;
                        }
                        return Ok(true);
                    }
                    if !self.recovery.excuses_picture(self.decoded.pts()) {
                        return Err(self.corrupt(&ffmpeg::Error::InvalidData));
                    }
                }
                Err(ffmpeg::Error::Eof) => return self.finish(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if !self.draining => {
                    self.feed()?;
                }
                Err(_) if self.recovery.excuses_packet() => {}
                Err(error) => return Err(self.corrupt(&error)),
            }
        }
    }

    /// What the end of the file means.
    fn finish(&mut self) -> Result<bool, Error> {
        if self.end.is_early() {
            return Err(self.truncated());
        }
        let left_out = self.recovery.take_left_out();
        if left_out > 0 && self.next == 0 {
            let reason = "it has no picture that needs no other (no key frame); record it again";
            return Err(Error::Unreadable { path: self.path.clone(), reason: reason.into() });
        }
        if left_out > 0 {
            log::warn!(
                "{}: {left_out} pictures that need others which were cut off are left out",
                self.path.display()
            );
        }
        Ok(false)
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
        self.end.note(&self.input, &packet, self.stream, self.info.frame_rate);
        if packet.stream() != self.stream {
            return Ok(());
        }
        // The demuxer marks a packet that the end of the file cut.
        if packet.is_corrupt() {
            return Err(self.truncated());
        }
        self.end.packets += 1;
        if !self.recovery.takes(&packet) {
            return Ok(());
        }
        self.explode(!self.recovery.is_open());
        match self.decoder.send_packet(&packet) {
            Err(_) if self.recovery.excuses_packet() => Ok(()),
            sent => sent.map_err(|e| self.corrupt(&e)),
        }
    }

    /// Whether the decoder makes an error of what it would otherwise get over.
    fn explode(&mut self, explode: bool) {
        // SAFETY: the context is open, nothing else refers to it, and its decoder, which has one thread,
        // reads this field at each packet.
        unsafe {
            let context = self.decoder.as_mut_ptr();
            let bit = ffmpeg::ffi::AV_EF_EXPLODE;
            let others = (*context).err_recognition & !bit;
            (*context).err_recognition = others | if explode { bit } else { 0 };
        }
    }

    /// Converts the decoded picture into `frame`.
    fn deliver(&mut self, frame: &mut Frame) -> Result<(), Error> {
        // A picture of another size than the first is scaled to it, so that a clip has one size.
        self.scaler.convert(&self.decoded, &mut self.rgb).map_err(|e| self.corrupt(&e))?;
        let stamp = self.decoded.timestamp().or(self.decoded.pts());
        self.times.next(stamp, &self.path, self.next);
        self.turn.copy(&self.rgb, frame);
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

/// What the container has of a stream before its first packet.
fn header<'a>(stream: &'a ffmpeg::Stream<'a>) -> &'a [u8] {
    // SAFETY: the parameters belong to the stream, which is borrowed for as long; FFmpeg gives the
    // header's length beside it, and no address if there is none.
    unsafe {
        let parameters = *stream.parameters().as_ptr();
        match usize::try_from(parameters.extradata_size) {
            Ok(length) if length > 0 && !parameters.extradata.is_null() => {
                std::slice::from_raw_parts(parameters.extradata, length)
            }
            _ => &[],
        }
    }
}

/// A frame rate as a fraction, to a thousandth of a frame.
pub(crate) fn rational(rate: f64) -> Rational {
    Rational::new((rate * 1000.0).round() as i32, 1000).reduce()
}
