//! Video4Linux capture devices: USB cameras and the like, through memory-mapped buffers.
//!
//! A camera that is unplugged, or gives no frame in time, is closed and opened again with growing
//! waits, for as long as it takes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, Timespec};
use v4l::buffer::{Flags, Type};
use v4l::capability::Flags as Capability;
use v4l::format::{Colorspace, FieldOrder, Quantization};
use v4l::io::traits::CaptureStream as _;
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};
use video::Frame;

use super::backoff::Backoff;
use super::controls;
use super::convert::{Layout, Lines, PixelFormat, is_bayer, to_rgb};
use super::{Demand, Error, FrameSource, Next, Stamp};
use crate::clock::Clock;
use crate::config::V4l2Config;

/// Buffers that the driver fills in turn; four is the usual number.
const BUFFERS: u32 = 4;
/// Damaged frames in a row after which the device is opened again.
const MAX_DAMAGED: u32 = 30;
/// Longest time that a frame can have waited in the driver; a stamp that says more is not believed.
const MAX_AGE: Duration = Duration::from_secs(10);

/// A capture device.
pub struct V4l2 {
    config: V4l2Config,
    clock: Arc<dyn Clock>,
    camera: Option<Camera>,
    rate: f64,
    backoff: Backoff,
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
            backoff: Backoff::new(),
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
            backoff: Backoff::new(),
            first: None,
            last: 0.0,
            damaged: 0,
        }
    }

    /// One frame, or why the camera must be opened again. A frame that is not wanted is let go by
    /// undecoded.
    fn capture(&mut self, frame: &mut Frame, demand: &mut Demand) -> Result<Option<Next>, Error> {
        let Some(camera) = self.camera.as_mut() else {
            return Ok(None);
        };
        let path = self.config.device.as_path();
        let timeout = self.config.timeout;
        let layout = camera.layout;
        let alternate = camera.alternate;
        let stream = camera.stream.as_mut().expect("the stream lives until the camera is dropped");
        let (bytes, meta) = stream.next().map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => device(path, &format_args!("no frame for {timeout} s")),
            _ => failure(path, &e),
        })?;
        // Where fields come one by one every second one is looked at, or the picture would jump.
        if alternate && meta.field == FieldOrder::Bottom as u32 {
            return Ok(None);
        }
        let (now, wall_ms) = (self.clock.monotonic(), self.clock.wall_ms());
        let age = if meta.flags & Flags::TIMESTAMP_MASK == Flags::TIMESTAMP_MONOTONIC {
            let stamp = meta.timestamp;
            age(stamp.sec, stamp.usec, rustix::time::clock_gettime(ClockId::Monotonic))
        } else {
            Duration::ZERO
        };
        let taken = now.saturating_sub(age);
        let first = *self.first.get_or_insert(taken);
        let time = taken.saturating_sub(first).as_secs_f64().max(self.last);
        let used = (meta.bytesused as usize).min(bytes.len());
        let damage = if meta.flags.contains(Flags::ERROR) {
            Some("the driver marks the frame as damaged".to_owned())
        } else if demand.takes(time) {
            to_rgb(&layout, &bytes[..used], frame).err()
        } else {
            (self.damaged, self.last) = (0, time);
            return Ok(Some(Next::Passed));
        };
        if let Some(what) = damage {
            self.damaged += 1;
            log::debug!("{}: {what}; frame skipped", path.display());
            if self.damaged >= MAX_DAMAGED {
                return Err(device(path, &format_args!("{MAX_DAMAGED} damaged frames ({what})")));
            }
            return Ok(None);
        }
        (self.damaged, self.last) = (0, time);
        Ok(Some(Next::Frame(Stamp {
            stream: time,
            wall_ms: wall_ms.saturating_sub(age.as_millis() as u64),
            uptime_ms: taken.as_millis() as u64,
        })))
    }
}

/// How long ago a frame was taken that the driver stamped with its monotonic clock; zero if the
/// stamp makes no sense.
fn age(seconds: i64, microseconds: i64, now: Timespec) -> Duration {
    let nanoseconds = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
    let age = nanoseconds(now.tv_sec, now.tv_nsec)
        - nanoseconds(seconds, microseconds.saturating_mul(1000));
    u64::try_from(age).map(Duration::from_nanos).ok().filter(|a| *a <= MAX_AGE).unwrap_or_default()
}

impl FrameSource for V4l2 {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn next(
        &mut self,
        frame: &mut Frame,
        demand: &mut Demand,
        stop: &dyn Fn() -> bool,
    ) -> Result<Next, Error> {
        while !stop() {
            if self.camera.is_none() {
                match Camera::open(&self.config) {
                    Ok(camera) => {
                        log::info!("{}: open: {}", self.config.device.display(), camera.describe());
                        self.rate = camera.rate;
                        self.camera = Some(camera);
                    }
                    Err(e) => {
                        log::debug!("{e}; next attempt in {:.1} s", self.backoff.seconds());
                        if !self.backoff.wait(stop) {
                            break;
                        }
                        return Ok(Next::Away(e));
                    }
                }
            }
            match self.capture(frame, demand) {
                Ok(Some(next)) => {
                    self.backoff.reset();
                    return Ok(next);
                }
                Ok(None) => {}
                Err(e) => {
                    self.camera = None;
                    self.damaged = 0;
                    // An open device that gives no frames must not be reopened in a tight loop; and
                    // a signal that ends the program interrupts the wait for a frame.
                    if !self.backoff.wait(stop) {
                        break;
                    }
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
    layout: Layout,
    /// Whether a buffer holds the upper or the lower field in turn.
    alternate: bool,
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
        controls::apply(&camera, path, &config.controls);
        let (format, chosen, rate) = choose(&camera, config)?;
        let mut stream = v4l::io::mmap::Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS)
            .map_err(fail)?;
        stream.set_timeout(Duration::from_secs_f64(config.timeout));
        let layout = layout(format, &chosen);
        if layout.lines != Lines::All || is_interlaced(chosen.field_order) {
            let order = chosen.field_order;
            log::warn!("{}: the picture is made of two fields ({order})", path.display());
        }
        Ok(Self {
            stream: Some(stream),
            layout,
            alternate: matches!(chosen.field_order, FieldOrder::Alternate),
            rate,
        })
    }

    fn describe(&self) -> String {
        let Layout { format, width, height, .. } = self.layout;
        let code = format.code();
        let code = String::from_utf8_lossy(&code);
        format!("{width}x{height} {code} at {:.1} frames per second", self.rate)
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
    let wanted = config.pixel_format.map_or(PixelFormat::ALL.to_vec(), |only| vec![only]);
    for &format in &wanted {
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
        return Err(no_format(path, &offered, &wanted));
    };
    let (set, rate) = apply(camera, config, format).map_err(fail)?;
    Ok((format, set, rate))
}

/// What to say of a camera that has nothing for us.
fn no_format(path: &Path, offered: &[FourCC], wanted: &[PixelFormat]) -> Error {
    let names: Vec<String> = offered.iter().map(ToString::to_string).collect();
    let wanted: Vec<String> =
        wanted.iter().map(|f| String::from_utf8_lossy(&f.code()).into_owned()).collect();
    let advice = if !offered.is_empty() && offered.iter().all(|code| is_bayer(code.repr)) {
        "that is raw Bayer, which needs the image processor of the board's maker; use a USB camera, \
         or a driver that delivers pictures"
    } else if wanted.len() == 1 {
        "change `cameras.source.pixel_format`, or use another camera"
    } else {
        "use another camera"
    };
    Error::NoFormat {
        path: path.into(),
        offered: if names.is_empty() { "no format".into() } else { names.join(", ") },
        wanted: wanted.join(", "),
        advice,
    }
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

/// Whether both fields are in one picture, line by line: things that move have combs.
fn is_interlaced(order: FieldOrder) -> bool {
    matches!(order, FieldOrder::Interlaced | FieldOrder::InterlacedTB | FieldOrder::InterlacedBT)
}

/// What the driver says of its buffers. What it leaves open is as the kernel's rules have it: full range
/// for the colours of JPEG only, BT.709 for those of high definition.
fn layout(format: PixelFormat, set: &Format) -> Layout {
    Layout {
        format,
        width: set.width as usize,
        height: set.height as usize,
        stride: set.stride as usize,
        lines: match set.field_order {
            FieldOrder::SequentialTB => Lines::Parts(true),
            FieldOrder::SequentialBT => Lines::Parts(false),
            FieldOrder::Top | FieldOrder::Bottom | FieldOrder::Alternate => Lines::Half,
            _ => Lines::All,
        },
        full_range: match set.quantization {
            Quantization::FullRange => true,
            Quantization::LimitedRange => false,
            Quantization::Default => matches!(set.colorspace, Colorspace::JPEG),
        },
        bt709: matches!(set.colorspace, Colorspace::Rec709 | Colorspace::DCIP3),
    }
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

    fn config(path: &str) -> V4l2Config {
        V4l2Config {
            device: path.into(),
            width: 640,
            height: 480,
            frame_rate: 30.0,
            pixel_format: None,
            controls: Default::default(),
            timeout: 1.0,
        }
    }

    fn open(path: &str) -> String {
        V4l2::open(&config(path), Arc::new(ManualClock::new(0))).err().unwrap().to_string()
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
    fn waiting_for_a_camera_says_so_and_ends_with_the_program() {
        let mut source = V4l2::later(&config("/dev/video-none"), Arc::new(ManualClock::new(0)));
        let next = source.next(&mut Frame::default(), &mut Demand::all(), &|| false);
        assert!(matches!(next, Ok(Next::Away(Error::Missing(_)))), "{next:?}");
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        assert!(matches!(
            source.next(&mut Frame::default(), &mut Demand::all(), &stop),
            Ok(Next::End)
        ));
    }

    #[test]
    fn a_camera_without_a_readable_format_is_told_why() {
        let say = |offered: &[&[u8; 4]], wanted: &[PixelFormat]| {
            let offered: Vec<FourCC> = offered.iter().map(|c| FourCC::new(c)).collect();
            no_format(Path::new("/dev/video0"), &offered, wanted).to_string()
        };
        let bayer = say(&[b"RG10", b"RG12"], &PixelFormat::ALL);
        assert!(bayer.contains("offers RG10, RG12, none of YUYV, NV12, MJPG"), "{bayer}");
        assert!(bayer.contains("raw Bayer"), "{bayer}");
        let other = say(&[b"H264"], &PixelFormat::ALL);
        assert!(other.ends_with("use another camera") && !other.contains("Bayer"), "{other}");
        let one = say(&[b"YUYV"], &[PixelFormat::Nv12]);
        assert!(one.contains("none of NV12; change `cameras.source.pixel_format`"), "{one}");
        assert!(say(&[], &PixelFormat::ALL).contains("offers no format"));
    }

    #[test]
    fn what_a_driver_says_of_fields_and_colours() {
        let set = |change: fn(&mut Format)| {
            let mut format = Format::new(640, 480, FourCC::new(b"YUYV"));
            change(&mut format);
            layout(PixelFormat::Yuyv, &format)
        };
        let usual = set(|_| {});
        assert_eq!((usual.lines, usual.full_range, usual.bt709), (Lines::All, false, false));
        assert_eq!(set(|f| f.field_order = FieldOrder::SequentialBT).lines, Lines::Parts(false));
        assert_eq!(set(|f| f.field_order = FieldOrder::Alternate).lines, Lines::Half);
        assert_eq!(set(|f| f.field_order = FieldOrder::Interlaced).lines, Lines::All);
        assert!(set(|f| f.quantization = Quantization::FullRange).full_range);
        assert!(set(|f| f.colorspace = Colorspace::JPEG).full_range);
        let limited = |f: &mut Format| {
            (f.colorspace, f.quantization) = (Colorspace::JPEG, Quantization::LimitedRange);
        };
        assert!(!set(limited).full_range);
        assert!(set(|f| f.colorspace = Colorspace::Rec709).bt709);
    }

    #[test]
    fn the_age_of_a_frame() {
        let now = Timespec { tv_sec: 100, tv_nsec: 250_000_000 };
        assert_eq!(age(100, 150_000, now), Duration::from_millis(100));
        assert_eq!(age(99, 999_999, now), Duration::from_micros(250_001));
        // From the future, from another clock, from before the machine was started.
        for (seconds, microseconds) in [(101, 0), (10, 0), (-5, 0), (i64::MAX, i64::MAX)] {
            assert_eq!(age(seconds, microseconds, now), Duration::ZERO);
        }
    }
}
