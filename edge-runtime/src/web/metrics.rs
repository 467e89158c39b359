//! Metrics in Prometheus' text format, made of the newest status and telemetry.

use std::fmt::Write as _;

use boards::Rung;
use serde_json::Value;

use super::Live;

/// A metric: name, kind, what it says, and where its value is: of the device, or of each camera.
struct Metric(&'static str, &'static str, &'static str, Place);

enum Place {
    Status(&'static str),
    Telemetry(&'static str),
    CameraStatus(&'static str),
    CameraTelemetry(&'static str),
}

const METRICS: [Metric; 34] = {
    use Place::{CameraStatus, CameraTelemetry, Status, Telemetry};
    const GAUGE: &str = "gauge";
    const COUNTER: &str = "counter";
    [
        Metric("pavad_uptime_seconds", GAUGE, "Monotonic time of the device.", Status("/uptime_s")),
        Metric("pavad_time_synced", GAUGE, "Whether the clock is set.", Status("/time_synced")),
        Metric("pavad_alarm_active", GAUGE, "Whether the alarm is on.", Status("/alarm")),
        Metric("pavad_spool_events", GAUGE, "Events that wait.", Status("/spool/depth")),
        Metric("pavad_spool_bytes", GAUGE, "Bytes that wait.", Status("/spool/bytes")),
        Metric(
            "pavad_spool_dropped_total",
            COUNTER,
            "Events dropped because the spool was full.",
            Status("/spool/dropped_total"),
        ),
        Metric(
            "pavad_events_acknowledged_total",
            COUNTER,
            "Events that the broker has taken.",
            Status("/spool/acknowledged_total"),
        ),
        Metric(
            "pavad_broker_connections_total",
            COUNTER,
            "Connections that the broker has accepted.",
            Status("/spool/connections_total"),
        ),
        Metric(
            "pavad_broker_connected",
            GAUGE,
            "Whether the broker has accepted the connection.",
            Status("/spool/connected"),
        ),
        Metric(
            "pavad_broker_refused_total",
            COUNTER,
            "Messages that the broker has refused.",
            Status("/spool/refused_total"),
        ),
        Metric(
            "pavad_broker_held_topics",
            GAUGE,
            "Topics that the broker does not take at this time.",
            Status("/spool/held_topics"),
        ),
        Metric(
            "pavad_broker_taken_over_total",
            COUNTER,
            "Connections that another client with this device's id has ended.",
            Status("/spool/taken_over_total"),
        ),
        Metric(
            "pavad_spool_corrupt_total",
            COUNTER,
            "Damaged events deleted.",
            Status("/spool/corrupt_total"),
        ),
        Metric(
            "pavad_spool_write_errors_total",
            COUNTER,
            "Events that the disk refused.",
            Status("/spool/write_errors_total"),
        ),
        Metric(
            "pavad_resident_memory_bytes",
            GAUGE,
            "Memory of the program.",
            Telemetry("/memory_bytes"),
        ),
        Metric(
            "pavad_temperature_celsius",
            GAUGE,
            "Temperature of the board.",
            Telemetry("/temperature_celsius"),
        ),
        Metric(
            "pavad_commands_accepted_total",
            COUNTER,
            "Commands carried out.",
            Telemetry("/commands/accepted_total"),
        ),
        Metric(
            "pavad_commands_refused_total",
            COUNTER,
            "Commands refused.",
            Telemetry("/commands/refused_total"),
        ),
        Metric("pavad_frames_total", COUNTER, "Frames taken.", CameraStatus("/frames_total")),
        Metric(
            "pavad_frames_dropped_total",
            COUNTER,
            "Frames that came too fast.",
            CameraStatus("/dropped_total"),
        ),
        Metric(
            "pavad_frames_missed_total",
            COUNTER,
            "Frames that the model should have looked at and that came too fast.",
            CameraStatus("/missed_total"),
        ),
        Metric(
            "pavad_snippets_given_up_total",
            COUNTER,
            "Snippets of the semantic detector given up because the one before took too long.",
            CameraStatus("/given_up_total"),
        ),
        Metric(
            "pavad_overloaded",
            GAUGE,
            "Whether more comes of the camera than the machine can look at.",
            CameraStatus("/overloaded"),
        ),
        Metric(
            "pavad_looks_every",
            GAUGE,
            "Every how manieth model frame is looked at.",
            CameraStatus("/looks_every"),
        ),
        Metric(
            "pavad_gaps_total",
            COUNTER,
            "Times that the picture did not go on.",
            CameraStatus("/gaps_total"),
        ),
        Metric(
            "pavad_model_failures_total",
            COUNTER,
            "Failures of the model.",
            CameraStatus("/errors"),
        ),
        Metric("pavad_incidents_total", COUNTER, "Incidents.", CameraStatus("/events_total")),
        Metric("pavad_score_ratio", GAUGE, "The newest score.", CameraStatus("/score")),
        Metric("pavad_armed", GAUGE, "Whether incidents are announced.", CameraStatus("/armed")),
        Metric(
            "pavad_incident_active",
            GAUGE,
            "Whether an incident is running.",
            CameraStatus("/active"),
        ),
        Metric(
            "pavad_score_lasting",
            GAUGE,
            "Whether the score has stayed high since an incident that lasted too long.",
            CameraStatus("/lasting"),
        ),
        Metric(
            "pavad_vetoed_frames_total",
            COUNTER,
            "Frames at which the whole picture changed instead of an incident.",
            CameraStatus("/vetoed_total"),
        ),
        Metric(
            "pavad_frames_per_second",
            GAUGE,
            "Frames a second since the last telemetry.",
            CameraTelemetry("/frames_per_second"),
        ),
        Metric(
            "pavad_last_frame_age_seconds",
            GAUGE,
            "Age of the last frame at the last status.",
            CameraStatus("/last_frame_age_ms"),
        ),
    ]
};

/// What `state` of a camera can be.
const CAMERA_STATES: [&str; 5] = ["starting", "running", "lost", "ended", "failed"];
/// What `scene` of a camera can be.
const SCENES: [&str; 5] = ["ok", "frozen", "dark", "covered", "moved"];

/// All metrics; those that are not known are left out.
pub fn text(live: &Live, requests_refused: u64) -> String {
    let status = serde_json::from_str(&live.status()).unwrap_or(Value::Null);
    let telemetry = serde_json::from_str(&live.telemetry()).unwrap_or(Value::Null);
    let mut out = String::new();
    for Metric(name, kind, help, place) in &METRICS {
        let mut samples = Vec::new();
        let mut add = |labels: String, value: Option<&Value>, scale: f64| {
            if let Some(value) = value.and_then(number) {
                samples.push(format!("{name}{labels} {}", value * scale));
            }
        };
        match place {
            Place::Status(pointer) => add(String::new(), status.pointer(pointer), 1.0),
            Place::Telemetry(pointer) => add(String::new(), telemetry.pointer(pointer), 1.0),
            Place::CameraStatus(pointer) | Place::CameraTelemetry(pointer) => {
                let of_status = matches!(place, Place::CameraStatus(_));
                let of = if of_status { &status } else { &telemetry };
                // Prometheus counts in seconds.
                let scale = if pointer.ends_with("_ms") { 0.001 } else { 1.0 };
                for camera in cameras(of) {
                    add(label(camera), camera.pointer(pointer), scale);
                }
            }
        }
        family(&mut out, name, kind, help, &samples);
    }
    for (name, field, help) in [
        ("pavad_frame_processing_seconds", "processing_ms", "Work on a frame."),
        ("pavad_score_latency_seconds", "latency_ms", "From a frame's capture to its score."),
    ] {
        let mut samples = Vec::new();
        for camera in cameras(&telemetry) {
            // A label `quantile` is for summaries.
            for stat in ["p50", "p90", "p99", "max"] {
                if let Some(ms) = camera[field][stat].as_f64() {
                    let id = camera["id"].as_str().unwrap_or_default();
                    let labels = format!("{{camera=\"{id}\",stat=\"{stat}\"}}");
                    samples.push(format!("{name}{labels} {}", ms / 1000.0));
                }
            }
        }
        family(&mut out, name, "gauge", help, &samples);
    }
    // Every state is a series of its own, so that none begins and ends with the others' changes.
    for (name, field, states, help) in [
        ("pavad_camera_state", "state", &CAMERA_STATES[..], "1 for the state of the camera."),
        ("pavad_camera_scene", "scene", &SCENES, "1 for the state of its picture."),
    ] {
        let samples = cameras(&status).flat_map(|camera| {
            let id = camera["id"].as_str().unwrap_or_default().to_owned();
            one_of(&camera[field], states).map(move |(state, is)| {
                format!("{name}{{camera=\"{id}\",{field}=\"{state}\"}} {is}")
            })
        });
        let samples: Vec<String> = samples.collect();
        family(&mut out, name, "gauge", help, &samples);
    }
    let rung = &status["board"]["rung"];
    if rung.is_string() {
        let rungs: Vec<&str> = Rung::ALL.iter().map(|rung| rung.name()).collect();
        let samples: Vec<String> = one_of(rung, &rungs)
            .map(|(rung, is)| format!("pavad_thermal_rung{{rung=\"{rung}\"}} {is}"))
            .collect();
        let help = "1 for how much is given up because of heat.";
        family(&mut out, "pavad_thermal_rung", "gauge", help, &samples);
    }
    let refused = [format!("pavad_web_requests_refused_total {requests_refused}")];
    let help = "Requests that were malformed, too large or not allowed.";
    family(&mut out, "pavad_web_requests_refused_total", "counter", help, &refused);
    out
}

/// The cameras of a message.
fn cameras(message: &Value) -> impl Iterator<Item = &Value> {
    message["cameras"].as_array().into_iter().flatten()
}

/// Each of the names, and 1 for the one that the value is, 0 for the others.
fn one_of<'a>(
    value: &Value,
    names: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, u8)> + use<'a> {
    let value = value.as_str().unwrap_or_default().to_owned();
    names.iter().map(move |name| (*name, u8::from(*name == value)))
}

/// Ids of cameras are of `[a-zA-Z0-9_-]` and need no escaping.
fn label(camera: &Value) -> String {
    format!("{{camera=\"{}\"}}", camera["id"].as_str().unwrap_or_default())
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|b| if b { 1.0 } else { 0.0 }))
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &[String]) {
    if !samples.is_empty() {
        // Writing to a text cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        samples.iter().for_each(|sample| {
            let _ = writeln!(out, "{sample}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_with_units_and_bounded_labels() {
        let live = Live::new(1);
        assert!(text(&live, 3).ends_with("pavad_web_requests_refused_total 3\n"));
        live.set_status(
            r#"{"uptime_s":7,"time_synced":true,"spool":{"depth":2,"connected":false},
               "board":{"rung":"paused"},"cameras":[{"id":"door","state":"running","scene":"ok",
               "frames_total":12,"gaps_total":2,"last_frame_age_ms":250}]}"#
                .into(),
        );
        live.set_telemetry(
            r#"{"memory_bytes":1024,"temperature_celsius":null,"cameras":[{"id":"door",
               "processing_ms":{"p50":2.0,"p90":3.0,"p99":4.0,"max":5.0},"latency_ms":null}]}"#
                .into(),
        );
        let text = text(&live, 0);
        for line in [
            "# TYPE pavad_frames_total counter",
            "pavad_frames_total{camera=\"door\"} 12",
            "pavad_time_synced 1",
            "pavad_spool_events 2",
            "pavad_resident_memory_bytes 1024",
            "pavad_last_frame_age_seconds{camera=\"door\"} 0.25",
            "pavad_frame_processing_seconds{camera=\"door\",stat=\"p99\"} 0.004",
            "pavad_camera_state{camera=\"door\",state=\"running\"} 1",
            "pavad_camera_state{camera=\"door\",state=\"lost\"} 0",
            "pavad_camera_scene{camera=\"door\",scene=\"ok\"} 1",
            "pavad_thermal_rung{rung=\"full\"} 0",
            "pavad_thermal_rung{rung=\"paused\"} 1",
            "pavad_gaps_total{camera=\"door\"} 2",
            "pavad_broker_connected 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        assert!(!text.contains("temperature") && !text.contains("latency"), "{text}");
        // Every sample follows the type of its family, and names keep to the rules.
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
            let counter = text.contains(&format!("# TYPE {name} counter"));
            assert_eq!(counter, name.ends_with("_total"), "{line}");
        }
    }
}
