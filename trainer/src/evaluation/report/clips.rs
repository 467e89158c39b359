//! The table of clips.

use super::data::ReportData;
use super::page::{MAX_TIMELINES, grouped};
use super::svg::escape;
use crate::evaluation::ClipResult;

/// One row a clip: AUC, events, how soon they were noticed.
pub fn table(data: &ReportData) -> String {
    let results = &data.evaluation.clips;
    if results.is_empty() {
        return String::new();
    }
    let row = |result: &ClipResult| {
        let drawn = data.clips.iter().take(MAX_TIMELINES).position(|c| c.name == result.name);
        let name = escape(&result.name);
        let name = drawn.map_or(name.clone(), |i| format!("<a href=\"#clip-{i}\">{name}</a>"));
        let events = match (result.events_truth, result.events_detected) {
            (0, _) => "–".to_string(),
            (truth, None) => format!("{truth}"),
            (truth, Some(found)) => format!("{found} / {truth}"),
        };
        let rate = data.clips.iter().find(|c| c.name == result.name).map(|c| c.frame_rate);
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}</td><td>{events}</td>\
             <td>{}</td><td>{}</td></tr>\n",
            grouped(result.frames as u64),
            grouped(result.abnormal_frames as u64),
            result.auc.map_or("–".to_string(), |auc| format!("{auc:.3}")),
            delay(&result.delays, rate),
            result.false_alarms.map_or("–".to_string(), |alarms| alarms.to_string())
        )
    };
    let rows: String = results.iter().map(row).collect();
    let note = data.evaluation.delay.map_or(String::new(), |delay| {
        format!(
            "<p class=\"note below\">Delay: mean time from the onset of an event to the first score \
             above {:.4}, which {:.1}\u{a0}% of all normal frames exceed at most.</p>\n",
            delay.threshold,
            100.0 * delay.false_alarm_rate
        )
    });
    format!(
        "<div class=\"panel scroll\"><table><thead><tr><th scope=\"col\">Clip</th>\
         <th scope=\"col\">Frames</th><th scope=\"col\">Abnormal</th><th scope=\"col\">AUC</th>\
         <th scope=\"col\">Events touched</th><th scope=\"col\">Delay</th>\
         <th scope=\"col\">False alarms</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n{note}"
    )
}

/// The mean delay of a clip's events and how many were missed; in frames if the rate is not known.
fn delay(delays: &[Option<u64>], rate: Option<f64>) -> String {
    let found: Vec<u64> = delays.iter().flatten().copied().collect();
    let missed = delays.len() - found.len();
    if found.is_empty() {
        return if missed > 0 { "missed".into() } else { "–".into() };
    }
    let mean = found.iter().sum::<u64>() as f64 / found.len() as f64;
    let mean = match rate {
        Some(rate) => format!("{:.1}\u{a0}s", mean / rate),
        None => format!("{mean:.1}\u{a0}frames"),
    };
    if missed > 0 { format!("{mean}, {missed}\u{a0}missed") } else { mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_averaged_and_misses_counted() {
        assert_eq!(delay(&[], Some(10.0)), "–");
        assert_eq!(delay(&[None, None], Some(10.0)), "missed");
        assert_eq!(delay(&[Some(3), Some(6)], Some(10.0)), "0.5\u{a0}s");
        assert_eq!(delay(&[Some(3), None], None), "3.0\u{a0}frames, 1\u{a0}missed");
    }
}
