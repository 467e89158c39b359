//! `trainer evaluate`: what a camera scored and announced, against the truth.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::evaluation::report::{self, Facts, ReportData};
use trainer::evaluation::{
    AlarmFigures, AlertLine, Evaluation, KindTable, Labels, ScoredClip, check_clips, evaluate,
    evaluate_regions, incidents, kind_table, read_alerts, read_scores,
};

use super::write_file;

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
    /// Alerts as a subscriber received them, one JSON object a line; without it nothing is said of
    /// events.
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
/// One that belongs to no clip is left as it is.
pub(super) fn name_clips(alerts: &mut [AlertLine], clips: &[ScoredClip]) {
    let names: BTreeMap<String, &str> =
        clips.iter().map(|clip| (video::event_name(&clip.name), clip.name.as_str())).collect();
    for alert in alerts {
        if let Some(name) = names.get(&alert.camera) {
            alert.camera = (*name).to_owned();
        }
    }
}

/// Runs the command.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let labels = match &args.labels {
        Some(path) => Labels::read(path)?,
        None => Labels::default(),
    };
    let clips = read_scores(&args.videos, &args.scores)?;
    let mut alerts = args.events.as_ref().map(|path| read_alerts(path)).transpose()?;
    if let Some(alerts) = &mut alerts {
        name_clips(alerts, &clips);
    }
    let received = incidents(alerts.as_deref().unwrap_or_default());
    let announced: Vec<_> = received.iter().map(|(event, _)| event.clone()).collect();
    check_clips(&announced, clips.iter().map(|clip| clip.name.as_str()))?;
    let given = alerts.is_some().then_some(announced.as_slice());
    let mut evaluation = evaluate(&clips, &labels, given)?;
    evaluation.kinds = given.and_then(|_| kind_table(&clips, &labels, &received));
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
    let forms: Vec<(String, String)> = evaluation
        .frame_differences
        .iter()
        .map(|(form, auc)| (format!("    {}", form.name()), show(Some(*auc))))
        .collect();
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
        ("  frame difference, best", show(evaluation.auc_frame_difference)),
    ];
    rows.extend(forms.iter().map(|(name, auc)| (name.as_str(), auc.clone())));
    rows.push(("false-alarm rate at 0.5", percent(evaluation.false_alarm_rate)));
    if let Some(pixels) = &evaluation.pixels {
        let error = match pixels.auc_pixel_error {
            error if error > 0.0 => format!(" (± {error:.1e})"),
            _ => String::new(),
        };
        rows.push(("pixel AUC", show(pixels.auc_pixel) + &error));
        rows.push(("localised AUC", show(pixels.auc_localised)));
        rows.push(("RBDC", show(pixels.rbdc)));
        rows.push(("TBDC", show(pixels.tbdc)));
    }
    let alarms = evaluation.alarms.as_ref().map(|alarms| alarm_rows(evaluation, alarms));
    match &alarms {
        Some(alarms) => {
            rows.extend(alarms.iter().map(|(name, value)| (name.as_str(), value.clone())));
        }
        None => {
            rows.push(("events", "not evaluated: give the announced ones with --events".into()));
        }
    }
    let delays: Vec<(String, String)> = evaluation
        .delay_at_alarms
        .iter()
        .map(|delay| {
            let seconds =
                |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.2} s"));
            let value = format!(
                "median {}, mean {}; {} of {} events, scores above {:.4} ({} on this footage)",
                seconds(delay.median_seconds),
                seconds(delay.mean_seconds),
                delay.detected,
                delay.events,
                delay.threshold,
                delay.allowed
            );
            (format!("delay, {} alarms an hour", delay.alarms_per_hour), value)
        })
        .collect();
    rows.extend(delays.iter().map(|(name, value)| (name.as_str(), value.clone())));
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
    let kinds = evaluation.kinds.as_ref().map(kind_lines).unwrap_or_default();
    rows.into_iter().map(|(name, value)| format!("{name:<27}{value}\n")).collect::<String>()
        + &kinds
}

/// Announced events against the true ones.
fn alarm_rows(evaluation: &Evaluation, alarms: &AlarmFigures) -> Vec<(String, String)> {
    let show = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.3}"));
    let mut rows: Vec<(String, String)> = alarms
        .events
        .iter()
        .map(|score| {
            let value = format!(
                "F1 {} (precision {}, recall {}: {} of {} announced agree with one of {} true; an alarm \
                 that never ends has F1 {})",
                show(score.f1),
                show(score.precision),
                show(score.recall),
                score.matched,
                alarms.announced,
                evaluation.events_truth,
                show(score.f1_never_ending)
            );
            (format!("events at IoU {}", score.iou), value)
        })
        .collect();
    let on = alarms.time_on_normal.map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
    rows.push(("alarm time, normal frames".into(), on));
    if let Some(touched) = evaluation.events_detected {
        let value =
            format!("{touched} of {}, by an overlap of any length", evaluation.events_truth);
        rows.push(("events touched".into(), value));
    }
    let value = alarms.false_alarms.map_or("-".into(), |rate| {
        format!(
            "{} in {:.1} minutes of normal footage: {:.1} an hour, 95 % interval {:.1} to {:.1}",
            rate.count,
            60.0 * rate.hours,
            rate.rate,
            rate.low,
            rate.high
        )
    });
    rows.push(("false alarms".into(), value));
    rows
}

/// What events were and what they were called, one kind a line.
fn kind_lines(table: &KindTable) -> String {
    let list = |called: &BTreeMap<String, usize>| {
        called.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    };
    let mut lines = String::from("what it was                what it was called\n");
    for row in &table.rows {
        let mut called = list(&row.called);
        if row.missed > 0 {
            let comma = if called.is_empty() { "" } else { ", " };
            called += &format!("{comma}missed {}", row.missed);
        }
        lines += &format!("  {:<25}{called}\n", format!("{} ({})", row.kind, row.events));
    }
    if !table.false_alarms.is_empty() {
        lines += &format!("  {:<25}{}\n", "nothing", list(&table.false_alarms));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainer::evaluation::{Delay, Form, KindRow, PixelEvaluation, evaluate};

    #[test]
    fn the_text_has_every_figure() {
        let evaluation = Evaluation {
            auc_micro: Some(0.98764),
            auc_abnormal: Some(0.9),
            auc_video: Some(0.625),
            false_alarm_rate: Some(0.0123),
            brier_score: Some(0.2),
            calibration_error: Some(0.25),
            auc_frame_difference: Some(0.9),
            frame_differences: vec![(Form::Mean, 0.8), (Form::Sliding, 0.9)],
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
                rbdc: Some(0.5),
                tbdc: None,
                tracks: 0,
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
            "RBDC                       0.5000",
            "  frame difference, best   0.9000",
            "    largest sliding box    0.9000",
            "events                     not evaluated: give the announced ones with --events",
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
    fn without_events_nothing_reads_like_a_result() {
        let text = text(&evaluate(&[], &Labels::default(), None).unwrap());
        assert!(text.contains("not evaluated") && !text.contains("events touched"), "{text}");
        assert!(!text.contains("false alarms "), "{text}");
    }

    #[test]
    fn announced_events_and_their_kinds_have_lines() {
        let mut evaluation = evaluate(&[], &Labels::default(), Some(&[])).unwrap();
        evaluation.kinds = Some(KindTable {
            rows: vec![KindRow {
                kind: "fall".into(),
                events: 3,
                missed: 1,
                called: [("fast".to_string(), 2)].into(),
            }],
            false_alarms: [("bike".to_string(), 4)].into(),
        });
        let text = text(&evaluation);
        for line in [
            "events at IoU 0.5          F1 - (precision -, recall -: 0 of 0 announced agree with one of \
             0 true; an alarm that never ends has F1 -)",
            "alarm time, normal frames  -",
            "events touched             0 of 0, by an overlap of any length",
            "  fall (3)                 fast 2, missed 1",
            "  nothing                  bike 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn events_are_found_by_the_name_of_their_clip_however_it_was_shortened() {
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
        let mut alerts = [alert("Tür 1 run"), alert(&video::event_name(&long)), alert("T_r_1_run")];
        name_clips(&mut alerts, &clips);
        let cameras = alerts.each_ref().map(|alert| alert.camera.as_str());
        // The last is no clip's: left as it is, for `check_clips` to name.
        assert_eq!(cameras, ["Tür 1 run", &long, "T_r_1_run"]);
    }
}
