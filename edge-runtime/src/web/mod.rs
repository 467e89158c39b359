//! The local web server: health, metrics, and a page that shows what the cameras see.
//!
//! It answers one request a connection, from a few threads, with everything bounded: the size of a
//! request, the time it may take, the number at once. It binds to loopback unless it is told
//! otherwise, and then demands a token. The page is static files inside the program; it asks for
//! nothing from anywhere else.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /healthz` | 200 while the frames of a camera are looked at, `ok` or `overloaded`, else 503; without a token |
//! | `GET /metrics` | Prometheus text format |
//! | `GET /` | the page |
//! | `GET /api/status`, `/api/telemetry`, `/api/events` | the newest messages, as published |
//! | `GET /api/scores/<camera>` | `[[time_ms, highest score], ...]`, a value a second, the last hour |
//! | `GET /api/picture/<camera>` | the picture now, JPEG |
//! | `GET /api/evidence/<camera>/<incident>` | the picture of an incident, JPEG |
//! | `GET /api/clip/<camera>/<incident>` | its clip, QuickTime; 404 until it is complete |
//! | `POST /api/cameras/<camera>/threshold`, `.../armed` | a command, as over MQTT |
//!
//! A page of another site must not be able to command the camera through the browser of somebody who
//! can reach it: the `Host` of a server on loopback must be loopback, and a `POST` needs the header
//! `X-Pavad`, which no page may send across sites unasked.

mod live;
mod metrics;
mod request;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alert_wire::{Setting, check_id};

use crate::control::{Command, CommandCounters, Refusal};
use crate::engine::Hub;
use crate::error::Error;

pub use live::{Live, Picture};
pub use request::{MAX_BODY, MAX_HEAD, Method, Request, RequestError};

/// Connections that are served at once; more are turned away.
const CONNECTIONS: usize = 16;
/// Longest time for a request to come, and for the answer to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// More of it for every mebibyte of an answer: clips are large, and networks slow.
const PER_MEBIBYTE: Duration = Duration::from_secs(5);
/// Bytes that are sent before the time is looked at.
const PIECE: usize = 64 << 10;
/// Longest wait for a picture.
const PICTURE: Duration = Duration::from_secs(3);
/// Time without a round of the inference thread after which the program is not healthy.
const UNHEALTHY: Duration = Duration::from_secs(15);

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// Nothing from anywhere else, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What the server serves.
pub struct WebSetup {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What a request must know, if anything.
    pub token: Option<String>,
    /// Ids of the cameras, in order.
    pub cameras: Vec<String>,
    /// What the inference thread tells.
    pub live: Arc<Live>,
    /// Where commands go.
    pub hub: Arc<Hub>,
    /// What became of commands.
    pub counters: Arc<CommandCounters>,
    /// Folder of pictures of incidents.
    pub evidence: Option<PathBuf>,
}

/// A running server; it listens until it is dropped.
pub struct Web {
    address: SocketAddr,
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

struct Server {
    setup: WebSetup,
    open: AtomicUsize,
    refused: AtomicU64,
    stop: AtomicBool,
}

/// Status, content type, further headers, body.
struct Answer {
    status: &'static str,
    kind: &'static str,
    more: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn ok(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: "200 OK", kind, more: Vec::new(), body: body.into() }
    }

    fn error(status: &'static str, message: &str) -> Self {
        let body = format!("{message}\n").into_bytes();
        Self { status, kind: "text/plain; charset=utf-8", more: Vec::new(), body }
    }

    fn not_found() -> Self {
        Self::error("404 Not Found", "there is no such thing here")
    }
}

impl Web {
    /// Listens, and serves from threads of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn start(setup: WebSetup) -> Result<Self, Error> {
        let fail = |e: std::io::Error, at: SocketAddr| {
            Error::Unavailable(format!("web {at}: {e}; change `web.listen`"))
        };
        let listener = TcpListener::bind(setup.listen).map_err(|e| fail(e, setup.listen))?;
        let address = listener.local_addr().map_err(|e| fail(e, setup.listen))?;
        let (open, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        let server = Arc::new(Server { setup, open, refused, stop: AtomicBool::new(false) });
        let own = Arc::clone(&server);
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if own.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    match stream {
                        Ok(stream) => own.accept(stream),
                        // Too many open files, say: others may be closed meanwhile.
                        Err(_) => std::thread::sleep(Duration::from_millis(100)),
                    }
                }
            })
            .map_err(|e| Error::Failed(format!("no thread for the web server: {e}")))?;
        log::info!("web: http://{address}/");
        Ok(Self { address, server, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for somebody to connect.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Server {
    fn accept(self: &Arc<Self>, mut stream: TcpStream) {
        let patience = Some(PATIENCE);
        if stream.set_read_timeout(patience).and(stream.set_write_timeout(patience)).is_err() {
            return;
        }
        if self.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            self.open.fetch_sub(1, Ordering::SeqCst);
            let busy = Answer::error("503 Service Unavailable", "too many connections");
            return respond(&mut stream, &busy, false);
        }
        let server = Arc::clone(self);
        let thread = std::thread::Builder::new().name("web request".into()).spawn(move || {
            server.serve(&mut stream);
            server.open.fetch_sub(1, Ordering::SeqCst);
        });
        if thread.is_err() {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn serve(&self, stream: &mut TcpStream) {
        let (answer, head_only) = match read(stream) {
            Ok(request) => {
                // A fault in an answer must not keep its place among the open connections.
                let work = std::panic::AssertUnwindSafe(|| self.answer(&request));
                let answer = std::panic::catch_unwind(work).unwrap_or_else(|_| {
                    Answer::error("500 Internal Server Error", "failed in an unforeseen way")
                });
                (answer, request.method == Method::Head)
            }
            Err(RequestError::Closed) => return,
            Err(e) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                (Answer::error(e.status(), &e.to_string()), false)
            }
        };
        respond(stream, &answer, head_only);
    }

    fn answer(&self, request: &Request) -> Answer {
        let setup = &self.setup;
        if request.path == "/healthz" {
            return self.health();
        }
        if let Err(answer) = self.admit(request) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return answer;
        }
        let levels: Vec<&str> = request.path.split('/').skip(1).take(6).collect();
        if request.method == Method::Post {
            return match levels[..] {
                ["api", "cameras", camera, setting] => self.command(request, camera, setting),
                _ => Answer::not_found(),
            };
        }
        const JSON: &str = "application/json";
        match levels[..] {
            [""] => {
                let mut page = Answer::ok("text/html; charset=utf-8", PAGE);
                if let (Some(token), Some(given)) = (&setup.token, request.query("token")) {
                    // Out of the address, where it would be seen and kept.
                    let cookie = format!("pavad={given}; HttpOnly; SameSite=Strict; Path=/");
                    debug_assert_eq!(token, given);
                    page.more.push(("Set-Cookie", cookie));
                    page.more.push(("Location", "/".into()));
                    page.status = "303 See Other";
                }
                page
            }
            ["page.js"] => Answer::ok("text/javascript; charset=utf-8", SCRIPT),
            ["page.css"] => Answer::ok("text/css; charset=utf-8", STYLE),
            ["metrics"] => {
                let text = metrics::text(&setup.live, self.refused.load(Ordering::Relaxed));
                Answer::ok("text/plain; version=0.0.4; charset=utf-8", text)
            }
            ["api", "status"] => Answer::ok(JSON, setup.live.status()),
            ["api", "telemetry"] => Answer::ok(JSON, setup.live.telemetry()),
            ["api", "events"] => Answer::ok(JSON, setup.live.events()),
            ["api", "scores", camera] => match self.camera(camera) {
                Some(number) => Answer::ok(JSON, setup.live.scores(number)),
                None => Answer::not_found(),
            },
            ["api", "picture", camera] => match self.camera(camera) {
                Some(number) => self.picture(number),
                None => Answer::not_found(),
            },
            ["api", "evidence", camera, incident] => {
                self.evidence(camera, incident, "jpg", "image/jpeg")
            }
            ["api", "clip", camera, incident] => {
                self.evidence(camera, incident, "mov", "video/quicktime")
            }
            _ => Answer::not_found(),
        }
    }

    /// Whether a request may be answered at all.
    fn admit(&self, request: &Request) -> Result<(), Answer> {
        let host = request.host.as_deref().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        let local = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
        if self.setup.listen.ip().is_loopback() && !local {
            return Err(Answer::error("403 Forbidden", "this server is for its own machine only"));
        }
        if request.method == Method::Post && !request.has_header {
            return Err(Answer::error("403 Forbidden", "a command needs the header X-Pavad"));
        }
        let Some(token) = &self.setup.token else { return Ok(()) };
        let given = [&request.bearer, &request.cookie, &request.query("token").map(String::from)];
        if given.into_iter().flatten().any(|given| same(given.as_bytes(), token.as_bytes())) {
            return Ok(());
        }
        let mut answer = Answer::error("401 Unauthorized", "open the page with /?token=...");
        answer.more.push(("WWW-Authenticate", "Bearer".into()));
        Err(answer)
    }

    fn camera(&self, id: &str) -> Option<usize> {
        self.setup.cameras.iter().position(|camera| camera == id)
    }

    fn health(&self) -> Answer {
        let live = &self.setup.live;
        let why = match live.since_round() {
            Some(age) if age < UNHEALTHY => live.unwatched(),
            _ => Some("no frame is looked at"),
        };
        match why {
            // Frames are looked at, if not all.
            None if live.overloaded() => Answer::ok("text/plain; charset=utf-8", "overloaded\n"),
            None => Answer::ok("text/plain; charset=utf-8", "ok\n"),
            Some(why) => Answer::error("503 Service Unavailable", why),
        }
    }

    fn command(&self, request: &Request, camera: &str, setting: &str) -> Answer {
        let parse = || {
            let camera = self.camera(camera).ok_or(Refusal::UnknownCamera)?;
            let setting = Setting::from_level(setting).ok_or(Refusal::UnknownTopic)?;
            let text = std::str::from_utf8(&request.body).map_err(|_| Refusal::NotText)?;
            let command = Command::setting(camera, setting, text.trim())?;
            if self.setup.hub.command(command) { Ok(()) } else { Err(Refusal::Busy) }
        };
        let result = parse();
        let said = result.as_ref().err().map(ToString::to_string);
        self.setup.counters.count("web", result);
        match said {
            None => Answer { status: "204 No Content", ..Answer::ok("text/plain", "") },
            Some(why) => Answer::error("400 Bad Request", &why),
        }
    }

    fn picture(&self, camera: usize) -> Answer {
        match self.setup.live.picture(camera, Instant::now() + PICTURE) {
            Some(jpeg) => Answer::ok("image/jpeg", jpeg.to_vec()),
            None => Answer::error("503 Service Unavailable", "the camera gives no picture"),
        }
    }

    fn evidence(
        &self,
        camera: &str,
        incident: &str,
        ending: &str,
        content: &'static str,
    ) -> Answer {
        // Ids have neither dots nor slashes, so nothing outside the folder can be named.
        let (Some(folder), Ok(()), Ok(())) =
            (&self.setup.evidence, check_id(camera), check_id(incident))
        else {
            return Answer::not_found();
        };
        match std::fs::read(folder.join(camera).join(format!("{incident}.{ending}"))) {
            Ok(bytes) => Answer::ok(content, bytes),
            Err(_) => Answer::not_found(),
        }
    }
}

/// Compares in a time that does not tell how much of a guess was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

/// Reads one request, of bounded size and within [`PATIENCE`].
fn read(stream: &mut TcpStream) -> Result<Request, RequestError> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        if let Some(request) = Request::parse(&bytes)? {
            return Ok(request);
        }
        if bytes.len() > MAX_HEAD + MAX_BODY {
            return Err(RequestError::TooLarge);
        }
        if Instant::now() > until {
            return Err(RequestError::TooSlow);
        }
        match stream.read(&mut buffer) {
            Ok(0) if bytes.is_empty() => return Err(RequestError::Closed),
            Ok(0) => return Err(RequestError::Malformed),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(_) if bytes.is_empty() => return Err(RequestError::Closed),
            Err(_) => return Err(RequestError::TooSlow),
        }
    }
}

/// Sends an answer within [`PATIENCE`], or a little more for every mebibyte; a reader that takes longer is
/// cut off.
fn respond(stream: &mut TcpStream, answer: &Answer, head_only: bool) {
    let mut head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: {POLICY}\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    for (name, value) in &answer.more {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body: &[u8] = if head_only { &[] } else { &answer.body };
    let until = Instant::now() + PATIENCE + PER_MEBIBYTE * (body.len() >> 20) as u32;
    // Whoever asked may have gone away, or be too slow.
    let sent = send(stream, head.as_bytes(), until) && send(stream, body, until);
    let how = if sent { std::net::Shutdown::Write } else { std::net::Shutdown::Both };
    let _ = stream.shutdown(how);
}

/// Sends bytes; false if they are not taken in time. The system's limit is for each piece: a reader that
/// takes a byte now and then would stay for ever.
fn send(stream: &mut TcpStream, bytes: &[u8], until: Instant) -> bool {
    let mut left = bytes;
    while !left.is_empty() {
        let time = until.saturating_duration_since(Instant::now());
        if time.is_zero() || stream.set_write_timeout(Some(time)).is_err() {
            return false;
        }
        match stream.write(&left[..left.len().min(PIECE)]) {
            Ok(0) | Err(_) => return false,
            Ok(count) => left = &left[count..],
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A little now and then, so that no single write waits for long.
                let mut some = vec![0; 64 << 10];
                while !done.load(Ordering::SeqCst) && reader.read(&mut some).is_ok_and(|n| n > 0) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let began = Instant::now();
            let sent = send(&mut stream, &vec![7; 256 << 20], began + Duration::from_secs(1));
            done.store(true, Ordering::SeqCst);
            let took = began.elapsed();
            assert!(!sent && took < Duration::from_secs(3), "{sent} after {took:?}");
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        assert!(send(&mut stream, b"quick", Instant::now() + PATIENCE));
        drop(stream);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "quick");
    }
}
