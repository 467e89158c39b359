//! The file as written, before it is checked. `Spanned` keeps where a value stands.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::capture::PixelFormat;

use super::{AtEnd, BackendName, Pace, Protocol, ProviderName, Transport};

type Field<T> = Option<Spanned<T>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub device: Spanned<String>,
    pub board: Option<String>,
    pub status_every: Field<f64>,
    pub telemetry_every: Field<f64>,
    pub state_dir: Option<String>,
    pub scores_dir: Option<String>,
    pub events_file: Option<String>,
    pub exit_when_done: Option<bool>,
    pub drain_timeout: Field<f64>,
    pub model: Model,
    pub mqtt: Option<Mqtt>,
    pub updates: Option<Spanned<Updates>>,
    pub spool: Option<Spool>,
    pub evidence: Option<Evidence>,
    pub events: Option<Spanned<Events>>,
    pub scene: Option<Scene>,
    pub alarm: Option<Alarm>,
    pub web: Option<Spanned<Web>>,
    pub cameras: Spanned<Vec<Camera>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub bundle: Spanned<String>,
    pub public_keys: Option<Vec<String>>,
    pub backends: Field<Vec<BackendName>>,
    pub providers: Field<Vec<ProviderName>>,
    pub engine_dir: Option<String>,
    pub threads: Field<usize>,
    pub ort_library: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    pub host: Spanned<String>,
    pub port: Field<u16>,
    pub protocol: Option<Protocol>,
    pub root: Field<String>,
    pub client_id: Field<String>,
    pub username: Field<String>,
    pub password_file: Field<String>,
    pub keep_alive: Field<u16>,
    pub tls: Option<Tls>,
    pub commands: Option<bool>,
    pub home_assistant: Option<HomeAssistant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeAssistant {
    pub enabled: Option<bool>,
    pub prefix: Field<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    pub dir: Option<String>,
    pub url_prefixes: Field<Vec<Spanned<String>>>,
    pub ca_file: Option<String>,
    pub probation_frames: Field<u64>,
    pub probation_seconds: Field<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub ca_file: String,
    pub cert_file: Field<String>,
    pub key_file: Field<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    pub dir: Option<String>,
    pub max_bytes: Field<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub dir: String,
    pub max_bytes: Field<u64>,
    pub max_days: Field<f64>,
    pub quality: Field<u8>,
    pub draw_region: Option<bool>,
    pub clip_before: Field<f64>,
    pub clip_after: Field<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub enter: Field<f64>,
    pub exit: Field<f64>,
    pub min_duration: Field<f64>,
    pub end_after: Field<f64>,
    pub cool_down: Field<f64>,
    pub update_every: Field<f64>,
    pub longest: Field<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    pub listen: Field<String>,
    pub token_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    pub longest: Field<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    pub freeze_after: Field<f64>,
    pub veto: Option<bool>,
    pub veto_before: Field<f64>,
    pub veto_after: Field<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    pub id: Spanned<String>,
    pub source: Spanned<Source>,
    pub threshold: Field<f64>,
    pub zones: Option<Vec<Spanned<Vec<[f64; 2]>>>>,
    pub ignore: Option<Vec<Spanned<Vec<[f64; 2]>>>>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    File,
    Images,
    V4l2,
    Rtsp,
}

impl SourceType {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Images => "images",
            Self::V4l2 => "v4l2",
            Self::Rtsp => "rtsp",
        }
    }
}

/// All sources' fields in one: a tagged enum would lose the line of an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: SourceType,
    pub path: Field<String>,
    pub pace: Field<Pace>,
    pub at_end: Field<AtEnd>,
    pub device: Field<String>,
    pub width: Field<u32>,
    pub height: Field<u32>,
    pub frame_rate: Field<f64>,
    pub pixel_format: Field<PixelFormat>,
    pub controls: Field<BTreeMap<String, i64>>,
    pub timeout: Field<f64>,
    pub url: Field<String>,
    pub username: Field<String>,
    pub password_file: Field<String>,
    pub password_env: Field<String>,
    pub transport: Field<Transport>,
}
