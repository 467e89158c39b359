//! The charts: inline SVG that a screen reader can name, with text that never scales.
//!
//! Horizontal positions are percentages, so that a chart fills whatever width the page has.

use super::data::{AnnouncedEvent, ClipTrack};
use super::svg::{MAX_POINTS, Scale, clock, escape, number, polyline, thin_by_maximum, time_ticks};
use crate::evaluation::run::slack;

/// Shared by all charts: hatching, the mark of the baseline and of truth.
pub const DEFINITIONS: &str = r##"<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern>
<pattern id="hatch-baseline" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><path class="hatch-baseline" d="M0 0V6"/></pattern>
</defs></svg>
"##;

/// Top and bottom of a timeline's plot, in pixels, and where its lanes lie.
const PLOT: (f64, f64) = (8.0, 98.0);
const TRUTH_LANE: f64 = 107.0;
const ALERT_LANE: f64 = 122.0;
const LANE_HEIGHT: f64 = 8.0;
const TIMELINE_HEIGHT: f64 = 154.0;

/// How a clip's true and announced events match.
pub struct Matched {
    /// For each true event, whether one was announced during it.
    pub found: Vec<bool>,
    /// For each announced event, whether it overlaps a true one.
    pub right: Vec<bool>,
}

/// Matches by overlap, with the same slack as the evaluation.
pub fn matched(clip: &ClipTrack) -> Matched {
    let slack = slack(clip.frame_rate);
    let overlaps = |event: &AnnouncedEvent, (first, last): (u64, u64)| {
        // Ranges are 1-based, frames count from 0.
        event.first < last + slack && event.last + 1 + slack >= first
    };
    Matched {
        found: clip
            .truth
            .iter()
            .map(|range| clip.announced.iter().any(|event| overlaps(event, *range)))
            .collect(),
        right: clip
            .announced
            .iter()
            .map(|event| clip.truth.iter().any(|range| overlaps(event, *range)))
            .collect(),
    }
}

/// A clip over time: the score, the threshold, the truth and what was announced.
pub fn timeline(clip: &ClipTrack, threshold: f64) -> String {
    let frames = clip.scores.len() as f64;
    if frames == 0.0 {
        return "<p class=\"note\">No scores.</p>".to_string();
    }
    let matched = matched(clip);
    let seconds = frames / clip.frame_rate;
    let x = Scale::new((0.0, frames), (0.0, 100.0));
    let y = Scale::new((0.0, 1.0), (PLOT.1, PLOT.0));
    let time = |frame: u64| clock(frame as f64 / clip.frame_rate, true);
    let label = format!(
        "Score of clip {} over {}; true events: {}, found: {}; announced: {}, false alarms: {}",
        clip.name,
        clock(seconds, false),
        clip.truth.len(),
        matched.found.iter().filter(|f| **f).count(),
        clip.announced.len(),
        matched.right.iter().filter(|r| !**r).count(),
    );
    let mut chart = axis(y, threshold);
    chart.push_str(&format!(
        "<svg class=\"plot\" width=\"100%\" height=\"{TIMELINE_HEIGHT}\" role=\"img\" \
         aria-label=\"{0}\"><title>{0}</title>\n",
        escape(&label)
    ));
    for value in [0.0, 1.0] {
        let y = number(y.at(value));
        chart.push_str(&format!(
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>"
        ));
    }

    let base = number(PLOT.1);
    for tick in time_ticks(seconds, 6) {
        let at = 100.0 * tick / seconds;
        let anchor = match at {
            at if at < 2.0 => "start",
            at if at > 97.0 => "end",
            _ => "middle",
        };
        chart.push_str(&format!(
            "<line class=\"grid tick\" x1=\"{0}%\" x2=\"{0}%\" y1=\"{base}\" y2=\"{1}\"/>\
             <text class=\"label\" x=\"{0}%\" y=\"{2}\" text-anchor=\"{anchor}\">{3}</text>",
            number(at),
            number(ALERT_LANE + LANE_HEIGHT + 4.0),
            number(TIMELINE_HEIGHT - 6.0),
            clock(tick, false)
        ));
    }

    for (&(first, last), found) in clip.truth.iter().zip(&matched.found) {
        let (start, end) = (x.at(first as f64 - 1.0), x.at(last as f64));
        let title = format!(
            "True event, {} to {}: {}",
            time(first - 1),
            time(last),
            if *found { "found" } else { "missed" }
        );
        let place =
            format!("x=\"{}%\" width=\"{}%\"", number(start), number((end - start).max(0.0)));
        let (top, height) = (number(PLOT.0), number(PLOT.1 - PLOT.0));
        let class = if *found { "hit" } else { "miss" };
        chart.push_str(&format!(
            "<g><title>{}</title><rect class=\"band\" {place} y=\"{top}\" height=\"{height}\"/>\
             <rect class=\"band-hatch\" {place} y=\"{top}\" height=\"{height}\"/>\
             <rect class=\"truth {class}\" {place} y=\"{TRUTH_LANE}\" height=\"{LANE_HEIGHT}\" rx=\"2\"/></g>\n",
            escape(&title)
        ));
    }

    chart.push_str(&score_line(&clip.scores, y.at(threshold)));
    let level = number(y.at(threshold));
    chart.push_str(&format!(
        "<line class=\"threshold\" x1=\"0\" x2=\"100%\" y1=\"{level}\" y2=\"{level}\"/>\n"
    ));

    for (i, (event, right)) in clip.announced.iter().zip(&matched.right).enumerate() {
        chart.push_str(&announced(clip, i, event, *right, x, y));
    }
    chart.push_str("</svg>");
    chart
}

/// The names of a timeline's levels and lanes.
fn axis(y: Scale, threshold: f64) -> String {
    let mut svg = format!(
        "<svg class=\"axis\" width=\"46\" height=\"{TIMELINE_HEIGHT}\" aria-hidden=\"true\">"
    );
    let mut label = |at: f64, text: &str| {
        svg.push_str(&format!(
            "<text class=\"label\" x=\"40\" y=\"{}\" text-anchor=\"end\" \
             dominant-baseline=\"central\">{text}</text>",
            number(at)
        ));
    };
    for (value, text) in [(0.0, "0"), (1.0, "1")] {
        if (value - threshold).abs() > 0.15 {
            label(y.at(value), text);
        }
    }
    label(y.at(threshold), &number(threshold));
    label(TRUTH_LANE + LANE_HEIGHT / 2.0, "truth");
    label(ALERT_LANE + LANE_HEIGHT / 2.0, "alerts");
    svg.push_str("</svg>");
    svg
}

/// The score; what lies above the threshold is filled.
fn score_line(scores: &[f64], level: f64) -> String {
    let frames = scores.len() as f64;
    let x = Scale::new((0.0, frames), (0.0, 1000.0));
    let y = Scale::new((0.0, 1.0), (PLOT.1, PLOT.0));
    let points: Vec<(f64, f64)> = thin_by_maximum(scores, MAX_POINTS)
        .into_iter()
        .map(|(i, score)| (x.at(i as f64 + 0.5), y.at(score)))
        .collect();
    // One point above the threshold keeps its neighbours' ends of the area on the threshold.
    let mut area = vec![(points[0].0, level)];
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        area.push((x0, y0.min(level)));
        if (y0 < level) != (y1 < level) {
            area.push((x0 + (x1 - x0) * (level - y0) / (y1 - y0), level));
        }
    }
    let last = points[points.len() - 1];
    area.extend([(last.0, last.1.min(level)), (last.0, level)]);
    // A run along the threshold needs its two ends only.
    let area: Vec<(f64, f64)> = area
        .iter()
        .enumerate()
        .filter(|(i, p)| {
            let flat = |j: usize| area.get(j).is_none_or(|q| q.1 == level);
            p.1 != level || *i == 0 || !flat(i - 1) || !flat(i + 1)
        })
        .map(|(_, p)| *p)
        .collect();
    format!(
        "<svg width=\"100%\" height=\"{0}\" viewBox=\"0 0 1000 {0}\" preserveAspectRatio=\"none\">\
         <polygon class=\"above\" points=\"{1}\"/><polyline class=\"score\" points=\"{2}\"/></svg>\n",
        number(TIMELINE_HEIGHT),
        polyline(area),
        polyline(points)
    )
}

/// An announced event: a bar in its lane, a dot at its peak, its kind where there is room.
fn announced(
    clip: &ClipTrack,
    index: usize,
    event: &AnnouncedEvent,
    right: bool,
    x: Scale,
    y: Scale,
) -> String {
    let time = |frame: u64| clock(frame as f64 / clip.frame_rate, true);
    let (start, end) = (x.at(event.first as f64), x.at(event.last as f64 + 1.0));
    let kind = event.kind.as_deref().unwrap_or("event");
    let (class, verdict) = if right { ("hit", "true event") } else { ("miss", "false alarm") };
    let title = format!(
        "Announced: {kind}, {} to {}, peak {:.2} at {}: {verdict}",
        time(event.first),
        time(event.last),
        event.peak_score,
        time(event.peak_frame)
    );
    let mut mark = format!(
        "<g><title>{}</title><rect class=\"alarm {class}\" x=\"{}%\" width=\"{}%\" \
         y=\"{ALERT_LANE}\" height=\"{LANE_HEIGHT}\" rx=\"2\"/>\
         <circle class=\"peak {class}\" cx=\"{}%\" cy=\"{}\" r=\"4\"/>",
        escape(&title),
        number(start),
        number(end - start),
        number(x.at(event.peak_frame as f64 + 0.5)),
        number(y.at(event.peak_score.clamp(0.0, 1.0))),
    );
    let next = clip
        .announced
        .iter()
        .enumerate()
        .filter(|(i, other)| *i != index && other.last >= event.last)
        .map(|(_, other)| x.at(other.first as f64))
        .fold(100.0, f64::min);
    // Room for a word on a phone.
    if event.kind.is_some() && next - end > 22.0 {
        mark.push_str(&format!(
            "<text class=\"label\" x=\"{}%\" dx=\"6\" y=\"{}\" dominant-baseline=\"central\">{}</text>",
            number(end),
            number(ALERT_LANE + LANE_HEIGHT / 2.0),
            escape(kind)
        ));
    }
    mark.push_str("</g>\n");
    mark
}

/// Rows of bars from 0 to 1 with a mark at chance; (name, AUC).
pub fn bars(rows: &[(&str, Option<f64>)]) -> String {
    let mut chart = String::from("<div class=\"bars\">\n");
    for (name, value) in rows {
        let series = series(name);
        let shown = value.map_or("–".to_string(), |v| format!("{v:.3}"));
        let width = number(100.0 * value.unwrap_or(0.0).clamp(0.0, 1.0));
        chart.push_str(&format!(
            "<div class=\"bar-name\">{name}</div>\
             <svg class=\"bar\" width=\"100%\" height=\"20\" role=\"img\" aria-label=\"{name}: {shown}\">\
             <title>{name}: {shown}</title><rect class=\"track\" width=\"100%\" height=\"20\" rx=\"4\"/>\
             <rect class=\"fill series-{series}\" width=\"{width}%\" height=\"20\" rx=\"4\"/>\
             <line class=\"chance-under\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"20\"/>\
             <line class=\"chance\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"20\"/></svg>\
             <div class=\"bar-value\">{shown}</div>\n",
            name = escape(name)
        ));
    }
    chart.push_str("</div>\n");
    chart
}

/// The number of a detector's colour and dash pattern, the same in every chart.
pub fn series(name: &str) -> usize {
    let name = name.to_lowercase();
    let known = ["fused", "local", "motion", "semantic", "difference"];
    known.iter().position(|known| name.contains(known)).unwrap_or(known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(truth: Vec<(u64, u64)>, events: &[(u64, u64)]) -> ClipTrack {
        let announced = events
            .iter()
            .map(|&(first, last)| AnnouncedEvent {
                first,
                last,
                kind: None,
                peak_score: 0.9,
                peak_frame: first,
            })
            .collect();
        let scores = (0..100).map(|i| if i == 40 { 0.9 } else { 0.1 }).collect();
        ClipTrack { name: "a & b".into(), frame_rate: 2.0, scores, truth, announced, video: None }
    }

    #[test]
    fn matching_is_that_of_the_evaluation() {
        // At two frames a second the slack is two frames: range [11, 20] reaches to frame 21 from 0.
        let hit = matched(&clip(vec![(11, 20), (90, 95)], &[(21, 30)]));
        assert_eq!((hit.found, hit.right), (vec![true, false], vec![true]));
        let miss = matched(&clip(vec![(11, 20)], &[(22, 30)]));
        assert_eq!((miss.found, miss.right), (vec![false], vec![false]));
    }

    #[test]
    fn a_timeline_by_hand() {
        let chart = timeline(&clip(vec![(11, 20)], &[(40, 49)]), 0.5);
        // Frames 11 to 20 of 100, from 1; the event's ten frames from 40; the peak in its middle.
        assert!(chart.contains(r#"class="truth miss" x="10%" width="10%""#));
        assert!(chart.contains(r#"class="alarm miss" x="40%" width="10%""#));
        assert!(chart.contains(r#"class="peak miss" cx="40.5%" cy="17""#));
        // The peak at (40.5 of 100, 0.9); the area above the threshold starts and ends on it.
        assert!(chart.contains(" 405,17 "));
        assert!(chart.contains(r#"class="above" points="5,53 400,53 405,17 410,53"/>"#));
        assert!(chart.contains("a &amp; b") && !chart.contains("a & b"));
        assert!(chart.contains(">0:40</text>") && chart.contains("false alarms: 1"));
    }
}
