//! A whole report of a small, made-up evaluation.

use super::*;
use crate::evaluation::{ClipResult, Evaluation};

/// Two clips, one of them with an awkward name, and an alert each with and without a picture.
fn sample(folder: &Path) -> ReportData {
    let picture = image::RgbImage::from_pixel(8, 6, image::Rgb([90, 120, 150]));
    picture.save(folder.join("alert.png")).unwrap();
    let clip = |name: &str, truth: Vec<(u64, u64)>| ClipTrack {
        name: name.into(),
        frame_rate: 10.0,
        scores: (0..300).map(|i| if (100..150).contains(&i) { 0.8 } else { 0.2 }).collect(),
        truth,
        announced: vec![AnnouncedEvent {
            first: 100,
            last: 149,
            kind: Some("large <object>".into()),
            peak_score: 0.8,
            peak_frame: 120,
        }],
        video: None,
    };
    let alert = |picture: &str, matched| Alert {
        clip: "gate".into(),
        seconds: 12.0,
        kind: Some("large <object>".into()),
        peak_score: 0.8,
        matched: Some(matched),
        picture: Some(picture.into()),
        region: Some(Area { x: 0.25, y: 0.5, width: 0.5, height: 0.25 }),
    };
    let result = |name: &str, abnormal_frames| ClipResult {
        name: name.into(),
        frames: 300,
        abnormal_frames,
        auc: (abnormal_frames > 0).then_some(0.975),
        events_truth: usize::from(abnormal_frames > 0),
        events_detected: usize::from(abnormal_frames > 0),
        false_alarms: usize::from(abnormal_frames == 0),
        delays: vec![],
    };
    ReportData {
        title: "Detection report".into(),
        subtitle: "a & b".into(),
        evaluation: Evaluation {
            auc_micro: Some(0.9625),
            auc_macro: Some(0.975),
            average_precision: Some(0.8),
            auc_frame_difference: Some(0.7),
            auc_local: Some(0.9),
            auc_motion: Some(0.85),
            auc_semantic: None,
            events_truth: 1,
            events_detected: 1,
            false_alarms: 1,
            false_alarms_per_hour: Some(65.5),
            normal_hours: 1.0 / 65.5,
            frames: 600,
            clips: vec![result("gate", 50), result("\"yard\" <2>", 0)],
            ..Evaluation::default()
        },
        targets: Targets {
            auc_micro: Some(0.95),
            false_alarms_per_hour: Some(6.0),
            ..Targets::default()
        },
        facts: Facts {
            frames_per_second: Some(41.0),
            backend: "ONNX Runtime".into(),
            int8: true,
            seed: Some(1),
            seconds: vec![("synthesis".into(), 12.0), ("training".into(), 71.0)],
            threshold: 0.5,
            hashes: vec![("bundle".into(), "ab12".into())],
            configuration: Some("[local]\nname = \"<&\"".into()),
        },
        clips: vec![clip("gate", vec![(101, 150)]), clip("\"yard\" <2>", vec![])],
        roc: vec![RocCurve {
            name: "fused".into(),
            auc: Some(0.9625),
            points: vec![(0.0, 0.0), (0.1, 0.9), (1.0, 1.0)],
        }],
        precision_recall: vec![],
        norms: None,
        alerts: vec![alert("alert.png", true), alert("absent.jpg", false)],
        contact_sheet: Some("sheet.jpg".into()),
        int8_difference: Some(Int8Difference {
            auc_fp32: Some(0.964),
            auc_int8: Some(0.9625),
            ..Int8Difference::default()
        }),
    }
}

/// Values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let opening = format!(" {attribute}=\"");
    html.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_page_is_whole_and_asks_nothing_of_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let data = sample(folder.path());
    let report = render(&data, folder.path());
    let html = &report.html;

    let sources = values(html, "src");
    assert_eq!(sources.len(), 1);
    assert!(sources[0].starts_with("data:image/png;base64,iVBOR"));
    let links = values(html, "href");
    assert!(!links.is_empty() && links.iter().all(|link| link.starts_with('#')));
    let ids = values(html, "id");
    assert!(links.iter().all(|link| ids.contains(&&link[1..])), "a link leads nowhere");
    for forbidden in ["http:", "https:", "//", "@import", "<script", "<link"] {
        let outside: String = html
            .split("base64,")
            .map(|part| match part.split_once('"') {
                Some((base64, rest)) if base64.len() > 40 => rest,
                _ => part,
            })
            .collect();
        assert!(!outside.contains(forbidden), "{forbidden}");
    }

    for tag in [
        "html", "head", "body", "main", "section", "figure", "svg", "g", "table", "tr", "details",
        "article", "div", "p", "ul", "li", "text", "h1", "h2", "h3", "pre", "title", "style",
    ] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        let closed = html.matches(&format!("</{tag}>")).count();
        assert!(opened == closed && opened > 0, "{tag}: {opened} opened, {closed} closed");
    }

    assert!(html.contains("<h3>gate</h3>"));
    assert!(html.contains("<h3>&quot;yard&quot; &lt;2&gt;</h3>"));
    assert!(html.contains("large &lt;object&gt;") && !html.contains("<object>"));
    assert!(html.contains("name = &quot;&lt;&amp;&quot;"));
    // 0.9625 meets its target of 0.95; 65.5 false alarms an hour miss theirs of 6.
    assert!(html.contains("<span>✓ met</span> target\u{a0}≥\u{a0}0.95"));
    assert!(html.contains("<span>✗ missed</span> target\u{a0}≤\u{a0}6"));
    assert!(html.contains("+0.263 over frame difference"));
    assert!(html.contains("−0.0015"));
    assert!(!html.contains("Semantic head"), "a detector that did not run has no bar");
    assert!(html.contains("x=\"25%\" y=\"50%\" width=\"50%\" height=\"25%\""));
    let named: Vec<&Path> = report.missing.iter().map(|(path, _)| path.as_path()).collect();
    assert_eq!(named, [Path::new("absent.jpg"), Path::new("sheet.jpg")]);
    assert!(html.contains("<code>absent.jpg</code>"));
}

#[test]
fn a_file_says_the_same_and_a_wrong_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = sample(folder.path());
    let path = folder.path().join("report.json");
    let text = serde_json::to_string_pretty(&data).unwrap();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(ReportData::read(&path).unwrap(), data);

    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        ReportData::read(&path).unwrap_err().to_string()
    };
    let message = refused(&text.replace("\"int8\": true", "\"int8\": 8"));
    assert!(message.contains("report.json") && message.contains("line "), "{message}");
    let message = refused(&text.replace("\"subtitle\"", "\"subtitel\""));
    assert!(message.contains("subtitel"), "{message}");
    let mut wrong = data.clone();
    wrong.clips[0].truth = vec![(101, 301)];
    assert!(refused(&serde_json::to_string(&wrong).unwrap()).contains("clips[0].truth[0]"));
    wrong = data;
    wrong.clips[1].scores[7] = 1.5;
    assert!(refused(&serde_json::to_string(&wrong).unwrap()).contains("clips[1].scores[7]"));
}

#[test]
fn a_long_report_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = sample(folder.path());
    let mut clip = data.clips[0].clone();
    clip.scores = (0..40_000).map(|i| (i * 7919 % 1000) as f64 / 1000.0).collect();
    data.clips = vec![clip; 100];
    data.alerts = vec![data.alerts[0].clone(); 2000];
    let html = render(&data, folder.path()).html;
    assert!(html.len() < 4_000_000, "{} bytes", html.len());
    assert!(html.contains("<summary>84 more clips</summary>"));
    assert!(html.contains("1500 further alerts are not shown"));
}
