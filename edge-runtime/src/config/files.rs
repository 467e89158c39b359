//! The files that a configuration names, for whoever has to bring them to a device.

use std::path::{Path, PathBuf};

use super::{
    CameraConfig, Config, ModelConfig, MqttConfig, RtspConfig, SourceConfig, TlsConfig,
    UpdatesConfig, WebConfig,
};

/// What a named file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A certificate in PEM.
    Certificate,
    /// A private key in PEM.
    PrivateKey,
    /// A password or token.
    Secret,
    /// A key that bundles may be signed by.
    PublicKey,
    /// A board profile.
    Board,
}

impl FileKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private-key",
            Self::Secret => "secret",
            Self::PublicKey => "public-key",
            Self::Board => "board",
        }
    }
}

/// A file that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// What it holds.
    pub kind: FileKind,
    /// The field that names it.
    pub field: String,
    /// Where it is to be.
    pub path: PathBuf,
}

impl Config {
    /// The files that it names and that a device needs beside the bundle and the program, in the order of
    /// the fields. Every field of the parts that can name one is listed here, so that a new one is thought
    /// of.
    pub fn files(&self) -> Vec<NamedFile> {
        let mut files = Vec::new();
        let mut add = |kind, field: &str, path: Option<&Path>| {
            if let Some(path) = path {
                files.push(NamedFile { kind, field: field.to_owned(), path: path.to_owned() });
            }
        };
        let board = Path::new(&self.board);
        let is_file = board.extension().is_some_and(|e| e == "toml");
        add(FileKind::Board, "board", is_file.then_some(board));
        let ModelConfig {
            bundle: _,
            public_keys,
            backends: _,
            providers: _,
            engine_dir: _,
            threads: _,
            ort_library: _,
        } = &self.model;
        for key in public_keys.iter().filter(|key| !key.starts_with("RW")) {
            add(FileKind::PublicKey, "model.public_keys", Some(Path::new(key)));
        }
        if let Some(MqttConfig { password_file, tls, .. }) = &self.mqtt {
            add(FileKind::Secret, "mqtt.password_file", password_file.as_deref());
            if let Some(TlsConfig { ca_file, cert_file, key_file }) = tls {
                add(FileKind::Certificate, "mqtt.tls.ca_file", Some(ca_file));
                add(FileKind::Certificate, "mqtt.tls.cert_file", cert_file.as_deref());
                add(FileKind::PrivateKey, "mqtt.tls.key_file", key_file.as_deref());
            }
        }
        if let Some(UpdatesConfig {
            dir: _,
            url_prefixes: _,
            ca_file,
            probation_frames: _,
            probation_seconds: _,
        }) = &self.updates
        {
            add(FileKind::Certificate, "updates.ca_file", ca_file.as_deref());
        }
        if let Some(WebConfig { listen: _, token_file }) = &self.web {
            add(FileKind::Secret, "web.token_file", token_file.as_deref());
        }
        for CameraConfig { id, source, threshold: _, zones: _ } in &self.cameras {
            // A recording stands in for a camera on the machine that it lies on.
            if let SourceConfig::Rtsp(RtspConfig { password_file, .. }) = source {
                let field = format!("cameras.{id}.source.password_file");
                add(FileKind::Secret, &field, password_file.as_deref());
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_configuration_names() {
        let text = "device = \"a\"\nboard = \"own.toml\"\n\
                    [model]\nbundle = \"m.pavad\"\npublic_keys = [\"site.pub\", \"RWQabc\"]\n\
                    [mqtt]\nhost = \"b\"\nusername = \"u\"\npassword_file = \"password\"\n\
                    tls = { ca_file = \"ca.pem\", cert_file = \"c.pem\", key_file = \"k.pem\" }\n\
                    [updates]\nca_file = \"updates.pem\"\n[web]\ntoken_file = \"token\"\n\
                    [[cameras]]\nid = \"gate\"\nsource = { type = \"rtsp\", url = \"rtsp://a/b\", \
                    username = \"u\", password_file = \"gate\" }\n\
                    [[cameras]]\nid = \"yard\"\nsource = { type = \"file\", path = \"y.mp4\" }\n";
        let config = Config::parse(text, Path::new("/stick/site.toml")).unwrap();
        let files: Vec<String> = config
            .files()
            .iter()
            .map(|f| format!("{} {} {}", f.kind.name(), f.field, f.path.display()))
            .collect();
        assert_eq!(
            files,
            [
                "board board /stick/own.toml",
                "public-key model.public_keys /stick/site.pub",
                "secret mqtt.password_file /stick/password",
                "certificate mqtt.tls.ca_file /stick/ca.pem",
                "certificate mqtt.tls.cert_file /stick/c.pem",
                "private-key mqtt.tls.key_file /stick/k.pem",
                "certificate updates.ca_file /stick/updates.pem",
                "secret web.token_file /stick/token",
                "secret cameras.gate.source.password_file /stick/gate",
            ]
        );
        // No field of a whole configuration that ends like a file's is left out.
        let all = toml::to_string(&config).unwrap();
        let named = all.lines().filter(|l| l.contains("_file = ")).count();
        assert_eq!(named, files.len() - 2);
    }
}
