//! Ground truth: which frames of a clip are abnormal, and of what kind if that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Abnormal frame ranges by clip name: 1-based, both ends included. A clip that is absent is normal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The file that they were read from, for messages.
    path: PathBuf,
    clips: BTreeMap<String, Events>,
}

/// The events of a clip, and the kind of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Events {
    ranges: Vec<(u64, u64)>,
    kinds: Vec<Option<String>>,
}

/// Why a labels file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// It cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not of the form `{"clip": [[first, last], ...]}`.
    #[error(
        "{}: {reason}; expected {{\"clip\": [[first, last], ...]}}, each with the kind as a third \
         element if it is known", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A range that cannot be.
    #[error(
        "{}: clip {clip}: range [{first}, {last}]: frames count from 1 and the last is not before \
         the first", path.display()
    )]
    Range {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip: String,
        /// First frame given.
        first: u64,
        /// Last frame given.
        last: u64,
    },
    /// Clips that are not among those evaluated: their events would be left out in silence.
    #[error(
        "{}: labels name {}, which {} among the clips ({}); names are those of the files without \
         extension", path.display(), names.join(", "),
        if names.len() == 1 { "is not" } else { "are not" }, some(clips)
    )]
    NoClip {
        /// The file.
        path: PathBuf,
        /// The names.
        names: Vec<String>,
        /// The clips there are.
        clips: Vec<String>,
    },
    /// A range beyond the clip's end.
    #[error("labels of clip {clip}: range ends at frame {last}, but the clip has {frames}")]
    BeyondEnd {
        /// The clip.
        clip: String,
        /// Last frame of the range.
        last: u64,
        /// Frames of the clip.
        frames: u64,
    },
}

/// The first few names of many.
pub(super) fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "there is none".into(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

impl Labels {
    /// Reads a labels file.
    ///
    /// # Errors
    /// [`LabelsError`], which names the clip and the range.
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let io = |source| LabelsError::Io { path: path.to_path_buf(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(io)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, LabelsError> {
        let Raw(raw) = serde_json::from_str(text)
            .map_err(|e| LabelsError::Format { path: path.to_path_buf(), reason: e.to_string() })?;
        let mut clips = BTreeMap::new();
        for (clip, ranges) in raw {
            if let Some(&RawRange { first, last, .. }) =
                ranges.iter().find(|r| r.first == 0 || r.last < r.first)
            {
                return Err(LabelsError::Range { path: path.to_path_buf(), clip, first, last });
            }
            let events = Events {
                ranges: ranges.iter().map(|r| (r.first, r.last)).collect(),
                kinds: ranges.into_iter().map(|r| r.kind).collect(),
            };
            clips.insert(clip, events);
        }
        Ok(Self { path: path.to_path_buf(), clips })
    }

    /// The clips that are named, in order.
    pub fn clips(&self) -> impl Iterator<Item = &str> {
        self.clips.keys().map(String::as_str)
    }

    /// That every clip that is named is one of `clips`.
    ///
    /// # Errors
    /// [`LabelsError::NoClip`], which names those that are not.
    pub fn check_clips<'a>(
        &self,
        clips: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), LabelsError> {
        let known: BTreeSet<&str> = clips.into_iter().collect();
        let names: Vec<String> =
            self.clips().filter(|name| !known.contains(name)).map(str::to_string).collect();
        if names.is_empty() {
            return Ok(());
        }
        let clips = known.into_iter().map(str::to_string).collect();
        Err(LabelsError::NoClip { path: self.path.clone(), names, clips })
    }

    /// Abnormal ranges of a clip.
    pub fn ranges(&self, clip: &str) -> &[(u64, u64)] {
        self.clips.get(clip).map_or(&[], |events| &events.ranges)
    }

    /// The kind of each of these ranges, where the labels say one.
    pub fn kinds(&self, clip: &str) -> &[Option<String>] {
        self.clips.get(clip).map_or(&[], |events| &events.kinds)
    }

    /// Whether each of a clip's frames is abnormal.
    ///
    /// # Errors
    /// [`LabelsError::BeyondEnd`] if a range ends beyond the clip.
    pub fn frames(&self, clip: &str, count: usize) -> Result<Vec<bool>, LabelsError> {
        let mut abnormal = vec![false; count];
        for &(first, last) in self.ranges(clip) {
            if last > count as u64 {
                let clip = clip.to_string();
                return Err(LabelsError::BeyondEnd { clip, last, frames: count as u64 });
            }
            abnormal[first as usize - 1..last as usize].fill(true);
        }
        Ok(abnormal)
    }
}

/// The file as it is written, in order. A map type would keep the last of two entries of one name and
/// lose the other in silence.
struct Raw(Vec<(String, Vec<RawRange>)>);

struct RawRange {
    first: u64,
    last: u64,
    kind: Option<String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Clips;
        impl<'de> Visitor<'de> for Clips {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("clips with their abnormal ranges")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let (mut clips, mut seen) = (Vec::new(), BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("clip {name} is named twice")));
                    }
                    clips.push((name, map.next_value()?));
                }
                Ok(Raw(clips))
            }
        }
        deserializer.deserialize_map(Clips)
    }
}

impl<'de> Deserialize<'de> for RawRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Range;
        impl<'de> Visitor<'de> for Range {
            type Value = RawRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[first, last] or [first, last, \"kind\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawRange, A::Error> {
                let mut frame = |at| {
                    seq.next_element::<u64>()?.ok_or_else(|| A::Error::invalid_length(at, &self))
                };
                let (first, last) = (frame(0)?, frame(1)?);
                let kind = seq.next_element::<String>()?;
                if kind.as_ref().is_some_and(|kind| kind.trim().is_empty() || kind.len() > 64) {
                    return Err(A::Error::custom("a kind is a name of 1 to 64 characters"));
                }
                Ok(RawRange { first, last, kind })
            }
        }
        deserializer.deserialize_seq(Range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Labels, LabelsError> {
        Labels::parse(text, Path::new("labels.json"))
    }

    #[test]
    fn ranges_are_one_based_and_inclusive() {
        let labels = parse(r#"{"a": [[1, 2], [5, 5]]}"#).unwrap();
        assert_eq!(labels.frames("a", 5).unwrap(), [true, true, false, false, true]);
        assert_eq!(labels.frames("absent", 2).unwrap(), [false, false]);
    }

    #[test]
    fn a_range_may_name_its_kind() {
        let labels = parse(r#"{"a": [[1, 2, "fall"], [5, 5]]}"#).unwrap();
        assert_eq!(labels.ranges("a"), [(1, 2), (5, 5)]);
        assert_eq!(labels.kinds("a"), [Some("fall".to_string()), None]);
        assert!(labels.kinds("absent").is_empty());
        for wrong in [r#"{"a": [[1]]}"#, r#"{"a": [[1, 2, 3]]}"#, r#"{"a": [[1, 2, "x", "y"]]}"#] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("line 1") && message.contains("expected"), "{message}");
        }
        assert!(parse(r#"{"a": [[1, 2, " "]]}"#).is_err());
    }

    #[test]
    fn wrong_labels_are_named() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert!(message(r#"{"a": [[0, 2]]}"#).contains("clip a"));
        assert!(message(r#"{"a": [[3, 2]]}"#).contains("[3, 2]"));
        assert!(message(r#"{"a": 3}"#).contains("labels.json"));
        let labels = parse(r#"{"a": [[1, 9]]}"#).unwrap();
        assert!(labels.frames("a", 5).unwrap_err().to_string().contains("frame 9"));
    }

    #[test]
    fn labels_that_name_a_clip_twice_are_an_error() {
        let message = parse(r#"{"a": [[1, 2]], "b": [], "a": [[5, 6]]}"#).unwrap_err().to_string();
        assert!(message.contains("clip a is named twice"), "{message}");
    }

    #[test]
    fn labels_that_name_no_clip_are_an_error() {
        let labels = parse(r#"{"a": [[1, 2]], "gate.mp4": [[1, 2]]}"#).unwrap();
        labels.check_clips(["a", "b", "gate.mp4"]).unwrap();
        let message = labels.check_clips(["a", "gate"]).unwrap_err().to_string();
        assert!(message.contains("labels name gate.mp4, which is not"), "{message}");
        assert!(message.contains("(a, gate)") && message.contains("labels.json"), "{message}");
    }
}
