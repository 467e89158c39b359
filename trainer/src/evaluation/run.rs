//! The whole evaluation of a set of clips: scores and events against the truth.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::alarms::{AlarmFigures, DelayAtAlarms, delays, figures};
use super::baseline::{Form, FrameDifference};
use super::events::{Announced, Matching, match_events};
use super::kinds::KindTable;
use super::labels::{Labels, LabelsError};
use super::metrics::{
    ReliabilityBin, average_precision, brier_score, detection_delay, expected_calibration_error,
    false_alarm_rate, precision_recall_curve, reliability, roc_auc, roc_curve, threshold_at,
    video_score,
};
use super::regions::PixelEvaluation;

/// Frames around a true event in which an alarm still counts as its own: scores are smoothed over a
/// second or so to both sides.
const SLACK_SECONDS: f64 = 1.0;

/// The score at which the false-alarm rate is given: that of Sultani et al. (CVPR 2018), and the
/// threshold of the published score.
const ALARM_SCORE: f64 = 0.5;

/// Share of normal frames that may alarm where the delay of detection is measured.
pub const DELAY_RATE: f64 = 0.01;

/// Bins of the reliability diagram.
const BINS: usize = 10;

/// Points of a curve: more cannot be told apart.
pub const CURVE_POINTS: usize = 300;

/// Frames of slack around a true event, at a frame rate.
pub fn slack(frame_rate: f64) -> u64 {
    (SLACK_SECONDS * frame_rate).round() as u64
}

/// A clip with its scores, one for each frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoredClip {
    /// Name.
    pub name: String,
    /// The video, a file or a folder of pictures.
    pub video: PathBuf,
    /// Frames per second.
    pub frame_rate: f64,
    /// The published score.
    pub score: Vec<f64>,
    /// The local detector alone, if known; so the next two.
    pub local: Option<Vec<f64>>,
    /// The motion prior alone.
    pub motion: Option<Vec<f64>>,
    /// The semantic detector alone.
    pub semantic: Option<Vec<f64>>,
    /// Frame difference, the baseline.
    pub frame_difference: FrameDifference,
}

/// What came out. `docs/reference/evaluation.md` defines each figure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Frame AUC over all clips' frames together; `None` if only one class occurs.
    pub auc_micro: Option<f64>,
    /// Mean of the clips' AUC, over clips with both classes.
    pub auc_macro: Option<f64>,
    /// Average precision over all frames together.
    pub average_precision: Option<f64>,
    /// Micro frame AUC of the frame difference, in its best form.
    pub auc_frame_difference: Option<f64>,
    /// Micro frame AUC of each of its forms.
    #[serde(default)]
    pub frame_differences: Vec<(Form, f64)>,
    /// Micro frame AUC of the local detector alone; so the next two.
    pub auc_local: Option<f64>,
    /// Of the motion prior.
    pub auc_motion: Option<f64>,
    /// Of the semantic detector.
    pub auc_semantic: Option<f64>,
    /// True events.
    pub events_truth: usize,
    /// True events that an announced one touches; `None` if no announced events were given. So the
    /// next two.
    pub events_detected: Option<usize>,
    /// Announced events that touch no true one.
    pub false_alarms: Option<usize>,
    /// False alarms for each hour of normal footage.
    pub false_alarms_per_hour: Option<f64>,
    /// Hours of normal footage.
    pub normal_hours: f64,
    /// Frames.
    pub frames: usize,
    /// Micro frame AUC over the clips that have an abnormal frame.
    #[serde(default)]
    pub auc_abnormal: Option<f64>,
    /// AUC of whole clips, one with an abnormal frame against one without, by the mean of a clip's
    /// highest scores ([`video_score`]).
    #[serde(default)]
    pub auc_video: Option<f64>,
    /// The same by a clip's highest score alone.
    #[serde(default)]
    pub auc_video_max: Option<f64>,
    /// Share of frames with a score of at least 0.5, of clips without an abnormal frame.
    #[serde(default)]
    pub false_alarm_rate: Option<f64>,
    /// Brier score of all frames; `None` if the scores are not in 0 to 1.
    #[serde(default)]
    pub brier_score: Option<f64>,
    /// Expected calibration error over `reliability`.
    #[serde(default)]
    pub calibration_error: Option<f64>,
    /// What scores say and what is true, in ten equal parts of 0 to 1.
    #[serde(default)]
    pub reliability: Vec<ReliabilityBin>,
    /// How soon events are noticed; `None` without an event or a normal frame.
    #[serde(default)]
    pub delay: Option<Delay>,
    /// The same at fixed alarms an hour.
    #[serde(default)]
    pub delay_at_alarms: Vec<DelayAtAlarms>,
    /// Announced events against true ones; `None` if none were given.
    #[serde(default)]
    pub alarms: Option<AlarmFigures>,
    /// What events were and what they were called; `None` unless the labels say.
    #[serde(default)]
    pub kinds: Option<KindTable>,
    /// Maps against masks, if both were given.
    #[serde(default)]
    pub pixels: Option<PixelEvaluation>,
    /// The ROC curve, (false positive rate, true positive rate), thinned.
    #[serde(default)]
    pub roc_curve: Vec<(f64, f64)>,
    /// The precision–recall curve, (recall, precision), thinned.
    #[serde(default)]
    pub precision_recall_curve: Vec<(f64, f64)>,
    /// Each clip on its own.
    pub clips: Vec<ClipResult>,
}

/// How soon events are noticed, at a threshold that a fixed share of all normal frames exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// The share of normal frames that may alarm.
    pub false_alarm_rate: f64,
    /// The threshold; an alarm is a score above it.
    pub threshold: f64,
    /// True events.
    pub events: usize,
    /// Of them with an alarm.
    pub detected: usize,
    /// Frames from onset to first alarm, mean over the detected events; `None` if there are none. So
    /// the rest.
    pub mean_frames: Option<f64>,
    /// Median.
    pub median_frames: Option<f64>,
    /// Mean in seconds.
    pub mean_seconds: Option<f64>,
    /// Median in seconds.
    pub median_seconds: Option<f64>,
}

/// A clip's part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClipResult {
    /// Name.
    pub name: String,
    /// Frames.
    pub frames: usize,
    /// Abnormal frames.
    pub abnormal_frames: usize,
    /// Frame AUC, if both classes occur.
    pub auc: Option<f64>,
    /// True events.
    pub events_truth: usize,
    /// Of them touched by an announced one, if any were given; so the next.
    pub events_detected: Option<usize>,
    /// False alarms.
    pub false_alarms: Option<usize>,
    /// Frames from onset to first alarm of each true event, `None` if it has none, at the threshold
    /// of [`Evaluation::delay`]; empty without one.
    #[serde(default)]
    pub delays: Vec<Option<u64>>,
}

/// Evaluates; [`Evaluation::pixels`] and [`Evaluation::kinds`] are left empty. Without `announced`
/// nothing is said of events: none announced is a result, none given is not.
///
/// # Errors
/// [`LabelsError::NoClip`] if the labels name what is no clip, [`LabelsError::BeyondEnd`] if they do
/// not fit a clip.
pub fn evaluate(
    clips: &[ScoredClip],
    labels: &Labels,
    announced: Option<&[Announced]>,
) -> Result<Evaluation, LabelsError> {
    labels.check_clips(clips.iter().map(|clip| clip.name.as_str()))?;
    let truth: Vec<Vec<bool>> =
        clips.iter().map(|c| labels.frames(&c.name, c.score.len())).collect::<Result<_, _>>()?;
    let all: Vec<bool> = truth.concat();
    let micro = |pick: &dyn Fn(&ScoredClip) -> Option<&Vec<f64>>| {
        let mut scores = Vec::with_capacity(all.len());
        for clip in clips {
            let values = pick(clip).filter(|v| v.len() == clip.score.len())?;
            scores.extend_from_slice(values);
        }
        roc_auc(&scores, &all)
    };
    let scores: Vec<f64> = clips.iter().flat_map(|c| c.score.iter().copied()).collect();

    let abnormal_clips: Vec<bool> = truth.iter().map(|frames| frames.contains(&true)).collect();
    let video = |score: fn(&[f64]) -> Option<f64>| {
        let scored = clips.iter().zip(&abnormal_clips);
        let (scores, truth): (Vec<f64>, Vec<bool>) =
            scored.filter_map(|(clip, is)| Some((score(&clip.score)?, *is))).unzip();
        roc_auc(&scores, &truth)
    };
    let of_clips = |abnormal: bool| {
        let chosen = clips.iter().zip(&truth).zip(&abnormal_clips);
        let chosen = chosen.filter(move |(_, is)| **is == abnormal).map(|(both, _)| both);
        chosen.flat_map(|(clip, frames)| clip.score.iter().copied().zip(frames.iter().copied()))
    };
    let (abnormal_scores, abnormal_truth): (Vec<f64>, Vec<bool>) = of_clips(true).unzip();
    let (normal_scores, _): (Vec<f64>, Vec<bool>) = of_clips(false).unzip();
    let bins = reliability(&scores, &all, BINS);
    let normal: Vec<f64> =
        scores.iter().zip(&all).filter(|(_, abnormal)| !**abnormal).map(|(s, _)| *s).collect();
    let threshold = threshold_at(&normal, DELAY_RATE);

    let mut results = Vec::new();
    for (clip, truth) in clips.iter().zip(&truth) {
        let matching = announced.map(|announced| {
            let own: Vec<Announced> =
                announced.iter().filter(|e| e.clip == clip.name).cloned().collect();
            match_events(std::slice::from_ref(&clip.name), labels, &own, slack(clip.frame_rate))
        });
        results.push(ClipResult {
            name: clip.name.clone(),
            frames: truth.len(),
            abnormal_frames: truth.iter().filter(|t| **t).count(),
            auc: roc_auc(&clip.score, truth),
            events_truth: labels.ranges(&clip.name).len(),
            events_detected: matching.as_ref().map(Matching::detected),
            false_alarms: matching.map(|matching| matching.false_alarms.len()),
            delays: threshold.map_or(Vec::new(), |threshold| {
                let delay = |range: &(u64, u64)| detection_delay(&clip.score, *range, threshold);
                labels.ranges(&clip.name).iter().map(delay).collect()
            }),
        });
    }
    let own: Vec<f64> = results.iter().filter_map(|r| r.auc).collect();
    let normal_hours: f64 = clips
        .iter()
        .zip(&results)
        .map(|(c, r)| (r.frames - r.abnormal_frames) as f64 / c.frame_rate / 3600.0)
        .sum();
    let sum = |pick: fn(&ClipResult) -> Option<usize>| -> Option<usize> {
        announced.map(|_| results.iter().filter_map(pick).sum())
    };
    let false_alarms = sum(|r| r.false_alarms);
    let frame_differences: Vec<(Form, f64)> = Form::ALL
        .into_iter()
        .filter_map(|form| Some((form, micro(&|c| Some(c.frame_difference.form(form)))?)))
        .collect();
    let alarms = announced.zip(false_alarms).map(|(announced, false_alarms)| {
        figures(clips, labels, &truth, announced, false_alarms, normal_hours)
    });
    Ok(Evaluation {
        auc_micro: roc_auc(&scores, &all),
        auc_macro: (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64),
        average_precision: average_precision(&scores, &all),
        auc_frame_difference: frame_differences.iter().map(|(_, auc)| *auc).reduce(f64::max),
        frame_differences,
        auc_local: micro(&|c| c.local.as_ref()),
        auc_motion: micro(&|c| c.motion.as_ref()),
        auc_semantic: micro(&|c| c.semantic.as_ref()),
        events_truth: results.iter().map(|r| r.events_truth).sum(),
        events_detected: sum(|r| r.events_detected),
        false_alarms,
        false_alarms_per_hour: false_alarms
            .filter(|_| normal_hours > 0.0)
            .map(|alarms| alarms as f64 / normal_hours),
        normal_hours,
        frames: all.len(),
        auc_abnormal: roc_auc(&abnormal_scores, &abnormal_truth),
        auc_video: video(video_score),
        auc_video_max: video(|scores| scores.iter().copied().reduce(f64::max)),
        false_alarm_rate: false_alarm_rate(&normal_scores, ALARM_SCORE),
        brier_score: brier_score(&scores, &all),
        calibration_error: expected_calibration_error(&bins),
        reliability: bins,
        delay: threshold.and_then(|threshold| delay(clips, &results, threshold)),
        delay_at_alarms: delays(clips, labels, &truth, normal_hours),
        alarms,
        kinds: None,
        pixels: None,
        roc_curve: roc_curve(&scores, &all, CURVE_POINTS),
        precision_recall_curve: precision_recall_curve(&scores, &all, CURVE_POINTS),
        clips: results,
    })
}

/// The delays of all clips together; `None` without a true event.
fn delay(clips: &[ScoredClip], results: &[ClipResult], threshold: f64) -> Option<Delay> {
    let events = results.iter().map(|result| result.delays.len()).sum();
    let both: Vec<(f64, f64)> = clips
        .iter()
        .zip(results)
        .flat_map(|(clip, result)| {
            let seconds = |frames: &u64| (*frames as f64, *frames as f64 / clip.frame_rate);
            result.delays.iter().flatten().map(seconds)
        })
        .collect();
    let (frames, seconds): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
    (events > 0).then(|| Delay {
        false_alarm_rate: DELAY_RATE,
        threshold,
        events,
        detected: frames.len(),
        mean_frames: mean(&frames),
        median_frames: median(&frames),
        mean_seconds: mean(&seconds),
        median_seconds: median(&seconds),
    })
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        0 => f64::midpoint(sorted[sorted.len() / 2 - 1], upper),
        _ => upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, text).unwrap();
        Labels::read(&path).unwrap()
    }

    fn clip(name: &str, frame_rate: f64, score: Vec<f64>) -> ScoredClip {
        ScoredClip { name: name.into(), frame_rate, score, ..ScoredClip::default() }
    }

    #[test]
    fn an_alarm_that_never_ends_has_an_f1_near_0() {
        // An hour at ten frames a second, twenty events of five seconds each, and one incident that
        // begins with the first of them and runs to the end: it touches all and is never false.
        let clips = [clip("a", 10.0, vec![0.45; 36_000])];
        let ranges: Vec<[u64; 2]> = (0..20).map(|i| [1000 + 1700 * i, 1049 + 1700 * i]).collect();
        let labels = labels(&format!(r#"{{"a": {ranges:?}}}"#));
        let endless = [Announced { clip: "a".into(), first: 1000, last: 40_000 }];
        let found = evaluate(&clips, &labels, Some(&endless)).unwrap();
        assert_eq!((found.events_detected, found.false_alarms), (Some(20), Some(0)));
        let alarms = found.alarms.unwrap();
        for score in &alarms.events {
            assert_eq!((score.matched, score.f1), (0, Some(0.0)), "at {}", score.iou);
        }
        assert!(alarms.time_on_normal.unwrap() > 0.96, "{alarms:?}");
        assert_eq!(alarms.false_alarms.unwrap().rate, 0.0);

        // Each event announced, a second late and half a second long over its end.
        let announced =
            |r: &[u64; 2]| Announced { clip: "a".into(), first: r[0] + 9, last: r[1] + 4 };
        let good: Vec<Announced> = ranges.iter().map(announced).collect();
        let alarms = evaluate(&clips, &labels, Some(&good)).unwrap().alarms.unwrap();
        assert_eq!(alarms.events.iter().map(|s| s.f1).collect::<Vec<_>>(), [Some(1.0); 2]);
        assert!(alarms.time_on_normal.unwrap() < 0.01);
    }

    #[test]
    fn an_endless_alarm_is_chance_where_events_fill_their_clips() {
        let clips = [clip("a", 10.0, vec![0.9; 100]), clip("b", 10.0, vec![0.9; 100])];
        let labels = labels(r#"{"a": [[1, 100]], "b": [[1, 60]]}"#);
        let endless = ["a", "b"].map(|c| Announced { clip: c.into(), first: 0, last: 99 });
        let alarms = evaluate(&clips, &labels, Some(&endless)).unwrap().alarms.unwrap();
        let [_, strict] = alarms.events[..] else { panic!("{alarms:?}") };
        assert_eq!((strict.f1, strict.f1_never_ending), (Some(1.0), Some(1.0)));
        assert_eq!(alarms.time_on_normal, Some(1.0));
    }

    #[test]
    fn without_announced_events_nothing_is_said_of_them() {
        let clips = [clip("a", 10.0, vec![0.1, 0.9])];
        let found = evaluate(&clips, &labels(r#"{"a": [[2, 2]]}"#), None).unwrap();
        assert_eq!(
            (found.events_truth, found.events_detected, found.false_alarms),
            (1, None, None)
        );
        assert_eq!((found.false_alarms_per_hour, &found.alarms), (None, &None));
        assert_eq!(found.clips[0].events_detected, None);
    }

    #[test]
    fn labels_of_no_clip_are_refused() {
        let error = evaluate(&[clip("a", 10.0, vec![0.1])], &labels(r#"{"b": [[1, 1]]}"#), None);
        assert!(matches!(error.unwrap_err(), LabelsError::NoClip { .. }));
    }

    #[test]
    fn delays_at_fixed_alarms_an_hour() {
        // Two hours of a frame a second: thrice a peak of 0.6, 0.7 and 0.8, far apart; an event that
        // rises slowly.
        let mut score = vec![0.1; 7200];
        for (at, peak) in [(1000, 0.6), (2000, 0.7), (3000, 0.8)] {
            score[at..at + 5].fill(peak);
        }
        for i in 0..10 {
            score[5000 + i] = 0.56 + 0.05 * i as f64;
        }
        let found = evaluate(&[clip("a", 1.0, score)], &labels(r#"{"a": [[5001, 5010]]}"#), None);
        let delays = found.unwrap().delay_at_alarms;
        // 7190 normal frames are a little less than two hours: one alarm may be.
        let one = delays[0];
        assert_eq!((one.alarms_per_hour, one.allowed, one.threshold), (1.0, 1, 0.7));
        // 0.71 is the first above 0.7.
        assert_eq!((one.detected, one.median_seconds), (1, Some(3.0)));
        // More are allowed than there are: the threshold is the lowest score.
        assert_eq!((delays[1].allowed, delays[1].threshold), (11, 0.1));
        assert_eq!(delays[2].mean_seconds, Some(0.0));
    }

    #[test]
    fn two_clips_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[3, 4]]}"#).unwrap();
        let labels = Labels::read(&path).unwrap();
        let clip = |name: &str, score: Vec<f64>| ScoredClip {
            name: name.into(),
            frame_rate: 2.0,
            frame_difference: FrameDifference::same(score.iter().map(|s| -s).collect()),
            score,
            ..ScoredClip::default()
        };
        let clips = [clip("a", vec![0.1, 0.2, 0.8, 0.9]), clip("b", vec![0.3; 8])];
        let announced = [
            Announced { clip: "a".into(), first: 2, last: 3 },
            Announced { clip: "b".into(), first: 0, last: 1 },
        ];
        let found = evaluate(&clips, &labels, Some(&announced)).unwrap();
        assert_eq!(found.auc_micro, Some(1.0));
        assert_eq!(found.auc_macro, Some(1.0));
        assert_eq!(found.auc_frame_difference, Some(0.0));
        assert_eq!(found.auc_local, None);
        assert_eq!((found.events_truth, found.events_detected), (1, Some(1)));
        assert_eq!(found.false_alarms, Some(1));
        let alarms = found.alarms.as_ref().unwrap();
        // Frames 2 and 3 are the event's; of ten normal frames two are b's alarm.
        assert_eq!((alarms.announced, alarms.time_on_normal), (2, Some(0.2)));
        let [loose, strict] = alarms.events[..] else { panic!("{alarms:?}") };
        assert_eq!((loose.matched, strict.matched), (1, 1));
        assert_eq!((strict.precision, strict.recall), (Some(0.5), Some(1.0)));
        assert_eq!(strict.f1, Some(2.0 / 3.0));
        // An alarm over each of the clips: two for one event, IoU a half.
        assert_eq!(strict.f1_never_ending, Some(2.0 / 3.0));
        let rate = alarms.false_alarms.unwrap();
        assert!((rate.rate - 720.0).abs() < 1e-9 && rate.low < 20.0 && rate.high > 4000.0);
        // Ten normal frames at two a second are five seconds.
        assert!((found.false_alarms_per_hour.unwrap() - 720.0).abs() < 1e-9);
        assert_eq!(found.clips[1].auc, None);

        // Clip a alone: perfect. Clip b, the only normal one, stays below 0.5.
        assert_eq!((found.auc_abnormal, found.false_alarm_rate), (Some(1.0), Some(0.0)));
        assert_eq!((found.auc_video, found.auc_video_max), (Some(1.0), Some(1.0)));
        // Ten normal frames and 1 %: none may alarm, so the threshold is the highest of them, 0.3,
        // and the event's first frame is above it.
        let delay = found.delay.unwrap();
        assert_eq!((delay.threshold, delay.events, delay.detected), (0.3, 1, 1));
        assert_eq!((delay.mean_frames, delay.median_seconds), (Some(0.0), Some(0.0)));
        assert_eq!((&found.clips[0].delays[..], found.clips[1].delays.len()), (&[Some(0)][..], 0));
        let squares = 0.1 * 0.1 + 0.2 * 0.2 + 0.2 * 0.2 + 0.1 * 0.1 + 8.0 * 0.3 * 0.3;
        assert!((found.brier_score.unwrap() - squares / 12.0).abs() < 1e-12);
        // No two bins mix the classes, so every frame is off by its distance from its label.
        let gaps = 0.1 + 0.2 + 8.0 * 0.3 + 0.2 + 0.1;
        assert!((found.calibration_error.unwrap() - gaps / 12.0).abs() < 1e-12);
        assert_eq!(found.reliability.len(), 10);
        assert_eq!(found.roc_curve.last(), Some(&(1.0, 1.0)));
        assert_eq!(found.precision_recall_curve[0], (0.0, 1.0));
        assert_eq!(found.pixels, None);
    }

    #[test]
    fn a_late_alarm_and_a_missed_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[3, 6], [8, 8]]}"#).unwrap();
        let labels = Labels::read(&path).unwrap();
        let score = vec![0.1, 0.5, 0.2, 0.5, 0.6, 0.9, 0.2, 0.4];
        let clips = [ScoredClip {
            name: "a".into(),
            frame_rate: 4.0,
            frame_difference: FrameDifference::same(score.clone()),
            score,
            ..ScoredClip::default()
        }];
        let found = evaluate(&clips, &labels, None).unwrap();
        // The highest normal score is 0.5; frames 3 and 4 of the first event do not exceed it.
        assert_eq!(found.clips[0].delays, [Some(2), None]);
        let delay = found.delay.unwrap();
        assert_eq!((delay.events, delay.detected), (2, 1));
        assert_eq!((delay.mean_frames, delay.mean_seconds), (Some(2.0), Some(0.5)));
        assert_eq!(found.false_alarm_rate, None, "no clip is normal throughout");
    }

    #[test]
    fn one_class_or_no_clip_leaves_figures_out() {
        let clip = ScoredClip {
            name: "a".into(),
            frame_rate: 4.0,
            frame_difference: FrameDifference::same(vec![0.0; 3]),
            score: vec![0.2, 0.6, 1.4],
            ..ScoredClip::default()
        };
        let found = evaluate(&[clip], &Labels::default(), Some(&[])).unwrap();
        assert_eq!((found.auc_micro, found.auc_abnormal, found.delay), (None, None, None));
        assert_eq!(found.false_alarm_rate, Some(2.0 / 3.0));
        // 1.4 is no probability.
        assert_eq!((found.brier_score, found.calibration_error), (None, None));
        assert!(found.roc_curve.is_empty() && found.precision_recall_curve.is_empty());
        let found = evaluate(&[], &Labels::default(), Some(&[])).unwrap();
        assert_eq!((found.frames, found.false_alarm_rate, found.delay), (0, None, None));
        assert!(found.reliability.is_empty() && found.false_alarms_per_hour.is_none());
    }

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!((median(&[]), mean(&[])), (None, None));
    }
}
