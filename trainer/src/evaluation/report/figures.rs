//! Every figure in one table, the curves, calibration and norms.

use super::data::ReportData;
use super::plots::{self, Line};
use super::svg::escape;
use crate::evaluation::Evaluation;

/// The table of figures, each with its meaning in a few words and with what chance gives.
pub fn table(evaluation: &Evaluation) -> String {
    let show = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{v:.4}"));
    let percent = |value: Option<f64>| {
        value.map_or("–".to_string(), |v| format!("{:.2}\u{a0}%", 100.0 * v))
    };
    let abnormal: usize = evaluation.clips.iter().map(|clip| clip.abnormal_frames).sum();
    let precision_by_chance = format!(
        "area under the precision–recall steps; chance gives the share of abnormal frames, {:.3}",
        abnormal as f64 / evaluation.frames.max(1) as f64
    );
    let mut rows: Vec<(&str, String, &str)> = vec![
        (
            "Frame AUC, micro",
            show(evaluation.auc_micro),
            "all frames of all clips together; chance gives 0.5, here and for every AUC",
        ),
        (
            "Frame AUC, clips with an event",
            show(evaluation.auc_abnormal),
            "frames of clips that have an abnormal frame, together",
        ),
        (
            "Frame AUC, mean of clips",
            show(evaluation.auc_macro),
            "each clip's own AUC, over clips with both classes",
        ),
        ("Average precision", show(evaluation.average_precision), &precision_by_chance),
        (
            "False-alarm rate at 0.5",
            percent(evaluation.false_alarm_rate),
            "frames of normal clips with a score of at least 0.5",
        ),
    ];
    if let Some(pixels) = &evaluation.pixels {
        rows.push(("Pixel AUC", show(pixels.auc_pixel), "all pixels against the masks"));
        rows.push((
            "Localised frame AUC",
            show(pixels.auc_localised),
            "pixel-level criterion: two fifths of a frame's abnormal pixels must be found",
        ));
        let note = "regions found, over 0 to 1 false regions a frame";
        rows.push(("RBDC", show(pixels.rbdc), note));
        rows.push((
            "TBDC",
            show(pixels.tbdc),
            "tracks found with a tenth of their regions, likewise",
        ));
    }
    let delay = evaluation.delay.as_ref().map(|delay| {
        let seconds = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.2}\u{a0}s"));
        let meaning = format!(
            "onset to first alarm, {} of {} events, with {} of normal frames above {:.4}; mean {}",
            delay.detected,
            delay.events,
            percent(Some(delay.false_alarm_rate)),
            delay.threshold,
            seconds(delay.mean_seconds)
        );
        (seconds(delay.median_seconds), meaning)
    });
    if let Some((median, meaning)) = &delay {
        rows.push(("Detection delay, median", median.clone(), meaning));
    }
    rows.push(("Brier score", show(evaluation.brier_score), "mean squared error of the score"));
    rows.push((
        "Calibration error",
        show(evaluation.calibration_error),
        "mean distance of score and share of abnormal frames, in ten bins",
    ));
    let rows: Vec<(String, String, String)> = rows
        .into_iter()
        .map(|(name, value, meaning)| (name.to_string(), value, meaning.to_string()))
        .chain(alarm_rows(evaluation))
        .collect();
    let rows: String = rows
        .iter()
        .map(|(name, value, meaning)| {
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{value}</td><td class=\"meaning\">{}</td></tr>\n",
                escape(meaning)
            )
        })
        .collect();
    format!(
        "<div class=\"panel scroll\"><table class=\"figures\"><thead><tr><th scope=\"col\">Figure</th>\
         <th scope=\"col\">Value</th><th scope=\"col\" class=\"meaning\">Of what</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// Announced events against the true ones, and delays at fixed alarms an hour.
fn alarm_rows(evaluation: &Evaluation) -> Vec<(String, String, String)> {
    let show = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{v:.3}"));
    let mut rows = Vec::new();
    if let Some(alarms) = &evaluation.alarms {
        for score in &alarms.events {
            rows.push((
                format!("Events, F1 at IoU {}", score.iou),
                show(score.f1),
                format!(
                    "precision {}, recall {}: {} of {} announced events agree in time with one of {} \
                     true ones; an alarm that never ends has {}",
                    show(score.precision),
                    show(score.recall),
                    score.matched,
                    alarms.announced,
                    evaluation.events_truth,
                    show(score.f1_never_ending)
                ),
            ));
        }
        rows.push((
            "Alarm time on normal frames".into(),
            alarms.time_on_normal.map_or("–".into(), |v| format!("{:.2}\u{a0}%", 100.0 * v)),
            "share of normal frames during which an announced event runs".into(),
        ));
        if let Some(rate) = &alarms.false_alarms {
            rows.push((
                "False alarms an hour".into(),
                format!("{:.1}", rate.rate),
                format!(
                    "95\u{a0}% interval {:.1} to {:.1}: {} in {:.1} minutes (exact, Poisson)",
                    rate.low,
                    rate.high,
                    rate.count,
                    60.0 * rate.hours
                ),
            ));
        }
    }
    for delay in &evaluation.delay_at_alarms {
        rows.push((
            format!("Delay at {} alarms an hour, median", delay.alarms_per_hour),
            delay.median_seconds.map_or("–".into(), |v| format!("{v:.2}\u{a0}s")),
            format!(
                "by scores above {:.4}, {} of {} events; that many alarms are {} on this footage",
                delay.threshold, delay.detected, delay.events, delay.allowed
            ),
        ));
    }
    rows
}

/// What events were and what they were called; empty unless the labels say.
pub fn kinds(evaluation: &Evaluation) -> String {
    let Some(table) = &evaluation.kinds else {
        return String::new();
    };
    let list = |called: &std::collections::BTreeMap<String, usize>| {
        let parts: Vec<String> =
            called.iter().map(|(kind, count)| format!("{} {count}", escape(kind))).collect();
        if parts.is_empty() { "–".to_string() } else { parts.join(", ") }
    };
    let mut rows: String = table
        .rows
        .iter()
        .map(|row| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"meaning\">{}</td></tr>\n",
                escape(&row.kind),
                row.events,
                row.missed,
                list(&row.called)
            )
        })
        .collect();
    if !table.false_alarms.is_empty() {
        let count: usize = table.false_alarms.values().sum();
        let called = list(&table.false_alarms);
        rows += &format!(
            "<tr><th scope=\"row\">nothing</th><td>{count}</td><td>–</td><td class=\"meaning\">{called}</td></tr>\n"
        );
    }
    format!(
        "<div class=\"panel scroll\"><table class=\"figures\"><thead><tr><th scope=\"col\">What it \
         was</th><th scope=\"col\">Events</th><th scope=\"col\">Missed</th><th scope=\"col\" \
         class=\"meaning\">What it was called</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// ROC and precision–recall curves beside each other.
pub fn curves(data: &ReportData) -> String {
    let roc: Vec<Line<'_>> = data
        .roc
        .iter()
        .filter(|curve| !curve.points.is_empty())
        .map(|curve| Line { name: &curve.name, value: curve.auc, points: &curve.points })
        .collect();
    let precision_recall: Vec<Line<'_>> = data
        .precision_recall
        .iter()
        .filter(|curve| !curve.points.is_empty())
        .map(|curve| Line {
            name: &curve.name,
            value: curve.average_precision,
            points: &curve.points,
        })
        .collect();
    let mut figures = String::new();
    if !roc.is_empty() {
        let plot =
            plots::curves("ROC curves", ("false positive rate", "true positive rate"), &roc, true);
        figures.push_str(&figure("ROC curves", "Legend: area under the curve.", &plot));
    }
    if !precision_recall.is_empty() {
        let axes = ("recall", "precision");
        let plot = plots::curves("Precision–recall curves", axes, &precision_recall, false);
        let note = "Legend: average precision.";
        figures.push_str(&figure("Precision–recall curves", note, &plot));
    }
    columns(&figures)
}

/// The reliability diagram, and how to read it.
pub fn calibration(evaluation: &Evaluation) -> String {
    if evaluation.reliability.iter().all(|bin| bin.frames == 0) {
        return String::new();
    }
    let plot = plots::reliability(&evaluation.reliability);
    let note = "Of the frames of each bar's range of scores, so many are abnormal. On the diagonal a \
                score is a probability; a dot's area tells how many frames there are.";
    let rows: String = evaluation
        .reliability
        .iter()
        .map(|bin| {
            let show = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{v:.3}"));
            format!(
                "<tr><th scope=\"row\">{:.1} to {:.1}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                bin.from,
                bin.to,
                bin.frames,
                show(bin.mean_score),
                show(bin.abnormal_share)
            )
        })
        .collect();
    let table = format!(
        "<div class=\"panel scroll\"><table><thead><tr><th scope=\"col\">Scores</th><th \
         scope=\"col\">Frames</th><th scope=\"col\">Mean score</th><th scope=\"col\">Abnormal</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    );
    columns(&(figure("Reliability diagram", note, &plot) + &table))
}

/// The histogram of feature norms.
pub fn norms(data: &ReportData) -> String {
    let Some(histogram) = data.norms.as_ref().filter(|norms| !norms.sets.is_empty()) else {
        return String::new();
    };
    let note = "Share of each set's feature vectors by their L2 norm. Pseudo anomalies far to the \
                right of real ones are the magnitude bias that DARM is against.";
    figure("Norms of features", note, &plots::norms(histogram))
}

fn figure(title: &str, note: &str, body: &str) -> String {
    format!(
        "<figure class=\"panel\"><figcaption><h3>{title}</h3><p class=\"note\">{note}</p>\
         </figcaption>{body}</figure>\n"
    )
}

fn columns(figures: &str) -> String {
    if figures.is_empty() {
        return String::new();
    }
    format!("<div class=\"columns even\">\n{figures}</div>\n")
}
