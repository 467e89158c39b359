//! Prometheus' own opinion of the metrics.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tests::broker::Broker;

use crate::Held;
use crate::site::{Model, frames};

/// The metrics of a running device with a camera that runs and one that has ended, a broker and clips.
pub fn check(model: &Model, promtool: &Path) -> Result<Held> {
    let site = model.site("promtool")?;
    let broker = Broker::start(&site.folder.join("broker")).map_err(anyhow::Error::msg)?;
    let mqtt = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n", broker.port);
    let (moving, still) = (
        model.source("moving.mp4", "realtime", "loop"),
        model.source("still.mp4", "realtime", "stop"),
    );
    site.configure("", &mqtt, &[("door", &moving), ("yard", &still)])?;
    let run = site.run()?;
    // Long enough for an incident, for telemetry, and for the other camera's end.
    site.wait("frames", 30, |camera| frames(camera) > 60 && camera["events_total"] != 0)?;
    let metrics = site.get("/metrics")?;
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    for name in ["pavad_frames_total", "pavad_score_latency_seconds", "pavad_spool_events"] {
        if !metrics.contains(name) {
            bail!("no {name} among the metrics");
        }
    }
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| promtool.display().to_string())?;
    child.stdin.take().context("the checker's input")?.write_all(metrics.as_bytes())?;
    let said = child.wait_with_output()?;
    let words = [said.stdout, said.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    if !said.status.success() || !words.trim().is_empty() {
        bail!("promtool check metrics ({}): {}", said.status, words.trim());
    }
    run.stop()?;
    let version = Command::new(promtool).arg("--version").output()?;
    let version = [version.stdout, version.stderr].concat();
    let version = String::from_utf8_lossy(&version).lines().next().unwrap_or_default().to_owned();
    Ok(Held { version, what: vec![format!("{series} series of a running device: no complaint")] })
}
