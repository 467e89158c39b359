//! `edge-runtime doctor`: is everything there that `run` needs?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boards::linux::power_mode;
use boards::profile::{Origin, Profile};
use boards::{ThermalMonitor, ThermalState};
use edge_runtime::Error;
use edge_runtime::alarm::Alarm;
use edge_runtime::board;
use edge_runtime::capture;
use edge_runtime::clock::{Clock, ClockState, SystemClock};
use edge_runtime::config::{Config, ModelConfig};
use edge_runtime::model::{self, Model};
use edge_runtime::publish;
use serde::Serialize;

use crate::{ConfigArgument, print};

/// Arguments of `doctor`.
#[derive(clap::Args)]
#[command(after_help = "\
The exit code is that of the first failure: 2 configuration, 3 bundle, 4 camera or broker.

Example: edge-runtime doctor --config /etc/pavad/edge.toml")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Finding {
    name: String,
    /// `ok`, `warn` or `fail`.
    level: &'static str,
    message: String,
    #[serde(skip)]
    code: u8,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, name: impl Into<String>, result: Result<String, Error>) {
        let name = name.into();
        self.0.push(match result {
            Ok(message) => Finding { name, level: "ok", message, code: 0 },
            Err(e) => Finding { name, level: "fail", message: e.to_string(), code: e.exit_code() },
        });
    }

    fn warn(&mut self, name: impl Into<String>, message: impl Into<String>) {
        let (name, message) = (name.into(), message.into());
        self.0.push(Finding { name, level: "warn", message, code: 0 });
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut findings = Findings::default();
    match Config::load(&arguments.config.config) {
        Err(e) => findings.add("configuration", Err(e.into())),
        Ok(config) => {
            let cameras = format!("{} cameras", config.cameras.len());
            findings.add("configuration", Ok(cameras));
            examine(&config, &mut findings);
        }
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&findings.0).context("report as JSON")?)?;
    } else {
        for finding in &findings.0 {
            let level = finding.level.to_uppercase();
            print(&format!("{level:<4} {}: {}", finding.name, finding.message))?;
        }
    }
    Ok(findings.0.iter().map(|f| f.code).find(|&code| code != 0).unwrap_or(0))
}

fn examine(config: &Config, findings: &mut Findings) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut config = config.clone();
    let found = board::profile(&config.board, Path::new("/"));
    let profile = match found {
        Err(e) => {
            findings.add("board", Err(e));
            None
        }
        Ok((profile, origin)) => {
            hardware(&profile, origin, findings);
            Some(profile)
        }
    };
    config.model.backends =
        config.model.backends.take().or_else(|| board::backends(profile.as_ref()?));
    let config = &config;
    bundle(config, profile.as_ref(), findings);
    libraries(config, findings);
    for camera in &config.cameras {
        let opened = capture::open(&camera.source, &clock).map_err(Error::from);
        let opened = opened.map(|(source, _)| {
            format!("{} at {:.1} frames per second", camera.source.name(), source.rate())
        });
        findings.add(format!("camera {}", camera.id), opened);
    }
    match &config.mqtt {
        None => findings.warn("broker", "none is configured; events stay on the device"),
        Some(mqtt) => {
            let address = format!("{}:{}", mqtt.host, mqtt.port);
            let reached = publish::probe(mqtt).map(|()| address).map_err(|e| match e.to_string() {
                message if e.has_remedy() => Error::Unavailable(message),
                message => Error::Unavailable(format!("{message}; {}", advice(&message))),
            });
            findings.add("broker", reached);
            if mqtt.tls.is_none() && !matches!(&*mqtt.host, "localhost" | "127.0.0.1" | "::1") {
                findings.warn("broker link", "is not encrypted; set `mqtt.tls`");
            }
            folder("spool", &config.spool.dir, config.spool.max_bytes, findings);
        }
    }
    if let Some(evidence) = &config.evidence {
        folder("evidence", &evidence.dir, evidence.max_bytes, findings);
    }
    if let Some(updates) = &config.updates {
        // Two slots, and one that is being written.
        let size = std::fs::metadata(&config.model.bundle).map_or(0, |meta| meta.len());
        folder("updates", &updates.dir, 3 * size, findings);
        let listed = super::profile(config)
            .and_then(|profile| super::store(config, updates, &profile)?.state());
        findings.add("slots", listed.map(|state| format!("lowest epoch {}", state.epoch)));
    }
    time(clock.as_ref(), findings);
}

/// What to do about a broker that does not let us in, by what it said.
fn advice(message: &str) -> &'static str {
    let said = message.to_ascii_lowercase();
    if said.contains("badusernamepassword") || said.contains("notauthorized") {
        "check `mqtt.username`, the password file and the broker's access rules"
    } else if said.contains("expired") {
        "renew the certificate; on this device also check the clock"
    } else if said.contains("certificate") || said.contains("unknownissuer") {
        "check `mqtt.tls`: the authority, and that `mqtt.host` is the name in its certificate"
    } else {
        "start the broker, or change `mqtt`"
    }
}

/// A clock that stands still orders nothing and ends no wait.
fn time(clock: &dyn Clock, findings: &mut Findings) {
    const LOOK: Duration = Duration::from_millis(50);
    let (wall, monotonic) = (clock.wall_ms(), clock.monotonic());
    std::thread::sleep(LOOK);
    let passed = clock.monotonic().saturating_sub(monotonic);
    if passed < LOOK / 2 || clock.wall_ms() == wall {
        let message = "the clock stands still; check the kernel's clock source and the RTC";
        findings.add("clock", Err(Error::Unavailable(message.into())));
        return;
    }
    match clock.state() {
        ClockState::Synced => findings.add("clock", Ok("is set and kept right".into())),
        ClockState::Unsynced => findings.warn(
            "clock",
            "is set, and nothing keeps it right; events say so, start a time service (NTP)",
        ),
        ClockState::Unset => {
            findings.warn("clock", "is not set; events say so, start a time service (NTP)");
        }
    }
}

/// The board and what hangs on it. The watchdog is only looked for: opening it would start it.
fn hardware(profile: &Profile, origin: Origin, findings: &mut Findings) {
    let root = Path::new("/");
    let about = board::describe(profile, origin, root);
    match (Alarm::open(profile, root), origin) {
        (Err(e), _) => findings.add("board", Err(e)),
        (Ok(_), Origin::Unknown) => findings.warn("board", about),
        (Ok(_), _) => findings.add("board", Ok(about)),
    }
    match profile.open_arm(root) {
        Ok(None) => {}
        Ok(Some(mut arm)) => match arm.armed() {
            Ok(true) => findings.add("key switch", Ok("armed".into())),
            Ok(false) => findings.warn("key switch", "disarmed; the siren will stay quiet"),
            Err(e) => findings.warn("key switch", e.to_string()),
        },
        Err(e) => findings.warn("key switch", format!("{e}; the siren counts as armed")),
    }
    if let Some(watchdog) = &profile.watchdog {
        if watchdog.device.exists() {
            findings.add("watchdog", Ok(watchdog.device.display().to_string()));
        } else {
            let message = format!("{}: no such device", watchdog.device.display());
            findings.warn("watchdog", message);
        }
    }
    heat(profile, root, findings);
    match (power_mode(root), &profile.power_modes[..]) {
        (_, []) => {}
        (None, _) => findings.warn("power mode", "nvpmodel does not say; is it set up?"),
        (Some(mode), known) if known.contains(&mode) => findings.add("power mode", Ok(mode)),
        (Some(mode), known) => {
            let message = format!("{mode} is not one of the board's: {}", known.join(", "));
            findings.warn("power mode", message);
        }
    }
}

fn heat(profile: &Profile, root: &Path, findings: &mut Findings) {
    let read = profile.open_thermal(root).and_then(|source| match source {
        Some(mut source) => source.read().map(Some),
        None => Ok(None),
    });
    let reading = match read {
        Err(e) => return findings.warn("temperature", format!("cannot be read: {e}")),
        // Many a host has no sensor.
        Ok(None) => return,
        Ok(Some(reading)) => reading,
    };
    let degrees = format!("{:.1} °C", f64::from(reading.temperature) / 1000.0);
    match ThermalMonitor::new(profile.thermal.limits()).update(reading) {
        ThermalState::Normal => findings.add("temperature", Ok(degrees)),
        ThermalState::Warm => {
            findings.warn("temperature", format!("{degrees}: warm; see to shade and airflow"));
        }
        ThermalState::Throttled => {
            let message =
                format!("{degrees}: the processor slows itself down; see to shade and airflow");
            findings.warn("temperature", message);
        }
        ThermalState::Critical => {
            let message = format!("{degrees}: too hot; the board is about to switch off, cool it");
            findings.add("temperature", Err(Error::Unavailable(message)));
        }
    }
}

/// Every backend of the list, as the model falls through it.
fn libraries(config: &Config, findings: &mut Findings) {
    for choice in model::choices(&config.model) {
        // No engine is built for this: what is asked is whether the libraries are there.
        let model = ModelConfig { engine_dir: None, ..config.model.clone() };
        if let Err(e) = choice.open(&model, String::new()) {
            findings.warn(format!("backend {choice}"), format!("{e}; it is passed over"));
        }
    }
}

fn bundle(config: &Config, profile: Option<&Profile>, findings: &mut Findings) {
    let path = &config.model.bundle;
    let opened = model::open_bundle(&config.model).and_then(|bundle| {
        if let Some(profile) = profile {
            model::check_device(bundle.manifest(), path, &profile.device_class)?;
        }
        for camera in &config.cameras {
            config.rules(&bundle.manifest().detectors, camera).map_err(Error::Usage)?;
        }
        Ok(format!(
            "{} {}, SHA-256 {}",
            bundle.manifest().name,
            bundle.manifest().version,
            bundle.digest_hex()
        ))
    });
    let readable = opened.is_ok();
    findings.add("bundle", opened);
    if readable {
        if config.model.public_keys.is_empty() {
            findings.warn("origin", "of the bundle is not checked; set `model.public_keys`");
        }
        // Loading also computes the bundle's golden vectors.
        let loaded = Model::load(&config.model);
        let inexact = loaded.as_ref().is_ok_and(|m| !m.exact);
        findings.add(
            "backend",
            loaded.map(|m| format!("{}, {} kernels, golden vectors agree", m.backend, m.kernels)),
        );
        if inexact {
            findings.warn(
                "integer sums",
                format!("saturate on this processor, so that scores differ; {}", model::REMEDY),
            );
        }
    }
}

/// Whether a folder can be written, and has room for what may come into it.
fn folder(name: &str, dir: &Path, room: u64, findings: &mut Findings) {
    match writable(dir) {
        Ok(text) => {
            let free = rustix::fs::statvfs(dir).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
            space(name, text, free.ok(), room, findings);
        }
        Err(e) => findings.add(name, Err(e)),
    }
}

/// Judges free bytes by those that may be needed.
fn space(name: &str, dir: String, free: Option<u64>, room: u64, findings: &mut Findings) {
    /// Less than this is as good as full: the next event or the next log line fills it.
    const FULL: u64 = 1 << 20;
    match free {
        Some(free) if free < FULL => {
            let message = format!("{dir}: the disk is full ({free} bytes left); free some space");
            findings.add(name, Err(Error::Failed(message)));
        }
        Some(free) if free < room => {
            let message =
                format!("{dir}: {free} bytes left, {room} may be needed; lower the limit");
            findings.warn(name, message);
        }
        _ => findings.add(name, Ok(dir)),
    }
}

/// Writes a file and deletes it.
fn writable(dir: &Path) -> Result<String, Error> {
    let probe = dir.join(".doctor");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"probe"))
        .and_then(|()| std::fs::remove_file(&probe))
        .map(|()| dir.display().to_string())
        .map_err(|source| Error::Write { path: dir.into(), source })
}

#[cfg(test)]
mod tests {
    use edge_runtime::clock::ManualClock;

    use super::*;

    fn level(examine: impl FnOnce(&mut Findings)) -> (&'static str, u8, String) {
        let mut findings = Findings::default();
        examine(&mut findings);
        let finding = findings.0.pop().expect("something was found");
        (finding.level, finding.code, finding.message)
    }

    #[test]
    fn a_clock_that_stands_still() {
        let (word, code, message) = level(|f| time(&ManualClock::new(1_800_000_000_000), f));
        assert_eq!((word, code), ("fail", 4));
        assert!(message.contains("stands still"), "{message}");
        assert_eq!(level(|f| time(&SystemClock::new(), f)).1, 0);
    }

    #[test]
    fn a_disk_that_is_full_or_nearly() {
        let judge = |free| level(|f| space("spool", "/spool".into(), free, 1 << 24, f));
        assert_eq!((judge(Some(5000)).0, judge(Some(5000)).1), ("fail", 1));
        assert_eq!(judge(Some(1 << 23)).0, "warn");
        assert_eq!(judge(Some(1 << 30)).0, "ok");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(level(|f| folder("spool", dir.path(), 4096, f)).0, "ok");
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(level(|f| folder("spool", &file, 4096, f)).0, "fail");
    }

    #[test]
    fn a_board_that_is_hot() {
        let profile = Profile::named("generic-linux").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let zone = dir.path().join("sys/class/thermal/thermal_zone0");
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("type"), "cpu-thermal\n").unwrap();
        for (milli, word, code) in [("41000", "ok", 0), ("85000", "warn", 0), ("99000", "fail", 4)]
        {
            std::fs::write(zone.join("temp"), format!("{milli}\n")).unwrap();
            let found = level(|f| heat(&profile, dir.path(), f));
            assert_eq!((found.0, found.1), (word, code), "{found:?}");
        }
    }

    #[test]
    fn what_a_broker_says_is_turned_into_advice() {
        for (said, part) in [
            ("Connection refused, return code: `BadUserNamePassword`", "password"),
            ("I/O: received fatal alert: CertificateExpired", "renew"),
            ("invalid peer certificate: UnknownIssuer", "authority"),
            ("Connection refused (os error 111)", "start the broker"),
        ] {
            assert!(advice(said).contains(part), "{said}");
        }
    }
}
