//! Cameras and their sources, from the file as written to types that cannot be wrong.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::check::{Checked, Problem, id, not_empty, number, optional, problem};
use super::raw::{self, SourceType};
use super::{
    AtEnd, CameraConfig, FileConfig, Pace, RtspConfig, SourceConfig, Transport, V4l2Config,
};
use crate::zones::Zones;

pub(super) fn cameras(raw: Spanned<Vec<raw::Camera>>, folder: &Path) -> Checked<Vec<CameraConfig>> {
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
    foreign(&raw)?;
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
        SourceType::Rtsp => SourceConfig::Rtsp(rtsp(raw, whole, folder)?),
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

/// Refuses a field that is of another type of source than this one.
fn foreign(raw: &raw::Source) -> Checked<()> {
    use SourceType::{File, Images, Rtsp, V4l2};
    macro_rules! field {
        ($name:ident, $of:expr) => {
            (raw.$name.as_ref().map(|f| f.span().start), stringify!($name), $of)
        };
    }
    let (recorded, device, stream): (&[SourceType], &[SourceType], &[SourceType]) =
        (&[File, Images], &[V4l2], &[Rtsp]);
    // Where each field that is there stands, and the types that have it.
    let fields = [
        field!(path, recorded),
        field!(pace, recorded),
        field!(at_end, recorded),
        field!(device, device),
        field!(width, device),
        field!(height, device),
        field!(frame_rate, device),
        field!(pixel_format, device),
        field!(controls, device),
        field!(timeout, &[V4l2, Rtsp]),
        field!(url, stream),
        field!(username, stream),
        field!(password_file, stream),
        field!(password_env, stream),
        field!(transport, stream),
    ];
    for (offset, name, of) in fields {
        if let Some(offset) = offset.filter(|_| !of.contains(&raw.kind)) {
            let kinds: Vec<String> = of.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
            let kinds = kinds.join(" or ");
            let message = format!("`cameras.source.{name}` is for type {kinds} only; remove it");
            return Err(Problem { offset, message });
        }
    }
    Ok(())
}

fn rtsp(raw: raw::Source, whole: usize, folder: &Path) -> Checked<RtspConfig> {
    let Some(url) = raw.url else {
        let message = "`cameras.source` of type \"rtsp\" needs `url`".into();
        return Err(Problem { offset: whole, message });
    };
    let rest = url.get_ref().strip_prefix("rtsp://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return problem(&url, "`cameras.source.url` must be rtsp://host[:port]/path".into());
    }
    // Not repeated in the message: it would be in the log.
    if authority.contains('@') {
        let message = "`cameras.source.url` holds a user name or a password; give `username` and \
                       `password_file` or `password_env` instead";
        return problem(&url, message.into());
    }
    if let (Some(file), Some(_)) = (&raw.password_file, &raw.password_env) {
        let message = "`cameras.source.password_file` and `password_env`: give one of them";
        return problem(file, message.into());
    }
    if let (Some(field), None) =
        (raw.password_file.as_ref().or(raw.password_env.as_ref()), &raw.username)
    {
        return problem(field, "a password needs `cameras.source.username`".into());
    }
    Ok(RtspConfig {
        url: url.into_inner(),
        username: raw.username.map(|u| not_empty(&u, "cameras.source.username")).transpose()?,
        password_file: raw.password_file.map(|path| folder.join(path.into_inner())),
        password_env: raw
            .password_env
            .map(|name| not_empty(&name, "cameras.source.password_env"))
            .transpose()?,
        transport: raw.transport.map_or(Transport::Tcp, Spanned::into_inner),
        timeout: number(raw.timeout, "cameras.source.timeout", 0.5..=60.0, 5.0)?,
    })
}
