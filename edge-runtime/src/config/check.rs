//! From the file as written to types that cannot be wrong.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use alert_wire::{Topics, check_id};
use toml::Spanned;

use super::raw::{self, SourceType};
use super::{
    AtEnd, CameraConfig, Config, EventOverrides, EvidenceConfig, FileConfig, HomeAssistantConfig,
    ModelConfig, MqttConfig, Pace, Protocol, SourceConfig, SpoolConfig, TlsConfig, UpdatesConfig,
    V4l2Config, WebConfig,
};
use crate::scene::SceneRules;
use crate::zones::Zones;

/// What is wrong, and where in the text.
pub struct Problem {
    pub offset: usize,
    pub message: String,
}

type Checked<T> = Result<T, Problem>;

fn problem<T, V>(at: &Spanned<V>, message: String) -> Checked<T> {
    Err(Problem { offset: at.span().start, message })
}

/// A number in its range, or the default.
fn number<T>(
    field: Option<Spanned<T>>,
    name: &str,
    range: RangeInclusive<T>,
    default: T,
) -> Checked<T>
where
    T: PartialOrd + Copy + std::fmt::Display,
{
    match field {
        None => Ok(default),
        Some(value) if range.contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => problem(
            &value,
            format!(
                "`{name}` is {}; it must be {} to {}",
                value.get_ref(),
                range.start(),
                range.end()
            ),
        ),
    }
}

fn optional(
    field: Option<Spanned<f64>>,
    name: &str,
    range: RangeInclusive<f64>,
) -> Checked<Option<f64>> {
    field.map(|value| number(Some(value), name, range, 0.0)).transpose()
}

fn id(field: &Spanned<String>, name: &str) -> Checked<String> {
    match check_id(field.get_ref()) {
        Ok(()) => Ok(field.get_ref().clone()),
        Err(e) => problem(field, format!("`{name}` {:?} {e}", field.get_ref())),
    }
}

fn not_empty(field: &Spanned<String>, name: &str) -> Checked<String> {
    if field.get_ref().is_empty() {
        return problem(field, format!("`{name}` is empty; give a value or remove the field"));
    }
    Ok(field.get_ref().clone())
}

pub fn check(raw: raw::Config, folder: &Path) -> Checked<Config> {
    let path = |text: String| folder.join(text);
    let device = id(&raw.device, "device")?;
    let mqtt = raw.mqtt.map(|m| mqtt(m, &device, folder)).transpose()?;
    let updates = raw.updates.map(|u| updates(u, &raw.model, folder)).transpose()?;
    let spool = raw.spool.unwrap_or(raw::Spool { dir: None, max_bytes: None });
    let evidence = raw.evidence.map(|e| -> Checked<_> {
        Ok(EvidenceConfig {
            dir: path(e.dir),
            max_bytes: number(e.max_bytes, "evidence.max_bytes", 65_536..=1 << 50, 256 << 20)?,
            max_days: optional(e.max_days, "evidence.max_days", 0.01..=36_500.0)?,
            quality: number(e.quality, "evidence.quality", 1..=100, 80)?,
            draw_region: e.draw_region.unwrap_or(true),
        })
    });
    Ok(Config {
        board: raw.board.unwrap_or_else(|| "auto".into()),
        status_every: number(raw.status_every, "status_every", 1.0..=3600.0, 10.0)?,
        telemetry_every: number(raw.telemetry_every, "telemetry_every", 1.0..=3600.0, 30.0)?,
        state_dir: path(raw.state_dir.unwrap_or_else(|| "state".into())),
        scores_dir: raw.scores_dir.map(path),
        events_file: raw.events_file.map(path),
        exit_when_done: raw.exit_when_done.unwrap_or(false),
        drain_timeout: number(raw.drain_timeout, "drain_timeout", 0.0..=3600.0, 30.0)?,
        model: model(raw.model, folder)?,
        mqtt,
        updates,
        spool: SpoolConfig {
            dir: path(spool.dir.unwrap_or_else(|| "spool".into())),
            max_bytes: number(spool.max_bytes, "spool.max_bytes", 4096..=1 << 40, 16 << 20)?,
        },
        evidence: evidence.transpose()?,
        events: raw.events.map(events).transpose()?.unwrap_or_default(),
        web: raw.web.map(|w| web(w, folder)).transpose()?,
        scene: raw.scene.map(scene).transpose()?.unwrap_or_default(),
        cameras: cameras(raw.cameras, folder)?,
        device,
    })
}

fn model(raw: raw::Model, folder: &Path) -> Checked<ModelConfig> {
    let backends = match raw.backends {
        None => None,
        Some(list) if list.get_ref().is_empty() => {
            return problem(
                &list,
                "`model.backends` is empty; name \"ort\", \"tract\" or both".into(),
            );
        }
        Some(list) => Some(list.into_inner()),
    };
    // A key is either its own text or a file; minisign keys are base64 and begin with `RW`.
    let key = |text: String| {
        if text.starts_with("RW") && !folder.join(&text).exists() {
            text
        } else {
            folder.join(text).to_string_lossy().into_owned()
        }
    };
    Ok(ModelConfig {
        bundle: folder.join(not_empty(&raw.bundle, "model.bundle")?),
        public_keys: raw.public_keys.unwrap_or_default().into_iter().map(key).collect(),
        backends,
        threads: number(raw.threads, "model.threads", 0..=256, 0)?,
        ort_library: raw.ort_library.map(|p| folder.join(p)),
    })
}

fn mqtt(raw: raw::Mqtt, device: &str, folder: &Path) -> Checked<MqttConfig> {
    let root = match raw.root {
        None => format!("pavad/{device}"),
        Some(root) => match Topics::new(root.get_ref()) {
            Ok(_) => root.into_inner(),
            Err(e) => return problem(&root, format!("`mqtt.root` {:?} {e}", root.get_ref())),
        },
    };
    let client_id = match raw.client_id {
        None => format!("pavad-{device}"),
        Some(id) => not_empty(&id, "mqtt.client_id")?,
    };
    if let (Some(file), None) = (&raw.password_file, &raw.username) {
        return problem(file, "`mqtt.password_file` needs `mqtt.username`".into());
    }
    let path = |field: Spanned<String>| folder.join(field.into_inner());
    let port = if raw.tls.is_some() { 8883 } else { 1883 };
    let tls = match raw.tls {
        None => None,
        Some(tls) => {
            match (&tls.cert_file, &tls.key_file) {
                (Some(only), None) => {
                    return problem(only, "`mqtt.tls.cert_file` needs `mqtt.tls.key_file`".into());
                }
                (None, Some(only)) => {
                    return problem(only, "`mqtt.tls.key_file` needs `mqtt.tls.cert_file`".into());
                }
                _ => {}
            }
            Some(TlsConfig {
                ca_file: folder.join(tls.ca_file),
                cert_file: tls.cert_file.map(path),
                key_file: tls.key_file.map(path),
            })
        }
    };
    Ok(MqttConfig {
        host: not_empty(&raw.host, "mqtt.host")?,
        port: number(raw.port, "mqtt.port", 1..=u16::MAX, port)?,
        protocol: raw.protocol.unwrap_or(Protocol::V5),
        root,
        client_id,
        username: raw.username.map(|u| not_empty(&u, "mqtt.username")).transpose()?,
        password_file: raw.password_file.map(path),
        keep_alive: number(raw.keep_alive, "mqtt.keep_alive", 5..=3600, 30)?,
        tls,
        commands: raw.commands.unwrap_or(true),
        home_assistant: raw.home_assistant.map(home_assistant).transpose()?,
    })
}

fn updates(
    raw: Spanned<raw::Updates>,
    model: &raw::Model,
    folder: &Path,
) -> Checked<UpdatesConfig> {
    if model.public_keys.as_ref().is_none_or(Vec::is_empty) {
        let message = "`updates` needs `model.public_keys`: who may sign a bundle?";
        return problem(&raw, message.into());
    }
    let raw = raw.into_inner();
    let mut url_prefixes = Vec::new();
    for prefix in raw.url_prefixes.map(Spanned::into_inner).unwrap_or_default() {
        let text = prefix.get_ref();
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        // Without the slash `https://good` would also allow `https://good.evil.example`.
        if host.and_then(|host| host.find('/')).is_none_or(|at| at == 0) {
            let message = format!(
                "`updates.url_prefixes` {text:?} must be http:// or https:// with a host and a '/'"
            );
            return problem(&prefix, message);
        }
        url_prefixes.push(prefix.into_inner());
    }
    let (frames, seconds) = ("updates.probation_frames", "updates.probation_seconds");
    Ok(UpdatesConfig {
        dir: folder.join(raw.dir.unwrap_or_else(|| "bundles".into())),
        url_prefixes,
        ca_file: raw.ca_file.map(|path| folder.join(path)),
        probation_frames: number(raw.probation_frames, frames, 1..=1_000_000_000, 1000)?,
        probation_seconds: number(raw.probation_seconds, seconds, 0.0..=86_400.0, 300.0)?,
    })
}

fn home_assistant(raw: raw::HomeAssistant) -> Checked<HomeAssistantConfig> {
    let prefix = match raw.prefix {
        None => "homeassistant".into(),
        // Home Assistant's prefix follows the same rules as our root topic.
        Some(prefix) => match Topics::new(prefix.get_ref()) {
            Ok(_) => prefix.into_inner(),
            Err(e) => {
                let message = format!("`mqtt.home_assistant.prefix` {:?} {e}", prefix.get_ref());
                return problem(&prefix, message);
            }
        },
    };
    Ok(HomeAssistantConfig { enabled: raw.enabled.unwrap_or(true), prefix })
}

fn events(raw: Spanned<raw::Events>) -> Checked<EventOverrides> {
    const DAY: f64 = 86_400.0;
    let whole = raw.span().start;
    let raw = raw.into_inner();
    let events = EventOverrides {
        enter: optional(raw.enter, "events.enter", 0.0..=1.0)?,
        exit: optional(raw.exit, "events.exit", 0.0..=1.0)?,
        min_duration: optional(raw.min_duration, "events.min_duration", 0.0..=DAY)?,
        end_after: optional(raw.end_after, "events.end_after", 0.0..=DAY)?,
        cool_down: optional(raw.cool_down, "events.cool_down", 0.0..=DAY)?,
        update_every: number(raw.update_every, "events.update_every", 0.1..=DAY, 5.0)?,
    };
    match (events.enter, events.exit) {
        (Some(enter), Some(exit)) if exit >= enter => Err(Problem {
            offset: whole,
            message: format!(
                "`events.exit` is {exit}; it must be less than `events.enter`, {enter}"
            ),
        }),
        _ => Ok(events),
    }
}

fn web(raw: Spanned<raw::Web>, folder: &Path) -> Checked<WebConfig> {
    let whole = raw.span().start;
    let raw = raw.into_inner();
    let usual = SocketAddr::from(([127, 0, 0, 1], 8080));
    let listen = match &raw.listen {
        None => usual,
        Some(text) => match text.get_ref().parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => {
                let given = text.get_ref();
                let message = format!("`web.listen` {given:?} is no address and port, as {usual}");
                return problem(text, message);
            }
        },
    };
    let token_file = raw.token_file.map(|path| folder.join(path));
    if !listen.ip().is_loopback() && token_file.is_none() {
        let message = format!("`web.listen` {listen} is not loopback; it needs `web.token_file`");
        return Err(Problem { offset: whole, message });
    }
    Ok(WebConfig { listen, token_file })
}

fn scene(raw: raw::Scene) -> Checked<SceneRules> {
    let usual = SceneRules::default();
    let seconds = |field, name, default| number(field, name, 0.0..=3600.0, default);
    Ok(SceneRules {
        freeze_after: seconds(raw.freeze_after, "scene.freeze_after", usual.freeze_after)?,
        veto: raw.veto.unwrap_or(usual.veto),
        veto_before: seconds(raw.veto_before, "scene.veto_before", usual.veto_before)?,
        veto_after: seconds(raw.veto_after, "scene.veto_after", usual.veto_after)?,
    })
}

fn cameras(raw: Spanned<Vec<raw::Camera>>, folder: &Path) -> Checked<Vec<CameraConfig>> {
    if !(1..=32).contains(&raw.get_ref().len()) {
        let count = raw.get_ref().len();
        return problem(&raw, format!("`cameras` has {count} entries; it must have 1 to 32"));
    }
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for camera in raw.into_inner() {
        let name = id(&camera.id, "cameras.id")?;
        if !seen.insert(name.clone()) {
            return problem(&camera.id, format!("`cameras.id` {name:?} is used twice"));
        }
        let threshold = optional(camera.threshold, "cameras.threshold", 0.001..=1.0)?;
        let zones = Zones {
            zones: polygons(camera.zones, "cameras.zones")?,
            ignore: polygons(camera.ignore, "cameras.ignore")?,
        };
        out.push(CameraConfig {
            id: name,
            source: source(camera.source, folder)?,
            threshold,
            zones,
        });
    }
    Ok(out)
}

/// At most 32 polygons of 3 to 64 corners, inside the picture.
fn polygons(raw: Option<Vec<Spanned<Vec<[f64; 2]>>>>, name: &str) -> Checked<Vec<Vec<[f64; 2]>>> {
    let raw = raw.unwrap_or_default();
    if let Some(too_many) = raw.get(32) {
        return problem(too_many, format!("`{name}` has more than 32 polygons"));
    }
    let mut out = Vec::new();
    for polygon in raw {
        let corners = polygon.get_ref();
        if !(3..=64).contains(&corners.len()) {
            let count = corners.len();
            let message = format!("`{name}`: a polygon has {count} corners; it must have 3 to 64");
            return problem(&polygon, message);
        }
        if !corners.iter().flatten().all(|value| (0.0..=1.0).contains(value)) {
            let message = format!(
                "`{name}`: a corner lies outside the picture; values are relative to its size, 0 to 1"
            );
            return problem(&polygon, message);
        }
        out.push(polygon.into_inner());
    }
    Ok(out)
}

fn source(raw: Spanned<raw::Source>, folder: &Path) -> Checked<SourceConfig> {
    let whole = raw.span().start;
    let missing = |name: &str, kind: &str| Problem {
        offset: whole,
        message: format!("`cameras.source` of type \"{kind}\" needs `{name}`"),
    };
    let raw = raw.into_inner();
    let recorded = !matches!(raw.kind, SourceType::V4l2);
    // Offset and name of every field that is there but is not of this type.
    let foreign = if recorded {
        [
            raw.device.as_ref().map(|f| (f.span().start, "device")),
            raw.width.as_ref().map(|f| (f.span().start, "width")),
            raw.height.as_ref().map(|f| (f.span().start, "height")),
            raw.frame_rate.as_ref().map(|f| (f.span().start, "frame_rate")),
            raw.pixel_format.as_ref().map(|f| (f.span().start, "pixel_format")),
            raw.controls.as_ref().map(|f| (f.span().start, "controls")),
            raw.timeout.as_ref().map(|f| (f.span().start, "timeout")),
        ]
    } else {
        [
            raw.path.as_ref().map(|f| (f.span().start, "path")),
            raw.pace.as_ref().map(|f| (f.span().start, "pace")),
            raw.at_end.as_ref().map(|f| (f.span().start, "at_end")),
            None,
            None,
            None,
            None,
        ]
    };
    if let Some((offset, name)) = foreign.into_iter().flatten().next() {
        let kind = if recorded { "v4l2" } else { "file\" or \"images" };
        let message = format!("`cameras.source.{name}` is for type \"{kind}\" only; remove it");
        return Err(Problem { offset, message });
    }
    let file = |kind: &str| -> Checked<FileConfig> {
        let path: PathBuf = match &raw.path {
            Some(path) => folder.join(not_empty(path, "cameras.source.path")?),
            None => return Err(missing("path", kind)),
        };
        Ok(FileConfig {
            path,
            pace: raw.pace.as_ref().map_or(Pace::Realtime, |p| *p.get_ref()),
            at_end: raw.at_end.as_ref().map_or(AtEnd::Stop, |a| *a.get_ref()),
        })
    };
    Ok(match raw.kind {
        SourceType::File => SourceConfig::File(file("file")?),
        SourceType::Images => SourceConfig::Images(file("images")?),
        SourceType::V4l2 => {
            let Some(device) = &raw.device else {
                return Err(missing("device", "v4l2"));
            };
            SourceConfig::V4l2(V4l2Config {
                device: folder.join(not_empty(device, "cameras.source.device")?),
                width: number(raw.width, "cameras.source.width", 16..=8192, 640)?,
                height: number(raw.height, "cameras.source.height", 16..=8192, 480)?,
                frame_rate: number(raw.frame_rate, "cameras.source.frame_rate", 1.0..=240.0, 30.0)?,
                pixel_format: raw.pixel_format.map(Spanned::into_inner),
                controls: raw.controls.map(Spanned::into_inner).unwrap_or_default(),
                timeout: number(raw.timeout, "cameras.source.timeout", 0.1..=60.0, 2.0)?,
            })
        }
    })
}
