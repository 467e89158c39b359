//! The message by which Home Assistant finds the device and its entities.
//!
//! Device-based discovery (Home Assistant 2024.11 and later): one retained message for the device,
//! with every entity in `components`. It is published on each connection and again when Home
//! Assistant says that it has started; an empty message removes the device.

use alert_wire::{Availability, Setting, Topics};
use serde_json::{Map, Value, json};

use crate::config::HomeAssistantConfig;

/// The word of the availability topic for which entities are available; for every other they are
/// not.
const ONLINE: &str = Availability::Online.as_str();

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

/// The discovery message.
pub fn message(device: &str, cameras: &[String], topics: &Topics) -> Value {
    let mut components = Map::new();
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
        // Ids are of [a-zA-Z0-9_-], so they need no escaping inside a template's quotes.
        let of_camera = |field: &str| {
            format!(
                "{{{{ (value_json.cameras | selectattr('id', 'eq', '{camera}') | first).{field} }}}}"
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
                "value_template": of_camera("active"),
                "payload_on": "True",
                "payload_off": "False",
                "device_class": "safety",
                "json_attributes_topic": events,
            }),
        );
        add(
            &format!("{camera}_camera"),
            "binary_sensor",
            &format!("{camera} camera"),
            json!({
                "state_topic": topics.status(),
                "value_template": of_camera("state"),
                "payload_on": "running",
                "payload_off": "lost",
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
                "value_template": of_camera("score"),
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
                "value_template": of_camera("frames_per_second"),
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
                "min": 0.01,
                "max": 1,
                "step": 0.01,
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
            "image" => &["image_topic", "content_type", "image_encoding", "url_topic"],
            other => panic!("{other} is not a platform that this program uses"),
        }
    }

    #[test]
    fn only_documented_keys() {
        let topics = Topics::new("pavad/cam-01").unwrap();
        let cameras = ["door".to_owned(), "yard-2".to_owned()];
        let message = message("cam-01", &cameras, &topics);
        let top: HashSet<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(top, HashSet::from(["device", "origin", "components", "availability", "qos"]));
        let components = message["components"].as_object().unwrap();
        assert_eq!(components.len(), 4 + 8 * cameras.len());
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
}
