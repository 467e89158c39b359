//! The whole evaluation of a set of clips: scores and events against the truth.

use serde::{Deserialize, Serialize};

use super::events::{Announced, match_events};
use super::labels::{Labels, LabelsError};
use super::metrics::{average_precision, roc_auc};

/// Frames around a true event in which an alarm still counts as its own: scores are smoothed over a
/// second or so to both sides.
const SLACK_SECONDS: f64 = 1.0;

/// Frames of slack around a true event, at a frame rate.
pub fn slack(frame_rate: f64) -> u64 {
    (SLACK_SECONDS * frame_rate).round() as u64
}

/// A clip with its scores, one for each frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoredClip {
    /// Name.
    pub name: String,
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
    pub frame_difference: Vec<f64>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Frame AUC over all clips' frames together; `None` if only one class occurs.
    pub auc_micro: Option<f64>,
    /// Mean of the clips' AUC, over clips with both classes.
    pub auc_macro: Option<f64>,
    /// Average precision over all frames together.
    pub average_precision: Option<f64>,
    /// Micro frame AUC of the frame difference.
    pub auc_frame_difference: Option<f64>,
    /// Micro frame AUC of the local detector alone; so the next two.
    pub auc_local: Option<f64>,
    /// Of the motion prior.
    pub auc_motion: Option<f64>,
    /// Of the semantic detector.
    pub auc_semantic: Option<f64>,
    /// True events.
    pub events_truth: usize,
    /// True events during which one was announced.
    pub events_detected: usize,
    /// Announced events that overlap no true one.
    pub false_alarms: usize,
    /// False alarms for each hour of normal footage.
    pub false_alarms_per_hour: Option<f64>,
    /// Hours of normal footage.
    pub normal_hours: f64,
    /// Frames.
    pub frames: usize,
    /// Each clip on its own.
    pub clips: Vec<ClipResult>,
}

/// A clip's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Of them detected.
    pub events_detected: usize,
    /// False alarms.
    pub false_alarms: usize,
}

/// Evaluates.
///
/// # Errors
/// [`LabelsError::BeyondEnd`] if the labels do not fit a clip.
pub fn evaluate(
    clips: &[ScoredClip],
    labels: &Labels,
    announced: &[Announced],
) -> Result<Evaluation, LabelsError> {
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

    let mut results = Vec::new();
    for (clip, truth) in clips.iter().zip(&truth) {
        let own: Vec<Announced> =
            announced.iter().filter(|e| e.clip == clip.name).cloned().collect();
        let matching =
            match_events(std::slice::from_ref(&clip.name), labels, &own, slack(clip.frame_rate));
        results.push(ClipResult {
            name: clip.name.clone(),
            frames: truth.len(),
            abnormal_frames: truth.iter().filter(|t| **t).count(),
            auc: roc_auc(&clip.score, truth),
            events_truth: matching.truth.len(),
            events_detected: matching.detected(),
            false_alarms: matching.false_alarms.len(),
        });
    }
    let own: Vec<f64> = results.iter().filter_map(|r| r.auc).collect();
    let normal_hours: f64 = clips
        .iter()
        .zip(&results)
        .map(|(c, r)| (r.frames - r.abnormal_frames) as f64 / c.frame_rate / 3600.0)
        .sum();
    let false_alarms: usize = results.iter().map(|r| r.false_alarms).sum();
    Ok(Evaluation {
        auc_micro: roc_auc(&scores, &all),
        auc_macro: (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64),
        average_precision: average_precision(&scores, &all),
        auc_frame_difference: micro(&|c| Some(&c.frame_difference)),
        auc_local: micro(&|c| c.local.as_ref()),
        auc_motion: micro(&|c| c.motion.as_ref()),
        auc_semantic: micro(&|c| c.semantic.as_ref()),
        events_truth: results.iter().map(|r| r.events_truth).sum(),
        events_detected: results.iter().map(|r| r.events_detected).sum(),
        false_alarms,
        false_alarms_per_hour: (normal_hours > 0.0).then(|| false_alarms as f64 / normal_hours),
        normal_hours,
        frames: all.len(),
        clips: results,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clips_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[3, 4]]}"#).unwrap();
        let labels = Labels::read(&path).unwrap();
        let clip = |name: &str, score: Vec<f64>| ScoredClip {
            name: name.into(),
            frame_rate: 2.0,
            frame_difference: score.iter().map(|s| -s).collect(),
            score,
            ..ScoredClip::default()
        };
        let clips = [clip("a", vec![0.1, 0.2, 0.8, 0.9]), clip("b", vec![0.3; 8])];
        let announced = [
            Announced { clip: "a".into(), first: 2, last: 3 },
            Announced { clip: "b".into(), first: 0, last: 1 },
        ];
        let found = evaluate(&clips, &labels, &announced).unwrap();
        assert_eq!(found.auc_micro, Some(1.0));
        assert_eq!(found.auc_macro, Some(1.0));
        assert_eq!(found.auc_frame_difference, Some(0.0));
        assert_eq!(found.auc_local, None);
        assert_eq!((found.events_truth, found.events_detected, found.false_alarms), (1, 1, 1));
        // Ten normal frames at two a second are five seconds.
        assert!((found.false_alarms_per_hour.unwrap() - 720.0).abs() < 1e-9);
        assert_eq!(found.clips[1].auc, None);
    }
}
