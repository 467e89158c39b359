//! A command, and how a message becomes one.

use alert_wire::{Setting, Topics};
use serde::Deserialize;

use crate::publish::Incoming;

/// Longest payload of a command, in bytes: room for a URL.
pub const MAX_PAYLOAD: usize = 2048;
/// Range of a threshold.
pub const THRESHOLDS: std::ops::RangeInclusive<f64> = 0.001..=1.0;

/// What a message asks for, by who carries it out.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// The inference thread, between two frames.
    Run(Command),
    /// Whoever installs bundles, beside the frames.
    Update(UpdateCommand),
}

/// What may be asked about bundles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum UpdateCommand {
    /// Install the bundle at this address.
    Install {
        /// `https://...` or `http://...`.
        url: String,
    },
    /// Go back to the bundle before.
    Rollback {},
}

/// What may be asked of the running cameras.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// Announce incidents, or stop doing so; of one camera or of all.
    Arm {
        /// Number of the camera; `None` for all.
        camera: Option<usize>,
        /// Whether incidents are announced.
        armed: bool,
    },
    /// Change the score at which an incident starts.
    Threshold {
        /// Number of the camera.
        camera: usize,
        /// The score, 0.001 to 1.
        value: f64,
    },
    /// Publish a picture.
    Snapshot {
        /// Number of the camera.
        camera: usize,
    },
    /// Home Assistant has started: it wants to hear of the device again.
    Introduce,
}

/// Why a message is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The broker kept it: it may be of last year.
    #[error("a retained message is no command; publish commands without the retain flag")]
    Retained,
    /// It is too long.
    #[error("the payload has {0} bytes; at most {MAX_PAYLOAD} are taken")]
    TooLarge(usize),
    /// It is not UTF-8.
    #[error("the payload is not text")]
    NotText,
    /// Nothing listens on the topic.
    #[error("there is no such setting")]
    UnknownTopic,
    /// The configuration has no such camera.
    #[error("there is no such camera")]
    UnknownCamera,
    /// The payload is not one that the topic takes.
    #[error("the payload is not {expected}")]
    Value {
        /// What is taken.
        expected: &'static str,
    },
    /// Too many commands wait.
    #[error("too many commands at once")]
    Busy,
}

impl Order {
    /// Reads a message below the device's root topic. `cameras` are the ids of the configuration,
    /// in order.
    ///
    /// # Errors
    /// If it is not a command that can be carried out.
    pub fn parse(message: &Incoming, topics: &Topics, cameras: &[String]) -> Result<Self, Refusal> {
        if message.retained {
            return Err(Refusal::Retained);
        }
        if message.payload.len() > MAX_PAYLOAD {
            return Err(Refusal::TooLarge(message.payload.len()));
        }
        let payload = std::str::from_utf8(&message.payload).map_err(|_| Refusal::NotText)?.trim();
        let below = message.topic.strip_prefix(topics.root()).and_then(|t| t.strip_prefix('/'));
        let levels: Vec<&str> = below.ok_or(Refusal::UnknownTopic)?.split('/').take(5).collect();
        match levels[..] {
            ["armed", "set"] => {
                Ok(Self::Run(Command::Arm { camera: None, armed: armed(payload)? }))
            }
            ["bundle", "set"] => update(payload).map(Self::Update),
            ["cameras", camera, setting, "set"] => {
                let setting = Setting::from_level(setting).ok_or(Refusal::UnknownTopic)?;
                let camera =
                    cameras.iter().position(|id| id == camera).ok_or(Refusal::UnknownCamera)?;
                Command::setting(camera, setting, payload).map(Self::Run)
            }
            _ => Err(Refusal::UnknownTopic),
        }
    }
}

impl Command {
    /// A setting of camera number `camera` from its text.
    ///
    /// # Errors
    /// [`Refusal::Value`].
    pub fn setting(camera: usize, setting: Setting, text: &str) -> Result<Self, Refusal> {
        match setting {
            Setting::Armed => Ok(Self::Arm { camera: Some(camera), armed: armed(text)? }),
            Setting::Threshold => {
                let value = text.parse().ok().filter(|value| THRESHOLDS.contains(value));
                let expected = "a number from 0.001 to 1";
                Ok(Self::Threshold { camera, value: value.ok_or(Refusal::Value { expected })? })
            }
            Setting::Snapshot => Ok(Self::Snapshot { camera }),
        }
    }
}

fn armed(text: &str) -> Result<bool, Refusal> {
    match text {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(Refusal::Value { expected: "ON or OFF" }),
    }
}

fn update(text: &str) -> Result<UpdateCommand, Refusal> {
    let expected = "{\"action\": \"install\", \"url\": \"...\"} or {\"action\": \"rollback\"}";
    serde_json::from_str(text).map_err(|_| Refusal::Value { expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(topic: &str, payload: &[u8]) -> Result<Order, Refusal> {
        let topics = Topics::new("pavad/cam-01").unwrap();
        let cameras = ["door".to_owned(), "yard".to_owned()];
        let message = Incoming { topic: topic.into(), payload: payload.into(), retained: false };
        Order::parse(&message, &topics, &cameras)
    }

    #[test]
    fn every_command() {
        for (topic, payload, command) in [
            ("armed/set", "ON", Order::Run(Command::Arm { camera: None, armed: true })),
            (
                "cameras/yard/armed/set",
                "OFF",
                Order::Run(Command::Arm { camera: Some(1), armed: false }),
            ),
            (
                "cameras/door/threshold/set",
                " 0.75\n",
                Order::Run(Command::Threshold { camera: 0, value: 0.75 }),
            ),
            ("cameras/door/snapshot/set", "", Order::Run(Command::Snapshot { camera: 0 })),
            ("cameras/door/snapshot/set", "PRESS", Order::Run(Command::Snapshot { camera: 0 })),
            ("bundle/set", r#"{"action":"rollback"}"#, Order::Update(UpdateCommand::Rollback {})),
            (
                "bundle/set",
                r#"{"action": "install", "url": "https://h/m.pavad"}"#,
                Order::Update(UpdateCommand::Install { url: "https://h/m.pavad".into() }),
            ),
        ] {
            let topic = format!("pavad/cam-01/{topic}");
            assert_eq!(parse(&topic, payload.as_bytes()), Ok(command), "{topic} {payload}");
        }
    }

    #[test]
    fn what_is_refused() {
        let value = |e| matches!(e, Err(Refusal::Value { .. }));
        for payload in ["on", "", "1", "ON OFF"] {
            assert!(value(parse("pavad/cam-01/armed/set", payload.as_bytes())), "{payload}");
        }
        for payload in ["0", "-1", "1.01", "NaN", "inf", "0,5", "half", ""] {
            let topic = "pavad/cam-01/cameras/door/threshold/set";
            assert!(value(parse(topic, payload.as_bytes())), "{payload}");
        }
        for payload in [
            "",
            "{}",
            "rollback",
            r#"{"action":"install"}"#,
            r#"{"action":"rollback","url":"x"}"#,
            r#"{"action":"erase"}"#,
        ] {
            assert!(value(parse("pavad/cam-01/bundle/set", payload.as_bytes())), "{payload}");
        }
        for (topic, refusal) in [
            ("pavad/cam-01/cameras/roof/armed/set", Refusal::UnknownCamera),
            ("pavad/cam-01/cameras/door/colour/set", Refusal::UnknownTopic),
            ("pavad/cam-01/cameras/door/armed/set/set", Refusal::UnknownTopic),
            ("pavad/cam-01/armed", Refusal::UnknownTopic),
            ("pavad/cam-011/armed/set", Refusal::UnknownTopic),
            ("other/armed/set", Refusal::UnknownTopic),
            ("", Refusal::UnknownTopic),
        ] {
            assert_eq!(parse(topic, b"ON"), Err(refusal), "{topic}");
        }
        assert_eq!(parse("pavad/cam-01/armed/set", &[0xff, b'O']), Err(Refusal::NotText));
        let long = vec![b'O'; MAX_PAYLOAD + 1];
        assert_eq!(parse("pavad/cam-01/armed/set", &long), Err(Refusal::TooLarge(long.len())));
    }

    #[test]
    fn a_message_that_the_broker_kept_is_no_command() {
        let message = Incoming {
            topic: "pavad/cam-01/armed/set".into(),
            payload: b"OFF".to_vec(),
            retained: true,
        };
        let topics = Topics::new("pavad/cam-01").unwrap();
        assert_eq!(Order::parse(&message, &topics, &[]), Err(Refusal::Retained));
    }
}
