//! The message by which Home Assistant finds the device and its entities.
//!
//! Device-based discovery (Home Assistant 2024.11 and later): one retained message for the device,
//! with every entity in `components`. It is published on each connection and again when Home
//! Assistant says that it has started; an empty message removes the device.
//!
//! A component that is merely left out stays at Home Assistant for good: one that is gone is named with
//! its platform alone. So the message also names the cameras that the device once had.

use alert_wire::{Availability, Phase, Setting, Topics};
use serde_json::{Map, Value, json};

use crate::config::HomeAssistantConfig;
use crate::control::THRESHOLDS;

/// The word of the availability topic for which entities are available; for every other they are
/// not.
const ONLINE: &str = Availability::Online.as_str();

/// The states of a camera in which it gives no frames, as a list in a template.
const NOT_CONNECTED: &str = "['starting', 'lost', 'ended', 'failed']";

/// Topic of the discovery message.
pub fn topic(config: &HomeAssistantConfig, device: &str) -> String {
    format!("{}/device/{}/config", config.prefix, node(device))
}

/// Topic on which Home Assistant says `online` when it has started.
pub fn birth_topic(config: &HomeAssistantConfig) -> String {
    format!("{}/status", config.prefix)
}

fn node(device: &str) -> String {
    format!("pavad_{device}")
}

/// What a camera has at Home Assistant: the end of each component's id, and its platform.
const OF_CAMERA: [(&str, &str); 9] = [
    ("incident", "binary_sensor"),
    ("event", "event"),
    ("camera", "binary_sensor"),
    ("score", "sensor"),
    ("rate", "sensor"),
    ("armed", "switch"),
    ("threshold", "number"),
    ("snapshot", "button"),
    ("picture", "image"),
];

/// The discovery message of a device with these cameras, which once had those that are `gone`.
pub fn message(device: &str, cameras: &[String], gone: &[String], topics: &Topics) -> Value {
    let mut components = Map::new();
    for camera in gone {
        for (name, platform) in OF_CAMERA {
            components.insert(format!("{camera}_{name}"), json!({ "platform": platform }));
        }
    }
    let node = node(device);
    let mut add = |id: &str, platform: &str, name: &str, more: Value| {
        let unique = format!("{node}_{id}");
        let mut entity = Map::new();
        entity.insert("platform".into(), platform.into());
        entity.insert("unique_id".into(), unique.into());
        entity.insert("name".into(), name.into());
        if let Value::Object(more) = more {
            entity.extend(more);
        }
        components.insert(id.to_owned(), Value::Object(entity));
    };
    let telemetry = topics.telemetry();
    add(
        "armed",
        "switch",
        "Armed",
        json!({
            "state_topic": topics.armed(),
            "command_topic": format!("{}/set", topics.armed()),
            "icon": "mdi:shield",
        }),
    );
    for (id, name, field, more) in [
        (
            "spool",
            "Events waiting",
            "spool.depth",
            json!({ "entity_category": "diagnostic", "state_class": "measurement" }),
        ),
        (
            "memory",
            "Memory",
            "memory_bytes",
            json!({
                "entity_category": "diagnostic",
                "state_class": "measurement",
                "device_class": "data_size",
                "unit_of_measurement": "B",
            }),
        ),
        (
            "temperature",
            "Temperature",
            "temperature_celsius",
            json!({
                "entity_category": "diagnostic",
                "state_class": "measurement",
                "device_class": "temperature",
                "unit_of_measurement": "°C",
            }),
        ),
    ] {
        let mut entity = json!({
            "state_topic": telemetry,
            "value_template": format!("{{{{ value_json.{field} }}}}"),
        });
        merge(&mut entity, more);
        add(id, "sensor", name, entity);
    }
    for camera in cameras {
        // Ids are of [a-zA-Z0-9_-], so they need no escaping inside a template's quotes. A message
        // without the camera gives nothing, at which Home Assistant leaves the entity as it is.
        let of_camera = |value: &str| {
            format!(
                "{{% for camera in value_json.cameras | default([]) if camera.id == '{camera}' %}}\
                 {{{{ {value} }}}}{{% endfor %}}"
            )
        };
        let setting = |setting: Setting| {
            topics.setting(camera, setting).map(|topic| topic.to_string()).unwrap_or_default()
        };
        let events = topics.events(camera).map(|topic| topic.to_string()).unwrap_or_default();
        add(
            &format!("{camera}_incident"),
            "binary_sensor",
            &format!("{camera} incident"),
            json!({
                "state_topic": topics.status(),
                "value_template": of_camera("camera.active"),
                "payload_on": "True",
                "payload_off": "False",
                "device_class": "safety",
                "json_attributes_topic": events,
            }),
        );
        add(
            &format!("{camera}_event"),
            "event",
            &format!("{camera} event"),
            json!({
                "state_topic": events,
                "event_types": [Phase::New, Phase::Update, Phase::End],
                // Home Assistant wants the type under its own name; the rest become attributes.
                "value_template": "{{ dict(value_json, event_type=value_json.phase) | to_json }}",
                "icon": "mdi:alarm-light",
            }),
        );
        add(
            &format!("{camera}_camera"),
            "binary_sensor",
            &format!("{camera} camera"),
            json!({
                "state_topic": topics.status(),
                // Every state must be one of two words.
                "value_template": of_camera(&format!(
                    "'OFF' if camera.state in {NOT_CONNECTED} else 'ON'"
                )),
                "payload_on": "ON",
                "payload_off": "OFF",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
            }),
        );
        add(
            &format!("{camera}_score"),
            "sensor",
            &format!("{camera} score"),
            json!({
                "state_topic": telemetry,
                "value_template": of_camera("camera.score"),
                "state_class": "measurement",
                "suggested_display_precision": 2,
            }),
        );
        add(
            &format!("{camera}_rate"),
            "sensor",
            &format!("{camera} frames per second"),
            json!({
                "state_topic": telemetry,
                "value_template": of_camera("camera.frames_per_second"),
                "state_class": "measurement",
                "entity_category": "diagnostic",
                "suggested_display_precision": 1,
            }),
        );
        add(
            &format!("{camera}_armed"),
            "switch",
            &format!("{camera} armed"),
            json!({
                "state_topic": setting(Setting::Armed),
                "command_topic": format!("{}/set", setting(Setting::Armed)),
                "icon": "mdi:shield-video",
            }),
        );
        add(
            &format!("{camera}_threshold"),
            "number",
            &format!("{camera} threshold"),
            json!({
                "state_topic": setting(Setting::Threshold),
                "command_topic": format!("{}/set", setting(Setting::Threshold)),
                // Whatever a command or the configuration may set; a value outside would not be shown.
                "min": THRESHOLDS.start(),
                "max": THRESHOLDS.end(),
                "step": THRESHOLDS.start(),
                "mode": "slider",
                "entity_category": "config",
            }),
        );
        add(
            &format!("{camera}_snapshot"),
            "button",
            &format!("{camera} take a picture"),
            json!({ "command_topic": format!("{}/set", setting(Setting::Snapshot)) }),
        );
        add(
            &format!("{camera}_picture"),
            "image",
            &format!("{camera} picture"),
            json!({
                "image_topic": setting(Setting::Snapshot),
                "content_type": "image/jpeg",
            }),
        );
    }
    json!({
        "device": {
            "identifiers": [node],
            "name": device,
            "manufacturer": "PA-VAD edge",
            "model": "edge-runtime",
            "sw_version": env!("CARGO_PKG_VERSION"),
        },
        "origin": { "name": "edge-runtime", "sw_version": env!("CARGO_PKG_VERSION") },
        "components": components,
        "availability": [{
            "topic": topics.availability(),
            // `stopped` is a word of ours; Home Assistant knows two.
            "value_template": format!(
                "{{{{ '{ONLINE}' if value == '{ONLINE}' else 'offline' }}}}"
            ),
            "payload_available": ONLINE,
            "payload_not_available": "offline",
        }],
        "qos": 1,
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Keys that Home Assistant's documentation gives for every entity of its MQTT integration.
    const COMMON: [&str; 12] = [
        "platform",
        "unique_id",
        "name",
        "icon",
        "entity_category",
        "json_attributes_topic",
        "json_attributes_template",
        "device_class",
        "state_topic",
        "value_template",
        "qos",
        "enabled_by_default",
    ];

    /// Keys that it gives for one platform.
    fn own(platform: &str) -> &'static [&'static str] {
        match platform {
            "binary_sensor" => &["payload_on", "payload_off", "off_delay", "expire_after"],
            "sensor" => &[
                "state_class",
                "unit_of_measurement",
                "suggested_display_precision",
                "expire_after",
            ],
            "switch" => &["command_topic", "payload_on", "payload_off", "optimistic"],
            "number" => &["command_topic", "min", "max", "step", "mode", "unit_of_measurement"],
            "button" => &["command_topic", "payload_press"],
            "event" => &["event_types"],
            "image" => &["image_topic", "content_type", "image_encoding", "url_topic"],
            other => panic!("{other} is not a platform that this program uses"),
        }
    }

    #[test]
    fn only_documented_keys() {
        let topics = Topics::new("pavad/cam-01").unwrap();
        let cameras = ["door".to_owned(), "yard-2".to_owned()];
        let message = message("cam-01", &cameras, &[], &topics);
        let top: HashSet<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(top, HashSet::from(["device", "origin", "components", "availability", "qos"]));
        let components = message["components"].as_object().unwrap();
        assert_eq!(components.len(), 4 + OF_CAMERA.len() * cameras.len());
        let mut unique = HashSet::new();
        for (id, entity) in components {
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{id}");
            let platform = entity["platform"].as_str().unwrap();
            assert!(unique.insert(entity["unique_id"].as_str().unwrap().to_owned()));
            for key in entity.as_object().unwrap().keys() {
                let known = COMMON.contains(&key.as_str()) || own(platform).contains(&&**key);
                assert!(known, "{id}: {key} is not documented for {platform}");
            }
            // Only what has a state can be read, only what has a command can be set.
            let commands = ["switch", "number", "button"].contains(&platform);
            assert_eq!(entity.get("command_topic").is_some(), commands, "{id}");
        }
        for key in message["device"].as_object().unwrap().keys() {
            let known = ["identifiers", "name", "manufacturer", "model", "sw_version"];
            assert!(known.contains(&&**key), "{key}");
        }
    }

    #[test]
    fn a_camera_that_is_taken_away_is_named_by_its_platforms_alone() {
        let topics = Topics::new("pavad/cam-01").unwrap();
        let before = message("cam-01", &["door".into()], &[], &topics);
        let after = message("cam-01", &["gate".into()], &["door".into()], &topics);
        let of_door = |message: &Value| {
            let components = message["components"].as_object().unwrap().clone();
            components.into_iter().filter(|(id, _)| id.starts_with("door_")).collect::<Map<_, _>>()
        };
        let (before, after) = (of_door(&before), of_door(&after));
        assert_eq!(before.len(), OF_CAMERA.len());
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        for (id, entity) in &after {
            assert_eq!(*entity, json!({ "platform": before[id]["platform"] }), "{id}");
        }
    }

    #[test]
    fn the_slider_goes_as_far_as_a_command() {
        let topics = Topics::new("pavad/cam-01").unwrap();
        let message = message("cam-01", &["door".into()], &[], &topics);
        let slider = &message["components"]["door_threshold"];
        assert_eq!((&slider["min"], &slider["max"]), (&json!(0.001), &json!(1.0)));
    }
}
