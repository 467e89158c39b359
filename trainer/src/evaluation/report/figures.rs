//! Every figure in one table, the curves, calibration and norms.

use super::data::ReportData;
use super::plots::{self, Line};
use super::svg::escape;
use crate::evaluation::Evaluation;

/// The table of figures, each with its meaning in a few words.
pub fn table(evaluation: &Evaluation) -> String {
    let show = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{v:.4}"));
    let percent = |value: Option<f64>| {
        value.map_or("–".to_string(), |v| format!("{:.2}\u{a0}%", 100.0 * v))
    };
    let mut rows = vec![
        ("Frame AUC, micro", show(evaluation.auc_micro), "all frames of all clips together"),
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
        (
            "Average precision",
            show(evaluation.average_precision),
            "area under the precision–recall steps",
        ),
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
