//! Announced events against the truth.

use super::labels::Labels;

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

/// Matches by overlap: a true event is detected if an announced one overlaps it, and an announced
/// event that overlaps no true one is a false alarm. `slack` frames around a true event count as
/// part of it, because scores are smoothed over time.
pub fn match_events(
    clips: &[String],
    labels: &Labels,
    announced: &[Announced],
    slack: u64,
) -> Matching {
    let overlaps = |event: &Announced, (first, last): (u64, u64)| {
        // Ranges are 1-based, frames count from 0.
        event.first < last + slack && event.last + 1 + slack >= first
    };
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
}
