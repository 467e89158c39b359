//! From the file as written to types that cannot be wrong.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use alert_wire::{Topics, check_id};
use toml::Spanned;

use super::cameras::cameras;
use super::raw;
use super::{
    AlarmConfig, Config, EventOverrides, EvidenceConfig, HomeAssistantConfig, ModelConfig,
    MqttConfig, Protocol, ProviderName, SpoolConfig, TlsConfig, UpdatesConfig, WebConfig,
};
use crate::detection::LONGEST;
use crate::scene::SceneRules;

/// What is wrong, and where in the text.
pub struct Problem {
    pub offset: usize,
    pub message: String,
}

pub(super) type Checked<T> = Result<T, Problem>;

pub(super) fn problem<T, V>(at: &Spanned<V>, message: String) -> Checked<T> {
    Err(Problem { offset: at.span().start, message })
}

/// A number in its range, or the default.
pub(super) fn number<T>(
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

pub(super) fn optional(
    field: Option<Spanned<f64>>,
    name: &str,
    range: RangeInclusive<f64>,
) -> Checked<Option<f64>> {
    field.map(|value| number(Some(value), name, range, 0.0)).transpose()
}

pub(super) fn id(field: &Spanned<String>, name: &str) -> Checked<String> {
    match check_id(field.get_ref()) {
        Ok(()) => Ok(field.get_ref().clone()),
        Err(e) => problem(field, format!("`{name}` {:?} {e}", field.get_ref())),
    }
}

pub(super) fn not_empty(field: &Spanned<String>, name: &str) -> Checked<String> {
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
    let state_dir = path(raw.state_dir.unwrap_or_else(|| "state".into()));
    let spool = raw.spool.unwrap_or(raw::Spool { dir: None, max_bytes: None });
    Ok(Config {
        board: match raw.board {
            // As every path, from the folder of the file.
            Some(board) if board.ends_with(".toml") => path(board).display().to_string(),
            Some(board) => board,
            None => "auto".into(),
        },
        status_every: number(raw.status_every, "status_every", 1.0..=3600.0, 10.0)?,
        telemetry_every: number(raw.telemetry_every, "telemetry_every", 1.0..=3600.0, 30.0)?,
        scores_dir: raw.scores_dir.map(path),
        events_file: raw.events_file.map(path),
        exit_when_done: raw.exit_when_done.unwrap_or(false),
        drain_timeout: number(raw.drain_timeout, "drain_timeout", 0.0..=3600.0, 30.0)?,
        model: model(raw.model, folder, &state_dir)?,
        state_dir,
        mqtt,
        updates,
        spool: SpoolConfig {
            dir: path(spool.dir.unwrap_or_else(|| "spool".into())),
            max_bytes: number(spool.max_bytes, "spool.max_bytes", 4096..=1 << 40, 16 << 20)?,
        },
        evidence: raw.evidence.map(|e| evidence(e, folder)).transpose()?,
        events: raw.events.map(events).transpose()?.unwrap_or_default(),
        web: raw.web.map(|w| web(w, folder)).transpose()?,
        alarm: AlarmConfig {
            longest: number(
                raw.alarm.and_then(|alarm| alarm.longest),
                "alarm.longest",
                0.0..=86_400.0,
                AlarmConfig::default().longest,
            )?,
        },
        scene: raw.scene.map(scene).transpose()?.unwrap_or_default(),
        cameras: cameras(raw.cameras, folder)?,
        device,
    })
}

fn model(raw: raw::Model, folder: &Path, state_dir: &Path) -> Checked<ModelConfig> {
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
    let providers = match raw.providers {
        None => vec![ProviderName::Cpu],
        Some(list) => {
            let names = list.get_ref();
            if names.is_empty() {
                let what =
                    "`model.providers` is empty; name \"tensorrt\", \"cuda\", \"cpu\" or several";
                return problem(&list, what.into());
            }
            if (1..names.len()).any(|i| names[..i].contains(&names[i])) {
                return problem(&list, "`model.providers` names one twice; name each once".into());
            }
            list.into_inner()
        }
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
        providers,
        engine_dir: Some(
            raw.engine_dir.map_or_else(|| state_dir.join("engines"), |p| folder.join(p)),
        ),
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
        longest: number(raw.longest, "events.longest", 1.0..=DAY, LONGEST)?,
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

fn evidence(raw: raw::Evidence, folder: &Path) -> Checked<EvidenceConfig> {
    let seconds = |field, name| number(field, name, 0.0..=60.0, 0.0);
    Ok(EvidenceConfig {
        dir: folder.join(raw.dir),
        max_bytes: number(raw.max_bytes, "evidence.max_bytes", 65_536..=1 << 50, 256 << 20)?,
        max_days: optional(raw.max_days, "evidence.max_days", 0.01..=36_500.0)?,
        quality: number(raw.quality, "evidence.quality", 1..=100, 80)?,
        draw_region: raw.draw_region.unwrap_or(true),
        clip_before: seconds(raw.clip_before, "evidence.clip_before")?,
        clip_after: seconds(raw.clip_after, "evidence.clip_after")?,
    })
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
