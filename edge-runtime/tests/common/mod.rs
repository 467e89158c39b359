//! What several tests need: small bundles and a real broker.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use alert_wire::Alert;
use edge_runtime::config::{MqttConfig, Protocol};
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, MotionSpec, SCHEMA, SmoothingSpec, ZScore,
};
use model_bundle::{BundleBuilder, Manifest, PublicKey};

/// Signs bundles of the smallest model there is: the motion prior alone, so that no graph is needed.
/// A frame of which a part differs from the one before it scores close to 1, any other close to 0.
pub struct Maker {
    pair: minisign::KeyPair,
}

impl Maker {
    pub fn new() -> Self {
        Self { pair: minisign::KeyPair::generate_unencrypted_keypair().unwrap() }
    }

    /// The public key's text.
    pub fn key(&self) -> String {
        self.pair.pk.to_base64()
    }

    pub fn public_key(&self) -> PublicKey {
        self.key().parse().unwrap()
    }

    /// A bundle of this version and security epoch, for this class of devices.
    pub fn bundle(&self, version: &str, security_epoch: u32, class: &str) -> Vec<u8> {
        let manifest = Manifest {
            schema: SCHEMA,
            name: "motion".into(),
            version: version.into(),
            security_epoch,
            device_classes: vec![class.into()],
            detectors: Detectors {
                input: InputSpec { width: 32, height: 32, frame_rate: 10.0 },
                local: None,
                motion: Some(MotionSpec {
                    box_size: 8,
                    epsilon: 1.0,
                    z: ZScore { mean: 0.0, std: 1.0 },
                    weight: 1.0,
                    excess_over: None,
                }),
                semantic: None,
                smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
                calibration: Calibration {
                    threshold: 2.0,
                    scale: 0.5,
                    false_alarms_per_hour: 1.0,
                    normal: None,
                },
                events: EventSpec {
                    enter: 0.5,
                    exit: 0.4,
                    min_duration: 0.25,
                    end_after: 0.45,
                    cool_down: 0.0,
                },
            },
            graphs: vec![],
            golden: vec![],
            provenance: BTreeMap::new(),
        };
        let payload = BundleBuilder::new().payload(&manifest).unwrap();
        let signature =
            minisign::sign(None, &self.pair.sk, payload.as_bytes(), Some("test"), None).unwrap();
        payload.finish(&signature.into_string(), &self.public_key()).unwrap()
    }
}

/// A folder of pictures: `moving` frames have a bright square at every other frame, on a quarter of
/// the picture; the rest is the same dark picture.
pub fn clip(folder: &Path, frames: u32, moving: std::ops::Range<u32>) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..frames {
        let bright = moving.contains(&i) && i % 2 == 0;
        let picture = image::RgbImage::from_fn(32, 32, |x, y| {
            // Some structure, so that the picture is not taken for a covered lens.
            let ground = 30 + 20 * u8::from((x / 4 + y / 4) % 2 == 0);
            let level = if bright && x < 16 && y < 16 { 220 } else { ground };
            image::Rgb([level; 3])
        });
        picture.save(folder.join(format!("{i:04}.png"))).unwrap();
    }
}

/// A mosquitto that is killed when it is dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    /// Starts one on a port of the loopback interface, 0 for a free one. `None`, and a message, if
    /// there is none on this machine.
    pub fn start(dir: &Path, port: u16) -> Option<Self> {
        Self::with(dir, port, "allow_anonymous true\n")
    }

    /// As [`Broker::start`], with these lines of configuration for its listener.
    pub fn with(dir: &Path, port: u16, listener: &str) -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|p| Path::new(p).exists());
        let Some(program) = program else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let port = if port == 0 { free_port() } else { port };
        let config = dir.join("mosquitto.conf");
        // Persistence, so that retained messages survive the broker's restart as in the field.
        std::fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\n{listener}persistence true\n\
                 persistence_location {}/\nautosave_interval 1\nmax_queued_messages 100000\nuser root\n",
                dir.display()
            ),
        )
        .unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, port })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program, as a user runs it in `dir`.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-runtime"));
    command.current_dir(dir).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command
}

/// A running program that is killed when it is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Stops it as a service manager does; it must end well.
    pub fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What tells one message of an incident from all others.
pub type Key = (String, u32);

pub fn key(alert: &Alert) -> Key {
    (alert.id.to_string(), alert.sequence)
}

/// A subscriber whose session the broker keeps; it is told every event's key, repetitions too.
pub fn subscribe_keys(port: u16, filter: &str) -> Receiver<Key> {
    subscribe(port, filter, |message| key(&Alert::from_json(&message.payload).unwrap()))
}

/// A subscriber whose session the broker keeps, and what `of` makes of each message.
pub fn subscribe<T: Send + 'static>(
    port: u16,
    filter: &str,
    of: impl Fn(&rumqttc::Publish) -> T + Send + 'static,
) -> Receiver<T> {
    let mut options = rumqttc::MqttOptions::new("subscriber", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5)).set_clean_session(false);
    let (client, mut connection) = rumqttc::Client::new(options, 16);
    let (sender, receiver) = channel();
    let (ready, is_ready) = channel();
    let filter = filter.to_owned();
    std::thread::spawn(move || {
        for event in connection.iter() {
            use rumqttc::{Event, Packet};
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let _ = client.try_subscribe(filter.clone(), rumqttc::QoS::AtLeastOnce);
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    let _ = ready.send(());
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    if sender.send(of(&message)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    });
    is_ready.recv_timeout(Duration::from_secs(10)).expect("the subscription is accepted");
    receiver
}

/// Resident memory of a running program, in bytes.
pub fn memory(run: &Running) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", run.0.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// The way to a broker on this machine.
pub fn mqtt(port: u16, protocol: Protocol) -> MqttConfig {
    MqttConfig {
        host: "127.0.0.1".into(),
        port,
        protocol,
        root: "pavad/cam-01".into(),
        client_id: "pavad-cam-01".into(),
        username: None,
        password_file: None,
        keep_alive: 5,
        tls: None,
        commands: true,
        home_assistant: None,
    }
}
