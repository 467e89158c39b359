//! What came out: `summary.json`, `report.html`, and the lines at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use model_bundle::{Bundle, Manifest, Trust};
use serde::Serialize;
use trainer::evaluation::metrics::EventScore;
use trainer::evaluation::report::{
    Facts, Int8Difference, ReportData, Targets, alerts, precision_recall_curves, read_checkpoint,
    render, roc_curves, tracks,
};
use trainer::evaluation::{
    Announced, Evaluation, Form, Labels, evaluate, incidents, kind_table, read_alerts, read_scores,
};

use crate::stages::{Site, Watched};
use crate::{Args, PLAZA};

/// `summary.json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    auc_micro: Option<f64>,
    auc_macro: Option<f64>,
    average_precision: Option<f64>,
    auc_frame_difference: Option<f64>,
    auc_local: Option<f64>,
    auc_motion: Option<f64>,
    auc_semantic: Option<f64>,
    /// Each form of the frame difference; `auc_frame_difference` is the best of them.
    frame_differences: BTreeMap<Form, f64>,
    events_truth: usize,
    /// True events that an announced one touches.
    events_detected: usize,
    /// Agreement in time at each IoU.
    events: &'a [EventScore],
    /// Share of the normal frames during which an incident was running.
    alarm_time_on_normal: Option<f64>,
    /// Incidents that the camera program announced.
    events_announced: usize,
    /// Incidents that reached the subscriber.
    events_received: usize,
    messages_announced: usize,
    messages_received: usize,
    false_alarms: usize,
    false_alarms_per_hour: Option<f64>,
    /// The exact 95 % interval of a Poisson rate.
    false_alarms_per_hour_interval: Option<(f64, f64)>,
    normal_minutes: f64,
    frames: usize,
    frames_per_second: f64,
    backend: &'a str,
    int8: bool,
    int8_score_difference: Option<f64>,
    seconds: BTreeMap<&'a str, f64>,
    seed: u64,
}

/// Writes the results and gives the closing lines.
pub fn write(
    args: &Args,
    site: &Site,
    watched: &Watched,
    seconds: &[(String, f64)],
) -> Result<String> {
    let out = &args.out;
    let labels = match &site.labels {
        Some(path) => Labels::read(path)?,
        None => Labels::default(),
    };
    let clips = read_scores(&site.test, &out.join("scores"))?;
    let names: BTreeMap<&str, &str> =
        watched.clips.iter().map(|(clip, id)| (id.as_str(), clip.name.as_str())).collect();
    let named = |path: PathBuf| -> Result<_> {
        let mut alerts = if path.exists() { read_alerts(&path)? } else { Vec::new() };
        for alert in &mut alerts {
            if let Some(name) = names.get(alert.camera.as_str()) {
                alert.camera = (*name).to_string();
            }
        }
        Ok(incidents(&alerts))
    };
    let announced = named(out.join("announced.jsonl"))?;
    let received = named(out.join("events.jsonl"))?;
    let events: Vec<Announced> = received.iter().map(|(event, _)| event.clone()).collect();
    let mut evaluation = evaluate(&clips, &labels, Some(&events))?;
    evaluation.kinds = kind_table(&clips, &labels, &received);
    let alarms = evaluation.alarms.as_ref();
    let false_alarms = alarms.and_then(|alarms| alarms.false_alarms);
    let bundle = Bundle::open(&out.join("model.pavad"), &Trust::Embedded)?;
    let manifest = bundle.manifest();
    let difference = |key: &str| manifest.provenance.get(key).and_then(|v| v.parse().ok());
    let int8 = watched.backend == "ort"
        && manifest.graphs.iter().any(|g| g.backend == "ort" && g.precision == "int8");
    let summary = Summary {
        auc_micro: evaluation.auc_micro,
        auc_macro: evaluation.auc_macro,
        average_precision: evaluation.average_precision,
        auc_frame_difference: evaluation.auc_frame_difference,
        auc_local: evaluation.auc_local,
        auc_motion: evaluation.auc_motion,
        auc_semantic: evaluation.auc_semantic,
        events_truth: evaluation.events_truth,
        frame_differences: evaluation.frame_differences.iter().copied().collect(),
        events_detected: evaluation.events_detected.unwrap_or(0),
        events: alarms.map_or(&[], |alarms| alarms.events.as_slice()),
        alarm_time_on_normal: alarms.and_then(|alarms| alarms.time_on_normal),
        events_announced: announced.len(),
        events_received: received.len(),
        messages_announced: watched.announced,
        messages_received: watched.received.alerts.len(),
        false_alarms: evaluation.false_alarms.unwrap_or(0),
        false_alarms_per_hour: evaluation.false_alarms_per_hour,
        false_alarms_per_hour_interval: false_alarms.map(|rate| (rate.low, rate.high)),
        normal_minutes: 60.0 * evaluation.normal_hours,
        frames: evaluation.frames,
        frames_per_second: evaluation.frames as f64 / watched.seconds.max(1e-9),
        backend: &watched.backend,
        int8,
        int8_score_difference: difference("int8_score_difference_mean"),
        seconds: seconds.iter().map(|(stage, s)| (stage.as_str(), *s)).collect(),
        seed: args.seed,
    };
    let path = out.join("summary.json");
    std::fs::write(&path, serde_json::to_string_pretty(&summary)?)
        .with_context(|| path.display().to_string())?;

    let checkpoint = read_checkpoint(&out.join("checkpoint"))?;
    let mut hashes = vec![("model.pavad".to_string(), bundle.digest_hex())];
    hashes.extend(checkpoint.hashes);
    let facts = Facts {
        frames_per_second: Some(summary.frames_per_second),
        backend: watched.backend.clone(),
        int8,
        seed: Some(args.seed),
        seconds: seconds.to_vec(),
        threshold: manifest.detectors.events.enter,
        hashes,
        configuration: Some(checkpoint.configuration),
    };
    let contact_sheet = PathBuf::from("checkpoint/pseudo.jpg");
    let data = ReportData {
        title: "PA-VAD: from normal footage to alerts".into(),
        subtitle: site.title.clone(),
        targets: targets(args),
        facts,
        clips: tracks(&clips, &labels, &received),
        roc: roc_curves(&clips, &labels)?,
        precision_recall: precision_recall_curves(&clips, &labels)?,
        norms: None,
        alerts: alerts(
            &clips,
            &labels,
            &received,
            site.labels.is_some(),
            Some(Path::new("evidence")),
        ),
        contact_sheet: out.join(&contact_sheet).exists().then_some(contact_sheet),
        int8_difference: int8_difference(manifest),
        evaluation: evaluation.clone(),
    };
    let path = out.join("report.json");
    std::fs::write(&path, serde_json::to_string(&data)?)
        .with_context(|| path.display().to_string())?;
    let report = render(&data, out);
    let path = out.join("report.html");
    std::fs::write(&path, report.html).with_context(|| path.display().to_string())?;
    Ok(closing(&summary, &evaluation, out))
}

/// What the plaza is held to; other footage has no targets of ours.
fn targets(args: &Args) -> Targets {
    if args.normal.is_some() || args.site != PLAZA {
        return Targets::default();
    }
    Targets {
        auc_micro: Some(0.9),
        events_detected: Some(1.0),
        // One in ten minutes.
        false_alarms_per_hour: Some(6.0),
        ..Targets::default()
    }
}

fn int8_difference(manifest: &Manifest) -> Option<Int8Difference> {
    let number = |key: &str| manifest.provenance.get(key)?.parse().ok();
    let bytes = |precision: &str, backend: &str| {
        let sizes =
            manifest.graphs.iter().filter(|g| g.precision == precision && g.backend == backend);
        Some(sizes.map(|g| g.blob.size).sum())
    };
    Some(Int8Difference {
        score_mean: Some(number("int8_score_difference_mean")?),
        score_max: number("int8_score_difference_max"),
        bytes_fp32: bytes("fp32", "tract"),
        bytes_int8: bytes("int8", "ort"),
        ..Int8Difference::default()
    })
}

fn closing(summary: &Summary<'_>, evaluation: &Evaluation, out: &Path) -> String {
    let show = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.4}"));
    let mut lines = vec![
        String::new(),
        format!("frame AUC (micro)        {}", show(summary.auc_micro)),
        format!("  mean of clips          {}", show(summary.auc_macro)),
        format!("  local detector alone   {}", show(summary.auc_local)),
        format!("  motion prior alone     {}", show(summary.auc_motion)),
        format!("  semantic alone         {}", show(summary.auc_semantic)),
        format!("  frame difference, best {}", show(summary.auc_frame_difference)),
        "  chance                 0.5".into(),
    ];
    let short = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.3}"));
    for score in summary.events {
        lines.push(format!(
            "events at IoU {}        F1 {} (precision {}, recall {}); an alarm that never ends has {}",
            score.iou,
            short(score.f1),
            short(score.precision),
            short(score.recall),
            short(score.f1_never_ending)
        ));
    }
    lines.push(format!(
        "events touched           {} of {}, by an overlap of any length",
        summary.events_detected, summary.events_truth
    ));
    for clip in evaluation.clips.iter().filter(|clip| clip.events_truth > 0) {
        let touched = clip.events_detected.unwrap_or(0);
        lines.push(format!("  {:<22} {touched} of {}", clip.name, clip.events_truth));
    }
    let interval = summary
        .false_alarms_per_hour_interval
        .map_or(String::new(), |(low, high)| format!(", {low:.1} to {high:.1} an hour (95 %)"));
    let on = summary.alarm_time_on_normal.map_or("-".into(), |v| format!("{:.2} %", 100.0 * v));
    lines.extend([
        format!(
            "false alarms             {} in {:.1} minutes of normal footage{interval}",
            summary.false_alarms, summary.normal_minutes
        ),
        format!("alarm time               {on} of normal frames"),
        format!(
            "alerts                   {} announced, {} received",
            summary.messages_announced, summary.messages_received
        ),
        format!(
            "speed                    {:.1} frames a second ({}{})",
            summary.frames_per_second,
            summary.backend,
            if summary.int8 { ", INT8" } else { "" }
        ),
        format!(
            "INT8 against fp32        {} mean score difference",
            show(summary.int8_score_difference)
        ),
        format!("report                   {}", out.join("report.html").display()),
        format!("one training, one seed ({}): another seed gives other figures", summary.seed),
    ]);
    lines.join("\n")
}
