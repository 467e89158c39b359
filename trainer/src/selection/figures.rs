//! The figures of a design: from records to one number by which designs are ranked.

use model_bundle::manifest::SmoothingSpec;
use serde::{Deserialize, Serialize};

use super::Family;
use super::record::{Fusion, Record, Scale, Truth, auc};
use crate::evaluation::metrics::{false_alarm_rate, threshold_at};

/// Share of the site's normal frames that may alarm where another camera's alarms are counted.
const ALARM_RATE: f64 = 0.01;

/// What a detector that has learned nothing would reach.
const CHANCE: f64 = 0.5;

/// What a design's detectors said of everything they were shown, one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Kinds of the network trained on all of the design's kinds, in the order of its maps.
    pub kinds: Vec<String>,
    /// The site's held-out normal footage, by that network; so the next four.
    pub normal: Vec<Record>,
    /// Held-out pseudo clips of all kinds.
    pub pseudo: Vec<Record>,
    /// Pseudo clips of each family.
    pub families: Vec<(Family, Vec<Record>)>,
    /// Other cameras.
    pub others: Vec<OtherCamera>,
    /// Labelled test videos, if evidence was asked for.
    pub test: Vec<Record>,
    /// For each family what a network trained without it said of the held-out normal footage and of
    /// the family's clips; `None` if the design has no other kind.
    pub left_out: Vec<(Family, Option<LeftOut>)>,
}

/// Another camera's footage, by a network that has not seen it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherCamera {
    /// Its folder's name.
    pub name: String,
    /// Its normal footage.
    pub normal: Vec<Record>,
    /// Pseudo clips made of it.
    pub pseudo: Vec<Record>,
}

/// What a network trained without a family said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Of the site's held-out normal footage.
    pub normal: Vec<Record>,
    /// Of the family's pseudo clips.
    pub pseudo: Vec<Record>,
}

/// The figures of a design and fusion weight; `None` where there was nothing to measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// By what designs are ranked: the mean of `left_out` and `other`, or the one that there is.
    pub score: Option<f64>,
    /// AUC of pseudo clips of kinds that were left out of training, mean over the families.
    pub left_out: Option<f64>,
    /// AUC of pseudo clips on other cameras against those cameras' own normal frames, mean over
    /// them.
    pub other: Option<f64>,
    /// AUC of held-out pseudo clips of all kinds, all of them trained on.
    pub pseudo: Option<f64>,
    /// AUC of each family's clips by the maps of other kinds alone, all kinds trained on, mean over
    /// the families.
    pub other_maps: Option<f64>,
    /// Mean value of other cameras' normal frames: deviations by which they leave the site's range.
    pub shift: Option<f64>,
    /// Share of other cameras' normal frames above what one in a hundred of the site's exceeds.
    pub alarms: Option<f64>,
    /// AUC of the test videos. Evidence: no other figure depends on it.
    pub test: Option<f64>,
    /// `left_out` of each family, by its name.
    pub families: Vec<(String, Option<f64>)>,
}

/// The figures for a fusion.
#[must_use]
pub fn measure(of: &Measured, fusion: Fusion, smoothing: &SmoothingSpec) -> Figures {
    let all: Vec<usize> = (0..of.kinds.len()).collect();
    let whole = Scale::of(&of.normal, &all);
    let area = |scale: &Scale<'_>, sets: &[&[Record]]| {
        let records: Vec<&Record> = sets.iter().copied().flatten().collect();
        let values: Vec<Vec<f64>> =
            records.iter().map(|r| scale.fused(r, fusion, smoothing)).collect();
        auc(records.iter().copied().zip(values.iter().map(Vec::as_slice)))
    };
    let by_whole = |sets: &[&[Record]]| whole.as_ref().and_then(|scale| area(scale, sets));

    let families: Vec<(String, Option<f64>)> = of
        .left_out
        .iter()
        .map(|(family, seen)| {
            let value = match seen {
                None => Some(CHANCE),
                Some(LeftOut { normal, pseudo }) => {
                    let maps: Vec<usize> = (0..pseudo.first().map_or(0, maps_of)).collect();
                    Scale::of(normal, &maps).and_then(|scale| area(&scale, &[normal, pseudo]))
                }
            };
            (family.to_string(), value)
        })
        .collect();
    let other_maps = of.families.iter().map(|(family, pseudo)| {
        let maps: Vec<usize> =
            all.iter().copied().filter(|map| !family.has(&of.kinds[*map])).collect();
        match Scale::of(&of.normal, &maps) {
            None => Some(CHANCE),
            Some(scale) => area(&scale, &[&of.normal, pseudo]),
        }
    });
    let left_out = mean(families.iter().map(|(_, value)| *value));
    let other = mean(of.others.iter().map(|other| by_whole(&[&other.normal, &other.pseudo])));
    let normal_values = |records: &[Record]| -> Vec<f64> {
        let Some(scale) = &whole else { return Vec::new() };
        let values = |r: &Record| {
            let values = scale.fused(r, fusion, smoothing);
            let own: Vec<f64> = values
                .into_iter()
                .zip(&r.truth)
                .filter(|(_, truth)| **truth == Truth::Normal)
                .map(|(value, _)| value)
                .collect();
            own
        };
        records.iter().flat_map(values).collect()
    };
    let threshold = threshold_at(&normal_values(&of.normal), ALARM_RATE);
    let others: Vec<Vec<f64>> = of.others.iter().map(|o| normal_values(&o.normal)).collect();
    Figures {
        score: mean([left_out, other].into_iter().filter(Option::is_some)),
        left_out,
        other,
        pseudo: by_whole(&[&of.normal, &of.pseudo]),
        other_maps: mean(other_maps),
        shift: mean(others.iter().map(|values| mean(values.iter().map(|v| Some(*v))))),
        alarms: mean(others.iter().map(|values| {
            // Above, not at, the threshold, as its definition has it.
            threshold.and_then(|threshold| false_alarm_rate(values, threshold.next_up()))
        })),
        test: by_whole(&[&of.test]),
        families,
    }
}

fn maps_of(record: &Record) -> usize {
    record.peaks.first().map_or(0, Vec::len)
}

/// The mean; `None` of nothing, or if a value is missing.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOOTHING: SmoothingSpec = SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 };
    const LOCAL: Fusion = Fusion { motion: 0.0, excess_over: 0.0 };

    /// Frames with the given peaks, all of one truth, and a motion of nothing.
    fn record(peaks: &[[f32; 2]], truth: Truth) -> Record {
        Record {
            peaks: peaks.iter().map(|p| p.to_vec()).collect(),
            motion: vec![0.0; peaks.len()],
            truth: vec![truth; peaks.len()],
        }
    }

    fn measured() -> Measured {
        let family = |name: &str| name.parse::<Family>().unwrap();
        let abnormal = |peaks: &[[f32; 2]]| vec![record(peaks, Truth::Abnormal)];
        let normal = vec![record(&[[0.0, 1.0], [1.0, 0.0]], Truth::Normal)];
        Measured {
            kinds: vec!["fast".into(), "bike".into()],
            // The first map sees nothing of the family `fast`, the second half of it.
            families: vec![(family("fast"), abnormal(&[[9.0, 0.5], [9.0, 9.0]]))],
            pseudo: abnormal(&[[9.0, 0.0], [0.5, 0.5]]),
            others: vec![OtherCamera {
                name: "yard".into(),
                normal: vec![record(&[[3.0, 3.0], [0.5, 0.5]], Truth::Normal)],
                pseudo: abnormal(&[[2.0, 0.0]]),
            }],
            test: vec![record(&[[5.0, 0.0]], Truth::Abnormal), normal[0].clone()],
            left_out: vec![
                (
                    family("fast"),
                    Some(LeftOut { normal: normal.clone(), pseudo: abnormal(&[[0.0, 4.0]]) }),
                ),
                (family("bike"), None),
            ],
            normal,
        }
    }

    #[test]
    fn each_figure_by_hand() {
        let found = measure(&measured(), LOCAL, &SMOOTHING);
        // One family fully noticed, for the other there is no network: chance.
        let expected = [("fast".to_string(), Some(1.0)), ("bike".to_string(), Some(0.5))];
        assert_eq!(found.families, expected);
        assert_eq!(found.left_out, Some(0.75));
        // The event at 2 lies between the normal frames at 3 and 0.5.
        assert_eq!(found.other, Some(0.5));
        assert_eq!(found.score, Some(0.625));
        // 9 and 0.5 against the normal frames' 1 and 1.
        assert_eq!(found.pseudo, Some(0.5));
        // By the map of `bike` alone: 0.5 and 9 against 1 and 0.
        assert_eq!(found.other_maps, Some(0.75));
        // The site's normal frames are all 1, so the least deviation holds: (3 − 1) / 0.05 and
        // (0.5 − 1) / 0.05, mean 15; the first is above all of the site's.
        assert!((found.shift.unwrap() - 15.0).abs() < 1e-9);
        assert_eq!(found.alarms, Some(0.5));
        assert_eq!(found.test, Some(1.0));
    }

    #[test]
    fn the_test_has_no_say() {
        let without = Measured { test: Vec::new(), ..measured() };
        let (with, without) =
            (measure(&measured(), LOCAL, &SMOOTHING), measure(&without, LOCAL, &SMOOTHING));
        assert_eq!(without.test, None);
        assert_eq!(Figures { test: None, ..with }, without);
    }

    #[test]
    fn the_score_is_of_what_there_is() {
        let lonely = Measured { others: Vec::new(), ..measured() };
        let found = measure(&lonely, LOCAL, &SMOOTHING);
        assert_eq!((found.score, found.other, found.alarms), (Some(0.75), None, None));
        let alone = Measured { left_out: Vec::new(), ..measured() };
        assert_eq!(measure(&alone, LOCAL, &SMOOTHING).score, Some(0.5));
    }
}
