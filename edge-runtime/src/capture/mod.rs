//! Where frames come from: recorded videos, folders of pictures, Video4Linux devices, cameras in the
//! network.

mod backoff;
mod controls;
mod convert;
mod demand;
mod recorded;
#[cfg(feature = "rtsp")]
mod rtsp;
#[cfg(feature = "rtsp")]
mod tie;
mod v4l2;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use video::Frame;

use crate::clock::Clock;
use crate::config::{Pace, SourceConfig};

pub use convert::{Layout, Lines, PixelFormat, to_rgb};
pub use demand::Demand;
pub use recorded::Recorded;
#[cfg(feature = "rtsp")]
pub use rtsp::Rtsp;
pub use v4l2::V4l2;

/// When a frame was taken.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stamp {
    /// Seconds since the first frame of the stream; never goes back.
    pub stream: f64,
    /// Wall time in milliseconds of the Unix epoch.
    pub wall_ms: u64,
    /// Monotonic time of the device in milliseconds.
    pub uptime_ms: u64,
}

/// What a source gives next.
#[derive(Debug)]
pub enum Next {
    /// A frame was written to the buffer.
    Frame(Stamp),
    /// A frame came that is not wanted: what is in the buffer means nothing.
    Passed,
    /// The picture does not go on from where it was: a recording starts again, or the camera was
    /// lost for this reason and is being reopened.
    Gap(Option<Error>),
    /// The camera has been lost for a while and still cannot be opened, or gives nothing when it is,
    /// for this reason.
    Away(Error),
    /// The source has ended, or was told to stop.
    End,
}

/// A source of frames.
pub trait FrameSource: Send {
    /// Frames per second, as far as the source knows; 0 if it does not. May become known, or change,
    /// while frames come.
    fn rate(&self) -> f64;

    /// Waits for the next frame and, if `demand` takes it, writes it to `frame`, which takes its size.
    /// Returns [`Next::End`] soon after `stop` says so.
    ///
    /// # Errors
    /// If the source is damaged and cannot go on. A lost camera is not an error but a
    /// [`Next::Gap`].
    fn next(
        &mut self,
        frame: &mut Frame,
        demand: &mut Demand,
        stop: &dyn Fn() -> bool,
    ) -> Result<Next, Error>;
}

/// What happens to frames that come faster than they are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The source waits.
    Lossless,
    /// Old frames are dropped and counted.
    Newest,
}

/// Why a source gives no frames. Each message is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recorded source cannot be read.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// The device is not there.
    #[error("{0}: no such device; plug the camera in or change `cameras.source.device`")]
    Missing(PathBuf),
    /// The device may not be used.
    #[error("{0}: permission denied; add the user to the group `video`")]
    Denied(PathBuf),
    /// The device is there but is no camera.
    #[error("{path}: {what} is not a capture device; see `v4l2-ctl --list-devices`")]
    NotACamera {
        /// The device.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The device has no pixel format that this program reads.
    #[error("{path}: offers {offered}, none of {wanted}; {advice}")]
    NoFormat {
        /// The device.
        path: PathBuf,
        /// What it has.
        offered: String,
        /// What is read.
        wanted: String,
        /// What to do.
        advice: &'static str,
    },
    /// The device failed.
    #[error("{path}: {what}; check the cable and the kernel log")]
    Device {
        /// The device.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// A camera in the network cannot be reached, or its stream ended.
    #[error("{url}: {what}; check the camera, its network and `cameras.source.url`")]
    Stream {
        /// Its address, which has no password.
        url: String,
        /// What happened.
        what: String,
    },
    /// A camera in the network does not let us in.
    #[error("{url}: the camera refuses the user name or the password; check `cameras.source`")]
    Refused {
        /// Its address.
        url: String,
    },
    /// The password cannot be had.
    #[error("{0}")]
    Password(String),
    /// This program was built without the `rtsp` feature.
    #[error("{0}: this program was built without the `rtsp` feature and reads no network cameras")]
    NoRtsp(String),
}

/// What happens to frames of a source that come too fast.
pub fn delivery(config: &SourceConfig) -> Delivery {
    match config {
        SourceConfig::File(file) | SourceConfig::Images(file) if file.pace == Pace::Fast => {
            Delivery::Lossless
        }
        _ => Delivery::Newest,
    }
}

/// Opens a source.
///
/// # Errors
/// If it cannot be read or is not there.
pub fn open(
    config: &SourceConfig,
    clock: &Arc<dyn Clock>,
) -> Result<(Box<dyn FrameSource>, Delivery), Error> {
    Ok((open_until(config, clock, &|| false)?, delivery(config)))
}

/// Opens a source; a camera in the network is no longer waited for when `stop` says so, and may then
/// not be there yet.
///
/// # Errors
/// As [`open`].
pub fn open_until(
    config: &SourceConfig,
    clock: &Arc<dyn Clock>,
    stop: &dyn Fn() -> bool,
) -> Result<Box<dyn FrameSource>, Error> {
    match config {
        SourceConfig::V4l2(device) => Ok(Box::new(V4l2::open(device, Arc::clone(clock))?)),
        #[cfg(feature = "rtsp")]
        SourceConfig::Rtsp(stream) => {
            Ok(Box::new(Rtsp::open_until(stream, Arc::clone(clock), stop)?))
        }
        _ => later(config, clock),
    }
}

/// A source whose camera may not be there yet: it is opened when its first frame is asked for, and
/// waited for. A recording is opened now.
///
/// # Errors
/// If a recording cannot be read, or this program reads no such sources.
pub fn later(config: &SourceConfig, clock: &Arc<dyn Clock>) -> Result<Box<dyn FrameSource>, Error> {
    Ok(match config {
        SourceConfig::File(file) | SourceConfig::Images(file) => {
            Box::new(Recorded::open(file, Arc::clone(clock))?)
        }
        SourceConfig::V4l2(device) => Box::new(V4l2::later(device, Arc::clone(clock))),
        #[cfg(feature = "rtsp")]
        SourceConfig::Rtsp(stream) => Box::new(Rtsp::later(stream, Arc::clone(clock))?),
        #[cfg(not(feature = "rtsp"))]
        SourceConfig::Rtsp(stream) => return Err(Error::NoRtsp(stream.shown())),
    })
}

/// Sleeps, but not past a stop by more than a tenth of a second. Returns false if stopped.
fn sleep(mut time: Duration, stop: &dyn Fn() -> bool) -> bool {
    const STEP: Duration = Duration::from_millis(100);
    while !stop() {
        if time.is_zero() {
            return true;
        }
        let part = time.min(STEP);
        std::thread::sleep(part);
        time -= part;
    }
    false
}
