//! Configuration: one TOML file, checked once, plain types afterwards.
//!
//! Relative paths in the file are taken from the folder of the file. Unknown fields are errors, and
//! each error names the file, the line and the field.

mod cameras;
mod check;
mod files;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alert_wire::Topics;
use model_bundle::manifest::Detectors;
use serde::Serialize;

use crate::capture::PixelFormat;
use crate::detection::{LONGEST, Rules, UPDATE_EVERY};
use crate::scene::SceneRules;
use crate::zones::Zones;

pub use files::{FileKind, NamedFile};

/// The configuration of the camera program. Paths are absolute or relative to the working
/// directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Name of the device, `[a-zA-Z0-9_-]{1,64}`. Required.
    pub device: String,
    /// Board profile: the name of a built-in one, the path of a TOML file, or `auto` for the one
    /// that the machine's device tree names. Default `auto`.
    pub board: String,
    /// Seconds between two status messages, 1 to 3600. Default 10.
    pub status_every: f64,
    /// Seconds between two telemetry messages, 1 to 3600. Default 30.
    pub telemetry_every: f64,
    /// Folder for what the program itself remembers over a restart: settings made by command.
    /// Default `state`.
    pub state_dir: PathBuf,
    /// Folder that gets `<camera>.csv` with the score of every frame, and `<camera>.detectors.csv`
    /// with each detector's. Default: none is written.
    pub scores_dir: Option<PathBuf>,
    /// File to which every event is appended as a line of JSON. Default: none.
    pub events_file: Option<PathBuf>,
    /// End when every file source has ended and the spool is empty. Default false.
    pub exit_when_done: bool,
    /// Longest wait, in seconds, for the spool to empty at the end: 0 to 3600. Default 30. At a
    /// stop by signal at most 5 seconds are waited.
    pub drain_timeout: f64,
    /// The model. Required.
    pub model: ModelConfig,
    /// The broker. Default: none, events stay on the device.
    pub mqtt: Option<MqttConfig>,
    /// Installing bundles. Default: none, `model.bundle` is the bundle.
    pub updates: Option<UpdatesConfig>,
    /// Where events wait for the broker.
    pub spool: SpoolConfig,
    /// Pictures and clips of incidents. Default: none are kept.
    pub evidence: Option<EvidenceConfig>,
    /// Changes to the bundle's event rules.
    pub events: EventOverrides,
    /// What the picture as a whole is looked at for.
    pub scene: SceneRules,
    /// The siren.
    pub alarm: AlarmConfig,
    /// The local web server: page, metrics, health. Default: none.
    pub web: Option<WebConfig>,
    /// The cameras, 1 to 32.
    pub cameras: Vec<CameraConfig>,
}

/// The model and what runs it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The bundle (`*.pavad`). Required.
    pub bundle: PathBuf,
    /// Public keys a bundle may be signed with: minisign key text (`RW...`) or the path of a
    /// `.pub` file. Default: none, then the key inside the bundle is used, which proves that the
    /// file is whole but not where it comes from.
    pub public_keys: Vec<String>,
    /// Inference backends in the order in which they are tried. Default: the board profile's order,
    /// `["ort", "tract"]` if it has none.
    pub backends: Option<Vec<BackendName>>,
    /// What ONNX Runtime computes with, in the order in which it is tried. Default `["cpu"]`.
    pub providers: Vec<ProviderName>,
    /// Folder in which the engines that TensorRT builds are kept. Default `engines` in the state folder.
    pub engine_dir: Option<PathBuf>,
    /// Threads of the inference backend, 0 for as many as there are cores. Default 0.
    pub threads: usize,
    /// Path of ONNX Runtime's library. Default: `ORT_DYLIB_PATH`, then the usual places.
    pub ort_library: Option<PathBuf>,
}

/// An inference backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// ONNX Runtime.
    Ort,
    /// tract, in pure Rust.
    Tract,
}

impl BackendName {
    /// All of them, in the order in which they are tried if nobody says otherwise.
    pub const ALL: [Self; 2] = [Self::Ort, Self::Tract];

    /// The backend of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ort" => Some(Self::Ort),
            "tract" => Some(Self::Tract),
            _ => None,
        }
    }
}

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// NVIDIA's TensorRT.
    #[value(name = "tensorrt")]
    TensorRt,
    /// NVIDIA's GPUs by CUDA.
    Cuda,
    /// The processor.
    Cpu,
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MqttConfig {
    /// Name or address of the broker. Required.
    pub host: String,
    /// Port. Default 8883 with TLS, else 1883.
    pub port: u16,
    /// MQTT version, `5` or `3.1.1`. Default `5`.
    pub protocol: Protocol,
    /// Root of all topics. Default `pavad/<device>`.
    pub root: String,
    /// Client id; must differ from every other client's. Default `pavad-<device>`.
    pub client_id: String,
    /// User name. Default: none.
    pub username: Option<String>,
    /// File whose first line is the password. Default: none.
    pub password_file: Option<PathBuf>,
    /// Seconds of silence after which the connection is probed, 5 to 3600. Default 30.
    pub keep_alive: u16,
    /// TLS. Default: none, the link is not encrypted.
    pub tls: Option<TlsConfig>,
    /// Whether commands are taken from the broker. Default true.
    pub commands: bool,
    /// Home Assistant. Default: it is not told of the device.
    pub home_assistant: Option<HomeAssistantConfig>,
}

/// How Home Assistant finds the device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HomeAssistantConfig {
    /// Whether the device is announced; if not, an earlier announcement is removed. Default true.
    pub enabled: bool,
    /// Home Assistant's discovery prefix. Default `homeassistant`.
    pub prefix: String,
}

impl MqttConfig {
    /// The topics below the root.
    pub fn topics(&self) -> Topics {
        Topics::new(&self.root).expect("the root topic was checked when the configuration was read")
    }
}

/// MQTT version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Protocol {
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// Installing bundles; needs `model.public_keys`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpdatesConfig {
    /// Folder of the slots. Default `bundles`.
    pub dir: PathBuf,
    /// Beginnings of the addresses that a command over MQTT may have a bundle fetched from. Default:
    /// none, then only `edge-runtime bundle install` installs.
    pub url_prefixes: Vec<String>,
    /// PEM file with the certificates that a server must be signed by. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Frames that a new bundle must score without failing, 1 to 10^9. Default 1000.
    pub probation_frames: u64,
    /// Seconds that it must run at least, 0 to 86400. Default 300.
    pub probation_seconds: f64,
}

/// The local web server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebConfig {
    /// Address and port. Default `127.0.0.1:8080`. Any other than loopback needs `token_file`.
    pub listen: SocketAddr,
    /// File whose first line every request must know. Default: none.
    pub token_file: Option<PathBuf>,
}

/// TLS to the broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TlsConfig {
    /// PEM file with the certificate authority. Required.
    pub ca_file: PathBuf,
    /// PEM file with the client certificate; needs `key_file`. Default: none.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's private key. Default: none.
    pub key_file: Option<PathBuf>,
}

/// Where events wait for the broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpoolConfig {
    /// Folder. Default `spool`.
    pub dir: PathBuf,
    /// Largest size in bytes, at least 4096; beyond it the oldest event is dropped. Default
    /// 16 MiB, more than 30 000 events.
    pub max_bytes: u64,
}

/// Pictures and clips of incidents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvidenceConfig {
    /// Folder; a picture is `<camera>/<incident id>.jpg`, a clip `.mov`. Required.
    pub dir: PathBuf,
    /// Largest size in bytes, at least 65536; beyond it the oldest file is deleted. Default 256 MiB.
    pub max_bytes: u64,
    /// Days after which a file is deleted, 0.01 to 36500. Default: none is for its age.
    pub max_days: Option<f64>,
    /// JPEG quality, 1 to 100. Default 80.
    pub quality: u8,
    /// Whether the region is drawn into the picture. Default true.
    pub draw_region: bool,
    /// Seconds of a clip before the incident begins, 0 to 60. Default 0; no clips if `clip_after` is
    /// 0 too.
    pub clip_before: f64,
    /// Seconds of a clip after the incident has ended, 0 to 60. Default 0.
    pub clip_after: f64,
}

/// Changes to the bundle's event rules; what is absent stays as the bundle says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventOverrides {
    /// Score at which an incident may start.
    pub enter: Option<f64>,
    /// Score below which an incident ends.
    pub exit: Option<f64>,
    /// Seconds the score must hold to be announced.
    pub min_duration: Option<f64>,
    /// Seconds below `exit` that end an incident.
    pub end_after: Option<f64>,
    /// Seconds after an incident in which no other starts.
    pub cool_down: Option<f64>,
    /// Seconds between two updates of a running incident, at least 0.1. Default 5.
    pub update_every: f64,
    /// Seconds after which an incident ends, however high the score still is.
    pub longest: f64,
}

impl Default for EventOverrides {
    fn default() -> Self {
        Self {
            enter: None,
            exit: None,
            min_duration: None,
            end_after: None,
            cool_down: None,
            update_every: UPDATE_EVERY,
            longest: LONGEST,
        }
    }
}

/// The alarm output of the board.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AlarmConfig {
    /// Seconds for which it sounds at most after an incident has begun, 0 to 86400; 0 for as long as it
    /// lasts. Default 180. The incident goes on, and the next one starts the time anew.
    pub longest: f64,
}

impl AlarmConfig {
    /// The longest time on, if there is one.
    pub fn limit(self) -> Option<Duration> {
        (self.longest > 0.0).then(|| Duration::from_secs_f64(self.longest))
    }
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self { longest: 180.0 }
    }
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraConfig {
    /// Id, `[a-zA-Z0-9_-]{1,64}`; unique. Required.
    pub id: String,
    /// Where its frames come from. Required.
    pub source: SourceConfig,
    /// Score at which an incident starts at this camera, between 0 and 1; `exit` moves in
    /// proportion. Default: as the bundle or `[events]` says.
    pub threshold: Option<f64>,
    /// The places of its picture that count. Default: all.
    #[serde(flatten)]
    pub zones: Zones,
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceConfig {
    /// A video file.
    File(FileConfig),
    /// A folder of pictures, in the order of their names.
    Images(FileConfig),
    /// A Video4Linux capture device.
    V4l2(V4l2Config),
    /// A camera in the network.
    Rtsp(RtspConfig),
}

impl SourceConfig {
    /// The file, folder, device node or address.
    pub fn name(&self) -> String {
        match self {
            Self::File(file) | Self::Images(file) => file.path.display().to_string(),
            Self::V4l2(device) => device.device.display().to_string(),
            Self::Rtsp(stream) => stream.shown(),
        }
    }
}

/// A recorded source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileConfig {
    /// The file or folder. Required.
    pub path: PathBuf,
    /// `realtime`: at the recorded rate, late frames are dropped; `fast`: as fast as they are
    /// scored, none is dropped. Default `realtime`.
    pub pace: Pace,
    /// `stop` or `loop`. Default `stop`.
    pub at_end: AtEnd,
}

/// How fast a recorded source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// At the recorded rate; late frames are dropped.
    Realtime,
    /// As fast as frames are scored; none is dropped.
    Fast,
}

/// What happens at the end of a recorded source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtEnd {
    /// The camera ends.
    Stop,
    /// It starts again; frame numbers go on.
    Loop,
}

/// A Video4Linux capture device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct V4l2Config {
    /// Device node; prefer `/dev/v4l/by-id/...`, which stays the same when cameras are replugged.
    /// Required.
    pub device: PathBuf,
    /// Width to ask for. Default 640.
    pub width: u32,
    /// Height to ask for. Default 480.
    pub height: u32,
    /// Frames per second to ask for. Default 30.
    pub frame_rate: f64,
    /// The one pixel format to use. Default: of those that the camera has at the size asked for, the
    /// one with the highest rate, then the one that is cheapest to read.
    pub pixel_format: Option<PixelFormat>,
    /// Controls to set, by the names that `v4l2-ctl --list-ctrls` shows. Default: none, the camera
    /// keeps its own.
    pub controls: BTreeMap<String, i64>,
    /// Seconds without a frame after which the device is reopened, 0.1 to 60. Default 2.
    pub timeout: f64,
}

/// A camera in the network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RtspConfig {
    /// Address, `rtsp://host[:port]/path`, without user name and password. Required.
    pub url: String,
    /// User name. Default: none.
    pub username: Option<String>,
    /// File whose first line is the password. Default: none.
    pub password_file: Option<PathBuf>,
    /// Name of the environment variable that has the password. Default: none.
    pub password_env: Option<String>,
    /// How the pictures come. Default `tcp`.
    pub transport: Transport,
    /// Seconds for connecting, and without a frame, after which the connection is made anew, 0.5 to
    /// 60. Default 5.
    pub timeout: f64,
}

impl RtspConfig {
    /// The address for messages: the host and port only. Path and query of many cameras hold a
    /// password.
    pub fn shown(&self) -> String {
        let rest = self.url.strip_prefix("rtsp://").unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let more = if rest.len() > end + 1 { "/..." } else { "" };
        format!("rtsp://{}{more}", &rest[..end])
    }
}

/// How an RTSP camera sends its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// In the connection of the commands: nothing is lost, and firewalls let it through.
    Tcp,
    /// As datagrams.
    Udp,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// {0} could not be read
    #[error("{path}: {source}; give the configuration with --config FILE")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A field is wrong.
    #[error("{path}:{line}: {message}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field and what is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it cannot be read or anything in it is wrong; the message names file, line and field.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; relative paths are taken from the folder of `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let at = |offset: usize, message: String| Error::Field {
            path: path.to_owned(),
            line: text.as_bytes().iter().take(offset).filter(|&&b| b == b'\n').count() + 1,
            message,
        };
        let raw: raw::Config = toml::from_str(text).map_err(|e| {
            let message = e.message().replace('\n', " ");
            at(e.span().map_or(0, |span| span.start), message)
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        check::check(raw, folder).map_err(|problem| at(problem.offset, problem.message))
    }

    /// The event rules of a camera: the bundle's, changed by `[events]` and by the camera's
    /// threshold.
    ///
    /// # Errors
    /// If the result is not `0 <= exit < enter <= 1`; the message says which.
    pub fn rules(&self, model: &Detectors, camera: &CameraConfig) -> Result<Rules, String> {
        let events = &self.events;
        let bundle = Rules::of_model(model);
        let normal_level = bundle.normal_level;
        let mut rules = Rules {
            enter: events.enter.unwrap_or(bundle.enter),
            exit: events.exit.unwrap_or(bundle.exit),
            min_duration: events.min_duration.unwrap_or(bundle.min_duration),
            end_after: events.end_after.unwrap_or(bundle.end_after),
            cool_down: events.cool_down.unwrap_or(bundle.cool_down),
            update_every: events.update_every,
            longest: events.longest,
            normal_level,
        };
        if let Some(threshold) = camera.threshold {
            rules = rules.with_threshold(threshold);
        }
        if !(0.0 <= rules.exit && rules.exit < rules.enter && rules.enter <= 1.0) {
            return Err(format!(
                "camera `{}`: the event rules have exit {} and enter {}, which must be \
                 0 <= exit < enter <= 1; change `events.exit` or `events.enter`",
                camera.id, rules.exit, rules.enter
            ));
        }
        let sound = rules.above_normal();
        if sound.exit != rules.exit {
            log::warn!(
                "camera {}: exit {:.3} lies within what this site scores when nothing happens (up to \
                 {normal_level:.3}): no incident would end; {:.3} is taken",
                camera.id,
                rules.exit,
                sound.exit
            );
        }
        if normal_level >= sound.enter {
            log::warn!(
                "camera {}: incidents begin at {:.3}, within what this site scores when nothing \
                 happens (up to {normal_level:.3})",
                camera.id,
                sound.enter
            );
        }
        Ok(sound)
    }
}
