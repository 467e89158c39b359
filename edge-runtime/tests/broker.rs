//! The publisher against a real broker (mosquitto) that is killed and started again.
//!
//! Without mosquitto the tests say so and pass: they are part of the machine's test run, where it
//! is installed.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use alert_wire::{Alert, ModelId, Phase, SCHEMA, truncate};
use common::{Broker, free_port, mqtt};
use edge_runtime::config::{MqttConfig, Protocol};
use edge_runtime::files::{Disk, Files};
use edge_runtime::publish::{self, Publisher, Spool};

/// What a subscriber sees: topic, payload, whether it was retained.
type Message = (String, Vec<u8>, bool);

/// Subscribes to everything below `root`, over a session that survives the broker's absence.
fn subscribe(port: u16, root: &str) -> Receiver<Message> {
    common::subscribe(port, &format!("{root}/#"), |p| {
        (p.topic.clone(), p.payload.to_vec(), p.retain)
    })
}

fn alert(number: u64) -> Alert {
    Alert {
        schema: SCHEMA,
        id: truncate(&format!("00000000-0000-4000-8000-{number:012}")),
        sequence: 0,
        phase: Phase::New,
        device: truncate("cam-01"),
        camera: truncate("door"),
        kind: truncate("fast"),
        score: 0.5,
        peak_score: 0.5,
        threshold: 0.5,
        region: None,
        started_ms: 0,
        time_ms: number,
        uptime_ms: number,
        duration_ms: 0,
        first_frame: number,
        frame: number,
        peak_frame: number,
        time_synced: false,
        snapshot: None,
        clip: None,
        model: ModelId::default(),
    }
}

/// Frame numbers of the events received on a topic, duplicates removed, in order of arrival.
fn frames(messages: &[Message], topic: &str) -> Vec<u64> {
    let mut seen = Vec::new();
    for (_, payload, retained) in messages.iter().filter(|m| m.0 == topic) {
        let alert = if topic.ends_with("postcard") {
            Alert::from_postcard(payload).unwrap()
        } else {
            Alert::from_json(payload).unwrap()
        };
        assert!(!retained, "events are not retained");
        if !seen.contains(&alert.frame) {
            seen.push(alert.frame);
        }
    }
    seen
}

fn words(messages: &[Message], topic: &str) -> Vec<String> {
    let of_topic = messages.iter().filter(|m| m.0 == topic);
    of_topic.map(|m| String::from_utf8(m.1.clone()).unwrap()).collect()
}

/// Collects messages until `done` or 20 seconds have passed.
fn collect(
    receiver: &Receiver<Message>,
    all: &mut Vec<Message>,
    done: impl Fn(&[Message]) -> bool,
) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done(all) {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(Duration::from_millis(200))) {
            Ok(message) => all.push(message),
            Err(_) => assert!(Instant::now() < until, "not done; seen: {:?}", words_of(all)),
        }
    }
}

fn words_of(all: &[Message]) -> Vec<String> {
    all.iter().map(|m| format!("{}: {}", m.0, String::from_utf8_lossy(&m.1))).collect()
}

const EVENTS: &str = "pavad/cam-01/events/door";
const POSTCARD: &str = "pavad/cam-01/events/door/postcard";
const AVAILABILITY: &str = "pavad/cam-01/availability";
const STATUS: &str = "pavad/cam-01/status";

fn broker_dies_and_comes_back(protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(dir.path(), 0) else {
        return;
    };
    let port = broker.port;
    let receiver = subscribe(port, "pavad");
    let spool = Spool::open(&dir.path().join("spool"), 1 << 20).unwrap();
    let publisher = Publisher::start(mqtt(port, protocol), spool);
    assert!(publisher.wait_connected(Duration::from_secs(10)));
    publisher.set_retained(STATUS, "{\"state\":\"running\"}");

    let mut seen = Vec::new();
    for i in 0..50 {
        publisher.submit(&alert(i));
    }
    assert!(publisher.drain(Duration::from_secs(10)));
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD).len() == 50);
    assert_eq!(words(&seen, AVAILABILITY), ["online"]);
    // Let the broker save its sessions, then take it away without warning, in the middle of a burst.
    std::thread::sleep(Duration::from_millis(1500));
    for i in 50..60 {
        publisher.submit(&alert(i));
    }
    drop(broker);
    for i in 60..120 {
        publisher.submit(&alert(i));
    }
    std::thread::sleep(Duration::from_millis(300));
    let report = publisher.report();
    assert!(report.depth >= 60, "{report:?}");

    let _broker = Broker::start(dir.path(), port).unwrap();
    assert!(publisher.drain(Duration::from_secs(20)), "{:?}", publisher.report());
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD).contains(&119));
    publisher.submit(&alert(120));
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD).contains(&120));
    // Acknowledged and then lost with the broker's memory is the broker's loss: a killed mosquitto
    // forgets what it has not saved. From the restart on nothing may be missing.
    for topic in [EVENTS, POSTCARD] {
        let got = frames(&seen, topic);
        assert!(got.is_sorted(), "{topic}: {got:?}");
        assert!((60..=120).all(|i| got.contains(&i)), "{topic}: {got:?}");
    }
    assert!(words(&seen, AVAILABILITY).iter().filter(|w| *w == "online").count() >= 2);

    let last = publisher.close(Duration::from_secs(5));
    assert_eq!(last.depth, 0);
    assert_eq!(last.connections, 2);
    collect(&receiver, &mut seen, |m| {
        words(m, AVAILABILITY).last().is_some_and(|w| w == "stopped")
    });
    // What a subscriber that comes later finds.
    let late = subscribe(port, "pavad/cam-01");
    let mut found = Vec::new();
    collect(&late, &mut found, |m| {
        !words(m, STATUS).is_empty() && !words(m, AVAILABILITY).is_empty()
    });
    assert_eq!(words(&found, AVAILABILITY).last().unwrap(), "stopped");
    assert_eq!(words(&found, STATUS).last().unwrap(), "{\"state\":\"running\"}");
}

#[test]
fn broker_dies_and_comes_back_mqtt_5() {
    broker_dies_and_comes_back(Protocol::V5);
}

#[test]
fn broker_dies_and_comes_back_mqtt_3() {
    broker_dies_and_comes_back(Protocol::V311);
}

#[test]
fn events_of_an_earlier_process_are_sent_first() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("spool");
    let port = free_port();
    // No broker yet: the first process ends with everything in its spool.
    let publisher =
        Publisher::start(mqtt(port, Protocol::V5), Spool::open(&folder, 1 << 20).unwrap());
    for i in 0..20 {
        publisher.submit(&alert(i));
    }
    assert!(!publisher.drain(Duration::from_millis(300)));
    assert_eq!(publisher.close(Duration::from_secs(1)).depth, 20);

    let Some(_broker) = Broker::start(dir.path(), port) else {
        return;
    };
    let receiver = subscribe(port, "pavad");
    let publisher =
        Publisher::start(mqtt(port, Protocol::V5), Spool::open(&folder, 1 << 20).unwrap());
    for i in 20..30 {
        publisher.submit(&alert(i));
    }
    assert!(publisher.drain(Duration::from_secs(10)));
    let mut seen = Vec::new();
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD).len() == 30);
    for topic in [EVENTS, POSTCARD] {
        assert_eq!(frames(&seen, topic), (0..30).collect::<Vec<_>>(), "{topic}");
    }
    publisher.close(Duration::from_secs(5));
}

#[test]
fn the_last_will_speaks_for_a_process_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(dir.path(), 0) else {
        return;
    };
    let receiver = subscribe(broker.port, "pavad");
    let spool = Spool::open(&dir.path().join("spool"), 1 << 20).unwrap();
    let publisher = Publisher::start(mqtt(broker.port, Protocol::V5), spool);
    assert!(publisher.wait_connected(Duration::from_secs(10)));
    let mut seen = Vec::new();
    collect(&receiver, &mut seen, |m| words(m, AVAILABILITY) == ["online"]);
    // Dropped without a goodbye, as at a crash.
    drop(publisher);
    collect(&receiver, &mut seen, |m| words(m, AVAILABILITY) == ["online", "offline"]);
}

#[test]
fn probing_does_not_disturb_a_running_device() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(dir.path(), 0) else {
        return;
    };
    let receiver = subscribe(broker.port, "pavad");
    let spool = Spool::open(&dir.path().join("spool"), 1 << 20).unwrap();
    let config = mqtt(broker.port, Protocol::V5);
    let publisher = Publisher::start(config.clone(), spool);
    assert!(publisher.wait_connected(Duration::from_secs(10)));
    publish::probe(&config).unwrap();
    publisher.submit(&alert(1));
    let mut seen = Vec::new();
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD) == [1]);
    assert_eq!(words(&seen, AVAILABILITY), ["online"]);
    assert_eq!(publisher.report().connections, 1);
    publisher.close(Duration::from_secs(5));

    let nobody = free_port();
    let error = publish::probe(&MqttConfig { port: nobody, ..config }).unwrap_err().to_string();
    assert!(error.starts_with(&format!("broker 127.0.0.1:{nobody}: ")), "{error}");
}

/// Sends events and a retained message to a broker that does not take the latter.
fn a_retained_message_that_is_not_taken(listener: &str, topic: &str, size: usize) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("acl"), "topic readwrite pavad/#\n").unwrap();
    let listener = listener.replace("DIR", &dir.path().display().to_string());
    let Some(broker) = Broker::with(dir.path(), 0, &listener) else {
        return;
    };
    let receiver = subscribe(broker.port, "pavad");
    for protocol in [Protocol::V5, Protocol::V311] {
        let spool = Spool::open(&dir.path().join(format!("{protocol:?}")), 1 << 20).unwrap();
        let publisher = Publisher::start(mqtt(broker.port, protocol), spool);
        publisher.set_retained(topic, vec![b'x'; size]);
        publisher.set_retained(STATUS, "{}");
        for i in 0..20 {
            publisher.submit(&alert(i));
        }
        // Under 3.1.1 the message is found by the links that it ends: 0.25 + 0.5 + 1 + 2 s.
        assert!(publisher.drain(Duration::from_secs(20)), "{:?}", publisher.report());
        let report = publisher.close(Duration::from_secs(5));
        assert!(report.connections <= 5, "{protocol:?}: {report:?}");
        let mut seen = Vec::new();
        collect(&receiver, &mut seen, |m| frames(m, POSTCARD).len() == 20);
        assert_eq!(frames(&seen, EVENTS), (0..20).collect::<Vec<_>>(), "{protocol:?}");
    }
}

#[test]
fn a_discovery_that_the_access_rules_deny_blocks_no_event() {
    let rules = "allow_anonymous true\nacl_file DIR/acl\n";
    let topic = "homeassistant/device/pavad_cam-01/config";
    a_retained_message_that_is_not_taken(rules, topic, 3000);
}

#[test]
fn a_picture_beyond_the_brokers_packet_limit_blocks_no_event() {
    let limit = "allow_anonymous true\nmax_packet_size 6000\n";
    a_retained_message_that_is_not_taken(limit, "pavad/cam-01/cameras/door/snapshot", 40_000);
}

/// A broker that lets us in and then neither reads nor answers: what is being sent fills the way to it.
#[test]
fn a_half_open_link_is_given_up_while_a_picture_is_being_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepted, attempts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // CONNACK of MQTT 5 without properties.
            std::io::Write::write_all(&mut stream, &[0x20, 3, 0, 0, 0]).unwrap();
            accepted.send(stream).unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), 1 << 20).unwrap();
    let publisher = Publisher::start(mqtt(port, Protocol::V5), spool);
    publisher.set_retained("pavad/cam-01/cameras/door/snapshot", vec![0; 8 << 20]);
    let _first = attempts.recv_timeout(Duration::from_secs(10)).unwrap();
    let _second = attempts.recv_timeout(Duration::from_secs(20)).expect("it connects again");
    assert_eq!(publisher.report().connections, 1 + u64::from(publisher.report().connected));
}

/// A disk that does nothing until it is let go.
struct StuckDisk(std::sync::Mutex<Receiver<()>>);

impl Files for StuckDisk {
    fn read(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        // Once the other end is gone there is nothing to wait for.
        let _ = self.0.lock().unwrap().recv();
        Disk.write(path, bytes)
    }

    fn sync(&self, path: &Path) -> std::io::Result<()> {
        Disk.sync(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        Disk.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Disk.remove(path)
    }

    fn list(&self, folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
        Disk.list(folder)
    }
}

#[test]
fn a_disk_that_stands_still_stops_neither_the_caller_nor_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(dir.path(), 0) else {
        return;
    };
    let receiver = subscribe(broker.port, "pavad");
    let (release, stuck) = std::sync::mpsc::channel();
    let folder = dir.path().join("spool");
    std::fs::create_dir(&folder).unwrap();
    let files = Arc::new(StuckDisk(std::sync::Mutex::new(stuck)));
    let spool = Spool::on(files, &folder, 1 << 20).unwrap();
    let publisher = Publisher::start(mqtt(broker.port, Protocol::V5), spool);
    let start = Instant::now();
    for i in 0..20 {
        publisher.submit(&alert(i));
    }
    let waited = start.elapsed();
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
    publisher.set_retained(STATUS, "still here");
    let mut seen = Vec::new();
    collect(&receiver, &mut seen, |m| words(m, STATUS) == ["still here"]);
    assert_eq!((frames(&seen, EVENTS), publisher.report().depth), (vec![], 20));
    drop(release);
    assert!(publisher.drain(Duration::from_secs(10)), "{:?}", publisher.report());
    collect(&receiver, &mut seen, |m| frames(m, POSTCARD).len() == 20);
    assert_eq!(frames(&seen, EVENTS), (0..20).collect::<Vec<_>>());
    publisher.close(Duration::from_secs(5));
}

/// Two brokers that know MQTT 3.1.1 only, as far as they can be seen from here: one closes the
/// connection at MQTT 5's greeting, one says nothing. The remedy is named.
#[test]
fn a_broker_that_speaks_mqtt_3_only_is_named_with_the_remedy() {
    for closes in [true, false] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut greeting = [0; 9];
                std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
                // Fixed header, length, "MQTT", then the version.
                match greeting[8] {
                    4 => std::io::Write::write_all(&mut stream, &[0x20, 2, 0, 0]).unwrap(),
                    _ if closes => continue,
                    _ => {}
                }
                kept.push(stream);
            }
        });
        let error = publish::probe(&mqtt(port, Protocol::V5)).unwrap_err().to_string();
        assert!(error.contains("set `mqtt.protocol = \"3.1.1\"`"), "{error}");
    }
}
