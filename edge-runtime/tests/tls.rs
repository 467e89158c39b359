//! The link to the broker over TLS: a real mosquitto that demands client certificates.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Broker, Running, command, free_port, mqtt};
use edge_runtime::config::{MqttConfig, Protocol, TlsConfig};
use edge_runtime::publish::{self, Publisher, Spool};

/// A certificate authority and what it has signed, made with the `openssl` program.
struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// An authority, a server `broker` for 127.0.0.1, and a client `camera`. `None`, and a message,
    /// if there is no `openssl`.
    fn make(dir: &Path) -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: openssl is not installed");
            return None;
        }
        let own = Self { dir: dir.to_owned() };
        own.authority("ca");
        own.sign("ca", "broker", "30");
        own.sign("ca", "camera", "30");
        Some(own)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn openssl(&self, words: &str) {
        let output =
            Command::new("openssl").args(words.split(' ')).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn authority(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj /CN={name} -keyout {name}.key -out {name}.crt"
        ));
    }

    /// A certificate for 127.0.0.1 that is valid for some days; a negative number has passed.
    fn sign(&self, authority: &str, name: &str, days: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \
             -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial \
             -copy_extensions copy -days {days} -out {name}.crt"
        ));
    }

    /// The broker; it takes nobody without a certificate of the authority.
    fn broker(&self) -> Option<Broker> {
        let file = |name: &str| self.path(name).display().to_string();
        let listener = format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\n",
            file("ca.crt"),
            file("broker.crt"),
            file("broker.key")
        );
        Broker::with(&self.dir, 0, &listener)
    }

    fn config(&self, port: u16, protocol: Protocol, ca: &str, client: Option<&str>) -> MqttConfig {
        let file = |end: &str| client.map(|name| self.path(&format!("{name}.{end}")));
        MqttConfig {
            tls: Some(TlsConfig {
                ca_file: self.path(&format!("{ca}.crt")),
                cert_file: file("crt"),
                key_file: file("key"),
            }),
            ..mqtt(port, protocol)
        }
    }
}

#[test]
fn client_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let Some(broker) = certificates.broker() else { return };
    for (number, protocol) in [Protocol::V5, Protocol::V311].into_iter().enumerate() {
        let config = |ca: &str, client| certificates.config(broker.port, protocol, ca, client);
        publish::probe(&config("ca", Some("camera"))).unwrap();
        let spool = Spool::open(&dir.path().join(format!("spool-{number}")), 1 << 20).unwrap();
        let publisher = Publisher::start(config("ca", Some("camera")), spool);
        assert!(publisher.wait_connected(Duration::from_secs(10)));
        publisher.set_retained("pavad/cam-01/status", "over TLS");
        publisher.close(Duration::from_secs(5));

        // Nobody without a certificate, none of another authority, no broker of another authority.
        certificates.authority("stranger");
        certificates.sign("stranger", "intruder", "30");
        certificates.sign("ca", "expired", "-1");
        for (ca, client) in [
            ("ca", None),
            ("ca", Some("intruder")),
            ("ca", Some("expired")),
            ("stranger", Some("camera")),
        ] {
            let error = publish::probe(&config(ca, client)).unwrap_err().to_string();
            let begin = format!("broker 127.0.0.1:{}: ", broker.port);
            assert!(error.starts_with(&begin), "{ca} {client:?}: {error}");
            // Who looks for the fault is told which it is.
            let expired = error.to_ascii_lowercase().contains("expired");
            assert_eq!(expired, client == Some("expired"), "{ca} {client:?}: {error}");
        }
    }
    // And nothing in clear.
    let plain = MqttConfig {
        tls: None,
        ..certificates.config(broker.port, Protocol::V5, "ca", Some("camera"))
    };
    assert!(publish::probe(&plain).is_err());
}

#[test]
fn the_program_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(dir.path()) else { return };
    let Some(broker) = certificates.broker() else { return };
    let maker = common::Maker::new();
    std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.path().join("clip"), 40, 10..30);
    let config = |port: u16| {
        let text = format!(
            "device = \"cam-01\"\nexit_when_done = true\n\
             [model]\nbundle = \"model.pavad\"\npublic_keys = [\"{}\"]\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n[mqtt.tls]\nca_file = \"ca.crt\"\n\
             cert_file = \"camera.crt\"\nkey_file = \"camera.key\"\n\
             [[cameras]]\nid = \"door\"\n\
             source = {{ type = \"images\", path = \"clip\", pace = \"fast\" }}\n",
            maker.key()
        );
        std::fs::write(dir.path().join("edge.toml"), text).unwrap();
        let mut command = command(dir.path());
        command.args(["run", "--config", "edge.toml"]).stderr(Stdio::null());
        command
    };
    // It ends well only if the broker has taken every event.
    assert!(config(broker.port).status().unwrap().success());
    // A broker that is away is no reason to end; nothing was lost, as the next run shows.
    let run = Running::start(&mut config(free_port()));
    std::thread::sleep(Duration::from_millis(500));
    drop(run);
    assert!(config(broker.port).status().unwrap().success());
}
