//! Video4Linux capture devices: USB cameras and the like, through memory-mapped buffers.
//!
//! A camera that is unplugged, or gives no frame in time, is closed and opened again with growing
//! waits, for as long as it takes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use v4l::buffer::{Flags, Type};
use v4l::capability::Flags as Capability;
use v4l::io::traits::CaptureStream as _;
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};
use video::Frame;

use super::convert::{PixelFormat, to_rgb};
use super::{Error, FrameSource, Next, Stamp, sleep};
use crate::clock::Clock;
use crate::config::V4l2Config;

/// Buffers that the driver fills in turn; four is the usual number.
const BUFFERS: u32 = 4;
/// Waits between attempts to open a lost camera: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Damaged frames in a row after which the device is opened again.
const MAX_DAMAGED: u32 = 30;

/// A capture device.
pub struct V4l2 {
    config: V4l2Config,
    clock: Arc<dyn Clock>,
    camera: Option<Camera>,
    rate: f64,
    wait: Duration,
    /// Time of the first frame, by the clock that stamps frames.
    first: Option<Duration>,
    last: f64,
    damaged: u32,
}

impl V4l2 {
    /// Opens the device and sets format and rate.
    ///
    /// # Errors
    /// If it is not there, is no camera, or has no format that can be read.
    pub fn open(config: &V4l2Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let camera = Camera::open(config)?;
        let rate = camera.rate;
        log::info!("{}: {}", config.device.display(), camera.describe());
        Ok(Self {
            config: config.clone(),
            clock,
            camera: Some(camera),
            rate,
            wait: FIRST_WAIT,
            first: None,
            last: 0.0,
            damaged: 0,
        })
    }

    /// A device that may not be there yet: it is opened when the first frame is asked for.
    pub fn later(config: &V4l2Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            config: config.clone(),
            clock,
            camera: None,
            rate: config.frame_rate,
            wait: FIRST_WAIT,
            first: None,
            last: 0.0,
            damaged: 0,
        }
    }

    /// One frame, or why the camera must be opened again.
    fn capture(&mut self, frame: &mut Frame) -> Result<Option<Stamp>, Error> {
        let Some(camera) = self.camera.as_mut() else {
            return Ok(None);
        };
        let path = self.config.device.as_path();
        let timeout = self.config.timeout;
        let (format, width, height, stride) =
            (camera.format, camera.width, camera.height, camera.stride);
        let stream = camera.stream.as_mut().expect("the stream lives until the camera is dropped");
        let (bytes, meta) = stream.next().map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => device(path, &format_args!("no frame for {timeout} s")),
            _ => failure(path, &e),
        })?;
        let used = (meta.bytesused as usize).min(bytes.len());
        let damage = if meta.flags.contains(Flags::ERROR) {
            Err("the driver marks the frame as damaged".to_owned())
        } else {
            to_rgb(format, &bytes[..used], width, height, stride, frame)
        };
        if let Err(what) = damage {
            self.damaged += 1;
            log::debug!("{}: {what}; frame skipped", path.display());
            if self.damaged >= MAX_DAMAGED {
                return Err(device(path, &format_args!("{MAX_DAMAGED} damaged frames ({what})")));
            }
            return Ok(None);
        }
        self.damaged = 0;
        let now = self.clock.monotonic();
        // The driver's own stamp does not see how long the frame waited for us.
        let driver = Duration::new(
            meta.timestamp.sec.max(0) as u64,
            (meta.timestamp.usec.clamp(0, 999_999) * 1000) as u32,
        );
        let kind = meta.flags & Flags::TIMESTAMP_MASK;
        let taken =
            if kind == Flags::TIMESTAMP_MONOTONIC && !driver.is_zero() { driver } else { now };
        let first = *self.first.get_or_insert(taken);
        self.last = taken.saturating_sub(first).as_secs_f64().max(self.last);
        Ok(Some(Stamp {
            stream: self.last,
            wall_ms: self.clock.wall_ms(),
            uptime_ms: now.as_millis() as u64,
        }))
    }
}

impl FrameSource for V4l2 {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn next(&mut self, frame: &mut Frame, stop: &dyn Fn() -> bool) -> Result<Next, Error> {
        while !stop() {
            if self.camera.is_none() {
                match Camera::open(&self.config) {
                    Ok(camera) => {
                        log::info!("{}: open: {}", self.config.device.display(), camera.describe());
                        self.rate = camera.rate;
                        self.camera = Some(camera);
                    }
                    Err(e) => {
                        log::debug!("{e}; next attempt in {:.1} s", self.wait.as_secs_f64());
                        sleep(self.wait, stop);
                        self.wait = (self.wait * 2).min(LAST_WAIT);
                        continue;
                    }
                }
            }
            match self.capture(frame) {
                Ok(Some(stamp)) => {
                    self.wait = FIRST_WAIT;
                    return Ok(Next::Frame(stamp));
                }
                Ok(None) => {}
                Err(e) => {
                    self.camera = None;
                    self.damaged = 0;
                    // An open device that gives no frames must not be reopened in a tight loop.
                    sleep(self.wait, stop);
                    self.wait = (self.wait * 2).min(LAST_WAIT);
                    return Ok(Next::Gap(Some(e)));
                }
            }
        }
        Ok(Next::End)
    }
}

/// An open device.
struct Camera {
    /// Taken out only to be dropped.
    stream: Option<v4l::io::mmap::Stream<'static>>,
    format: PixelFormat,
    width: usize,
    height: usize,
    stride: usize,
    rate: f64,
}

impl Camera {
    fn open(config: &V4l2Config) -> Result<Self, Error> {
        // The driver library panics on values that newer kernels may report (colour spaces).
        catch_unwind(|| Self::try_open(config)).unwrap_or_else(|_| {
            Err(device(&config.device, &"the driver reports a format that is not known"))
        })
    }

    fn try_open(config: &V4l2Config) -> Result<Self, Error> {
        let path = config.device.as_path();
        let fail = |e: io::Error| failure(path, &e);
        let camera = Device::with_path(path).map_err(fail)?;
        let caps = camera.query_caps().map_err(|e| Error::NotACamera {
            path: path.into(),
            what: format!("this file ({e})"),
        })?;
        if !caps.capabilities.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
            return Err(Error::NotACamera { path: path.into(), what: format!("`{}`", caps.card) });
        }
        let (format, chosen, rate) = choose(&camera, config)?;
        let mut stream = v4l::io::mmap::Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS)
            .map_err(fail)?;
        stream.set_timeout(Duration::from_secs_f64(config.timeout));
        Ok(Self {
            stream: Some(stream),
            format,
            width: chosen.width as usize,
            height: chosen.height as usize,
            stride: chosen.stride as usize,
            rate,
        })
    }

    fn describe(&self) -> String {
        let code = self.format.code();
        let code = String::from_utf8_lossy(&code);
        format!("{}x{} {code} at {:.1} frames per second", self.width, self.height, self.rate)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // The library panics if a device that has just been unplugged cannot be stopped.
        if catch_unwind(AssertUnwindSafe(|| drop(stream))).is_err() {
            log::debug!("the device could not be closed; it is gone");
        }
    }
}

/// Sets the format and rate nearest to what is asked for: the right size first, then the highest
/// rate up to the one asked for (many USB cameras reach it at full size only with MJPG), then the
/// format that is cheapest to read.
fn choose(camera: &Device, config: &V4l2Config) -> Result<(PixelFormat, Format, f64), Error> {
    let path = config.device.as_path();
    let fail = |e: io::Error| failure(path, &e);
    let offered: Vec<FourCC> =
        camera.enum_formats().map_err(fail)?.iter().map(|d| d.fourcc).collect();
    let mut best: Option<((bool, i64), PixelFormat)> = None;
    for format in PixelFormat::ALL {
        if !offered.contains(&FourCC::new(&format.code())) {
            continue;
        }
        let Ok((set, rate)) = apply(camera, config, format) else {
            continue;
        };
        let right_size = (set.width, set.height) == (config.width, config.height);
        // Whole frames a second: 29.97 is as good as 30.
        let rank = (right_size, rate.min(config.frame_rate).round() as i64);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, format));
        }
    }
    let Some((_, format)) = best else {
        let names: Vec<String> = offered.iter().map(ToString::to_string).collect();
        let offered = if names.is_empty() { "no format".into() } else { names.join(", ") };
        return Err(Error::NoFormat { path: path.into(), offered });
    };
    let (set, rate) = apply(camera, config, format).map_err(fail)?;
    Ok((format, set, rate))
}

fn apply(camera: &Device, config: &V4l2Config, format: PixelFormat) -> io::Result<(Format, f64)> {
    let code = FourCC::new(&format.code());
    let set = camera.set_format(&Format::new(config.width, config.height, code))?;
    if set.fourcc != code {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "another format was set"));
    }
    let interval = Fraction::new(1000, (config.frame_rate * 1000.0).round() as u32);
    // Not every driver knows rates; then the source's own time stamps tell.
    let rate = camera
        .set_params(&Parameters::new(interval))
        .ok()
        .filter(|p| p.interval.numerator > 0 && p.interval.denominator > 0)
        .map_or(config.frame_rate, |p| {
            f64::from(p.interval.denominator) / f64::from(p.interval.numerator)
        });
    Ok((set, rate))
}

fn device(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::Device { path: path.into(), what: what.to_string() }
}

fn failure(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.into()),
        io::ErrorKind::PermissionDenied => Error::Denied(path.into()),
        _ => device(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn open(path: &str) -> String {
        let config = V4l2Config {
            device: path.into(),
            width: 640,
            height: 480,
            frame_rate: 30.0,
            timeout: 1.0,
        };
        V4l2::open(&config, Arc::new(ManualClock::new(0))).err().unwrap().to_string()
    }

    #[test]
    fn a_missing_device_and_one_that_is_no_camera() {
        assert_eq!(
            open("/dev/video-none"),
            "/dev/video-none: no such device; plug the camera in or change `cameras.source.device`"
        );
        let message = open("/dev/null");
        assert!(message.starts_with("/dev/null: ") && message.contains("not a capture device"));
        assert!(!message.contains('\n'));
    }

    #[test]
    fn waiting_for_a_camera_ends_with_the_program() {
        let config = V4l2Config {
            device: "/dev/video-none".into(),
            width: 640,
            height: 480,
            frame_rate: 30.0,
            timeout: 1.0,
        };
        let mut source = V4l2::later(&config, Arc::new(ManualClock::new(0)));
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        assert!(matches!(source.next(&mut Frame::default(), &stop), Ok(Next::End)));
    }
}
