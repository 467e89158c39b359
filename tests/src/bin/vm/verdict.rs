//! From what was heard to a verdict.

use std::collections::HashSet;
use std::time::Duration;

use alert_wire::{Alert, Phase};
use serde_json::Value;
use tests::subscriber::Subscriber;

use crate::machine::Heard;

/// The checks that the machine makes, all of which must have passed.
const CHECKS: [&str; 22] = [
    "format-yuyv",
    "format-nv12",
    "format-refused",
    "doctor",
    "controls",
    "capture",
    "led-healthy",
    "alarm-on",
    "alarm-off",
    "events",
    "disarm",
    "arm",
    "glitch",
    "unplug",
    "unplugged",
    "replug",
    "sigterm",
    "disarmed",
    "watchdog-fed",
    "watchdog-bites",
    "one-reset",
    "broker",
];

/// Longest wait for the broker to have what the machine has sent, its last will included.
const WAIT: Duration = Duration::from_secs(20);

/// What came out.
pub struct Verdict {
    /// A line for each check: `PASS name` or `FAIL name: why`.
    pub lines: Vec<String>,
    /// Whether every check has passed.
    pub passed: bool,
}

/// Judges a machine by what it has said and what the broker has of it.
pub fn judge(heard: Heard, subscriber: &Subscriber) -> Verdict {
    let mut said: Vec<String> = heard
        .lines
        .iter()
        .map(|(_, line)| line.clone())
        .filter(|line| line.starts_with("PASS ") || line.starts_with("FAIL "))
        .collect();
    let boots = heard.lines.iter().filter(|(_, line)| line == "BOOT").count();
    said.push(match boots {
        2 => "PASS one-reset".into(),
        _ => format!("FAIL one-reset: the machine has started {boots} times"),
    });
    // What did not come to its end has nothing more to say.
    if heard.failure.is_none() && said.iter().all(|line| line.starts_with("PASS ")) {
        said.push(match broker(&heard, subscriber) {
            Ok(()) => "PASS broker".into(),
            Err(why) => format!("FAIL broker: {why}"),
        });
    }
    if let Some(failure) = heard.failure {
        said.push(format!("FAIL end: {failure}"));
    }
    let missing = CHECKS.iter().filter(|name| {
        let own = |line: &&String| line[5..].split(':').next() == Some(**name);
        !said.iter().any(|line| own(&line))
    });
    let missing: Vec<String> = missing.map(|name| format!("FAIL {name}: not reached")).collect();
    said.extend(missing);
    let passed = said.iter().all(|line| line.starts_with("PASS "));
    Verdict { lines: said, passed }
}

/// The broker has every event that the program has written, and the words of a life that ended once
/// in order and once by a reset.
fn broker(heard: &Heard, subscriber: &Subscriber) -> Result<(), String> {
    let mut written = Vec::new();
    for (_, line) in &heard.lines {
        if let Some(json) = line.strip_prefix("ALERT ") {
            let alert = Alert::from_json(json.as_bytes()).map_err(|e| format!("{e}: {json}"))?;
            written.push(alert);
        }
    }
    let incidents = written.iter().filter(|alert| alert.phase == Phase::New).count();
    if incidents < 6 {
        return Err(format!("only {incidents} incidents in the machine"));
    }
    let key = |alert: &Alert| (alert.id.clone(), alert.sequence);
    let all: HashSet<_> = written.iter().map(key).collect();
    let words = ["online", "stopped", "offline"];
    let received = subscriber.wait(WAIT, |received| {
        let have: HashSet<_> = received.alerts.iter().map(key).collect();
        all.is_subset(&have)
            && words.iter().all(|word| received.availability.iter().any(|a| a == word))
    });
    let have: HashSet<_> = received.alerts.iter().map(key).collect();
    if !all.is_subset(&have) {
        let lost = all.difference(&have).count();
        return Err(format!("{lost} of {} events have not arrived", all.len()));
    }
    for word in words {
        if !received.availability.iter().any(|a| a == word) {
            return Err(format!("the device was never {word}: {:?}", received.availability));
        }
    }
    let statuses: Vec<Value> =
        heard.statuses.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let seen = |pointer: &str, value: &Value| {
        statuses.iter().any(|status| status.pointer(pointer) == Some(value))
    };
    for (what, pointer, value) in [
        ("a camera that runs", "/cameras/0/state", Value::from("running")),
        ("its size", "/cameras/0/width", Value::from(320)),
        ("a camera that is lost", "/cameras/0/state", Value::from("lost")),
        ("a siren that sounds", "/alarm", Value::from(true)),
        ("a key switch that is off", "/board/armed", Value::from(false)),
        ("a watchdog", "/board/watchdog", Value::from(true)),
        ("the board's profile", "/board/profile", Value::from("virtual-machine")),
    ] {
        if !seen(pointer, &value) {
            return Err(format!("no status has shown {what} ({pointer} = {value})"));
        }
    }
    Ok(())
}
