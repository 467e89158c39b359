//! The local web server of the running program: what it answers, to whom, and what it refuses.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Maker, Running, command, free_port};
use serde_json::Value;

/// A program with a page on this port, whose camera plays a clip over and over.
fn start(dir: &Path, port: u16, web: &str) -> Running {
    let maker = Maker::new();
    std::fs::write(dir.join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.join("clip"), 40, 10..30);
    let text = format!(
        "device = \"cam-01\"\ntelemetry_every = 1\n\
         [model]\nbundle = \"model.pavad\"\npublic_keys = [\"{}\"]\n\
         [evidence]\ndir = \"evidence\"\nclip_before = 0.5\nclip_after = 0.2\n[web]\nlisten = \"127.0.0.1:{port}\"\n{web}\n\
         [[cameras]]\nid = \"door\"\n\
         source = {{ type = \"images\", path = \"clip\", at_end = \"loop\" }}\n",
        maker.key()
    );
    std::fs::write(dir.join("edge.toml"), text).unwrap();
    let mut command = command(dir);
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let run = Running::start(command.args(["run", "--config", "edge.toml"]).stderr(log));
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
    run
}

/// Sends bytes as they are; gives the code, the head and the body of the answer.
fn send(port: u16, bytes: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have answered and closed before everything was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, head, answer.get(end + 4..).unwrap_or_default().to_vec())
}

fn get(port: u16, path: &str) -> (u16, Vec<u8>) {
    let (code, _, body) =
        send(port, format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes());
    (code, body)
}

fn json(port: u16, path: &str) -> Value {
    let (code, body) = get(port, path);
    assert_eq!(code, 200, "{path}");
    serde_json::from_slice(&body).unwrap()
}

fn post(port: u16, path: &str, header: &str, body: &str) -> u16 {
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}Content-Length: {length}\r\n\r\n{body}"
    );
    send(port, text.as_bytes()).0
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Prometheus' own judgement of metrics, where it is installed.
fn approved_by_promtool(dir: &Path, text: &str) {
    let file = dir.join("metrics.txt");
    std::fs::write(&file, text).unwrap();
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(&file).unwrap());
    match promtool.output() {
        Ok(said) => {
            let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(said.status.success() && complaints.is_empty(), "{complaints}");
        }
        Err(e) => println!("skipped: promtool ({e}); it comes with the package prometheus"),
    }
}

#[test]
fn page_metrics_and_commands() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let run = start(dir.path(), port, "");
    wait("it is healthy", || get(port, "/healthz") == (200, b"ok\n".to_vec()));
    for (path, part) in [("/", "<canvas"), ("/page.js", "api/status"), ("/page.css", "canvas")] {
        let (code, body) = get(port, path);
        let text = String::from_utf8(body).unwrap();
        assert!(code == 200 && (text.contains(part) || path == "/page.css"), "{path}");
        // Nothing is asked for from anywhere else.
        assert!(!text.contains("://"), "{path}");
    }
    wait("an incident is shown with its picture", || {
        let events = json(port, "/api/events");
        let Some(last) = events.as_array().unwrap().last() else { return false };
        let path = format!("/api/evidence/door/{}", last["id"].as_str().unwrap());
        let (code, picture) = get(port, &path);
        code == 200 && image::load_from_memory(&picture).unwrap().width() == 32
    });
    wait("its clip is there when it is over", || {
        let events = json(port, "/api/events");
        let over =
            events.as_array().unwrap().iter().rfind(|event| event["phase"] == "end").cloned();
        let Some(over) = over else { return false };
        let id = over["id"].as_str().unwrap();
        assert_eq!(over["clip"], format!("door/{id}.mov"));
        let (code, clip) = get(port, &format!("/api/clip/door/{id}"));
        code == 200 && clip[4..12] == *b"ftypqt  "
    });
    let scores = json(port, "/api/scores/door");
    assert!(scores.as_array().unwrap().iter().any(|pair| pair[1].as_f64().unwrap() > 0.5));
    let (code, picture) = get(port, "/api/picture/door");
    assert_eq!((code, image::load_from_memory(&picture).unwrap().height()), (200, 32));
    wait("telemetry comes without a broker", || json(port, "/api/telemetry")["schema"] == 1);
    let (_, body) = get(port, "/metrics");
    let text = String::from_utf8(body).unwrap();
    for part in ["pavad_frames_total{camera=\"door\"} ", "pavad_resident_memory_bytes "] {
        assert!(text.contains(part), "{text}");
    }
    approved_by_promtool(dir.path(), &text);

    let threshold = "/api/cameras/door/threshold";
    assert_eq!(post(port, threshold, "X-Pavad: 1\r\n", "0.77"), 204);
    wait("the threshold is taken", || json(port, "/api/status")["cameras"][0]["threshold"] == 0.77);
    assert_eq!(post(port, "/api/cameras/door/armed", "X-Pavad: 1\r\n", "OFF"), 204);
    wait("it is disarmed", || json(port, "/api/status")["cameras"][0]["armed"] == false);
    for (path, header, body, code) in [
        (threshold, "", "0.5", 403),
        (threshold, "X-Pavad: 1\r\n", "2", 400),
        (threshold, "X-Pavad: 1\r\n", "\u{0}\u{1}", 400),
        ("/api/cameras/roof/threshold", "X-Pavad: 1\r\n", "0.5", 400),
        ("/api/cameras/door/sound", "X-Pavad: 1\r\n", "0.5", 400),
        ("/api/other", "X-Pavad: 1\r\n", "0.5", 404),
    ] {
        assert_eq!(post(port, path, header, body), code, "{path} {body:?}");
    }
    assert_eq!(json(port, "/api/status")["cameras"][0]["threshold"], 0.77);
    run.stop();
}

#[test]
fn hostile_requests() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let run = start(dir.path(), port, "");
    wait("it is healthy", || get(port, "/healthz").0 == 200);
    std::fs::write(dir.path().join("secret.jpg"), b"secret").unwrap();
    for path in [
        "/api/evidence/../secret",
        "/api/evidence/door/..%2f..%2fsecret",
        "/api/evidence/%2e%2e/secret",
        "/api/evidence/./secret",
        "/api/picture/roof",
        "/api/scores/",
        "/etc/passwd",
        "//",
    ] {
        assert_eq!(get(port, path).0, 404, "{path}");
    }
    let long = [b"GET /".to_vec(), vec![b'a'; 100_000]].concat();
    let noise: Vec<u8> =
        (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (bytes, codes) in [
        (&b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"[..], &[403][..]),
        (b"GET / HTTP/1.1\r\n\r\n", &[403]),
        (b"BREW / HTTP/1.1\r\n\r\n", &[405]),
        (b"\x16\x03\x01\x02\x00", &[400]),
        (b"POST /api HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", &[400]),
        (b"POST /api HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", &[413]),
        (&long, &[413, 0]),
        (&noise, &[400, 413, 0]),
    ] {
        let (code, head, _) = send(port, bytes);
        assert!(codes.contains(&code), "{head} for {:.60}", String::from_utf8_lossy(bytes));
    }
    // Clients that connect and say nothing do not keep others out for long.
    let silent: Vec<TcpStream> =
        (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    wait("it is healthy again", || get(port, "/healthz").0 == 200);
    drop(silent);
    let (_, body) = get(port, "/metrics");
    let text = String::from_utf8(body).unwrap();
    let refused = text.lines().find_map(|l| l.strip_prefix("pavad_web_requests_refused_total "));
    assert!(refused.unwrap().parse::<u64>().unwrap() >= 6, "{refused:?}");
    run.stop();
}

#[test]
fn a_token() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    std::fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
    let run = start(dir.path(), port, "token_file = \"token\"");
    wait("health needs no token", || get(port, "/healthz").0 == 200);
    for path in ["/", "/metrics", "/api/status", "/?token=0123456789abcdeF", "/?token="] {
        assert_eq!(get(port, path).0, 401, "{path}");
    }
    let ask = |path: &str, header: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        send(port, text.as_bytes())
    };
    assert_eq!(ask("/metrics", "Authorization: Bearer 0123456789abcdef\r\n").0, 200);
    let (code, head, _) = ask("/?token=0123456789abcdef", "");
    assert_eq!(code, 303, "{head}");
    let cookie = head.lines().find_map(|l| l.strip_prefix("Set-Cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(ask("/api/status", &format!("Cookie: {cookie}\r\n")).0, 200);
    run.stop();
}

/// A program that runs, and the text of its configuration.
struct Site {
    dir: tempfile::TempDir,
    port: u16,
    run: Running,
    text: String,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let run = start(dir.path(), port, "");
        wait("it runs", || get(port, "/healthz").0 == 200);
        let text = std::fs::read_to_string(dir.path().join("edge.toml")).unwrap();
        Self { dir, port, run, text }
    }

    /// Lets it read this configuration.
    fn reload(&self, text: &str) {
        std::fs::write(self.dir.path().join("edge.toml"), text).unwrap();
        self.run.signal("-HUP");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

#[test]
fn a_crash_is_told_at_the_next_start() {
    let site = Site::start();
    let life = site.dir.path().join("state/life.json");
    wait("a sign of life", || life.exists());
    let status = json(site.port, "/api/status");
    assert_eq!(status["last_end"], Value::Null);
    let boot = status["boot_id"].as_str().unwrap().to_owned();
    let Site { dir, port, run, .. } = site;
    run.signal("-KILL");
    drop(run);
    let mut program = command(dir.path());
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let run = Running::start(program.args(["run", "--config", "edge.toml"]).stderr(log));
    wait("it runs again", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/healthz").0 == 200
    });
    let status = json(port, "/api/status");
    assert_eq!((&status["last_end"]["how"], &status["boot_id"]), (&"crash".into(), &boot.into()));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("before this start the program ended without order"), "{log}");
    run.stop();
    let sign: Value = serde_json::from_slice(&std::fs::read(life).unwrap()).unwrap();
    assert_eq!(sign["ended"], true);
}

#[test]
fn a_configuration_is_read_again() {
    let site = Site::start();
    let port = site.port;
    let threshold = || json(port, "/api/status")["cameras"][0]["threshold"].clone();
    wait("it has its threshold", || threshold() == 0.5);
    // A wrong one changes nothing.
    site.reload("device = \"x\"\n");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(threshold(), 0.5);
    site.reload(&site.text.replace("id = \"door\"", "id = \"door\"\nthreshold = 0.66"));
    wait("the new threshold is in use", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
            && get(port, "/healthz").0 == 200
            && threshold() == 0.66
    });
    site.run.stop();
}

#[test]
fn a_reload_that_cannot_be_run_changes_nothing() {
    let site = Site::start();
    let (port, text) = (site.port, &site.text);
    let frames = || json(port, "/api/status")["cameras"][0]["frames_total"].as_u64().unwrap();
    let opened = || site.log().matches("camera door is running").count();
    // Each can be read, and told to be wrong while the other goes on.
    for (wrong, what) in [
        (
            text.replace("bundle = \"model.pavad\"", "bundle = \"gone.pavad\""),
            "gone.pavad: no such",
        ),
        (text.replace("[web]", "[web]\ntoken_file = \"no-token\""), "no-token: No such file"),
        (format!("board = \"toaster\"\n{text}"), "change `board`"),
    ] {
        let before = frames();
        site.reload(&wrong);
        wait(what, || site.log().contains(what));
        wait("frames go on", || frames() > before);
        assert_eq!(opened(), 1, "{what}: the camera was not opened again");
    }
}

#[test]
fn a_reload_that_fails_to_start_leaves_the_configuration_before() {
    let site = Site::start();
    let (port, text) = (site.port, &site.text);
    // Nobody knows before that a port is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = taken.local_addr().unwrap().port();
    site.reload(&text.replace(&port.to_string(), &other.to_string()));
    wait("it says so", || site.log().contains("the configuration before goes on"));
    wait("it runs as before", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/healthz").0 == 200
    });
    // A right one is still taken.
    site.reload(&text.replace("id = \"door\"", "id = \"gate\""));
    wait("a right one is taken", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
            && get(port, "/api/status").0 == 200
            && json(port, "/api/status")["cameras"][0]["id"] == "gate"
    });
    site.run.stop();
}

/// A browser that is driven over the W3C's WebDriver protocol.
struct Browser {
    _driver: Running,
    session: String,
}

impl Browser {
    /// Headless, with a phone's window, and unable to resolve any name. `None`, and a message, where
    /// there is none.
    fn start() -> Option<Self> {
        let program = ["/usr/bin/chromedriver", "/usr/lib/chromium-browser/chromedriver"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            println!("skipped: chromedriver is not installed");
            return None;
        };
        let port = free_port();
        let mut command = std::process::Command::new(program);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        // The browser needs the processor as it is: tests may run with instructions hidden.
        command.env_remove("LD_PRELOAD");
        let driver = Running::start(&mut command);
        wait("chromedriver listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=420,900",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ];
        let options = serde_json::json!({ "args": arguments });
        let wanted = serde_json::json!({ "goog:chromeOptions": options });
        let wanted = serde_json::json!({ "capabilities": { "alwaysMatch": wanted } });
        let made = ask(&format!("http://127.0.0.1:{port}/session"), &wanted);
        let id = made["sessionId"].as_str().unwrap();
        Some(Self { _driver: driver, session: format!("http://127.0.0.1:{port}/session/{id}") })
    }

    fn open(&self, url: &str) {
        ask(&format!("{}/url", self.session), &serde_json::json!({ "url": url }));
    }

    /// What a script returns.
    fn run(&self, script: &str) -> Value {
        let script = serde_json::json!({ "script": script, "args": [] });
        ask(&format!("{}/execute/sync", self.session), &script)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver takes the browser with it only if it is told.
        let _ = ureq::delete(&self.session).call();
    }
}

/// Posts a WebDriver command; the value of the answer.
fn ask(url: &str, body: &Value) -> Value {
    let answer = ureq::post(url).header("Content-Type", "application/json").send(body.to_string());
    let text = answer.unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["value"].clone()
}

#[test]
fn in_a_browser() {
    let Some(browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let run = start(dir.path(), port, "");
    let origin = format!("http://127.0.0.1:{port}/");
    browser.open(&origin);
    let is = |script: &str| browser.run(&format!("return {script}")) == true;
    wait("the picture appears", || is("document.querySelector('.picture')?.naturalWidth === 32"));
    let score = || browser.run("return document.querySelector('article').dataset.score");
    let first = score();
    wait("the score moves", || score() != first && score() != "");
    wait("an event with its picture", || {
        is("document.querySelector('#events img')?.naturalWidth > 0")
    });
    let events = || browser.run("return document.querySelectorAll('#events li').length");
    let before = events().as_u64().unwrap();
    wait("another event appears by itself", || events().as_u64().unwrap() > before);

    browser.run(
        "const slider = document.querySelector('input[type=range]');
         slider.value = 0.77;
         for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind));",
    );
    assert_eq!(browser.run("return document.querySelector('output').textContent"), "0.77");
    assert!(is("document.querySelector('.effect').textContent.includes('times in the last')"));
    wait("the slider changes the threshold", || {
        json(port, "/api/status")["cameras"][0]["threshold"] == 0.77
    });
    browser.run("document.querySelector('.armed input').click()");
    wait("the box disarms", || json(port, "/api/status")["cameras"][0]["armed"] == false);

    // Nothing is asked for from anywhere else, and a phone need not be scrolled sideways.
    let asked = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)");
    let asked = asked.as_array().unwrap().clone();
    assert!(asked.len() > 5, "{asked:?}");
    assert!(asked.iter().all(|name| name.as_str().unwrap().starts_with(&origin)), "{asked:?}");
    assert!(is("document.documentElement.scrollWidth <= window.innerWidth"));
    // When the program ends, the page says so.
    run.stop();
    wait("the end is told", || is("document.getElementById('health').className === 'bad'"));
}
