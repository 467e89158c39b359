//! Cameras in the network: RTSP by `retina`, H.264 and H.265 by FFmpeg.
//!
//! A camera that cannot be reached, or gives no frame in time, is connected to again with growing
//! waits, for as long as it takes. Every frame is decoded, since each is needed for the next; when
//! decoding falls behind the camera, frames up to a key frame are let go by undecoded, so that what is
//! looked at is never old.
//!
//! What becomes of a frame, and when it was taken, [`super::tie`] decides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use retina::client::{
    Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
    UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame};
use tokio::runtime::{Builder, Runtime};
use url::Url;
use video::{Codec, Frame, LiveDecoder};

use super::backoff::Backoff;
use super::tie::{MAX_DAMAGED, Step, Tie, Unit};
use super::{Demand, Error, FrameSource, Next, Stamp};
use crate::clock::Clock;
use crate::config::{RtspConfig, Transport};

/// Longest wait before it is asked whether the program is to stop.
const STEP: Duration = Duration::from_millis(100);
/// A frame that came after so many seconds was waited for; a shorter time is that of reading it.
const WAITED: f64 = 0.002;
/// Seconds over which the rate of a camera that does not tell its own is measured.
const MEASURED_OVER: f64 = 2.0;
/// Stamp of a picture that is not shown.
const UNDATED: i64 = i64::MAX;

/// A camera in the network.
pub struct Rtsp {
    config: RtspConfig,
    clock: Arc<dyn Clock>,
    /// Taken out only to be dropped.
    stream: Option<Playing>,
    /// Taken out only to be shut down.
    runtime: Option<Runtime>,
    /// 0 if it is not known yet.
    rate: f64,
    backoff: Backoff,
    /// Time of the first frame, by our monotonic clock.
    first: Option<f64>,
    last: f64,
}

/// An open connection.
struct Playing {
    session: Demuxed,
    /// Number of the stream in the session.
    number: usize,
    decoder: LiveDecoder,
    tie: Tie,
    /// A unit that is handed to the tie again, and whether it was waited for.
    held: Option<(VideoFrame, bool)>,
    /// Time of the first picture and pictures since, while the rate is measured.
    measured: Option<(f64, u32)>,
}

/// What came of waiting for a frame.
enum Received {
    /// Nothing that can be used.
    Nothing,
    /// A frame, written to the buffer.
    Frame(Stamp),
    /// A frame that is not wanted.
    Passed,
    /// The picture does not go on.
    Gap,
}

impl Rtsp {
    /// Connects.
    ///
    /// # Errors
    /// If the camera cannot be reached, does not let us in or has no stream that can be read.
    pub fn open(config: &RtspConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_until(config, clock, &|| false)
    }

    /// As [`Rtsp::open`]; not connected if `stop` says so meanwhile.
    ///
    /// # Errors
    /// As [`Rtsp::open`].
    pub fn open_until(
        config: &RtspConfig,
        clock: Arc<dyn Clock>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let mut source = Self::later(config, clock)?;
        source.connect(stop)?;
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
            .map_err(|e| Error::Stream { url: config.shown(), what: e.to_string() })?;
        Ok(Self {
            config: config.clone(),
            clock,
            stream: None,
            runtime: Some(runtime),
            rate: 0.0,
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
        let Some(runtime) = &self.runtime else { return Ok(false) };
        let opened = runtime.block_on(async {
            tokio::select! {
                opened = tokio::time::timeout(limit, work) => Some(opened),
                () = stopped(stop) => None,
            }
        });
        let Opened { session, number, codec, rate } = match opened {
            None => return Ok(false),
            Some(Ok(opened)) => opened?,
            Some(Err(_)) => {
                return Err(self.fail(format!("no answer in {} s", self.config.timeout)));
            }
        };
        self.rate = rate.unwrap_or_default();
        let told = rate.map_or("it tells no rate".into(), |rate| format!("{rate:.1} a second"));
        log::info!("{}: {codec:?}, {told}", self.config.shown());
        self.stream = Some(Playing {
            session,
            number,
            decoder: LiveDecoder::new(codec)?,
            tie: Tie::new(self.config.timeout, self.now()),
            held: None,
            measured: None,
        });
        Ok(true)
    }

    fn now(&self) -> f64 {
        self.clock.monotonic().as_secs_f64()
    }

    fn fail(&self, what: impl Into<String>) -> Error {
        Error::Stream { url: self.config.shown(), what: what.into() }
    }

    /// Waits a little for a frame.
    fn receive(
        &mut self,
        frame: &mut Frame,
        demand: &mut Demand,
        stop: &dyn Fn() -> bool,
    ) -> Result<Received, Error> {
        let wanted = !demand.is_nothing();
        let (unit, waited) = match self.unit(stop)? {
            Some(unit) => unit,
            None => {
                let now = self.now();
                let step = self.stream.as_mut().map(|playing| playing.tie.silence(wanted, now));
                return match step {
                    Some(Step::Lost(why)) => Err(self.fail(why)),
                    _ => Ok(Received::Nothing),
                };
            }
        };
        let now = self.now();
        let Some(playing) = self.stream.as_mut() else { return Ok(Received::Nothing) };
        let time = unit.timestamp();
        let told = Unit {
            stamp: time.elapsed() as f64 / f64::from(time.clock_rate().get()),
            key: unit.is_random_access_point(),
            whole: unit.loss() == 0,
            waited,
            wanted,
        };
        // Microseconds of the camera's clock go through the decoder: it may hold a picture back, and by
        // the time that it comes the tie is better known.
        let (pts, tie) = match playing.tie.unit(&told, now) {
            Step::Skip => return Ok(Received::Nothing),
            Step::Undated => (UNDATED, 0.0),
            Step::Deliver { taken, flush } => {
                if flush {
                    playing.decoder.flush();
                }
                ((told.stamp * 1e6).round() as i64, taken - told.stamp)
            }
            Step::TieAgain(why) => {
                log::warn!("{}: {why}; its clock is tied to ours again", self.config.shown());
                playing.held = Some((unit, waited));
                return Ok(Received::Gap);
            }
            Step::Lost(why) => return Err(self.fail(why)),
        };
        let decoded = playing.decoder.decode(unit.data(), pts);
        let has_parameters = unit.has_new_parameters();
        let shown = match decoded {
            Ok(Some(UNDATED) | None) => return Ok(Received::Nothing),
            Ok(Some(shown)) => shown as f64 / 1e6 + tie,
            Err(what) => return self.damaged(&what),
        };
        playing.tie.shown(now);
        self.learn_rate(has_parameters, shown);
        let stamp = self.stamp(shown, now);
        if !demand.takes(stamp.stream) {
            return Ok(Received::Passed);
        }
        let Some(playing) = self.stream.as_mut() else { return Ok(Received::Nothing) };
        match playing.decoder.picture(frame) {
            Ok(()) => Ok(Received::Frame(stamp)),
            Err(what) => self.damaged(&what),
        }
    }

    /// The next access unit and whether it was waited for; `None` if there is none yet.
    fn unit(&mut self, stop: &dyn Fn() -> bool) -> Result<Option<(VideoFrame, bool)>, Error> {
        let before = self.now();
        let Some(playing) = self.stream.as_mut() else { return Ok(None) };
        if let Some(held) = playing.held.take() {
            return Ok(Some(held));
        }
        let Some(runtime) = &self.runtime else { return Ok(None) };
        let item = runtime.block_on(async {
            tokio::select! {
                item = playing.session.next() => Some(item),
                () = tokio::time::sleep(STEP) => None,
                () = stopped(stop) => None,
            }
        });
        match item {
            None | Some(Some(Ok(CodecItem::VideoFrame(_)))) => {}
            Some(None) => return Err(self.fail("the camera has ended the stream")),
            Some(Some(Err(e))) => return Err(failure(&self.config, &e)),
            Some(Some(Ok(_))) => return Ok(None),
        }
        let Some(Some(Ok(CodecItem::VideoFrame(unit)))) = item else { return Ok(None) };
        Ok(Some((unit, self.now() > before + WAITED)))
    }

    /// Notes a unit that cannot be decoded.
    fn damaged(&mut self, what: &str) -> Result<Received, Error> {
        let url = self.config.shown();
        log::debug!("{url}: {what}; frames are skipped to the next key frame");
        if self.stream.as_mut().is_some_and(|playing| playing.tie.damaged()) {
            return Err(self.fail(format!("{MAX_DAMAGED} damaged frames in a row ({what})")));
        }
        Ok(Received::Nothing)
    }

    /// Learns the rate of a camera that has not told it: from the parameter sets that come with the
    /// pictures, or from the pictures, of which one was taken at `taken`.
    fn learn_rate(&mut self, has_parameters: bool, taken: f64) {
        if self.rate > 0.0 {
            return;
        }
        let Some(playing) = &mut self.stream else { return };
        if (has_parameters || playing.measured.is_none())
            && let Some(rate) = coded_rate(&playing.session, playing.number)
        {
            self.rate = rate;
            return;
        }
        let (first, frames) = *playing.measured.get_or_insert((taken, 0));
        if taken - first >= MEASURED_OVER && frames > 0 {
            self.rate = f64::from(frames) / (taken - first);
            return;
        }
        playing.measured = Some((first, frames + 1));
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
        let _inside = self.runtime.as_ref().map(Runtime::enter);
        self.stream = None;
    }
}

impl Drop for Rtsp {
    fn drop(&mut self) {
        let connected = self.stream.is_some();
        self.close();
        let Some(runtime) = self.runtime.take() else { return };
        if connected {
            // Time for the farewell to be said, if the camera hears it.
            runtime.block_on(async { tokio::time::sleep(STEP).await });
        }
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
    }
}

impl FrameSource for Rtsp {
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
            match self.receive(frame, demand, stop) {
                Ok(Received::Frame(stamp)) => {
                    self.backoff.reset();
                    return Ok(Next::Frame(stamp));
                }
                Ok(Received::Passed) => {
                    self.backoff.reset();
                    return Ok(Next::Passed);
                }
                Ok(Received::Gap) => return Ok(Next::Gap(None)),
                Ok(Received::Nothing) => {}
                Err(e) => {
                    let began = self.stream.as_ref().is_some_and(|playing| playing.tie.began());
                    self.close();
                    if !self.backoff.wait(stop) {
                        break;
                    }
                    // A connection of which nothing was ever seen is none.
                    return Ok(if began { Next::Gap(Some(e)) } else { Next::Away(e) });
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

/// A session that plays a stream.
struct Opened {
    session: Demuxed,
    /// Number of the stream.
    number: usize,
    codec: Codec,
    rate: Option<f64>,
}

/// Rates that are believed.
fn is_rate(rate: &f64) -> bool {
    (1.0..=240.0).contains(rate)
}

/// The rate that a stream's parameter sets tell: seconds for each frame, as a fraction.
fn coded_rate(session: &Demuxed, number: usize) -> Option<f64> {
    let Some(ParametersRef::Video(video)) = session.streams()[number].parameters() else {
        return None;
    };
    video.frame_rate().map(|(time, units)| f64::from(units) / f64::from(time)).filter(is_rate)
}

/// Connects and asks for the first video stream that can be read.
async fn open(config: &RtspConfig, credentials: Option<Credentials>) -> Result<Opened, Error> {
    let fail = |e: &retina::Error| failure(config, e);
    let wrong = |what: String| Error::Stream { url: config.shown(), what };
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
    let rate = told.filter(is_rate).or_else(|| coded_rate(&session, number));
    Ok(Opened { session, number, codec, rate })
}

/// The first line of what `retina` says; what follows is for those who look into the connection.
fn failure(config: &RtspConfig, error: &retina::Error) -> Error {
    let url = config.shown();
    if error.status_code() == Some(401) {
        return Error::Refused { url };
    }
    let text = without_secrets(&error.to_string(), &config.url);
    log::debug!("{url}: {text}");
    let what = text.lines().next().unwrap_or_default().to_owned();
    Error::Stream { url, what }
}

/// A text without the path and query of an address, whole and in parts: cameras have passwords in them.
fn without_secrets(text: &str, url: &str) -> String {
    const HIDDEN: &str = "...";
    /// What is shorter is no secret, and too likely to be part of a word.
    const LEAST: usize = 4;
    let rest = url.strip_prefix("rtsp://").unwrap_or(url);
    let Some((_, path)) = rest.split_once('/') else { return text.to_owned() };
    let mut parts: Vec<&str> = vec![path];
    parts.extend(path.split(|c: char| !c.is_alphanumeric()));
    parts.retain(|part| part.len() >= LEAST);
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(text.to_owned(), |text, part| text.replace(part, HIDDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_paths_and_queries_are_not_repeated() {
        let config = |url: &str| RtspConfig {
            url: url.into(),
            username: None,
            password_file: None,
            password_env: None,
            transport: Transport::Tcp,
            timeout: 5.0,
        };
        for url in [
            "rtsp://10.0.0.5:554/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream",
            "rtsp://10.0.0.5:554/live?token=tlJwpbo6&stream=1",
            "rtsp://10.0.0.5:554/tlJwpbo6/0",
        ] {
            let shown = config(url).shown();
            assert_eq!(shown, "rtsp://10.0.0.5:554/...");
            let path = url.split_once("554/").unwrap().1;
            let said = format!("404 response to DESCRIBE {url}, /{path}: no tlJwpbo6 here");
            let text = without_secrets(&said, url);
            assert!(!text.contains(path) && !text.contains("tlJwpbo6"), "{text}");
            assert!(text.starts_with("404 response to DESCRIBE rtsp://10.0.0.5:554/"), "{text}");
        }
        assert_eq!(config("rtsp://cam:8554").shown(), "rtsp://cam:8554");
        assert_eq!(config("rtsp://cam/").shown(), "rtsp://cam");
        assert_eq!(without_secrets("no route", "rtsp://cam"), "no route");
    }
}
