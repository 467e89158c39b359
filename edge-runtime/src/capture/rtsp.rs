//! Cameras in the network: RTSP by `retina`, H.264 and H.265 by FFmpeg.
//!
//! A camera that cannot be reached, or gives no frame in time, is connected to again with growing
//! waits, for as long as it takes. Every frame is decoded, since each is needed for the next; when
//! decoding falls behind the camera, frames up to a key frame are let go by undecoded, so that what is
//! looked at is never old.
//!
//! Frames are stamped by the camera's clock (RTP), tied to ours by the frame that came fastest: what
//! the network adds to others does not get into the time of the stream.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use retina::client::{
    Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
    UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef};
use tokio::runtime::{Builder, Runtime};
use url::Url;
use video::{Codec, Frame, LiveDecoder};

use super::backoff::Backoff;
use super::{Error, FrameSource, Next, Stamp};
use crate::clock::Clock;
use crate::config::{RtspConfig, Transport};

/// Rate of a stream that does not tell its own.
const DEFAULT_RATE: f64 = 25.0;
/// Longest wait before it is asked whether the program is to stop.
const STEP: Duration = Duration::from_millis(100);
/// A frame that comes later than this is let go by, up to the next key frame.
const LATE: f64 = 1.0;
/// Seconds a second by which the tie between the two clocks may drift: a thousand times what quartz
/// does, and still too slow to hide that decoding falls behind.
const DRIFT: f64 = 0.001;
/// Access units in a row that cannot be decoded after which the connection is made anew.
const MAX_DAMAGED: u32 = 300;

/// A camera in the network.
pub struct Rtsp {
    config: RtspConfig,
    clock: Arc<dyn Clock>,
    /// Taken out only to be dropped.
    stream: Option<Playing>,
    runtime: Runtime,
    rate: f64,
    backoff: Backoff,
    /// Time of the first frame, by our monotonic clock.
    first: Option<f64>,
    last: f64,
}

/// An open connection.
struct Playing {
    session: Demuxed,
    decoder: LiveDecoder,
    /// Our monotonic time at the camera's zero, by the frame that came fastest.
    tie: Option<f64>,
    /// Our time of the last frame, decoded or not.
    seen: f64,
    /// Whether nothing is decoded before the next key frame.
    waiting: bool,
    damaged: u32,
}

impl Rtsp {
    /// Connects.
    ///
    /// # Errors
    /// If the camera cannot be reached, does not let us in or has no stream that can be read.
    pub fn open(config: &RtspConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut source = Self::later(config, clock)?;
        source.connect(&|| false)?;
        Ok(source)
    }

    /// A camera that may not be there yet: it is connected to when the first frame is asked for.
    ///
    /// # Errors
    /// If the system has no place for a connection.
    pub fn later(config: &RtspConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::Stream { url: config.url.clone(), what: e.to_string() })?;
        Ok(Self {
            config: config.clone(),
            clock,
            stream: None,
            runtime,
            rate: DEFAULT_RATE,
            backoff: Backoff::new(),
            first: None,
            last: 0.0,
        })
    }

    /// Connects; `Ok(false)` if stopped meanwhile.
    fn connect(&mut self, stop: &dyn Fn() -> bool) -> Result<bool, Error> {
        let credentials = credentials(&self.config)?;
        let work = open(&self.config, credentials);
        let limit = Duration::from_secs_f64(self.config.timeout);
        let opened = self.runtime.block_on(async {
            tokio::select! {
                opened = tokio::time::timeout(limit, work) => Some(opened),
                () = stopped(stop) => None,
            }
        });
        let (session, codec, rate) = match opened {
            None => return Ok(false),
            Some(Ok(opened)) => opened?,
            Some(Err(_)) => {
                return Err(self.fail(format!("no answer in {} s", self.config.timeout)));
            }
        };
        self.rate = rate.unwrap_or(DEFAULT_RATE);
        log::info!("{}: {codec:?}, {:.1} frames per second", self.config.url, self.rate);
        self.stream = Some(Playing {
            session,
            decoder: LiveDecoder::new(codec)?,
            tie: None,
            seen: self.now(),
            waiting: true,
            damaged: 0,
        });
        Ok(true)
    }

    fn now(&self) -> f64 {
        self.clock.monotonic().as_secs_f64()
    }

    fn fail(&self, what: impl Into<String>) -> Error {
        Error::Stream { url: self.config.url.clone(), what: what.into() }
    }

    /// One frame; `None` if there was none yet, or it could not be used.
    fn receive(
        &mut self,
        frame: &mut Frame,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Stamp>, Error> {
        let Some(playing) = self.stream.as_mut() else { return Ok(None) };
        let item = self.runtime.block_on(async {
            tokio::select! {
                item = playing.session.next() => Some(item),
                () = tokio::time::sleep(STEP) => None,
                () = stopped(stop) => None,
            }
        });
        let now = self.clock.monotonic().as_secs_f64();
        let unit = match item {
            None if now > playing.seen + self.config.timeout => {
                return Err(self.fail(format!("no frame for {} s", self.config.timeout)));
            }
            None => return Ok(None),
            Some(None) => return Err(self.fail("the camera has ended the stream")),
            Some(Some(Err(e))) => return Err(failure(&self.config.url, &e)),
            Some(Some(Ok(CodecItem::VideoFrame(unit)))) => unit,
            Some(Some(Ok(_))) => return Ok(None),
        };
        let since = now - playing.seen;
        playing.seen = now;
        let time = unit.timestamp();
        let scale = f64::from(time.clock_rate().get());
        let seconds = time.elapsed() as f64 / scale;
        // The fastest frame so far; the tie is loosened a little all the time, because no two clocks
        // go alike.
        let tie = playing.tie.map_or(now - seconds, |tie| (tie + since * DRIFT).min(now - seconds));
        playing.tie = Some(tie);
        let late = now - seconds - tie;
        let key = unit.is_random_access_point();
        if !playing.waiting && (late > LATE || unit.loss() > 0) {
            log::debug!("{}: {late:.2} s late, {} packets lost", self.config.url, unit.loss());
            playing.waiting = true;
        }
        if playing.waiting {
            if !key || late > LATE {
                return Ok(None);
            }
            playing.decoder.flush();
            playing.waiting = false;
        }
        match playing.decoder.decode(unit.data(), time.elapsed(), frame) {
            Ok(None) => Ok(None),
            Ok(Some(shown)) => {
                playing.damaged = 0;
                Ok(Some(self.stamp(shown as f64 / scale + tie, now)))
            }
            Err(what) => {
                playing.waiting = true;
                playing.damaged += 1;
                log::debug!(
                    "{}: {what}; frames are skipped to the next key frame",
                    self.config.url
                );
                if playing.damaged >= MAX_DAMAGED {
                    return Err(self.fail(format!("{MAX_DAMAGED} damaged frames ({what})")));
                }
                Ok(None)
            }
        }
    }

    /// The stamp of a frame that was taken at `taken` by our clock, now being `now`.
    fn stamp(&mut self, taken: f64, now: f64) -> Stamp {
        let taken = taken.clamp(0.0, now);
        let first = *self.first.get_or_insert(taken);
        self.last = (taken - first).max(self.last);
        let age_ms = ((now - taken) * 1000.0).round() as u64;
        Stamp {
            stream: self.last,
            wall_ms: self.clock.wall_ms().saturating_sub(age_ms),
            uptime_ms: (taken * 1000.0).round() as u64,
        }
    }

    fn close(&mut self) {
        // The farewell to the camera is a task of the runtime.
        let _inside = self.runtime.enter();
        self.stream = None;
    }
}

impl Drop for Rtsp {
    fn drop(&mut self) {
        self.close();
        // Time for the farewell to be said, if the camera hears it.
        self.runtime.block_on(async { tokio::time::sleep(STEP).await });
    }
}

impl FrameSource for Rtsp {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn next(&mut self, frame: &mut Frame, stop: &dyn Fn() -> bool) -> Result<Next, Error> {
        while !stop() {
            if self.stream.is_none() {
                match self.connect(stop) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(e) => {
                        log::debug!("{e}; next attempt in {:.1} s", self.backoff.seconds());
                        if !self.backoff.wait(stop) {
                            break;
                        }
                        return Ok(Next::Away(e));
                    }
                }
            }
            match self.receive(frame, stop) {
                Ok(Some(stamp)) => {
                    self.backoff.reset();
                    return Ok(Next::Frame(stamp));
                }
                Ok(None) => {}
                Err(e) => {
                    self.close();
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

/// Comes back when the program is to stop.
async fn stopped(stop: &dyn Fn() -> bool) {
    while !stop() {
        tokio::time::sleep(STEP).await;
    }
}

/// The user name and password, read anew for each connection, so that a changed one is taken up.
fn credentials(config: &RtspConfig) -> Result<Option<Credentials>, Error> {
    let Some(username) = config.username.clone() else { return Ok(None) };
    let password = match (&config.password_file, &config.password_env) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::Password(format!("{}: {e}", path.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        (None, Some(name)) => std::env::var(name).map_err(|_| {
            Error::Password(format!("the environment has no `{name}`, the camera's password"))
        })?,
        (None, None) => String::new(),
    };
    Ok(Some(Credentials { username, password }))
}

/// Connects and asks for the first video stream that can be read.
async fn open(
    config: &RtspConfig,
    credentials: Option<Credentials>,
) -> Result<(Demuxed, Codec, Option<f64>), Error> {
    let fail = |e: &retina::Error| failure(&config.url, e);
    let wrong = |what: String| Error::Stream { url: config.url.clone(), what };
    let url = Url::parse(&config.url).map_err(|e| wrong(e.to_string()))?;
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("pavad/", env!("CARGO_PKG_VERSION")).into());
    let mut session = Session::describe(url, options).await.map_err(|e| fail(&e))?;
    let coding = |stream: &retina::client::Stream| match stream.encoding_name() {
        "h264" if stream.media() == "video" => Some(Codec::H264),
        "h265" if stream.media() == "video" => Some(Codec::H265),
        _ => None,
    };
    let streams = session.streams();
    let Some((number, codec)) = streams.iter().enumerate().find_map(|(i, s)| Some((i, coding(s)?)))
    else {
        let names: Vec<&str> = streams.iter().map(|stream| stream.encoding_name()).collect();
        return Err(wrong(format!("offers {}, neither H.264 nor H.265", names.join(", "))));
    };
    let told = streams[number].framerate().map(f64::from);
    let transport = match config.transport {
        Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
        Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
    };
    let options = SetupOptions::default().transport(transport).frame_format(FrameFormat::SIMPLE);
    session.setup(number, options).await.map_err(|e| fail(&e))?;
    let playing = session.play(PlayOptions::default()).await.map_err(|e| fail(&e))?;
    let session = playing.demuxed().map_err(|e| fail(&e))?;
    // The parameter sets may tell the rate too: seconds for each frame, as a fraction.
    let coded = match session.streams()[number].parameters() {
        Some(ParametersRef::Video(video)) => video.frame_rate(),
        _ => None,
    };
    let coded = coded.map(|(time, units)| f64::from(units) / f64::from(time));
    let rate = [told, coded].into_iter().flatten().find(|rate| (1.0..=240.0).contains(rate));
    Ok((session, codec, rate))
}

/// The first line of what `retina` says; what follows is for those who look into the connection.
fn failure(url: &str, error: &retina::Error) -> Error {
    if error.status_code() == Some(401) {
        return Error::Refused { url: url.into() };
    }
    log::debug!("{url}: {error}");
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default().to_owned();
    Error::Stream { url: url.into(), what }
}
