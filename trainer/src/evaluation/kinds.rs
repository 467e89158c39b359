//! What an event was, and what it was called.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Announced;
use super::events::touches;
use super::files::AlertLine;
use super::labels::Labels;
use super::metrics::temporal_iou;
use super::run::{ScoredClip, slack};

/// True events by kind, and what the alerts called them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KindTable {
    /// One row for each kind of the labels, in order of names.
    pub rows: Vec<KindRow>,
    /// Announced events that touch no true one, by what they were called.
    pub false_alarms: BTreeMap<String, usize>,
}

/// The true events of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KindRow {
    /// What they were; events whose kind the labels do not say are `(not said)`.
    pub kind: String,
    /// How many.
    pub events: usize,
    /// Of them without an announced event that touches them.
    pub missed: usize,
    /// The others by what the announced event was called that overlaps them most.
    pub called: BTreeMap<String, usize>,
}

/// The table; `None` where the labels say no kind at all. The kind of an announced event is that of
/// its last message.
pub fn kind_table(
    clips: &[ScoredClip],
    labels: &Labels,
    incidents: &[(Announced, AlertLine)],
) -> Option<KindTable> {
    let said = |clip: &ScoredClip| labels.kinds(&clip.name).iter().any(Option::is_some);
    if !clips.iter().any(said) {
        return None;
    }
    let mut rows: BTreeMap<&str, KindRow> = BTreeMap::new();
    let mut false_alarms = BTreeMap::new();
    for clip in clips {
        let own: Vec<_> = incidents.iter().filter(|(event, _)| event.clip == clip.name).collect();
        let overlap = |event: &Announced, (first, last): (u64, u64)| {
            temporal_iou((first - 1, last - 1), (event.first, event.last.max(event.first)))
        };
        let ranges = labels.ranges(&clip.name);
        for (range, kind) in ranges.iter().zip(labels.kinds(&clip.name)) {
            let kind = kind.as_deref().unwrap_or("(not said)");
            let row = rows
                .entry(kind)
                .or_insert_with(|| KindRow { kind: kind.into(), ..KindRow::default() });
            row.events += 1;
            let best = own
                .iter()
                .map(|(event, alert)| (overlap(event, *range), alert))
                .filter(|(iou, _)| *iou > 0.0)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match best {
                Some((_, alert)) => *row.called.entry(alert.kind.clone()).or_default() += 1,
                None => row.missed += 1,
            }
        }
        let slack = slack(clip.frame_rate);
        for (event, alert) in own {
            if !ranges.iter().any(|range| touches(event, *range, slack)) {
                *false_alarms.entry(alert.kind.clone()).or_default() += 1;
            }
        }
    }
    Some(KindTable { rows: rows.into_values().collect(), false_alarms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_was_and_what_it_was_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        let text = r#"{"a": [[1, 10, "fall"], [21, 30, "fall"], [41, 50, "cart"]]}"#;
        std::fs::write(&path, text).unwrap();
        let labels = Labels::read(&path).unwrap();
        let clips = ["a", "b"].map(|name| ScoredClip { name: name.into(), ..Default::default() });
        let incident = |clip: &str, kind: &str, first, last| {
            let line = format!(
                r#"{{"id": "x", "camera": "{clip}", "kind": "{kind}", "peak_score": 1,
                    "first_frame": {first}, "frame": {last}, "peak_frame": {first}}}"#
            );
            let event = Announced { clip: clip.into(), first, last };
            (event, serde_json::from_str(&line).unwrap())
        };
        let incidents = [
            incident("a", "fall", 0, 8),
            incident("a", "bike", 9, 9),
            incident("a", "loitering", 40, 60),
            incident("b", "bike", 3, 5),
        ];
        let table = kind_table(&clips, &labels, &incidents).unwrap();
        let called = |kind: &str| BTreeMap::from([(kind.to_string(), 1)]);
        let row = |kind: &str, events, missed, called| KindRow {
            kind: kind.into(),
            events,
            missed,
            called,
        };
        // Of two that touch the first fall the one that covers more of it says what it was called.
        let rows = [row("cart", 1, 0, called("loitering")), row("fall", 2, 1, called("fall"))];
        assert_eq!(table.rows, rows);
        assert_eq!(table.false_alarms, called("bike"));

        std::fs::write(&path, r#"{"a": [[1, 10]]}"#).unwrap();
        assert_eq!(kind_table(&clips, &Labels::read(&path).unwrap(), &incidents), None);
    }
}
