//! Announced events against the truth.

use std::collections::BTreeSet;

use super::labels::{Labels, some};

/// An event that the camera announced: source frames from 0, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The clip.
    pub clip: String,
    /// First frame of the event.
    pub first: u64,
    /// Last frame of the event.
    pub last: u64,
}

/// Announced events of what is no clip: they would count for nothing, in silence.
#[derive(Debug, thiserror::Error)]
#[error(
    "events of camera {}, which is not among the clips ({}); the camera of an event must be called \
     as the clip is", cameras.join(", "), some(clips)
)]
pub struct UnknownClip {
    /// The cameras.
    pub cameras: Vec<String>,
    /// The clips there are.
    pub clips: Vec<String>,
}

/// That every announced event belongs to one of the clips.
///
/// # Errors
/// [`UnknownClip`], which names those that do not.
pub fn check_clips<'a>(
    announced: &[Announced],
    clips: impl IntoIterator<Item = &'a str>,
) -> Result<(), UnknownClip> {
    let clips: BTreeSet<&str> = clips.into_iter().collect();
    let cameras: BTreeSet<&str> =
        announced.iter().map(|e| e.clip.as_str()).filter(|c| !clips.contains(c)).collect();
    if cameras.is_empty() {
        return Ok(());
    }
    let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_string).collect();
    Err(UnknownClip { cameras: owned(cameras), clips: owned(clips) })
}

/// Whether an announced event touches a true one, a 1-based range, or comes within `slack` frames of
/// it: scores are smoothed over time.
pub fn touches(event: &Announced, (first, last): (u64, u64), slack: u64) -> bool {
    event.first < last + slack && event.last + 1 + slack >= first
}

/// How announced events and true ones match.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// True events: (clip, 1-based range), and whether one was announced during it.
    pub truth: Vec<(String, (u64, u64), bool)>,
    /// Indices of announced events that overlap no true one.
    pub false_alarms: Vec<usize>,
}

impl Matching {
    /// True events found.
    pub fn detected(&self) -> usize {
        self.truth.iter().filter(|(_, _, found)| *found).count()
    }
}

/// Matches by touch: a true event is touched if an announced one overlaps it, and an announced
/// event that overlaps no true one is a false alarm. `slack` frames around a true event count as
/// part of it, because scores are smoothed over time. An alarm that never ends touches everything
/// and is never false: [`super::AlarmFigures`] is what it cannot flatter.
pub fn match_events(
    clips: &[String],
    labels: &Labels,
    announced: &[Announced],
    slack: u64,
) -> Matching {
    let overlaps = |event: &Announced, range| touches(event, range, slack);
    let truth = clips
        .iter()
        .flat_map(|clip| labels.ranges(clip).iter().map(move |range| (clip, *range)))
        .map(|(clip, range)| {
            let found = announced.iter().any(|e| e.clip == *clip && overlaps(e, range));
            (clip.clone(), range, found)
        })
        .collect();
    let false_alarms = announced
        .iter()
        .enumerate()
        .filter(|(_, e)| !labels.ranges(&e.clip).iter().any(|range| overlaps(e, *range)))
        .map(|(i, _)| i)
        .collect();
    Matching { truth, false_alarms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[11, 20], [51, 60]]}"#).unwrap();
        let labels = Labels::read(&path).unwrap();
        let event = |clip: &str, first, last| Announced { clip: clip.into(), first, last };
        let clips = ["a".to_string(), "b".to_string()];
        // Frame 19 (from 0) is the last of [11, 20]; frame 20 is the first after it.
        let hit = [event("a", 19, 30)];
        let matching = match_events(&clips, &labels, &hit, 0);
        assert_eq!((matching.detected(), matching.false_alarms.len()), (1, 0));
        let miss = [event("a", 20, 30), event("b", 10, 20)];
        let matching = match_events(&clips, &labels, &miss, 0);
        assert_eq!((matching.detected(), matching.false_alarms), (0, vec![0, 1]));
        let matching = match_events(&clips, &labels, &miss, 1);
        assert_eq!((matching.detected(), matching.false_alarms), (1, vec![1]));
    }

    #[test]
    fn events_of_no_clip_are_an_error() {
        let event = |clip: &str| Announced { clip: clip.into(), first: 0, last: 1 };
        check_clips(&[event("a")], ["a", "b"]).unwrap();
        let message =
            check_clips(&[event("a"), event("gate")], ["a", "b"]).unwrap_err().to_string();
        assert!(message.contains("camera gate") && message.contains("(a, b)"), "{message}");
    }
}
