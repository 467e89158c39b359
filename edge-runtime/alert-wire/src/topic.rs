//! Topic names, ids and the availability words.

use core::fmt;

use heapless::String;

use crate::alert::MAX_ID;

/// Longest root topic, in bytes.
pub const MAX_ROOT: usize = 128;
/// Longest topic that [`Topics`] builds: root, `/cameras/`, camera id, `/threshold/set`.
pub const MAX_TOPIC: usize = MAX_ROOT + 9 + MAX_ID + 14;

/// A topic name.
pub type Topic = String<MAX_TOPIC>;

/// Why a name cannot be part of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// It is empty.
    Empty,
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It contains this character.
    Character(char),
    /// A root topic begins or ends with `/` or has two of them in a row.
    EmptyLevel,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong(max) => write!(f, "is longer than {max} bytes"),
            Self::Character(c) => {
                write!(f, "contains {c:?}; use letters, digits, '_' and '-'")
            }
            Self::EmptyLevel => f.write_str("has an empty level; remove the extra '/'"),
        }
    }
}

impl core::error::Error for NameError {}

/// Accepts a device or camera id: 1 to [`MAX_ID`] characters of `[a-zA-Z0-9_-]`.
///
/// # Errors
/// If it is anything else.
pub fn check_id(id: &str) -> Result<(), NameError> {
    check_level(id)?;
    if id.len() > MAX_ID { Err(NameError::TooLong(MAX_ID)) } else { Ok(()) }
}

fn check_level(level: &str) -> Result<(), NameError> {
    if level.is_empty() {
        return Err(NameError::Empty);
    }
    match level.chars().find(|&c| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// The topics of one device, all below its root topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    root: String<MAX_ROOT>,
}

impl Topics {
    /// The topics below `root`: levels of `[a-zA-Z0-9_-]` separated by `/`.
    ///
    /// # Errors
    /// If the root is empty, too long, has an empty level or another character.
    pub fn new(root: &str) -> Result<Self, NameError> {
        if root.is_empty() {
            return Err(NameError::Empty);
        }
        for level in root.split('/') {
            check_level(level).map_err(|e| match e {
                NameError::Empty => NameError::EmptyLevel,
                other => other,
            })?;
        }
        let root = String::try_from(root).map_err(|_| NameError::TooLong(MAX_ROOT))?;
        Ok(Self { root })
    }

    /// The root topic.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Retained: one of the words of [`Availability`].
    pub fn availability(&self) -> Topic {
        self.join(&["availability"])
    }

    /// Retained: the device's state as JSON.
    pub fn status(&self) -> Topic {
        self.join(&["status"])
    }

    /// Retained: measurements as JSON.
    pub fn telemetry(&self) -> Topic {
        self.join(&["telemetry"])
    }

    /// A camera's alerts as JSON, or `None` if the id is not one that [`check_id`] accepts.
    pub fn events(&self, camera: &str) -> Option<Topic> {
        check_id(camera).ok().map(|()| self.join(&["events", camera]))
    }

    /// A camera's alerts as postcard, or `None` if the id is not one that [`check_id`] accepts.
    pub fn events_postcard(&self, camera: &str) -> Option<Topic> {
        check_id(camera).ok().map(|()| self.join(&["events", camera, "postcard"]))
    }

    /// Retained: `ON` if every camera is armed, else `OFF`.
    pub fn armed(&self) -> Topic {
        self.join(&["armed"])
    }

    /// Retained: the installed bundles and the newest update, as JSON.
    pub fn bundle(&self) -> Topic {
        self.join(&["bundle"])
    }

    /// Retained: a camera's setting as plain text, or `None` if the id is not one that [`check_id`]
    /// accepts.
    pub fn setting(&self, camera: &str, setting: Setting) -> Option<Topic> {
        check_id(camera).ok().map(|()| self.join(&["cameras", camera, setting.as_str()]))
    }

    /// Filters that match every command of the device, and nothing that it publishes itself.
    pub fn commands(&self) -> [Topic; 2] {
        [self.join(&["+", "set"]), self.join(&["cameras", "+", "+", "set"])]
    }

    fn join(&self, levels: &[&str]) -> Topic {
        let mut topic = Topic::new();
        let fits = topic.push_str(&self.root).is_ok()
            && levels.iter().all(|l| topic.push('/').is_ok() && topic.push_str(l).is_ok());
        debug_assert!(fits, "MAX_TOPIC holds the longest root and id");
        topic
    }
}

/// What can be set at a camera; the command topic is the setting's own with `/set` appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Whether incidents are announced: `ON` or `OFF`.
    Armed,
    /// Score at which an incident starts.
    Threshold,
    /// The picture as JPEG; any payload asks for a new one.
    Snapshot,
}

impl Setting {
    /// The topic level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Threshold => "threshold",
            Self::Snapshot => "snapshot",
        }
    }

    /// Reads a topic level.
    pub fn from_level(level: &str) -> Option<Self> {
        [Self::Armed, Self::Threshold, Self::Snapshot].into_iter().find(|s| s.as_str() == level)
    }
}

/// What the availability topic says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// The device is connected.
    Online,
    /// The connection broke; published by the broker as the device's last will.
    Offline,
    /// The device was shut down on purpose.
    Stopped,
}

impl Availability {
    /// The payload.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Stopped => "stopped",
        }
    }

    /// Reads a payload.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        [Self::Online, Self::Offline, Self::Stopped]
            .into_iter()
            .find(|a| a.as_str().as_bytes() == payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_stand_below_the_root() {
        let topics = Topics::new("pavad/cam-1").unwrap();
        assert_eq!(topics.availability(), "pavad/cam-1/availability");
        assert_eq!(topics.status(), "pavad/cam-1/status");
        assert_eq!(topics.telemetry(), "pavad/cam-1/telemetry");
        assert_eq!(topics.armed(), "pavad/cam-1/armed");
        assert_eq!(topics.bundle(), "pavad/cam-1/bundle");
        assert_eq!(topics.commands(), ["pavad/cam-1/+/set", "pavad/cam-1/cameras/+/+/set"]);
        for setting in [Setting::Armed, Setting::Threshold, Setting::Snapshot] {
            let topic = topics.setting("door", setting).unwrap();
            let end = topic.strip_prefix("pavad/cam-1/cameras/door/").unwrap();
            assert_eq!(end, setting.as_str());
            assert_eq!(Setting::from_level(setting.as_str()), Some(setting));
        }
        assert_eq!(Setting::from_level("Armed"), None);
        assert_eq!(topics.events("door").unwrap(), "pavad/cam-1/events/door");
        assert_eq!(topics.events_postcard("door").unwrap(), "pavad/cam-1/events/door/postcard");
    }

    #[test]
    fn the_longest_names_fit() {
        let root = "r".repeat(MAX_ROOT);
        let id = "i".repeat(MAX_ID);
        let topics = Topics::new(&root).unwrap();
        assert!(topics.events_postcard(&id).unwrap().ends_with("/postcard"));
        let mut topic = topics.setting(&id, Setting::Threshold).unwrap();
        topic.push_str("/set").unwrap();
        assert_eq!(topic.len(), MAX_TOPIC);
    }

    #[test]
    fn wildcards_and_separators_are_refused() {
        for (id, error) in [
            ("", NameError::Empty),
            ("a/b", NameError::Character('/')),
            ("+", NameError::Character('+')),
            ("a#", NameError::Character('#')),
            ("tür", NameError::Character('ü')),
            ("a b", NameError::Character(' ')),
        ] {
            assert_eq!(check_id(id), Err(error), "{id}");
            assert!(Topics::new("r").unwrap().events(id).is_none());
        }
        assert_eq!(check_id(&"x".repeat(MAX_ID + 1)), Err(NameError::TooLong(MAX_ID)));
        assert_eq!(Topics::new("/pavad"), Err(NameError::EmptyLevel));
        assert_eq!(Topics::new("pavad/"), Err(NameError::EmptyLevel));
        assert_eq!(Topics::new("a//b"), Err(NameError::EmptyLevel));
        assert_eq!(Topics::new("a/+/b"), Err(NameError::Character('+')));
        assert_eq!(Topics::new(&"x".repeat(MAX_ROOT + 1)), Err(NameError::TooLong(MAX_ROOT)));
    }

    #[test]
    fn availability_words() {
        for a in [Availability::Online, Availability::Offline, Availability::Stopped] {
            assert_eq!(Availability::from_payload(a.as_str().as_bytes()), Some(a));
        }
        assert_eq!(Availability::from_payload(b"Online"), None);
    }
}
