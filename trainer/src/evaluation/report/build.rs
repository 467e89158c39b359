//! The parts of a report that follow from scores, labels and alerts.

use std::path::Path;

use super::data::{Alert, AnnouncedEvent, ClipTrack, PrCurve, RocCurve};
use crate::evaluation::baseline::Form;
use crate::evaluation::events::{Announced, match_events};
use crate::evaluation::files::AlertLine;
use crate::evaluation::labels::{Labels, LabelsError};
use crate::evaluation::metrics::{average_precision, precision_recall_curve, roc_auc, roc_curve};
use crate::evaluation::run::{CURVE_POINTS, ScoredClip, slack};

/// An announced event with its last message, as [`crate::evaluation::incidents`] gives them.
pub type Incident = (Announced, AlertLine);

/// The clips over time.
pub fn tracks(clips: &[ScoredClip], labels: &Labels, incidents: &[Incident]) -> Vec<ClipTrack> {
    let own = |name: &str| {
        incidents
            .iter()
            .filter(|(event, _)| event.clip == name)
            .map(|(event, alert)| AnnouncedEvent {
                first: event.first,
                last: event.last,
                kind: Some(alert.kind.clone()),
                peak_score: alert.peak_score,
                peak_frame: alert.peak_frame,
            })
            .collect()
    };
    clips
        .iter()
        .map(|clip| ClipTrack {
            name: clip.name.clone(),
            frame_rate: clip.frame_rate,
            scores: clip.score.clone(),
            truth: labels.ranges(&clip.name).to_vec(),
            announced: own(&clip.name),
            // The report may lie elsewhere: what its paths are relative to is not known here.
            video: std::path::absolute(&clip.video).ok(),
        })
        .collect()
}

/// The ROC curve of the published score, of each detector that ran, and of the baseline.
///
/// # Errors
/// [`LabelsError::BeyondEnd`] if the labels do not fit a clip.
pub fn roc_curves(clips: &[ScoredClip], labels: &Labels) -> Result<Vec<RocCurve>, LabelsError> {
    let curve = |(name, scores, truth): (&str, Vec<f64>, &[bool])| RocCurve {
        name: name.into(),
        auc: roc_auc(&scores, truth),
        points: roc_curve(&scores, truth, CURVE_POINTS),
    };
    let truth = all_frames(clips, labels)?;
    let curves = detectors(clips, &truth).map(|(name, scores)| curve((name, scores, &truth)));
    Ok(curves.filter(|curve| !curve.points.is_empty()).collect())
}

/// The precision–recall curves of the same.
///
/// # Errors
/// [`LabelsError::BeyondEnd`] if the labels do not fit a clip.
pub fn precision_recall_curves(
    clips: &[ScoredClip],
    labels: &Labels,
) -> Result<Vec<PrCurve>, LabelsError> {
    let curve = |(name, scores, truth): (&str, Vec<f64>, &[bool])| PrCurve {
        name: name.into(),
        average_precision: average_precision(&scores, truth),
        points: precision_recall_curve(&scores, truth, CURVE_POINTS),
    };
    let truth = all_frames(clips, labels)?;
    let curves = detectors(clips, &truth).map(|(name, scores)| curve((name, scores, &truth)));
    Ok(curves.filter(|curve| !curve.points.is_empty()).collect())
}

/// The alerts; whether they are right is said only if there is a truth, and they have pictures only
/// if the folder is known that paths of snapshots are relative to.
pub fn alerts(
    clips: &[ScoredClip],
    labels: &Labels,
    incidents: &[Incident],
    has_truth: bool,
    evidence: Option<&Path>,
) -> Vec<Alert> {
    let rate =
        |name: &str| clips.iter().find(|c| c.name == name).map_or(1.0, |c| c.frame_rate.max(1e-9));
    incidents
        .iter()
        .map(|(event, alert)| {
            let rate = rate(&event.clip);
            let clip = [event.clip.clone()];
            let matching = match_events(&clip, labels, std::slice::from_ref(event), slack(rate));
            Alert {
                clip: event.clip.clone(),
                seconds: alert.peak_frame as f64 / rate,
                kind: Some(alert.kind.clone()),
                peak_score: alert.peak_score,
                matched: has_truth.then_some(matching.false_alarms.is_empty()),
                picture: evidence.zip(alert.snapshot.as_ref()).map(|(dir, path)| dir.join(path)),
                // The camera has drawn it into the picture.
                region: None,
            }
        })
        .collect()
}

fn all_frames(clips: &[ScoredClip], labels: &Labels) -> Result<Vec<bool>, LabelsError> {
    let mut truth = Vec::new();
    for clip in clips {
        truth.extend(labels.frames(&clip.name, clip.score.len())?);
    }
    Ok(truth)
}

/// The scores of all frames by what made them, as far as it did for all of them; the baseline in its
/// best form.
fn detectors<'a>(
    clips: &'a [ScoredClip],
    truth: &[bool],
) -> impl Iterator<Item = (&'static str, Vec<f64>)> + 'a {
    let all = |pick: &dyn Fn(&'a ScoredClip) -> Option<&'a Vec<f64>>| {
        let own = |clip| pick(clip).filter(|scores| scores.len() == clip.score.len()).cloned();
        Some(clips.iter().map(own).collect::<Option<Vec<_>>>()?.concat())
    };
    let baseline = Form::ALL
        .into_iter()
        .filter_map(|form| all(&|clip| Some(clip.frame_difference.form(form))))
        .map(|scores| (roc_auc(&scores, truth), scores))
        .max_by(|a, b| a.0.unwrap_or(0.0).total_cmp(&b.0.unwrap_or(0.0)))
        .map(|(_, scores)| scores);
    let found = [
        ("fused", all(&|clip| Some(&clip.score))),
        ("local", all(&|clip| clip.local.as_ref())),
        ("motion", all(&|clip| clip.motion.as_ref())),
        ("semantic", all(&|clip| clip.semantic.as_ref())),
        ("frame difference", baseline),
    ];
    found.into_iter().filter_map(|(name, scores)| Some((name, scores?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::FrameDifference;

    fn clip(name: &str, score: &[f64]) -> ScoredClip {
        ScoredClip {
            name: name.into(),
            frame_rate: 10.0,
            score: score.to_vec(),
            frame_difference: FrameDifference::same(score.iter().map(|s| 1.0 - s).collect()),
            motion: Some(score.to_vec()),
            ..ScoredClip::default()
        }
    }

    fn labels() -> Labels {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"{"a": [[2, 2]]}"#).unwrap();
        Labels::read(&path).unwrap()
    }

    #[test]
    fn curves_of_what_ran_on_every_clip() {
        let mut clips = [clip("a", &[0.1, 0.9]), clip("b", &[0.2, 0.3])];
        let names = |clips: &[ScoredClip]| -> Vec<String> {
            roc_curves(clips, &labels()).unwrap().into_iter().map(|c| c.name).collect()
        };
        assert_eq!(names(&clips), ["fused", "motion", "frame difference"]);
        clips[1].motion = None;
        assert_eq!(names(&clips), ["fused", "frame difference"]);
        let curves = precision_recall_curves(&clips, &labels()).unwrap();
        assert_eq!((curves[0].average_precision, curves[0].points[1]), (Some(1.0), (1.0, 1.0)));
        assert_eq!(curves[1].average_precision, Some(0.25));
        assert!(roc_curves(&clips[1..], &labels()).unwrap().is_empty());
    }

    #[test]
    fn tracks_and_alerts_by_clip() {
        let clips = [clip("a", &[0.1, 0.9]), clip("b", &[0.2, 0.3])];
        let line = AlertLine {
            id: "x".into(),
            camera: "b".into(),
            kind: "fast".into(),
            peak_score: 0.3,
            first_frame: 0,
            frame: 1,
            peak_frame: 1,
            snapshot: Some("b/x.jpg".into()),
        };
        let incidents = [(Announced { clip: "b".into(), first: 0, last: 1 }, line)];
        let tracks = tracks(&clips, &labels(), &incidents);
        assert_eq!((tracks[0].truth.as_slice(), tracks[0].announced.len()), (&[(2, 2)][..], 0));
        assert_eq!((tracks[1].truth.len(), tracks[1].announced[0].peak_frame), (0, 1));
        let alerts = alerts(&clips, &labels(), &incidents, true, Some(Path::new("evidence")));
        assert_eq!((alerts[0].seconds, alerts[0].matched), (0.1, Some(false)));
        assert_eq!(alerts[0].picture, Some(Path::new("evidence/b/x.jpg").to_path_buf()));
    }
}
