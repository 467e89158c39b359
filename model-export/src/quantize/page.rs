//! The report as one HTML file that needs nothing else.

use std::fmt::Write as _;

use super::report::{Report, TensorReport};
use super::timing::Timing;

/// Signal to noise at which a bar is full, in dB.
const FULL_DB: f64 = 50.0;
/// From here a layer's output counts as good, or as fair, in dB: 30 dB is an error of 3 %, 20 dB of 10 %.
const GOOD_DB: f64 = 30.0;
const FAIR_DB: f64 = 20.0;
/// Width and height of a bar.
const BAR: (f64, f64) = (140.0, 10.0);

/// The page; `title` is what was quantized.
#[must_use]
pub fn page(title: &str, report: &Report, timing: Option<&Timing>) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}: INT8</title><style>{}</style></head><body>\n<h1>{title}: INT8 beside fp32</h1>\n",
        include_str!("page.css")
    );
    let flavour = format!("{:?}", report.flavour).to_lowercase();
    let _ = writeln!(
        html,
        "<p>{} layers in INT8 ({flavour}), {} in float; ranges by {} from {} calibration samples; \
         outputs compared on {}.{}</p>",
        report.layers.len(),
        report.float_layers.len(),
        report.method.name(),
        report.samples,
        match report.compared_samples {
            1 => "one sample".to_owned(),
            n => format!("{n} samples"),
        },
        match report.equalized.len() {
            0 => String::new(),
            n => format!(" Channels of {n} tensors were equalised."),
        }
    );
    html += &summary(report, timing);
    html += &methods(report);
    html += &sensitivity(report);
    html += &layers(report);
    html += &tensors(report);
    html += "</body></html>\n";
    html
}

/// fp32 beside INT8: size, latency, outputs.
fn summary(report: &Report, timing: Option<&Timing>) -> String {
    let mut html = String::from("<h2>fp32 and INT8</h2>\n");
    if let Some(t) = timing {
        let rows = [
            row(&[
                "size, MB",
                &fixed(t.float_bytes as f64 / 1e6, 2),
                &fixed(t.int8_bytes as f64 / 1e6, 2),
                &fixed(t.float_bytes as f64 / t.int8_bytes.max(1) as f64, 2),
            ]),
            row(&[
                "one run, ms",
                &fixed(t.float_ms, 2),
                &fixed(t.int8_ms, 2),
                &fixed(t.float_ms / t.int8_ms.max(1e-9), 2),
            ]),
        ];
        html += &table(&["", "fp32", "INT8", "fp32 / INT8"], &rows);
        let _ = writeln!(
            html,
            "<p>Medians of {} runs taken in turn on {}.</p>",
            t.runs,
            escape(&t.engine)
        );
    }
    let rows: Vec<String> = report
        .outputs
        .iter()
        .map(|o| {
            row(&[
                &o.name,
                &fixed(o.cosine, 5),
                &fixed(o.sqnr_db, 1),
                &format!("{:.4e}", o.mean_absolute_difference),
                &format!("{:.4e}", o.largest_difference),
                &format!("{:.4e}", o.mean_absolute_value),
            ])
        })
        .collect();
    html += &table(
        &["output", "least cosine", "SQNR, dB", "mean |difference|", "largest", "mean |fp32|"],
        &rows,
    );
    html
}

fn methods(report: &Report) -> String {
    if report.methods.is_empty() {
        return String::new();
    }
    let rows: Vec<String> = report
        .methods
        .iter()
        .map(|trial| {
            let chosen = if trial.method == report.method { "chosen" } else { "" };
            row(&[trial.method.name(), &fixed(trial.sqnr_db, 2), chosen])
        })
        .collect();
    "<h2>Ranges, by measurement</h2>\n".to_owned()
        + &table(&["method", "worst output, dB", ""], &rows)
}

fn sensitivity(report: &Report) -> String {
    let Some(found) = &report.sensitivity else {
        return String::new();
    };
    let mut html = String::from(
        "<h2>Sensitivity</h2>\n<p>Signal to noise of the worst output with one layer alone in INT8, \
         worst first.</p>\n",
    );
    let rows: Vec<String> = found
        .layers
        .iter()
        .map(|layer| {
            let float = if found.float_layers.contains(&layer.node) { "float" } else { "INT8" };
            cells(&[
                escape(&layer.node),
                fixed(layer.sqnr_db, 1),
                bar(layer.sqnr_db, 20.0),
                float.into(),
            ])
        })
        .collect();
    html += &table(&["layer", "dB", "", "left in"], &rows);
    if found.unmeasured > 0 {
        let _ = writeln!(
            html,
            "<p>{} layers were not measured: the {} seconds were over.</p>",
            found.unmeasured, found.search.seconds
        );
    }
    let rows: Vec<String> = found
        .trials
        .iter()
        .map(|t| row(&[&t.float_layers.to_string(), &fixed(t.sqnr_db, 2)]))
        .collect();
    if let Some(target) = found.search.target_sqnr_db {
        let reached = if found.reached == Some(true) { "reached" } else { "not reached" };
        let _ = writeln!(html, "<p>Target {target:.1} dB: {reached}.</p>");
        html += &table(&["layers in float", "worst output, dB"], &rows);
    }
    html
}

fn layers(report: &Report) -> String {
    let rows: Vec<String> = report
        .layers
        .iter()
        .map(|layer| {
            let (text, picture) = match layer.output_sqnr_db {
                Some(db) => (fixed(db, 1), bar(db, 0.0)),
                None => ("–".into(), String::new()),
            };
            cells(&[
                escape(&layer.node),
                escape(&layer.op),
                layer.weights.to_string(),
                fixed(layer.weight_sqnr_db, 1),
                text,
                picture,
            ])
        })
        .collect();
    let mut html = String::from(
        "<h2>Layers</h2>\n<p>Signal to noise of the rounded weights, and of the layer's output with all \
         errors before it, on one sample.</p>\n",
    );
    html += &table(&["layer", "operator", "weights", "weights, dB", "output, dB", ""], &rows);
    if !report.float_layers.is_empty() {
        let names: Vec<String> =
            report.float_layers.iter().map(|n| format!("<code>{}</code>", escape(n))).collect();
        let _ = writeln!(html, "<p>In float: {}.</p>", names.join(", "));
    }
    html
}

fn tensors(report: &Report) -> String {
    let rows: Vec<String> = report
        .tensors
        .iter()
        .map(|t| {
            cells(&[
                escape(&t.name),
                t.members.to_string(),
                format!("{:.3}", t.min),
                format!("{:.3}", t.max),
                format!("{:.3}", t.low),
                format!("{:.3}", t.high),
                range(t),
                t.method.name().to_owned(),
                t.zero_point.to_string(),
                fixed(t.sqnr_db, 1),
            ])
        })
        .collect();
    "<h2>Activations</h2>\n<p>Grey: the values seen; blue: those represented; the line is zero.</p>\n"
        .to_owned()
        + &table(
            &["tensor", "tensors", "min", "max", "low", "high", "", "method", "zero", "dB"],
            &rows,
        )
}

/// A bar for a signal-to-noise ratio; `offset` moves the limits of the colours.
fn bar(db: f64, offset: f64) -> String {
    let class = match db - offset {
        good if good >= GOOD_DB => "good",
        fair if fair >= FAIR_DB => "fair",
        _ => "poor",
    };
    let share = (db / (FULL_DB + offset)).clamp(0.0, 1.0);
    let (width, height) = BAR;
    format!(
        "<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{db:.1} dB\">\
         <rect class=\"track\" width=\"{width}\" height=\"{height}\"/>\
         <rect class=\"{class}\" width=\"{:.1}\" height=\"{height}\"/></svg>",
        width * share
    )
}

/// The represented part of the values seen.
fn range(t: &TensorReport) -> String {
    let (min, max) = (f64::from(t.min).min(t.low), f64::from(t.max).max(t.high));
    let (width, height) = BAR;
    let at = |v: f64| if max > min { width * (v - min) / (max - min) } else { 0.0 };
    let part = |class: &str, low: f64, high: f64| {
        format!(
            "<rect class=\"{class}\" x=\"{:.1}\" width=\"{:.1}\" height=\"{height}\"/>",
            at(low),
            at(high) - at(low)
        )
    };
    format!(
        "<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{:.3} to {:.3} of {:.3} to \
         {:.3}\">{}{}<line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y2=\"{height}\"/></svg>",
        t.low,
        t.high,
        t.min,
        t.max,
        part("seen", t.min.into(), t.max.into()),
        part("kept", t.low, t.high),
        zero = at(0.0)
    )
}

fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

fn row(texts: &[&str]) -> String {
    cells(&texts.iter().map(|t| escape(t)).collect::<Vec<_>>())
}

fn cells(contents: &[String]) -> String {
    let cells: String = contents.iter().map(|c| format!("<td>{c}</td>")).collect();
    format!("<tr>{cells}</tr>\n")
}

fn table(heads: &[&str], rows: &[String]) -> String {
    let heads: String = heads.iter().map(|h| format!("<th>{}</th>", escape(h))).collect();
    format!("<div class=\"scroll\"><table>\n<tr>{heads}</tr>\n{}</table></div>\n", rows.concat())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
