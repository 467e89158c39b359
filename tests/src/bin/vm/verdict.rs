//! From what was heard to a verdict.

use std::collections::HashSet;
use std::time::Duration;

use alert_wire::{Alert, Phase};
use serde_json::Value;
use tests::subscriber::Subscriber;

use crate::machine::Heard;

/// What a machine must have shown.
pub struct Expected {
    /// The checks that it makes, all of which must have passed.
    pub checks: &'static [&'static str],
    /// How often it starts.
    pub boots: usize,
    /// Fewest incidents.
    pub incidents: usize,
    /// What its device was, in the words of its availability.
    pub words: &'static [&'static str],
    /// What its status has shown: in words, where it stands, and the value.
    pub statuses: &'static [(&'static str, &'static str, Shown)],
}

/// A value in a status.
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    Text(&'static str),
    Number(u64),
    Truth(bool),
}

impl From<Shown> for Value {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Text(text) => text.into(),
            Shown::Number(number) => number.into(),
            Shown::Truth(truth) => truth.into(),
        }
    }
}

/// The machine whose first program is `init.sh`, which the watchdog resets once.
pub const SIMULATED: Expected = Expected {
    checks: &SIMULATED_CHECKS,
    boots: 2,
    incidents: 6,
    words: &["online", "stopped", "offline"],
    statuses: &[
        ("a camera that runs", "/cameras/0/state", Shown::Text("running")),
        ("its size", "/cameras/0/width", Shown::Number(320)),
        ("a camera that is lost", "/cameras/0/state", Shown::Text("lost")),
        ("a siren that sounds", "/alarm", Shown::Truth(true)),
        ("a key switch that is off", "/board/armed", Shown::Truth(false)),
        ("a watchdog", "/board/watchdog", Shown::Truth(true)),
        ("the board's profile", "/board/profile", Shown::Text("virtual-machine")),
    ],
};

const SIMULATED_CHECKS: [&str; 26] = [
    "absent",
    "brought",
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
    "reload-refused",
    "reload",
    "sigterm",
    "disarmed",
    "watchdog-fed",
    "watchdog-bites",
    "one-reset",
    "broker",
];

/// The Debian system with the package, whose service is systemd's.
pub const PACKAGED: Expected = Expected {
    checks: &[
        "permissions",
        "doctor",
        "service",
        "sandbox",
        "gpu-node",
        "capture",
        "alarm-on",
        "alarm-off",
        "watchdog-fed",
        "restart",
        "stop",
        "disarmed",
        "one-boot",
        "broker",
    ],
    boots: 1,
    incidents: 2,
    words: &["online", "stopped"],
    statuses: &[
        ("a camera that runs", "/cameras/0/state", Shown::Text("running")),
        ("its size", "/cameras/0/width", Shown::Number(320)),
        ("a siren that sounds", "/alarm", Shown::Truth(true)),
        ("a watchdog", "/board/watchdog", Shown::Truth(true)),
        ("the board's profile", "/board/profile", Shown::Text("virtual-machine")),
    ],
};

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
pub fn judge(heard: Heard, subscriber: &Subscriber, expected: &Expected) -> Verdict {
    let mut said: Vec<String> = heard
        .lines
        .iter()
        .map(|(_, line)| line.clone())
        .filter(|line| line.starts_with("PASS ") || line.starts_with("FAIL "))
        .collect();
    let boots = heard.lines.iter().filter(|(_, line)| line == "BOOT").count();
    let name = if expected.boots == 1 { "one-boot" } else { "one-reset" };
    said.push(if boots == expected.boots {
        format!("PASS {name}")
    } else {
        format!("FAIL {name}: the machine has started {boots} times")
    });
    // What did not come to its end has nothing more to say.
    if heard.failure.is_none() && said.iter().all(|line| line.starts_with("PASS ")) {
        said.push(match broker(&heard, subscriber, expected) {
            Ok(()) => "PASS broker".into(),
            Err(why) => format!("FAIL broker: {why}"),
        });
    }
    if let Some(failure) = heard.failure {
        said.push(format!("FAIL end: {failure}"));
    }
    let missing = expected.checks.iter().filter(|name| {
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
fn broker(heard: &Heard, subscriber: &Subscriber, expected: &Expected) -> Result<(), String> {
    let mut written = Vec::new();
    for (_, line) in &heard.lines {
        if let Some(json) = line.strip_prefix("ALERT ") {
            let alert = Alert::from_json(json.as_bytes()).map_err(|e| format!("{e}: {json}"))?;
            written.push(alert);
        }
    }
    let incidents = written.iter().filter(|alert| alert.phase == Phase::New).count();
    if incidents < expected.incidents {
        return Err(format!("only {incidents} incidents in the machine"));
    }
    let key = |alert: &Alert| (alert.id.clone(), alert.sequence);
    let all: HashSet<_> = written.iter().map(key).collect();
    let words = expected.words;
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
    for &(what, pointer, shown) in expected.statuses {
        let value = Value::from(shown);
        if !seen(pointer, &value) {
            return Err(format!("no status has shown {what} ({pointer} = {value})"));
        }
    }
    Ok(())
}
