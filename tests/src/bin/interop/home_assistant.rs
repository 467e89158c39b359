//! Home Assistant's own MQTT integration: what it makes of the device, and what it complains of.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rumqttc::{Client, MqttOptions, QoS};
use serde_json::{Value, json};
use tests::broker::{Broker, free_port};
use tests::subscriber::Subscriber;

use crate::Held;
use crate::peer::{Peer, script};
use crate::site::Model;

/// Entities of the device, and of each of its cameras.
const OF_DEVICE: usize = 4;
const OF_CAMERA: usize = 9;
/// Longest wait for Home Assistant to show something, in seconds.
const SHOWN: u64 = 30;
/// What a camera's state is shown as.
const STATES: [(&str, &str); 5] =
    [("starting", "off"), ("running", "on"), ("lost", "off"), ("ended", "off"), ("failed", "off")];

/// Home Assistant, what it shows, and every complaint.
struct Observer {
    peer: Peer,
    entities: BTreeMap<String, Value>,
    complaints: Vec<String>,
    /// States that the event entity of the first camera has had.
    events: Vec<String>,
}

impl Observer {
    /// Waits until what is shown is as it should be.
    fn wait(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(SHOWN);
        loop {
            self.look()?;
            if is(self) {
                return Ok(());
            }
            if Instant::now() > until {
                let shown: Vec<String> = self
                    .entities
                    .iter()
                    .map(|(id, entity)| format!("{id} = {}", entity["state"]))
                    .collect();
                bail!("{what}: not shown within {SHOWN} s; shown is {}", shown.join(", "));
            }
        }
    }

    /// Takes its next line.
    fn look(&mut self) -> Result<()> {
        let line = self.peer.line(Duration::from_secs(20)).context("Home Assistant has ended")?;
        let line: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let entities = line["entities"].as_object().context("no entities in a line")?;
        self.entities = entities.clone().into_iter().collect();
        let said = line["said"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // What is said at INFO of the integration's own doings is no complaint; a payload that fits
        // nothing is, although it is said at INFO, too.
        self.complaints.extend(
            said.filter(|text| !text.starts_with("INFO ") || text.contains("No matching payload"))
                .map(str::to_owned),
        );
        let kind = self.attribute("event.cam_01_door_event", "event_type");
        if let Some(kind) = kind.as_str()
            && self.events.last().is_none_or(|last| last != kind)
        {
            self.events.push(kind.to_owned());
        }
        Ok(())
    }

    fn state(&self, entity: &str) -> &str {
        self.entities.get(entity).and_then(|e| e["state"].as_str()).unwrap_or_default()
    }

    fn attribute(&self, entity: &str, name: &str) -> Value {
        self.entities.get(entity).map(|e| e["attributes"][name].clone()).unwrap_or_default()
    }

    fn none_complained(&self) -> Result<()> {
        match self.complaints.first() {
            None => Ok(()),
            Some(first) => bail!("{} complaints, the first: {first}", self.complaints.len()),
        }
    }
}

/// Every entity is there and shows what it should, through incidents, a camera that is renamed and each
/// state of a camera, and nothing is complained of.
pub fn check(model: &Model, python: &Path) -> Result<Held> {
    let site = model.site("home-assistant")?;
    let broker = Broker::start(&site.folder.join("broker")).map_err(anyhow::Error::msg)?;
    let folder = site.folder.join("core");
    std::fs::create_dir_all(&folder)?;
    let mut program = Command::new(python);
    program.arg(script("home_assistant.py")).arg(&folder);
    program.args([broker.port.to_string(), free_port()?.to_string()]);
    let peer = Peer::start(&mut program)?;
    let version = peer.version.clone();
    let mut home =
        Observer { peer, entities: BTreeMap::new(), complaints: Vec::new(), events: Vec::new() };
    let mut what = Vec::new();

    let mqtt =
        format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {}\nhome_assistant = {{}}\n", broker.port);
    let (moving, still) = (
        model.source("moving.mp4", "realtime", "loop"),
        model.source("still.mp4", "realtime", "stop"),
    );
    let top = "state_dir = \"state\"\n";
    let events = "[events]\nupdate_every = 0.5\n";
    let tables = format!("{mqtt}{events}");
    site.configure(top, &tables, &[("door", &moving), ("yard", &still)])?;
    let run = site.run()?;
    let all = OF_DEVICE + 2 * OF_CAMERA;
    home.wait(&format!("{all} entities"), |home| home.entities.len() == all)?;
    home.wait("a camera that runs, one that has ended", |home| {
        home.state("binary_sensor.cam_01_door_camera") == "on"
            && home.state("binary_sensor.cam_01_yard_camera") == "off"
    })?;
    home.wait("an incident", |home| home.state("binary_sensor.cam_01_door_incident") == "on")?;
    home.wait("its end", |home| home.state("binary_sensor.cam_01_door_incident") == "off")?;
    home.wait("an event of each phase", |home| {
        ["new", "end"].iter().all(|phase| home.events.iter().any(|seen| seen == phase))
    })?;
    let types = home.attribute("event.cam_01_door_event", "event_types");
    if types != json!(["new", "update", "end"]) {
        bail!("the event entity has the types {types}");
    }
    what.push(format!("{all} entities of two cameras; incident and event entity follow incidents"));

    // The lowest threshold that a command may set.
    let client = commander(broker.port);
    client.publish("pavad/cam-01/cameras/door/threshold/set", QoS::AtLeastOnce, false, "0.001")?;
    home.wait("a threshold of 0.001", |home| {
        home.state("number.cam_01_door_threshold") == "0.001"
    })?;
    home.none_complained()?;
    what.push("a threshold of 0.001 is shown".into());

    site.configure(top, &tables, &[("gate", &moving), ("yard", &still)])?;
    run.signal("-HUP")?;
    home.wait("a camera that is renamed", |home| {
        home.entities.len() == all
            && home.entities.keys().all(|id| !id.contains("_door_"))
            && home.state("binary_sensor.cam_01_gate_camera") == "on"
    })?;
    home.none_complained()?;
    what.push("door renamed to gate at SIGHUP: its 9 entities are gone".into());

    // Each state of a camera, in the device's own words but for the state.
    let subscriber =
        Subscriber::start(broker.port, "pavad/cam-01", |_| {}).map_err(anyhow::Error::msg)?;
    let received = subscriber.wait(Duration::from_secs(10), |r| r.status.is_some());
    let mut status: Value = serde_json::from_str(&received.status.context("no status")?)?;
    run.stop()?;
    home.wait("a device that is stopped", |home| {
        home.state("binary_sensor.cam_01_gate_camera") == "unavailable"
    })?;
    client.publish("pavad/cam-01/availability", QoS::AtLeastOnce, true, "online")?;
    for (state, shown) in STATES.into_iter().chain([STATES[1]]) {
        status["cameras"][0]["state"] = state.into();
        let text = status.to_string();
        client.publish("pavad/cam-01/status", QoS::AtLeastOnce, true, text)?;
        home.wait(&format!("the state {state} as {shown}"), |home| {
            home.state("binary_sensor.cam_01_gate_camera") == shown
        })?;
    }
    home.none_complained()?;
    what.push(format!(
        "camera states shown: {}",
        STATES.map(|(s, as_)| format!("{s} {as_}")).join(", ")
    ));
    what.push("nothing complained of by homeassistant.components.mqtt and helpers.template".into());
    Ok(Held { version, what })
}

/// A client that sends commands.
fn commander(port: u16) -> Client {
    let (client, mut connection) =
        Client::new(MqttOptions::new("pavad-commander", "127.0.0.1", port), 16);
    std::thread::spawn(move || {
        // Until it is dropped with the program; what cannot be sent is missed by who waits for it.
        for event in connection.iter() {
            if event.is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    client
}
