//! A folder with a configuration, and the camera program running in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tests::broker::free_port;
use tests::small_bundle;
use video::{Frame, Writer};

/// Frames a second of the clips.
const RATE: usize = 10;

/// What every site has: a bundle of which motion decides, and clips.
pub struct Model {
    bundle: PathBuf,
    key: PathBuf,
    out: PathBuf,
}

impl Model {
    /// Makes them in a folder.
    pub fn make(out: &Path) -> Result<Self> {
        let out = out.canonicalize().with_context(|| out.display().to_string())?;
        let (bundle, key) = small_bundle::make(&out)?;
        // Two seconds of quiet, two of movement, two of quiet: an incident each time.
        clip(&out.join("moving.mp4"), 60, 20..40)?;
        clip(&out.join("still.mp4"), 10, 0..0)?;
        Ok(Self { bundle, key, out })
    }

    /// An empty folder for a check.
    pub fn site(&self, name: &str) -> Result<Site> {
        let folder = self.out.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (bundle, key) = (self.bundle.display(), self.key.display());
        let model = format!(
            "[model]\nbundle = \"{bundle}\"\npublic_keys = [\"{key}\"]\nbackends = [\"tract\"]\n"
        );
        Ok(Site { folder, model, web: free_port()? })
    }

    /// A clip that plays over and over, or one that ends.
    pub fn source(&self, name: &str, pace: &str, at_end: &str) -> String {
        let path = self.out.join(name);
        format!(
            "{{ type = \"file\", path = \"{}\", pace = \"{pace}\", at_end = \"{at_end}\" }}",
            path.display()
        )
    }
}

/// A clip on which a bright square jumps to and fro in `moving`.
fn clip(path: &Path, frames: usize, moving: std::ops::Range<usize>) -> Result<()> {
    let (width, height) = (128usize, 72usize);
    let mut writer = Writer::create(path, width, height, RATE as f64)?;
    for number in 0..frames {
        // It stands for two frames, so that a model of five frames a second sees it jump.
        let bright = moving.contains(&number) && number / 2 % 2 == 0;
        let luma: Vec<u8> = (0..width * height)
            .map(|i| {
                let (x, y) = (i % width, i / width);
                let ground = 60 + 40 * u8::from((x / 8 + y / 8) % 2 == 0);
                if bright && x < 40 && y < 40 { 220 } else { ground }
            })
            .collect();
        let frame = Frame::from_luma(width, height, &luma).context("a picture of the clip")?;
        writer.write(&frame)?;
    }
    Ok(writer.finish()?)
}

/// A folder for a run of the camera program.
pub struct Site {
    /// Where it is.
    pub folder: PathBuf,
    model: String,
    web: u16,
}

impl Site {
    /// Writes the configuration: lines at the top, tables, and the cameras with their sources.
    pub fn configure(&self, top: &str, tables: &str, cameras: &[(&str, &str)]) -> Result<()> {
        let mut text = format!(
            "device = \"cam-01\"\nstatus_every = 1\ntelemetry_every = 1\n\
             events_file = \"events.jsonl\"\n{top}{}[web]\nlisten = \"127.0.0.1:{}\"\n{tables}",
            self.model, self.web
        );
        for (id, source) in cameras {
            writeln!(text, "[[cameras]]\nid = \"{id}\"\nsource = {source}")?;
        }
        let path = self.folder.join("edge.toml");
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// A command of the camera program in this folder.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = tests::programs::command("edge-runtime").map_err(|e| anyhow!(e))?;
        command.current_dir(&self.folder).args(words).args(["--config", "edge.toml"]);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it; its log is added to the one in the folder.
    pub fn run(&self) -> Result<Run> {
        let path = self.folder.join("edge.log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| path.display().to_string())?;
        let child = self.command(&["run"])?.stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Run { child })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("edge.log")).unwrap_or_default()
    }

    /// What its local page gives for a path.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.web))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let host = format!("127.0.0.1:{}", self.web);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        if !head.starts_with("HTTP/1.1 200 ") {
            bail!("{path}: {}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }

    /// The status of its first camera, once there is one.
    pub fn camera(&self) -> Option<Value> {
        let status: Value = serde_json::from_str(&self.get("/api/status").ok()?).ok()?;
        status.pointer("/cameras/0").cloned()
    }

    /// Waits until the status of its first camera is as it should be; what it was.
    pub fn wait(&self, what: &str, seconds: u64, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        let found = within(seconds, || {
            last = self.camera();
            last.as_ref().is_some_and(&is)
        });
        match last {
            Some(camera) if found => Ok(camera),
            last => {
                bail!("{what}: not within {seconds} s; the camera is {}", last.unwrap_or_default())
            }
        }
    }
}

/// Whether something becomes true in time.
pub fn within(seconds: u64, mut is: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if is() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The frames that a camera has given.
pub fn frames(camera: &Value) -> u64 {
    camera["frames_total"].as_u64().unwrap_or_default()
}

/// The camera program at work, killed when it is dropped.
pub struct Run {
    child: Child,
}

impl Run {
    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { bail!("kill {name} failed ({status})") }
    }

    /// Stops it as a service manager does; it must end well.
    pub fn stop(mut self) -> Result<()> {
        self.signal("-TERM")?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("edge-runtime ended with {status}") }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may be gone already; either way it no longer runs afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
