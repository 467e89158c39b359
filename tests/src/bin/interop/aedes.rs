//! A broker that is not Mosquitto: aedes, which speaks MQTT 3.1.1 and no 5.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use alert_wire::Alert;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use tests::broker::free_port;

use crate::Held;
use crate::peer::{Peer, script};
use crate::site::{Model, Site, within};

/// Events that must have been announced at the end.
const EVENTS: usize = 200;
/// How often the broker is killed meanwhile.
const KILLS: usize = 5;
/// The words by which the remedy is named.
const REMEDY: &str = "mqtt.protocol = \"3.1.1\"";

/// What tells an event from all others.
type Key = (String, u32);

/// With MQTT 5 the remedy is named; with it every event arrives in order, whatever happens to the broker.
pub fn check(model: &Model, folder: &Path) -> Result<Held> {
    let site = model.site("aedes")?;
    let (port, heard) = (free_port()?, site.folder.join("heard.jsonl"));
    let start = || {
        let mut node = Command::new("node");
        node.arg(script("aedes.mjs")).arg(port.to_string()).arg(&heard).current_dir(folder);
        Peer::start(&mut node)
    };
    let mut broker = start()?;
    let version = broker.version.clone();
    let mut what = Vec::new();
    let moving = model.source("moving.mp4", "fast", "loop");
    let mqtt = |protocol: &str| {
        format!(
            "[mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n{protocol}[events]\nupdate_every = 0.1\n"
        )
    };

    site.configure("", &mqtt(""), &[("door", &moving)])?;
    let doctor = site.command(&["doctor"])?.output()?;
    let doctor = String::from_utf8_lossy(&[doctor.stdout, doctor.stderr].concat()).into_owned();
    if !doctor.contains(REMEDY) {
        bail!("doctor does not name {REMEDY}: {doctor}");
    }
    let run = site.run()?;
    if !within(60, || site.log().contains(REMEDY)) {
        bail!("the log does not name {REMEDY}");
    }
    run.stop()?;
    what.push(format!("MQTT 5 is not spoken: log and doctor name {REMEDY}"));

    site.configure("", &mqtt("protocol = \"3.1.1\"\n"), &[("door", &moving)])?;
    let run = site.run()?;
    for kill in 0..=KILLS {
        // Each time it takes a broker that the device is connected to.
        let online = || received(&heard).is_ok_and(|(_, _, online)| online > kill);
        if !within(90, online) {
            bail!("the device is not online after {kill} kills of the broker");
        }
        if kill == KILLS {
            break;
        }
        std::thread::sleep(Duration::from_millis(1500));
        drop(broker);
        std::thread::sleep(Duration::from_millis(300));
        broker = start()?;
    }
    let enough = within(120, || announced(&site).is_ok_and(|events| events.len() >= EVENTS));
    run.stop()?;
    if !enough {
        bail!("only {} events were announced", announced(&site)?.len());
    }
    // What is still owed is sent by the next run, which has nothing to announce itself.
    let still = model.source("still.mp4", "fast", "stop");
    let top = "exit_when_done = true\ndrain_timeout = 120\n";
    site.configure(top, &mqtt("protocol = \"3.1.1\"\n"), &[("door", &still)])?;
    let last = site.command(&["run"])?.output()?;
    if !last.status.success() {
        bail!("the last run: {}", String::from_utf8_lossy(&last.stderr));
    }

    let announced = announced(&site)?;
    let (received, repeated, _) = received(&heard)?;
    drop(broker);
    let lost = announced.iter().filter(|key| !received.contains(key)).count();
    if lost > 0 {
        bail!("{lost} of {} events have not arrived", announced.len());
    }
    let wanted: HashSet<&Key> = announced.iter().collect();
    let in_order = received.iter().filter(|key| wanted.contains(key)).eq(announced.iter());
    if !in_order {
        bail!("the events have arrived in another order");
    }
    what.push(format!(
        "3.1.1: {} events in order across {KILLS} kills of the broker, {repeated} repeated",
        announced.len()
    ));
    Ok(Held { version, what })
}

fn key(alert: &Alert) -> Key {
    (alert.id.to_string(), alert.sequence)
}

/// The events that the program has announced, in order.
fn announced(site: &Site) -> Result<Vec<Key>> {
    let text = std::fs::read_to_string(site.folder.join("events.jsonl")).unwrap_or_default();
    let events = text.lines().map(|line| {
        Alert::from_json(line.as_bytes()).map(|alert| key(&alert)).with_context(|| line.to_owned())
    });
    events.collect()
}

/// What the broker has heard: events without repetitions, how many came again, and how often the device
/// was online.
fn received(heard: &Path) -> Result<(Vec<Key>, usize, usize)> {
    let text = std::fs::read_to_string(heard).with_context(|| heard.display().to_string())?;
    let (mut seen, mut events, mut repeated, mut online) = (HashSet::new(), Vec::new(), 0, 0);
    for line in text.lines() {
        let message: Value = serde_json::from_str(line)?;
        let payload = message["payload"].as_str().unwrap_or_default();
        match message["topic"].as_str().unwrap_or_default() {
            "pavad/cam-01/availability" if payload == "online" => online += 1,
            "pavad/cam-01/events/door" => {
                let key = key(&Alert::from_json(payload.as_bytes()).context("an event")?);
                if seen.insert(key.clone()) {
                    events.push(key);
                } else {
                    repeated += 1;
                }
            }
            _ => {}
        }
    }
    Ok((events, repeated, online))
}
