//! What the frame difference makes of whole videos and of events: the figures that a detector stands
//! beside.

use serde::{Deserialize, Serialize};

use super::alarms::ONE_ALARM_SECONDS;
use super::baseline::Form;
use super::labels::{Labels, LabelsError};
use super::metrics::{EventScore, Range, pairs, roc_auc, video_score};
use super::run::ScoredClip;

/// Thresholds that are tried: as many quantiles of all frames' values.
const THRESHOLDS: usize = 60;

/// The baseline at its best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// AUC of whole videos, in the form that is best at it; `None` if only one class occurs.
    pub auc_video: Option<f64>,
    /// Its events; `None` without a true one.
    pub events: Option<RivalEvents>,
}

/// The baseline's alarms, in the form and at the threshold with the best F1. Both are chosen by looking
/// at the truth, so that no threshold that could be had without it is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RivalEvents {
    /// Form.
    pub form: Form,
    /// An alarm is a value above it; runs less than a second apart are one.
    pub threshold: f64,
    /// Agreement in time.
    pub score: EventScore,
    /// Share of the normal frames during which it alarms; `None` without one.
    pub time_on_normal: Option<f64>,
}

/// The baseline on some clips, its events at a least temporal IoU.
///
/// # Errors
/// [`LabelsError::BeyondEnd`] if labels do not fit a clip.
pub fn rival(clips: &[ScoredClip], labels: &Labels, iou: f64) -> Result<Rival, LabelsError> {
    let truth: Vec<Vec<bool>> =
        clips.iter().map(|c| labels.frames(&c.name, c.score.len())).collect::<Result<_, _>>()?;
    let abnormal: Vec<bool> = truth.iter().map(|frames| frames.contains(&true)).collect();
    let mut best = Rival { auc_video: None, events: None };
    for form in Form::ALL {
        let values: Vec<&Vec<f64>> =
            clips.iter().map(|clip| clip.frame_difference.form(form)).collect();
        let (scores, of): (Vec<f64>, Vec<bool>) = values
            .iter()
            .zip(&abnormal)
            .filter_map(|(values, is)| Some((video_score(values)?, *is)))
            .unzip();
        let auc = roc_auc(&scores, &of);
        best.auc_video = best.auc_video.into_iter().chain(auc).reduce(f64::max);
        for threshold in quantiles(&values) {
            let Some(found) = events(form, threshold, iou, clips, &values, labels, &truth) else {
                continue;
            };
            if best.events.is_none_or(|before| before.score.f1 < found.score.f1) {
                best.events = Some(found);
            }
        }
    }
    Ok(best)
}

fn quantiles(values: &[&Vec<f64>]) -> Vec<f64> {
    let mut all: Vec<f64> = values.iter().flat_map(|v| v.iter().copied()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let at = |i: usize| all.get(i * all.len() / THRESHOLDS).copied();
    let mut chosen: Vec<f64> = (0..THRESHOLDS).filter_map(at).collect();
    chosen.dedup();
    chosen
}

/// The alarms at a threshold; `None` without a true event.
fn events(
    form: Form,
    threshold: f64,
    iou: f64,
    clips: &[ScoredClip],
    values: &[&Vec<f64>],
    labels: &Labels,
    truth: &[Vec<bool>],
) -> Option<RivalEvents> {
    let (mut matched, mut true_ones, mut announced) = (0, 0, 0);
    let (mut on, mut normal) = (0_usize, 0_usize);
    for ((clip, values), abnormal) in clips.iter().zip(values).zip(truth) {
        let gap = (ONE_ALARM_SECONDS * clip.frame_rate).round() as u64;
        let alarms = alarms(values, threshold, gap);
        let own: Vec<Range> =
            labels.ranges(&clip.name).iter().map(|(first, last)| (first - 1, last - 1)).collect();
        matched += pairs(&own, &alarms, iou);
        true_ones += own.len();
        announced += alarms.len();
        normal += abnormal.iter().filter(|is| !**is).count();
        for (first, last) in alarms {
            let during = &abnormal[first as usize..=last as usize];
            on += during.iter().filter(|is| !**is).count();
        }
    }
    (true_ones > 0).then(|| RivalEvents {
        form,
        threshold,
        score: EventScore::of(iou, matched, true_ones, announced),
        time_on_normal: (normal > 0).then(|| on as f64 / normal as f64),
    })
}

/// Runs of values above a threshold, those at most `gap` frames apart as one.
fn alarms(values: &[f64], threshold: f64, gap: u64) -> Vec<Range> {
    let mut runs: Vec<Range> = Vec::new();
    for (frame, _) in (0_u64..).zip(values).filter(|(_, value)| **value > threshold) {
        match runs.last_mut() {
            Some(run) if frame - run.1 <= gap + 1 => run.1 = frame,
            _ => runs.push((frame, frame)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::super::baseline::FrameDifference;
    use super::*;

    #[test]
    fn runs_that_are_close_are_one_alarm() {
        let values = [0.0, 2.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0];
        assert_eq!(alarms(&values, 1.0, 1), [(1, 4), (8, 8)]);
        assert_eq!(alarms(&values, 1.0, 0), [(1, 2), (4, 4), (8, 8)]);
        assert_eq!(alarms(&values, 3.0, 0), []);
    }

    #[test]
    fn a_baseline_that_knows_the_events_finds_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[21, 40], [61, 80]]}"#).unwrap();
        let labels = Labels::read(&path).unwrap();
        let clip = |name: &str, values: Vec<f64>| ScoredClip {
            name: name.into(),
            frame_rate: 10.0,
            score: vec![0.0; values.len()],
            frame_difference: FrameDifference::same(values),
            ..ScoredClip::default()
        };
        let loud = |i: usize| (20..40).contains(&i) || (60..80).contains(&i);
        let values: Vec<f64> = (0..100).map(|i| if loud(i) { 5.0 } else { 1.0 }).collect();
        let clips = [clip("a", values), clip("b", vec![1.0; 50])];
        let found = rival(&clips, &labels, 0.2).unwrap();
        let events = found.events.unwrap();
        assert_eq!((found.auc_video, events.score.f1), (Some(1.0), Some(1.0)));
        assert_eq!(events.time_on_normal, Some(0.0));
        // Without a true event there is nothing to find.
        let none = rival(&clips, &Labels::default(), 0.2).unwrap();
        assert_eq!(none, Rival { auc_video: None, events: None });
    }
}
