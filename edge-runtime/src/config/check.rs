//! From the file as written to types that cannot be wrong.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use alert_wire::{Topics, check_id};
use toml::Spanned;

use super::raw::{self, SourceType};
use super::{
    AtEnd, CameraConfig, Config, EventOverrides, EvidenceConfig, FileConfig, ModelConfig,
    MqttConfig, Pace, Protocol, SourceConfig, SpoolConfig, TlsConfig, V4l2Config,
};

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
    let spool = raw.spool.unwrap_or(raw::Spool { dir: None, max_bytes: None });
    let evidence = raw.evidence.map(|e| -> Checked<_> {
        Ok(EvidenceConfig {
            dir: path(e.dir),
            max_bytes: number(e.max_bytes, "evidence.max_bytes", 65_536..=1 << 50, 256 << 20)?,
            quality: number(e.quality, "evidence.quality", 1..=100, 80)?,
            draw_region: e.draw_region.unwrap_or(true),
        })
    });
    Ok(Config {
        board: raw.board.unwrap_or_else(|| "auto".into()),
        status_every: number(raw.status_every, "status_every", 1.0..=3600.0, 10.0)?,
        scores_dir: raw.scores_dir.map(path),
        events_file: raw.events_file.map(path),
        exit_when_done: raw.exit_when_done.unwrap_or(false),
        drain_timeout: number(raw.drain_timeout, "drain_timeout", 0.0..=3600.0, 30.0)?,
        model: model(raw.model, folder)?,
        mqtt,
        spool: SpoolConfig {
            dir: path(spool.dir.unwrap_or_else(|| "spool".into())),
            max_bytes: number(spool.max_bytes, "spool.max_bytes", 4096..=1 << 40, 16 << 20)?,
        },
        evidence: evidence.transpose()?,
        events: raw.events.map(events).transpose()?.unwrap_or_default(),
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
    })
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
        out.push(CameraConfig { id: name, source: source(camera.source, folder)?, threshold });
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
