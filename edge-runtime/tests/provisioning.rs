//! `pavad-provision`: a site's folder becomes a device's configuration, or nothing changes.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

const SITE: &str = r#"device = "gate-7"

[model]
bundle = "/var/lib/pavad/model.pavad"

[mqtt]
host = "broker.local"
username = "gate"
password_file = "password"
tls = { ca_file = "ca.pem" }

[[cameras]]
id = "gate"
source = { type = "v4l2", device = "/dev/video0" }
"#;

/// A stick with a good folder, and a device that has been provisioned before.
struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    /// `None` where there is no openssl.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let rig = Self { dir };
        fs::create_dir_all(rig.path("stick")).unwrap();
        fs::create_dir_all(rig.path("root/etc/pavad")).unwrap();
        fs::write(rig.path("root/etc/pavad/edge.toml"), "device = \"old\"\n").unwrap();
        fs::write(rig.path("stick/site.toml"), SITE).unwrap();
        fs::write(rig.path("stick/password"), "secret\n").unwrap();
        fs::write(rig.path("stick/model.pavad"), "bundle").unwrap();
        rig.certificate("20260101000000Z", "20991231235959Z").then_some(rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes `ca.pem` with these dates; false where there is no openssl.
    fn certificate(&self, from: &str, until: &str) -> bool {
        let conf = self.path("ca.conf");
        fs::write(
            &conf,
            format!(
                "[ca]\ndefault_ca=c\n[c]\ndatabase={0}/index\nnew_certs_dir={0}\nserial={0}/serial\n\
                 default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
                self.dir.path().display()
            ),
        )
        .unwrap();
        fs::write(self.path("index"), "").unwrap();
        fs::write(self.path("serial"), "01\n").unwrap();
        let openssl = |words: &[&str]| {
            let mut command = Command::new("openssl");
            command
                .args(words)
                .current_dir(self.dir.path())
                .output()
                .is_ok_and(|o| o.status.success())
        };
        openssl(&[
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "r.pem",
            "-subj", "/CN=site",
        ]) && openssl(&[
            "ca",
            "-batch",
            "-config",
            "ca.conf",
            "-selfsign",
            "-keyfile",
            "k.pem",
            "-in",
            "r.pem",
            "-out",
            "stick/ca.pem",
            "-startdate",
            from,
            "-enddate",
            until,
            "-notext",
        ])
    }

    /// Exit code and what was said.
    fn provision(&self) -> (Option<i32>, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/pavad-provision");
        let out = Command::new(script)
            .arg(self.path("stick"))
            .env("PAVAD_ROOT", self.path("root"))
            .env("PAVAD_EDGE", env!("CARGO_BIN_EXE_edge-runtime"))
            .output()
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// It is refused with this code, the message contains the parts, and the device is as it was.
    fn refused(&self, code: i32, parts: &[&str]) {
        let (found, said) = self.provision();
        assert_eq!(found, Some(code), "{said}");
        for part in parts.iter().chain(&["nothing was changed"]) {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        let etc: Vec<_> = fs::read_dir(self.path("root/etc/pavad")).unwrap().collect();
        assert_eq!(etc.len(), 1, "{etc:?}");
        let config = fs::read_to_string(self.path("root/etc/pavad/edge.toml")).unwrap();
        assert_eq!(config, "device = \"old\"\n");
        assert!(self.path("stick/password").exists());
    }
}

#[test]
fn a_device_takes_up_what_the_site_has_prepared() {
    let Some(rig) = Rig::new() else {
        println!("skipped: openssl is not installed");
        return;
    };
    fs::write(rig.path("stick/given.txt"), "gate-6\n").unwrap();
    let (code, said) = rig.provision();
    assert_eq!(code, Some(0), "{said}");
    for (name, content) in [("edge.toml", SITE), ("password", "secret\n")] {
        let path = rig.path("root/etc/pavad").join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
    }
    assert!(rig.path("root/etc/pavad/ca.pem").exists());
    assert_eq!(fs::read(rig.path("root/var/lib/pavad/model.pavad")).unwrap(), b"bundle");
    // Secrets are gone from the stick, and the name is given out.
    assert!(!rig.path("stick/password").exists() && rig.path("stick/ca.pem").exists());
    assert_eq!(fs::read_to_string(rig.path("stick/given.txt")).unwrap(), "gate-6\ngate-7\n");
}

#[test]
fn every_file_that_the_configuration_names_is_taken_along() {
    let Some(rig) = Rig::new() else {
        println!("skipped: openssl is not installed");
        return;
    };
    let network = |id: &str| {
        format!(
            "[[cameras]]\nid = \"{id}\"\nsource = {{ type = \"rtsp\", url = \"rtsp://10.0.0.1/{id}\", \
             username = \"u\", password_file = \"{id}-password\" }}\n"
        )
    };
    let text = SITE.replace(
        "[[cameras]]",
        "[updates]\ndir = \"/var/lib/pavad/bundles\"\nca_file = \"updates.pem\"\n\
         [web]\nlisten = \"0.0.0.0:8080\"\ntoken_file = \"token\"\n[[cameras]]",
    );
    let text = text.replace("[model]", "board = \"own.toml\"\n[model]\npublic_keys = [\"a.pub\"]");
    let text = format!("{text}{}{}", network("yard"), network("roof"));
    fs::write(rig.path("stick/site.toml"), text).unwrap();
    fs::copy(rig.path("stick/ca.pem"), rig.path("stick/updates.pem")).unwrap();
    let files =
        ["a.pub", "own.toml", "password", "token", "yard-password", "roof-password", "updates.pem"];
    for name in files.iter().filter(|name| !["password", "updates.pem"].contains(name)) {
        // Each is missed by its field before it is there.
        let (code, said) = rig.provision();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("no such file; nothing was changed"), "{said}");
        fs::write(rig.path("stick").join(name), "0123456789abcdef\n").unwrap();
    }
    let (code, said) = rig.provision();
    assert_eq!(code, Some(0), "{said}");
    for name in files {
        assert!(rig.path("root/etc/pavad").join(name).exists(), "{name}");
        let secret = name == "token" || name.ends_with("password");
        assert_eq!(rig.path("stick").join(name).exists(), !secret, "{name}");
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_changes() {
    let Some(rig) = Rig::new() else {
        println!("skipped: openssl is not installed");
        return;
    };
    let write = |from: &str, to: &str| {
        let text = SITE.replace(from, to);
        assert_ne!(text, SITE);
        fs::write(rig.path("stick/site.toml"), text).unwrap();
    };
    write("device = \"gate-7\"", "device = \"gate 7\"");
    rig.refused(2, &["site.toml:1: `device`"]);
    write("host = \"broker.local\"", "hots = \"broker.local\"");
    rig.refused(2, &["site.toml:7: ", "`hots`"]);
    write("[[cameras]]", "[[cameras");
    rig.refused(2, &["site.toml:12: "]);
    write("\"ca.pem\"", "\"other.pem\"");
    rig.refused(2, &["`mqtt.tls.ca_file`", "other.pem: no such file"]);
    write("/var/lib/pavad/model.pavad", "model.pavad");
    rig.refused(2, &["`bundle` must be a path in /var/lib/pavad"]);

    fs::write(rig.path("stick/site.toml"), SITE).unwrap();
    fs::write(rig.path("stick/given.txt"), "gate-6\ngate-7\n").unwrap();
    rig.refused(2, &["`device` \"gate-7\" has been given to another device"]);
    fs::remove_file(rig.path("stick/given.txt")).unwrap();

    assert!(rig.certificate("20200101000000Z", "20210101000000Z"));
    rig.refused(3, &["`mqtt.tls.ca_file`", "ca.pem: the certificate has expired"]);
    fs::write(rig.path("stick/ca.pem"), "no certificate").unwrap();
    rig.refused(3, &["`mqtt.tls.ca_file`", "no certificate in PEM"]);
}
