//! Every message of a running device, as subscribers in two languages see it: JSON against the
//! published schemas (Python, paho-mqtt), postcard with `alert-wire`; commands and their echo.
//!
//! What is not installed is named, and its part passes.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use alert_wire::Alert;
use common::{Broker, Maker, Running, command, repository};
use serde_json::Value;

/// Where `cargo xtask test` puts the Python packages of the subscriber.
fn packages() -> Option<PathBuf> {
    let path = std::env::var_os("PAVAD_PYTHON")
        .map_or_else(|| repository("target/tools/python"), PathBuf::from);
    if path.join("paho").exists() {
        return Some(path);
    }
    println!("skipped: no paho-mqtt in {}; `cargo xtask test` fetches it", path.display());
    None
}

/// A client that publishes commands and collects everything.
struct Client {
    client: rumqttc::Client,
    messages: Receiver<rumqttc::Publish>,
    seen: Vec<rumqttc::Publish>,
}

impl Client {
    fn start(port: u16) -> Self {
        let mut options = rumqttc::MqttOptions::new("observer", "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = rumqttc::Client::new(options, 32);
        let (sender, messages) = channel();
        let (ready, is_ready) = channel();
        client.subscribe("#", rumqttc::QoS::AtLeastOnce).unwrap();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) => {
                        let _ = ready.send(());
                    }
                    Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(message))) => {
                        if sender.send(message).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        is_ready.recv_timeout(Duration::from_secs(10)).expect("the subscription is accepted");
        Self { client, messages, seen: Vec::new() }
    }

    fn send(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).unwrap();
    }

    /// Waits for a message of `topic` after the first `from` that `fits`.
    fn wait(&mut self, topic: &str, from: usize, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.seen.iter().skip(from).find(|m| m.topic == topic && fits(&m.payload));
            if let Some(message) = found {
                return message.payload.to_vec();
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(message) => self.seen.push(message),
                Err(_) => panic!(
                    "nothing fits on {topic}; seen: {:?}",
                    self.seen
                        .iter()
                        .map(|m| format!("{} {}", m.topic, String::from_utf8_lossy(&m.payload)))
                        .collect::<Vec<_>>()
                ),
            }
        }
    }

    fn wait_text(&mut self, topic: &str, from: usize, text: &str) {
        self.wait(topic, from, |payload| payload == text.as_bytes());
    }
}

fn site(dir: &Path, port: u16) {
    let maker = Maker::new();
    std::fs::write(dir.join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.join("clip"), 40, 10..30);
    let text = format!(
        "device = \"cam-01\"\nstatus_every = 1\ntelemetry_every = 1\n\
         [model]\nbundle = \"model.pavad\"\npublic_keys = [\"{}\"]\n\
         [updates]\nurl_prefixes = [\"http://127.0.0.1:1/\"]\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nhome_assistant = {{}}\n\
         [evidence]\ndir = \"evidence\"\n\
         [events]\nupdate_every = 0.5\n\
         [[cameras]]\nid = \"door\"\n\
         source = {{ type = \"images\", path = \"clip\", at_end = \"loop\" }}\n",
        maker.key()
    );
    std::fs::write(dir.join("edge.toml"), text).unwrap();
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn messages_and_commands() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(dir.path(), 0) else { return };
    site(dir.path(), broker.port);
    let python = packages().map(|packages| {
        let mut child = Command::new("python3")
            .arg(repository("tests/subscriber/subscribe.py"))
            .args([&broker.port.to_string(), "pavad/cam-01"])
            .arg(repository("docs/reference/schemas"))
            .env("PYTHONPATH", packages)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        assert_eq!(json(ready.as_bytes())["value"], "ready");
        (Running(child), lines)
    });
    let mut client = Client::start(broker.port);
    let run = || {
        let mut command = command(dir.path());
        Running::start(command.args(["run", "--config", "edge.toml"]).stderr(Stdio::null()))
    };
    let running = run();
    let root = "pavad/cam-01";
    let topic = |name: &str| format!("{root}/{name}");
    let telemetry = topic("telemetry");
    let discovery = "homeassistant/device/pavad_cam-01/config";

    // What a subscriber finds without asking.
    client.wait_text(&topic("availability"), 0, "online");
    client.wait_text(&topic("armed"), 0, "ON");
    client.wait_text(&topic("cameras/door/armed"), 0, "ON");
    client.wait_text(&topic("cameras/door/threshold"), 0, "0.5");
    let device = json(&client.wait(discovery, 0, |p| !p.is_empty()));
    assert_eq!(device["components"].as_object().unwrap().len(), 13);
    for phase in ["new", "update", "end"] {
        client.wait(&topic("events/door"), 0, |p| json(p)["phase"] == phase);
        client.wait(&topic("events/door/postcard"), 0, |p| {
            let alert = Alert::from_postcard(p).unwrap();
            serde_json::to_value(alert.phase).unwrap() == phase
        });
    }
    client.wait(&telemetry, 0, |p| json(p)["cameras"][0]["frames_per_second"].is_number());

    // Commands and what they are answered with.
    let at = client.seen.len();
    client.send(&topic("cameras/door/threshold/set"), "0.75");
    client.wait_text(&topic("cameras/door/threshold"), at, "0.75");
    client.wait(&topic("status"), at, |p| json(p)["cameras"][0]["threshold"] == 0.75);
    client.send(&topic("cameras/door/snapshot/set"), "");
    let picture = client.wait(&topic("cameras/door/snapshot"), at, |p| !p.is_empty());
    assert_eq!(image::load_from_memory(&picture).unwrap().width(), 32);
    client.send(&topic("armed/set"), "OFF");
    client.wait_text(&topic("cameras/door/armed"), at, "OFF");
    client.wait_text(&topic("armed"), at, "OFF");
    client.send(&topic("bundle/set"), r#"{"action":"install","url":"http://other.example/m"}"#);
    let told = client.wait(&topic("bundle"), at, |p| json(p)["failed"] == true);
    assert!(json(&told)["message"].as_str().unwrap().contains("updates.url_prefixes"));
    client.send("homeassistant/status", "online");
    client.wait(discovery, at, |p| json(p) == device);

    // What is no command changes nothing and is counted.
    let at = client.seen.len();
    let refused = json(&client.wait(&telemetry, at, |_| true))["commands"]["refused_total"].clone();
    assert_eq!(refused, 0);
    let wrong: [(&str, Vec<u8>); 9] = [
        ("armed/set", b"maybe".to_vec()),
        ("armed/set", vec![0xff, 0xfe]),
        ("armed/set", vec![b'O'; 5000]),
        ("cameras/door/threshold/set", b"NaN".to_vec()),
        ("cameras/door/threshold/set", b"1e999".to_vec()),
        ("cameras/roof/armed/set", b"ON".to_vec()),
        ("cameras/door/sound/set", b"ON".to_vec()),
        ("bundle/set", b"{\"action\":\"install\",".to_vec()),
        ("firmware/set", b"ON".to_vec()),
    ];
    for (name, payload) in &wrong {
        client.send(&topic(name), payload.clone());
    }
    client.wait(&telemetry, at, |p| json(p)["commands"]["refused_total"] == wrong.len());
    // Too large for any packet: an MQTT 5 broker keeps it to itself, and the link lives.
    client.send(&topic("armed/set"), vec![b'O'; 200_000]);
    let at = client.seen.len();
    client.send(&topic("cameras/door/threshold/set"), "0.8");
    client.wait_text(&topic("cameras/door/threshold"), at, "0.8");
    let status = json(&client.wait(&topic("status"), at, |_| true));
    assert_eq!(status["spool"]["connections_total"], 1);
    assert_eq!(status["cameras"][0]["armed"], false);
    // Nothing is announced while it is not armed.
    let scored =
        |client: &Client| client.seen.iter().filter(|m| m.topic.contains("/events/")).count();
    let before = scored(&client);
    let at = client.seen.len();
    for _ in 0..4 {
        let at = client.seen.len();
        client.wait(&telemetry, at, |_| true);
    }
    assert!(client.seen.len() > at);
    assert_eq!(scored(&client), before);
    running.stop();
    client.wait_text(&topic("availability"), at, "stopped");

    // Settings outlive a restart. A kept command is not obeyed: it may be of last year.
    let kept = topic("cameras/door/armed/set");
    client.client.publish(&kept, rumqttc::QoS::AtLeastOnce, true, "ON").unwrap();
    let at = client.seen.len();
    let running = run();
    client.wait_text(&topic("cameras/door/threshold"), at, "0.8");
    client.wait_text(&topic("cameras/door/armed"), at, "OFF");
    client.wait(&telemetry, at, |p| json(p)["commands"]["refused_total"] == 1);
    assert_eq!(json(&client.wait(&topic("status"), at, |_| true))["cameras"][0]["armed"], false);
    running.stop();

    // A camera that is renamed: what the broker kept of the old name is taken away, and Home Assistant
    // is told which entities are gone.
    let config = dir.path().join("edge.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("id = \"door\"", "id = \"gate\"")).unwrap();
    let at = client.seen.len();
    let running = run();
    for setting in ["armed", "threshold", "snapshot"] {
        client.wait_text(&topic(&format!("cameras/door/{setting}")), at, "");
    }
    client.wait_text(&topic("cameras/gate/armed"), at, "ON");
    let renamed = json(&client.wait(discovery, at, |p| json(p) != device));
    let components = renamed["components"].as_object().unwrap();
    assert_eq!(components.len(), 4 + 9 + 9);
    assert_eq!(components["door_event"], serde_json::json!({ "platform": "event" }));
    assert_eq!(components["gate_event"]["state_topic"], topic("events/gate"));
    running.stop();

    if let Some((mut child, lines)) = python {
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for line in lines {
            let line = json(line.unwrap().as_bytes());
            assert_eq!(line["problem"], Value::Null, "{line}");
            *kinds.entry(line["topic"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        for kind in ["events/door", "events/door/postcard", "status", "telemetry", "bundle"] {
            assert!(kinds.get(kind).is_some_and(|&count| count > 0), "{kind}: {kinds:?}");
        }
        assert!(child.0.wait().unwrap().success());
    }
}
