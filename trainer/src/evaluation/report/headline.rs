//! The headline figures, each with its target.

use super::data::{Int8Difference, ReportData};
use super::svg::{escape, number};

/// A headline figure.
struct Card {
    name: &'static str,
    value: Option<String>,
    /// Below the figure.
    note: String,
    /// How the target reads, and whether it is met.
    target: Option<(String, bool)>,
}

/// The cards.
pub fn overview(data: &ReportData) -> String {
    let (evaluation, targets) = (&data.evaluation, &data.targets);
    let at_least = |value: Option<f64>, target: Option<f64>, show: &dyn Fn(f64) -> String| {
        target.map(|t| (format!("≥\u{a0}{}", show(t)), value.is_some_and(|v| v >= t)))
    };
    let at_most = |value: Option<f64>, target: Option<f64>, show: &dyn Fn(f64) -> String| {
        target.map(|t| (format!("≤\u{a0}{}", show(t)), value.is_some_and(|v| v <= t)))
    };
    let plain = |v: f64| number(v);
    let percent = |v: f64| format!("{:.0}\u{a0}%", 100.0 * v);
    let three = |v: f64| format!("{v:.3}");
    let over = match (evaluation.auc_micro, evaluation.auc_frame_difference) {
        (Some(auc), Some(baseline)) => {
            format!("{:+.3} over frame difference ({baseline:.3})", auc - baseline)
        }
        _ => "all frames together".to_string(),
    };
    let share = evaluation
        .events_detected
        .filter(|_| evaluation.events_truth > 0)
        .map(|found| found as f64 / evaluation.events_truth as f64);
    let loose = evaluation.alarms.as_ref().and_then(|alarms| alarms.events.first());
    let minutes = 60.0 * evaluation.normal_hours;
    let mut cards = vec![
        Card {
            name: "Frame AUC, micro",
            value: evaluation.auc_micro.map(three),
            note: over,
            target: at_least(evaluation.auc_micro, targets.auc_micro, &plain),
        },
        Card {
            name: "Frame AUC, mean of clips",
            value: evaluation.auc_macro.map(three),
            note: "clips with normal and abnormal frames".to_string(),
            target: at_least(evaluation.auc_macro, targets.auc_macro, &plain),
        },
        Card {
            name: "Average precision",
            value: evaluation.average_precision.map(three),
            note: "all frames together".to_string(),
            target: at_least(evaluation.average_precision, targets.average_precision, &plain),
        },
        Card {
            name: "Events, F1 at IoU 0.2",
            value: loose.and_then(|score| score.f1).map(three),
            note: match (loose, share) {
                (Some(score), Some(share)) => format!(
                    "{} of {} touched by an alarm ({}); an alarm that never ends has an F1 of {}",
                    evaluation.events_detected.unwrap_or(0),
                    evaluation.events_truth,
                    percent(share),
                    score.f1_never_ending.map_or("–".into(), three)
                ),
                (Some(_), None) => "no true events".to_string(),
                (None, _) => "no announced events were given".to_string(),
            },
            target: at_least(share, targets.events_detected, &percent)
                .map(|(text, met)| (format!("{text} touched"), met)),
        },
        Card {
            name: "False alarms per hour",
            value: evaluation.false_alarms_per_hour.map(|v| format!("{v:.1}")),
            note: match evaluation.alarms.as_ref().map(|alarms| alarms.false_alarms) {
                Some(Some(rate)) => format!(
                    "{:.1} to {:.1} with 95\u{a0}% confidence: {} in {minutes:.1} min of normal footage",
                    rate.low, rate.high, rate.count
                ),
                Some(None) => "no normal footage".to_string(),
                None => "no announced events were given".to_string(),
            },
            target: at_most(
                evaluation.false_alarms_per_hour,
                targets.false_alarms_per_hour,
                &plain,
            ),
        },
        Card {
            name: "Alarm time on normal frames",
            value: evaluation
                .alarms
                .as_ref()
                .and_then(|alarms| alarms.time_on_normal)
                .map(|v| format!("{:.2}\u{a0}%", 100.0 * v)),
            note: "while nothing happens".to_string(),
            target: None,
        },
    ];
    if let Some(rate) = data.facts.frames_per_second {
        cards.push(Card {
            name: "Frames per second",
            value: Some(format!("{rate:.1}")),
            note: format!("whole path, {}", data.facts.backend),
            target: at_least(Some(rate), targets.frames_per_second, &plain),
        });
    }
    if let Some(difference) = &data.int8_difference {
        cards.push(quantization(difference, targets.int8_difference));
    }
    let cards: String = cards.iter().map(card).collect();
    format!("<div class=\"cards\">\n{cards}</div>\n")
}

fn quantization(difference: &Int8Difference, target: Option<f64>) -> Card {
    let change = difference.auc_int8.zip(difference.auc_fp32).map(|(int8, fp32)| int8 - fp32);
    let mut notes = Vec::new();
    notes.extend(change.map(|_| "micro frame AUC".to_string()));
    notes.extend(difference.score_mean.map(|v| format!("scores differ by {v:.3} on average")));
    notes.extend(difference.score_max.map(|v| format!("{v:.3} at most")));
    if let Some((fp32, int8)) = difference.bytes_fp32.zip(difference.bytes_int8) {
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        notes.push(format!("{:.1}\u{a0}MiB instead of {:.1}", mib(int8), mib(fp32)));
    }
    Card {
        name: "INT8 against FP32",
        value: change
            .map(|v| format!("{v:+.4}").replace('-', "−"))
            .or_else(|| difference.score_mean.map(|v| format!("{v:.3}"))),
        note: notes.join("; "),
        target: target
            .map(|t| (format!("±\u{a0}{}", number_fine(t)), change.is_some_and(|v| v.abs() <= t))),
    }
}

fn card(card: &Card) -> String {
    let target = card.target.as_ref().map_or(String::new(), |(text, met)| {
        let (class, sign, word) =
            if *met { ("good", "✓", "met") } else { ("bad", "✗", "missed") };
        format!("<p class=\"target {class}\"><span>{sign} {word}</span> target\u{a0}{text}</p>")
    });
    format!(
        "<div class=\"card\"><h3>{}</h3><p class=\"figure\">{}</p><p class=\"note\">{}</p>{target}</div>\n",
        card.name,
        card.value.as_deref().unwrap_or("–"),
        escape(&card.note)
    )
}

/// Four decimals at most, for small differences.
fn number_fine(value: f64) -> String {
    format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_string()
}
