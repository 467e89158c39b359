//! Metrics in Prometheus' text format, made of the newest status and telemetry.

use std::fmt::Write as _;

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

const METRICS: [Metric; 23] = {
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
                for camera in of["cameras"].as_array().into_iter().flatten() {
                    add(label(camera), camera.pointer(pointer), scale);
                }
            }
        }
        family(&mut out, name, kind, help, &samples);
    }
    let quantiles = |field: &str, name: &str| {
        let mut samples = Vec::new();
        for camera in telemetry["cameras"].as_array().into_iter().flatten() {
            for (quantile, key) in [("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("1", "max")] {
                if let Some(ms) = camera[field][key].as_f64() {
                    let id = camera["id"].as_str().unwrap_or_default();
                    let labels = format!("{{camera=\"{id}\",quantile=\"{quantile}\"}}");
                    samples.push(format!("{name}{labels} {}", ms / 1000.0));
                }
            }
        }
        samples
    };
    for (name, field, help) in [
        ("pavad_frame_processing_seconds", "processing_ms", "Work on a frame."),
        ("pavad_score_latency_seconds", "latency_ms", "From a frame's capture to its score."),
    ] {
        family(&mut out, name, "gauge", help, &quantiles(field, name));
    }
    let states: Vec<String> = status["cameras"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|camera| {
            let word = |key: &str| camera[key].as_str().unwrap_or_default().to_owned();
            let (id, state, scene) = (word("id"), word("state"), word("scene"));
            format!("pavad_camera_info{{camera=\"{id}\",state=\"{state}\",scene=\"{scene}\"}} 1")
        })
        .collect();
    family(&mut out, "pavad_camera_info", "gauge", "State of the camera and its picture.", &states);
    let refused = [format!("pavad_web_requests_refused_total {requests_refused}")];
    let help = "Requests that were malformed, too large or not allowed.";
    family(&mut out, "pavad_web_requests_refused_total", "counter", help, &refused);
    out
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
            r#"{"uptime_s":7,"time_synced":true,"spool":{"depth":2},"cameras":[{"id":"door",
               "state":"running","scene":"ok","frames_total":12,"last_frame_age_ms":250}]}"#
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
            "pavad_frame_processing_seconds{camera=\"door\",quantile=\"0.99\"} 0.004",
            "pavad_camera_info{camera=\"door\",state=\"running\",scene=\"ok\"} 1",
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
