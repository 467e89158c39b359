//! Another program, which says its version, then `ready`, and ends with its standard input.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longest time until a peer is ready; Home Assistant takes the longest, minutes on a busy machine.
const READY: Duration = Duration::from_secs(300);

/// A running peer, killed when it is dropped.
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
    /// As it has said itself.
    pub version: String,
}

impl Peer {
    /// Starts it and waits until it is ready.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| name.clone())?;
        let output = child.stdout.take().context("the peer's output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self { child, lines, version: String::new() };
        let until = Instant::now() + READY;
        loop {
            match peer.line(until.saturating_duration_since(Instant::now())) {
                Some(line) if line == "ready" => return Ok(peer),
                Some(line) => peer.version = line,
                None => bail!("{name} is not ready after {} s, or has ended", READY.as_secs()),
            }
        }
    }

    /// Its next line; none if there is none in time, or it has ended.
    pub fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // As a power cut would.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of `tests/interop`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}
