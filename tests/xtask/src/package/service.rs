//! The service as systemd starts it: its own command line, as its own user, told where to say that it
//! is ready, fed a watchdog, and stopped by SIGTERM.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::time::{Duration, Instant};

use super::{Arch, NAME, io};
use crate::debian_root::{DebianRoot, as_root, done};
use crate::shell::{Failure, root as workspace};

/// For loading the model and the first frame: an emulated processor takes its time.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// As `TimeoutStopSec` of the unit.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// The program ends between two frames, and an emulated processor takes up to half a minute for one.
const EMULATED_STOPPED_WITHIN: Duration = Duration::from_secs(180);
/// The service manager's patience, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC=30000000";
const SOCKET: &str = "/run/check/notify";

/// Starts the service's program and stops it again.
pub fn start_and_stop(root: &DebianRoot, arch: Arch) -> Result<String, Failure> {
    let limit = match arch {
        Arch::Amd64 => STOPPED_WITHIN,
        Arch::Arm64 => EMULATED_STOPPED_WITHIN,
    };
    let unit = root.at("/lib/systemd/system/pavad-edge.service");
    let text = std::fs::read_to_string(&unit).map_err(|e| io(&unit, &e))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .ok_or_else(|| Failure::work(format!("{}: no ExecStart", unit.display())))?;
    let socket = listen(root)?;
    let log = workspace().join("target/package/service.log");
    let file = File::create(&log).map_err(|e| io(&log, &e))?;
    let notify = format!("NOTIFY_SOCKET={SOCKET}");
    let mut words = vec!["env", &notify, WATCHDOG];
    words.extend(line.split_whitespace());
    let mut command = root.command(Some("pavad"), &words);
    command.stdout(file.try_clone().map_err(|e| io(&log, &e))?).stderr(file);
    let child = command
        .spawn()
        .map_err(|e| Failure::unavailable(format!("the service cannot be started: {e}")))?;
    let mut service = Service(child);
    let said = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("; ")
    };
    let started = Instant::now();
    let (mut ready, mut alive) = (None, None);
    while ready.is_none() || alive.is_none() {
        if let Ok(Some(status)) = service.0.try_wait() {
            return Err(Failure::work(format!("it has ended by itself ({status}): {}", said())));
        }
        if started.elapsed() > READY_WITHIN {
            return Err(Failure::work(format!(
                "after {} s: ready {ready:?}, sign of life {alive:?}: {}",
                READY_WITHIN.as_secs(),
                said()
            )));
        }
        let mut message = [0; 512];
        let Ok(length) = socket.recv(&mut message) else { continue };
        for word in String::from_utf8_lossy(&message[..length]).lines() {
            match word {
                "READY=1" => ready = ready.or(Some(started.elapsed())),
                "WATCHDOG=1" => alive = alive.or(Some(started.elapsed())),
                _ => {}
            }
        }
    }
    done(as_root("kill", &["-TERM"]).arg(service.0.id().to_string()))?;
    let stopping = Instant::now();
    while stopping.elapsed() < limit {
        if let Ok(Some(status)) = service.0.try_wait() {
            let seconds = ready.unwrap_or_default().as_secs_f64();
            return if status.success() {
                let stopped = stopping.elapsed().as_secs_f64();
                Ok(format!("ready after {seconds:.1} s, ended with code 0 in {stopped:.1} s"))
            } else {
                Err(Failure::work(format!("after SIGTERM: {status}: {}", said())))
            };
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let seconds = limit.as_secs();
    Err(Failure::work(format!("{NAME} still runs {seconds} s after SIGTERM: {}", said())))
}

/// What the service manager listens at.
fn listen(root: &DebianRoot) -> Result<UnixDatagram, Failure> {
    let path = root.at(SOCKET);
    done(as_root("install", &["-d", "-m", "1777"]).args(path.parent()))?;
    let socket = UnixDatagram::bind(&path).map_err(|e| io(&path, &e))?;
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&path, everybody).map_err(|e| io(&path, &e))?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(|e| io(&path, &e))?;
    Ok(socket)
}

/// A service that does not outlive its check.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = as_root("kill", &["-KILL"]).arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}
