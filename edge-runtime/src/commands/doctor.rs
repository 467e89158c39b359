//! `edge-runtime doctor`: is everything there that `run` needs?

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use boards::linux::power_mode;
use boards::profile::{Origin, Profile};
use edge_runtime::Error;
use edge_runtime::alarm::Alarm;
use edge_runtime::board;
use edge_runtime::capture;
use edge_runtime::clock::{Clock, SystemClock};
use edge_runtime::config::Config;
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

    fn warn(&mut self, name: &str, message: &str) {
        let (name, message) = (name.to_owned(), message.to_owned());
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
    for camera in &config.cameras {
        let opened = capture::open(&camera.source, &clock).map_err(Error::from);
        let opened = opened.map(|(source, _)| {
            let path = camera.source.path().display();
            format!("{path} at {:.1} frames per second", source.rate())
        });
        findings.add(format!("camera {}", camera.id), opened);
    }
    match &config.mqtt {
        None => findings.warn("broker", "none is configured; events stay on the device"),
        Some(mqtt) => {
            let address = format!("{}:{}", mqtt.host, mqtt.port);
            let reached = publish::probe(mqtt).map(|()| address).map_err(|e| {
                Error::Unavailable(format!("{e}; start the broker, or change `mqtt`"))
            });
            findings.add("broker", reached);
            if mqtt.tls.is_none() && !matches!(&*mqtt.host, "localhost" | "127.0.0.1" | "::1") {
                findings.warn("broker link", "is not encrypted; set `mqtt.tls`");
            }
            findings.add("spool", writable(&config.spool.dir));
        }
    }
    if let Some(evidence) = &config.evidence {
        findings.add("evidence", writable(&evidence.dir));
    }
    if clock.synced() {
        findings.add("clock", Ok("is set".into()));
    } else {
        findings.warn("clock", "is not set; events say so, start a time service (NTP)");
    }
}

/// The board and what hangs on it. The watchdog is only looked for: opening it would start it.
fn hardware(profile: &Profile, origin: Origin, findings: &mut Findings) {
    let root = Path::new("/");
    let about = board::describe(profile, origin, root);
    match (Alarm::open(profile, root), origin) {
        (Err(e), _) => findings.add("board", Err(e)),
        (Ok(_), Origin::Unknown) => findings.warn("board", &about),
        (Ok(_), _) => findings.add("board", Ok(about)),
    }
    match profile.open_arm(root) {
        Ok(None) => {}
        Ok(Some(mut arm)) => match arm.armed() {
            Ok(true) => findings.add("key switch", Ok("armed".into())),
            Ok(false) => findings.warn("key switch", "disarmed; the siren will stay quiet"),
            Err(e) => findings.warn("key switch", &e.to_string()),
        },
        Err(e) => findings.warn("key switch", &format!("{e}; the siren counts as armed")),
    }
    if let Some(watchdog) = &profile.watchdog {
        if watchdog.device.exists() {
            findings.add("watchdog", Ok(watchdog.device.display().to_string()));
        } else {
            let message = format!("{}: no such device", watchdog.device.display());
            findings.warn("watchdog", &message);
        }
    }
    match profile.open_thermal(root).map(|source| source.map(|mut s| s.read())) {
        Ok(Some(Ok(reading))) => {
            let celsius = f64::from(reading.temperature) / 1000.0;
            findings.add("temperature", Ok(format!("{celsius:.1} °C")));
        }
        Ok(Some(Err(e))) | Err(e) => findings.warn("temperature", &e.to_string()),
        Ok(None) => findings.warn("temperature", "no sensor; heat will not be noticed"),
    }
    match (power_mode(root), &profile.power_modes[..]) {
        (_, []) => {}
        (None, _) => findings.warn("power mode", "nvpmodel does not say; is it set up?"),
        (Some(mode), known) if known.contains(&mode) => findings.add("power mode", Ok(mode)),
        (Some(mode), known) => {
            let message = format!("{mode} is not one of the board's: {}", known.join(", "));
            findings.warn("power mode", &message);
        }
    }
}

fn bundle(config: &Config, profile: Option<&Profile>, findings: &mut Findings) {
    let path = &config.model.bundle;
    let opened = model::open_bundle(&config.model).and_then(|bundle| {
        if let Some(profile) = profile {
            model::check_device(&bundle, path, &profile.device_class)?;
        }
        for camera in &config.cameras {
            config.rules(&bundle.manifest().detectors.events, camera).map_err(Error::Usage)?;
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
        findings.add("backend", loaded.map(|m| format!("{}, golden vectors agree", m.backend)));
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
