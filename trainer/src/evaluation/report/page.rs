//! The page: its sections from top to bottom.

use super::charts::{self, matched};
use super::data::{Alert, ClipTrack, ReportData};
use super::headline::overview;
use super::pictures::Pictures;
use super::svg::{clock, escape, number};
use super::{clips, figures};

const STYLE: &str = include_str!("style.css");

/// Timelines beyond these are folded away, and beyond the second left out: a page is read, and its
/// size stays bounded.
const OPEN_TIMELINES: usize = 16;
pub(super) const MAX_TIMELINES: usize = 240;
/// Pictures of a filmstrip, each below its part of the timeline, and their width in pixels. Only
/// timelines that are not folded away have one: 16 of 8 pictures of some 4 KiB.
const STRIP_FRAMES: usize = 8;
const STRIP_WIDTH: usize = 160;
/// Alerts beyond these have no picture.
const MAX_PICTURES: usize = 60;
const MAX_ALERTS: usize = 500;
/// Longer sides of pictures in pixels, where their files are large.
const ALERT_SIDE: u32 = 720;
const SHEET_SIDE: u32 = 2000;

/// The whole page.
pub fn page(data: &ReportData, pictures: &mut Pictures<'_>) -> String {
    let sections: [(&str, &str, String); 13] = [
        ("overview", "Overview", overview(data)),
        ("figures", "Figures", figures::table(&data.evaluation)),
        ("kinds", "Kinds", figures::kinds(&data.evaluation)),
        ("detectors", "Detectors", detectors(data)),
        ("curves", "Curves", figures::curves(data)),
        ("calibration", "Calibration", figures::calibration(&data.evaluation)),
        ("timelines", "Timelines", timelines(data, pictures)),
        ("clips", "Clips", clips::table(data)),
        ("alerts", "Alerts", alerts(data, pictures)),
        ("norms", "Feature norms", figures::norms(data)),
        ("training", "Training clips", contact_sheet(data, pictures)),
        ("time", "Time", stages(data)),
        ("configuration", "Configuration", configuration(data)),
    ];
    let shown = || sections.iter().filter(|(_, _, body)| !body.is_empty());
    let links: String =
        shown().map(|(id, name, _)| format!("<a href=\"#{id}\">{name}</a>")).collect();
    let body: String = shown()
        .map(|(id, name, body)| format!("<section id=\"{id}\"><h2>{name}</h2>\n{body}</section>\n"))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{definitions}<header>\n<h1>{title}</h1>\n\
         <p class=\"subtitle\">{subtitle}</p>\n{facts}</header>\n\
         <nav aria-label=\"Sections\">{links}</nav>\n<main>\n{body}</main>\n</body>\n</html>\n",
        title = escape(&data.title),
        definitions = charts::DEFINITIONS,
        subtitle = escape(&data.subtitle),
        facts = facts(data),
    )
}

fn facts(data: &ReportData) -> String {
    let facts = &data.facts;
    let mut items = Vec::new();
    if !facts.backend.is_empty() {
        items.push(("backend", escape(&facts.backend)));
        items.push(("model", if facts.int8 { "INT8" } else { "FP32" }.to_string()));
    }
    items.push(("threshold", number(facts.threshold)));
    items.push(("clips", data.evaluation.clips.len().to_string()));
    items.push(("frames", grouped(data.evaluation.frames as u64)));
    items.extend(facts.seed.map(|seed| ("seed", seed.to_string())));
    let items: String =
        items.iter().map(|(name, value)| format!("<li>{name} <b>{value}</b></li>")).collect();
    // A figure of one seed looks as sure as one of twenty.
    let one = facts.seed.map_or(String::new(), |_| {
        "<p class=\"note\">One training with one seed: another seed gives other figures, and how far \
         they lie apart is not in this page.</p>\n"
            .to_string()
    });
    format!("<ul class=\"facts\">{items}</ul>\n{one}")
}

fn detectors(data: &ReportData) -> String {
    let evaluation = &data.evaluation;
    let mut rows = vec![("Fused score", evaluation.auc_micro)];
    // A detector that did not run has no row; the published score and the baseline always have one.
    let parts = [
        ("Local network", evaluation.auc_local),
        ("Motion prior", evaluation.auc_motion),
        ("Semantic head", evaluation.auc_semantic),
    ];
    rows.extend(parts.into_iter().filter(|(_, auc)| auc.is_some()));
    // Each form of the baseline; the best of them is what the others are compared with.
    let forms: Vec<(String, Option<f64>)> = evaluation
        .frame_differences
        .iter()
        .map(|(form, auc)| (format!("Frame difference, {}", form.name()), Some(*auc)))
        .collect();
    rows.extend(forms.iter().map(|(name, auc)| (name.as_str(), *auc)));
    if forms.is_empty() {
        rows.push(("Frame difference", evaluation.auc_frame_difference));
    }
    format!(
        "<figure class=\"panel\"><figcaption><h3>Micro frame AUC, each detector alone</h3>\
         <p class=\"note\">Frame difference (hatched) is the baseline; the dashed mark at 0.5 is \
         chance.</p></figcaption>{}</figure>\n",
        charts::bars(&rows)
    )
}

fn timelines(data: &ReportData, pictures: &mut Pictures<'_>) -> String {
    if data.clips.is_empty() {
        return String::new();
    }
    let mut figure = |(i, clip): (usize, &ClipTrack)| {
        let matched = matched(clip);
        let mut facts = vec![clock(clip.scores.len() as f64 / clip.frame_rate, false), {
            let rate = number(clip.frame_rate);
            format!("{rate} fps")
        }];
        let result = data.evaluation.clips.iter().find(|result| result.name == clip.name);
        facts.extend(result.and_then(|r| r.auc).map(|auc| format!("AUC {auc:.3}")));
        // Without announced events nothing is known of them, which is not the same as none.
        if data.evaluation.alarms.is_some() || !clip.announced.is_empty() {
            if !clip.truth.is_empty() {
                let found = matched.found.iter().filter(|f| **f).count();
                facts.push(format!("{found} of {} events touched by an alarm", clip.truth.len()));
            }
            let wrong = matched.right.iter().filter(|r| !**r).count();
            facts.push(match wrong {
                0 => "no false alarm".to_string(),
                1 => "1 false alarm".to_string(),
                n => format!("{n} false alarms"),
            });
        }
        format!(
            "<figure class=\"panel timeline\" id=\"clip-{i}\"><figcaption><h3>{}</h3>\
             <p class=\"note\">{}</p></figcaption><div class=\"chart\">{}</div>{}</figure>\n",
            escape(&clip.name),
            facts.join(" · "),
            charts::timeline(clip, data.facts.threshold),
            if i < OPEN_TIMELINES { filmstrip(clip, pictures) } else { String::new() }
        )
    };
    let mut body = String::from(LEGEND);
    let mut rest = data.clips.iter().enumerate().take(MAX_TIMELINES);
    body.extend(rest.by_ref().take(OPEN_TIMELINES).map(&mut figure));
    let folded: String = rest.map(&mut figure).collect();
    if !folded.is_empty() {
        let count = data.clips.len().min(MAX_TIMELINES) - OPEN_TIMELINES;
        body.push_str(&format!(
            "<details><summary>{count} more clips</summary>\n{folded}</details>\n"
        ));
    }
    if data.clips.len() > MAX_TIMELINES {
        let count = data.clips.len() - MAX_TIMELINES;
        body.push_str(&format!("<p class=\"note\">{count} further clips are not drawn.</p>\n"));
    }
    body
}

/// How to read a timeline.
const LEGEND: &str = concat!(
    "<ul class=\"legend\">",
    "<li><svg width=\"34\" height=\"14\" aria-hidden=\"true\"><polyline class=\"score\" ",
    "points=\"1,11 10,9 18,3 26,10 33,8\"/></svg> score</li>",
    "<li><svg width=\"34\" height=\"14\" aria-hidden=\"true\"><line class=\"threshold\" x1=\"1\" ",
    "x2=\"33\" y1=\"7\" y2=\"7\"/></svg> threshold</li>",
    "<li><svg width=\"34\" height=\"14\" aria-hidden=\"true\"><rect class=\"band\" width=\"34\" ",
    "height=\"14\"/><rect class=\"band-hatch\" width=\"34\" height=\"14\"/></svg> true event</li>",
    "<li><svg width=\"34\" height=\"14\" aria-hidden=\"true\"><rect class=\"truth hit\" x=\"1\" ",
    "y=\"3\" width=\"14\" height=\"8\" rx=\"2\"/><rect class=\"truth miss\" x=\"19\" y=\"3\" ",
    "width=\"14\" height=\"8\" rx=\"2\"/></svg> found, missed</li>",
    "<li><svg width=\"34\" height=\"14\" aria-hidden=\"true\"><rect class=\"alarm hit\" x=\"1\" ",
    "y=\"3\" width=\"14\" height=\"8\" rx=\"2\"/><rect class=\"alarm miss\" x=\"19\" y=\"3\" ",
    "width=\"14\" height=\"8\" rx=\"2\"/></svg> alert, false alarm</li>",
    "<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><circle class=\"peak hit\" cx=\"7\" ",
    "cy=\"7\" r=\"4\"/></svg> peak</li></ul>\n",
);

/// Frames along the clip, each below its part of the timeline.
fn filmstrip(clip: &ClipTrack, pictures: &mut Pictures<'_>) -> String {
    let Some(path) = &clip.video else {
        return String::new();
    };
    let Some(frames) = pictures.strip(path, clip.scores.len(), STRIP_FRAMES, STRIP_WIDTH) else {
        return missing(path);
    };
    let picture = |(frame, uri): (usize, String)| {
        // Ranges are 1-based.
        let within = |(first, last): &(u64, u64)| (*first..=*last).contains(&(frame as u64 + 1));
        let (class, what) = match clip.truth.iter().any(within) {
            true => (" class=\"event\"", ", true event"),
            false => ("", ""),
        };
        let time = clock(frame as f64 / clip.frame_rate, true);
        let score = clip.scores[frame];
        format!(
            "<img{class} src=\"{uri}\" alt=\"At {time}, score {score:.2}{what}\" \
             title=\"{time} · {score:.2}{what}\">"
        )
    };
    let frames: String = frames.into_iter().map(picture).collect();
    format!("<div class=\"strip\">{frames}</div>")
}

fn alerts(data: &ReportData, pictures: &mut Pictures<'_>) -> String {
    if data.alerts.is_empty() {
        return String::new();
    }
    let mut cards = String::new();
    for (i, alert) in data.alerts.iter().take(MAX_ALERTS).enumerate() {
        cards.push_str(&alert_card(alert, i < MAX_PICTURES, pictures));
    }
    let mut body = format!("<div class=\"alerts\">\n{cards}</div>\n");
    if data.alerts.len() > MAX_ALERTS {
        let count = data.alerts.len() - MAX_ALERTS;
        body.push_str(&format!("<p class=\"note\">{count} further alerts are not shown.</p>\n"));
    }
    body
}

fn alert_card(alert: &Alert, with_picture: bool, pictures: &mut Pictures<'_>) -> String {
    let kind = escape(alert.kind.as_deref().unwrap_or("Event"));
    let clip = escape(&alert.clip);
    let time = clock(alert.seconds, true);
    let picture = match alert.picture.as_ref().filter(|_| with_picture) {
        None => String::new(),
        Some(path) => match pictures.embed(path, ALERT_SIDE) {
            Some(uri) => {
                let region = alert.region.map_or(String::new(), |area| {
                    let percent = |v: f64| number(100.0 * v.clamp(0.0, 1.0));
                    let (x, y) = (percent(area.x), percent(area.y));
                    let (width, height) = (percent(area.width), percent(area.height));
                    let place =
                        format!("x=\"{x}%\" y=\"{y}%\" width=\"{width}%\" height=\"{height}%\"");
                    format!(
                        "<svg class=\"region\" aria-hidden=\"true\"><rect class=\"under\" {place}/>\
                         <rect {place}/></svg>"
                    )
                });
                format!(
                    "<div class=\"picture\"><img src=\"{uri}\" alt=\"Snapshot of {clip} at {time}: \
                     {kind}\">{region}</div>"
                )
            }
            None => missing(path),
        },
    };
    let verdict = match alert.matched {
        Some(true) => "<span class=\"verdict good\">✓ true event</span>",
        Some(false) => "<span class=\"verdict bad\">✗ false alarm</span>",
        None => "",
    };
    format!(
        "<article class=\"alert\">{picture}<div class=\"about\"><h3>{kind}</h3>{verdict}\
         <p class=\"note\">{clip} · {time} · peak\u{a0}{:.2}</p></div></article>\n",
        alert.peak_score
    )
}

fn missing(path: &std::path::Path) -> String {
    format!(
        "<div class=\"picture missing\"><p>Picture missing:<br><code>{}</code></p></div>",
        escape(&path.display().to_string())
    )
}

fn contact_sheet(data: &ReportData, pictures: &mut Pictures<'_>) -> String {
    let Some(path) = &data.contact_sheet else {
        return String::new();
    };
    let picture = pictures.embed(path, SHEET_SIDE).map_or_else(
        || missing(path),
        |uri| format!("<img src=\"{uri}\" alt=\"Contact sheet of pseudo-abnormal clips\">"),
    );
    format!(
        "<figure class=\"panel sheet\"><figcaption><h3>Pseudo-abnormal clips</h3><p class=\"note\">\
         Composited from the site's own normal footage.</p></figcaption>{picture}</figure>\n"
    )
}

fn stages(data: &ReportData) -> String {
    let seconds = &data.facts.seconds;
    if seconds.is_empty() {
        return String::new();
    }
    let total: f64 = seconds.iter().map(|(_, s)| s).sum();
    let longest = seconds.iter().map(|(_, s)| *s).fold(f64::MIN_POSITIVE, f64::max);
    let shown = |s: f64| {
        if s < 60.0 { format!("{s:.1} s") } else { clock(s, false) }
    };
    let rows: String = seconds
        .iter()
        .map(|(name, s)| {
            let (name, width) = (escape(name), number(100.0 * s / longest));
            format!(
                "<div class=\"bar-name\">{name}</div><svg class=\"bar\" width=\"100%\" height=\"12\" \
                 role=\"img\" aria-label=\"{name}: {0}\"><title>{name}: {0}</title>\
                 <rect class=\"stage\" width=\"{width}%\" height=\"12\" rx=\"3\"/></svg>\
                 <div class=\"bar-value\">{0}</div>\n",
                shown(*s)
            )
        })
        .collect();
    format!(
        "<figure class=\"panel\"><figcaption><h3>{} in all</h3></figcaption>\
         <div class=\"bars stages\">\n{rows}</div></figure>\n",
        shown(total)
    )
}

fn configuration(data: &ReportData) -> String {
    let mut body = String::new();
    if !data.facts.hashes.is_empty() {
        let rows: String = data
            .facts
            .hashes
            .iter()
            .map(|(name, hash)| {
                let (name, hash) = (escape(name), escape(hash));
                format!("<dt>{name}</dt><dd><code>{hash}</code></dd>")
            })
            .collect();
        body.push_str(&format!("<details><summary>Hashes</summary><dl>{rows}</dl></details>\n"));
    }
    if let Some(text) = &data.facts.configuration {
        body.push_str(&format!(
            "<details><summary>Configuration</summary><pre>{}</pre></details>\n",
            escape(text)
        ));
    }
    body
}

/// Thousands apart by thin spaces.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
