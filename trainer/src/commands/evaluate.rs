//! `trainer evaluate`: what a camera scored and announced, against the truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use trainer::evaluation::report::{self, Facts, ReportData};
use trainer::evaluation::{
    AlertLine, Evaluation, Labels, ScoredClip, evaluate, evaluate_regions, incidents, read_alerts,
    read_scores,
};

use super::{Usage, write_file};

/// Compares scores and announced events with the truth.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer evaluate --videos videos/test --labels labels.json --scores scores \
                  --events events.jsonl --json\n  trainer evaluate --videos videos/test --labels \
                  labels.json --scores scores --masks masks --maps maps --report-data report.json"
)]
pub struct EvaluateArgs {
    /// The videos that were scored.
    #[arg(long, value_name = "DIR")]
    videos: PathBuf,
    /// Scores: CLIP.csv with the header frame,score; CLIP.detectors.csv has each detector's own.
    #[arg(long, value_name = "DIR")]
    scores: PathBuf,
    /// Ground truth; without it every frame counts as normal.
    #[arg(long, value_name = "FILE.json")]
    labels: Option<PathBuf>,
    /// Alerts as a subscriber received them, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// Masks of the abnormal pixels: CLIP/NNN.png for each frame from 001, as large as the video;
    /// what is not black is abnormal.
    #[arg(long, value_name = "DIR", requires = "maps")]
    masks: Option<PathBuf>,
    /// Score maps of `edge-runtime replay --maps`: CLIP.npy.
    #[arg(long, value_name = "DIR", requires = "masks")]
    maps: Option<PathBuf>,
    /// The camera's evidence folder, for the pictures of the report.
    #[arg(long, value_name = "DIR", requires = "report_data")]
    evidence: Option<PathBuf>,
    /// Write what `trainer report --data` makes a page of.
    #[arg(long, value_name = "FILE.json")]
    report_data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Gives each alert the name of its clip in place of its camera's, which is shortened where it is long.
fn name_clips(alerts: &mut [AlertLine], clips: &[ScoredClip], path: &Path) -> Result<()> {
    let names: BTreeMap<String, &str> =
        clips.iter().map(|clip| (video::event_name(&clip.name), clip.name.as_str())).collect();
    for alert in alerts {
        let Some(name) = names.get(&alert.camera) else {
            let (path, camera) = (path.display(), &alert.camera);
            bail!(Usage(format!(
                "{path}: camera '{camera}' is no clip of --videos; give the events of the same videos"
            )));
        };
        alert.camera = (*name).to_owned();
    }
    Ok(())
}

/// Runs the command.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let labels = match &args.labels {
        Some(path) => Labels::read(path)?,
        None => Labels::default(),
    };
    let clips = read_scores(&args.videos, &args.scores)?;
    let mut alerts =
        args.events.as_ref().map(|path| read_alerts(path)).transpose()?.unwrap_or_default();
    if let Some(path) = &args.events {
        name_clips(&mut alerts, &clips, path)?;
    }
    let received = incidents(&alerts);
    let announced: Vec<_> = received.iter().map(|(event, _)| event.clone()).collect();
    let mut evaluation = evaluate(&clips, &labels, &announced)?;
    if let (Some(masks), Some(maps)) = (&args.masks, &args.maps) {
        evaluation.pixels = Some(evaluate_regions(&clips, &labels, masks, maps)?);
    }
    if let Some(path) = &args.report_data {
        let evidence = args.evidence.as_deref().map(std::path::absolute).transpose()?;
        let data = ReportData {
            title: "Evaluation".into(),
            subtitle: args.videos.display().to_string(),
            facts: Facts::default(),
            clips: report::tracks(&clips, &labels, &received),
            roc: report::roc_curves(&clips, &labels)?,
            precision_recall: report::precision_recall_curves(&clips, &labels)?,
            alerts: report::alerts(
                &clips,
                &labels,
                &received,
                args.labels.is_some(),
                evidence.as_deref(),
            ),
            evaluation: evaluation.clone(),
            ..ReportData::default()
        };
        write_file(path, serde_json::to_string(&data)?.as_bytes())?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{}", text(&evaluation));
    }
    Ok(())
}

/// The figures, one a line.
fn text(evaluation: &Evaluation) -> String {
    let show = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.4}"));
    let percent =
        |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{:.2} %", 100.0 * v));
    let mut rows = vec![
        ("frame AUC (micro)", show(evaluation.auc_micro)),
        ("  clips with an event", show(evaluation.auc_abnormal)),
        ("frame AUC (mean of clips)", show(evaluation.auc_macro)),
        ("video AUC (top frames)", show(evaluation.auc_video)),
        ("video AUC (maximum)", show(evaluation.auc_video_max)),
        ("average precision", show(evaluation.average_precision)),
        ("  local detector alone", show(evaluation.auc_local)),
        ("  motion prior alone", show(evaluation.auc_motion)),
        ("  semantic detector alone", show(evaluation.auc_semantic)),
        ("  frame difference", show(evaluation.auc_frame_difference)),
        ("false-alarm rate at 0.5", percent(evaluation.false_alarm_rate)),
    ];
    if let Some(pixels) = &evaluation.pixels {
        let error = match pixels.auc_pixel_error {
            error if error > 0.0 => format!(" (± {error:.1e})"),
            _ => String::new(),
        };
        rows.push(("pixel AUC", show(pixels.auc_pixel) + &error));
        rows.push(("localised AUC", show(pixels.auc_localised)));
    }
    let detected = format!("{} of {}", evaluation.events_detected, evaluation.events_truth);
    rows.push(("events detected", detected));
    let minutes = 60.0 * evaluation.normal_hours;
    let alarms = evaluation.false_alarms;
    rows.push(("false alarms", format!("{alarms} in {minutes:.1} minutes of normal footage")));
    if let Some(delay) = &evaluation.delay {
        let seconds = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.2} s"));
        let frames = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.1}"));
        rows.push((
            "detection delay",
            format!(
                "median {} ({} frames), mean {} ({} frames); {} of {} events, {} of normal frames \
                 above {:.4}",
                seconds(delay.median_seconds),
                frames(delay.median_frames),
                seconds(delay.mean_seconds),
                frames(delay.mean_frames),
                delay.detected,
                delay.events,
                percent(Some(delay.false_alarm_rate)),
                delay.threshold
            ),
        ));
    }
    rows.push(("Brier score", show(evaluation.brier_score)));
    rows.push(("calibration error", show(evaluation.calibration_error)));
    rows.into_iter().map(|(name, value)| format!("{name:<27}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainer::evaluation::{Delay, PixelEvaluation};

    #[test]
    fn the_text_has_every_figure() {
        let evaluation = Evaluation {
            auc_micro: Some(0.98764),
            auc_abnormal: Some(0.9),
            auc_video: Some(0.625),
            false_alarm_rate: Some(0.0123),
            brier_score: Some(0.2),
            calibration_error: Some(0.25),
            delay: Some(Delay {
                false_alarm_rate: 0.01,
                threshold: 0.3,
                events: 5,
                detected: 4,
                mean_frames: Some(7.25),
                median_frames: Some(5.0),
                mean_seconds: Some(0.725),
                median_seconds: Some(0.5),
            }),
            pixels: Some(PixelEvaluation {
                auc_pixel: Some(0.875),
                auc_localised: None,
                auc_pixel_error: 0.0,
                frames: 3,
                abnormal_frames: 0,
            }),
            ..Evaluation::default()
        };
        let text = text(&evaluation);
        for line in [
            "frame AUC (micro)          0.9876",
            "  clips with an event      0.9000",
            "video AUC (top frames)     0.6250",
            "video AUC (maximum)        -",
            "false-alarm rate at 0.5    1.23 %",
            "pixel AUC                  0.8750",
            "localised AUC              -",
            "detection delay            median 0.50 s (5.0 frames), mean 0.72 s (7.2 frames); 4 of 5 \
             events, 1.00 % of normal frames above 0.3000",
            "Brier score                0.2000",
            "calibration error          0.2500",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let mean = |error| {
            let pixels = PixelEvaluation { auc_pixel_error: error, ..evaluation.pixels.unwrap() };
            super::text(&Evaluation { pixels: Some(pixels), ..evaluation.clone() })
        };
        assert!(mean(2e-5).contains("0.8750 (± 2.0e-5)"));
    }

    #[test]
    fn events_are_found_by_the_clips_name_and_those_of_no_clip_are_an_error() {
        let clip = |name: &str| ScoredClip { name: name.into(), ..ScoredClip::default() };
        let long = "ü".repeat(60);
        let clips = [clip("Tür 1 run"), clip(&long)];
        let alert = |camera: &str| AlertLine {
            id: "x".into(),
            camera: camera.into(),
            kind: "fast".into(),
            peak_score: 0.9,
            first_frame: 3,
            frame: 9,
            peak_frame: 5,
            snapshot: None,
        };
        let mut alerts = [alert("Tür 1 run"), alert(&video::event_name(&long))];
        name_clips(&mut alerts, &clips, Path::new("e.jsonl")).unwrap();
        assert_eq!([&alerts[0].camera, &alerts[1].camera], ["Tür 1 run", &long]);
        let mut alerts = [alert("T_r_1_run")];
        let error = name_clips(&mut alerts, &clips, Path::new("e.jsonl")).unwrap_err().to_string();
        assert!(error.contains("e.jsonl: camera 'T_r_1_run' is no clip"), "{error}");
    }
}
