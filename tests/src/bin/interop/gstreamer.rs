//! A network camera that is GStreamer's RTSP server.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;
use tests::broker::free_port;

use crate::Held;
use crate::peer::{Peer, script};
use crate::site::{Model, Site, frames};

/// Frames that show that a stream flows: five seconds of it.
const ENOUGH: u64 = 50;
/// Seconds within which a camera that is there again gives frames, by the contract.
const AGAIN: u64 = 15;
/// The password of the path that is locked.
const PASSWORD: &str = "p@ss:wörd";

/// Each kind of stream is scored, a restart of the server and the end of a stream are got over.
pub fn check(model: &Model, python: &Path) -> Result<Held> {
    let port = free_port()?;
    let start =
        || Peer::start(Command::new(python).arg(script("gstreamer.py")).arg(port.to_string()));
    let server = start()?;
    let (version, mut what) = (server.version.clone(), Vec::new());
    for (path, more) in [
        ("sound", ""),
        ("slices", ""),
        ("locked", ", username = \"viewer\", password_file = \"password\""),
        ("h264", ", transport = \"udp\""),
    ] {
        let site = site(model, port, path, more)?;
        let run = site.run()?;
        let camera = site.wait(&format!("frames of /{path}"), 30, |c| frames(c) > ENOUGH)?;
        run.stop()?;
        scored(&site, &camera)?;
        what.push(format!("/{path}{more}: {}", picture(&camera)));
    }

    // A wrong password is named, and the right one is nowhere in the log.
    let site =
        site(model, port, "locked", ", username = \"viewer\", password_file = \"password\"")?;
    std::fs::write(site.folder.join("password"), "wrong\n")?;
    let run = site.run()?;
    let camera = site.wait("a refused password", 20, |c| c["reason"].is_string())?;
    run.stop()?;
    let reason = camera["reason"].as_str().unwrap_or_default();
    if camera["state"] == "running" || !reason.contains("401") && !reason.contains("assword") {
        bail!("a wrong password: {} ({reason})", camera["state"]);
    }
    what.push(format!("a wrong password: \"{reason}\""));

    let site = self::site(model, port, "h264", "")?;
    let run = site.run()?;
    let before = site.wait("frames of /h264", 30, |c| frames(c) > ENOUGH)?;
    drop(server);
    let lost = site.wait("a server that is killed", 15, |c| c["state"] == "lost")?;
    let server = start()?;
    let seen = frames(&lost).max(frames(&before));
    let since = std::time::Instant::now();
    site.wait("frames after the server's restart", AGAIN, |c| {
        c["state"] == "running" && frames(c) > seen
    })?;
    let again = since.elapsed().as_secs_f64();
    site.wait("a stream that goes on", 30, |c| frames(c) > seen + ENOUGH)?;
    let after = site.camera().unwrap_or_default();
    run.stop()?;
    scored(&site, &after)?;
    what.push(format!(
        "/h264, the server killed: lost (\"{}\"), frames {again:.1} s after it is back",
        lost["reason"].as_str().unwrap_or_default()
    ));

    let site = self::site(model, port, "ends", "")?;
    let run = site.run()?;
    // Longer than the stream: it has ended once and been opened again.
    let first = site.wait("a stream that ends", 30, |c| c["state"] == "lost")?;
    site.wait("the stream after its end", AGAIN, |c| {
        c["state"] == "running" && frames(c) > frames(&first)
    })?;
    run.stop()?;
    what.push(format!(
        "/ends: lost after {} frames (\"{}\"), then opened again",
        frames(&first),
        first["reason"].as_str().unwrap_or_default()
    ));
    drop(server);
    Ok(Held { version, what })
}

fn site(model: &Model, port: u16, path: &str, more: &str) -> Result<Site> {
    let site = model.site(&format!("gstreamer-{path}"))?;
    std::fs::write(site.folder.join("password"), format!("{PASSWORD}\n"))?;
    let source = format!("{{ type = \"rtsp\", url = \"rtsp://127.0.0.1:{port}/{path}\"{more} }}");
    site.configure("scores_dir = \"scores\"\n", "", &[("gate", &source)])?;
    Ok(site)
}

/// After the program's end: every frame that was looked at has a score, at the stream's own rate.
fn scored(site: &Site, camera: &Value) -> Result<()> {
    let scores = std::fs::read_to_string(site.folder.join("scores/gate.csv"))?;
    let rows = scores.lines().count().saturating_sub(1) as u64;
    if rows < frames(camera) || rows < ENOUGH {
        bail!("{rows} scores of {} frames", frames(camera));
    }
    let rate = camera["measured_rate"].as_f64().unwrap_or_default();
    if (rate - 10.0).abs() > 2.0 {
        bail!("{rate} frames a second were measured, the server sends 10");
    }
    if site.log().contains(PASSWORD) {
        bail!("the password is in the log");
    }
    Ok(())
}

fn picture(camera: &Value) -> String {
    format!(
        "{} x {}, {:.1} frames a second, {} frames scored",
        camera["width"],
        camera["height"],
        camera["measured_rate"].as_f64().unwrap_or_default(),
        frames(camera)
    )
}
