use inference::hysteresis;
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, MotionSpec, SmoothingSpec, ZScore,
};

use super::*;

/// Ten frames a second; a score in tenths is one character.
const RULES: Rules = Rules {
    enter: 0.5,
    exit: 0.3,
    min_duration: 0.2,
    end_after: 0.3,
    cool_down: 0.0,
    update_every: 100.0,
    longest: LONGEST,
    normal_level: 0.0,
};

/// Runs a score track (one digit a frame, tenths) and gives `phase@frame` of each message.
fn run(rules: Rules, track: &str) -> Vec<String> {
    let mut detection = Detection::new(rules);
    let mut out = Vec::new();
    for (frame, c) in track.chars().enumerate() {
        let score = f64::from(c.to_digit(10).unwrap()) / 10.0;
        // An exact multiple would leave the comparison with the durations to rounding.
        let time = (frame as f64 * 100.0).round() / 1000.0 + frame as f64 * 1e-9;
        let seen = Observation {
            frame: frame as u64,
            time,
            score,
            kind: None,
            region: None,
            vetoed: false,
        };
        if let Some(t) = detection.push(seen) {
            out.push(format!("{:?}@{frame}", t.phase));
        }
    }
    if let Some(t) = detection.finish() {
        out.push(format!("{:?}@finish", t.phase));
    }
    out
}

#[test]
fn table() {
    let instant = Rules { min_duration: 0.0, ..RULES };
    let cool = Rules { cool_down: 0.5, ..RULES };
    let chatty = Rules { update_every: 0.2, ..RULES };
    let cases: &[(&str, Rules, &str, &[&str])] = &[
        ("quiet", RULES, "0001234432100", &[]),
        ("just below enter", RULES, "0044444444400", &[]),
        ("too short", RULES, "005500000000", &[]),
        ("exactly long enough", RULES, "00555000000", &["New@4", "End@8"]),
        ("held by hysteresis", RULES, "0053300000000", &["New@4", "End@8"]),
        ("dips do not end it", RULES, "00555005500550000", &["New@4", "End@16"]),
        ("a dip ends a pending one", RULES, "0052555000000", &["New@6", "End@10"]),
        ("instant", instant, "00500000", &["New@2", "End@6"]),
        ("stream ends in it", RULES, "0055555", &["New@4", "End@finish"]),
        ("stream ends in a pending one", RULES, "000055", &[]),
        ("two", RULES, "0055500005550000", &["New@4", "End@8", "New@11", "End@15"]),
        ("cool-down swallows the second", cool, "00555000055500000", &["New@4", "End@8"]),
        // The score is still high when the cool-down (frame 8 + 5) is over.
        (
            "a long one after cool-down",
            cool,
            "005550000555555550000",
            &["New@4", "End@8", "New@15", "End@20"],
        ),
        (
            "updates are limited",
            chatty,
            "0055555555000",
            &["New@4", "Update@6", "Update@8", "End@finish"],
        ),
    ];
    for (name, rules, track, expected) in cases {
        assert_eq!(run(*rules, track), *expected, "{name}: {track}");
    }
}

#[test]
fn an_incident_knows_its_first_peak_and_last_frame() {
    let mut detection = Detection::new(RULES);
    let mut messages = Vec::new();
    for (frame, score) in
        [0.1, 0.6, 0.9, 0.7, 0.95, 0.95, 0.4, 0.0, 0.0, 0.0, 0.0].iter().enumerate()
    {
        let region = Some(Region { x: frame as f32, y: 0.0, width: 0.1, height: 0.1 });
        let kind = Some(frame as u16);
        let time = frame as f64 / 10.0 + frame as f64 * 1e-9;
        messages.extend(detection.push(Observation {
            frame: frame as u64,
            time,
            score: *score,
            kind,
            region,
            vetoed: false,
        }));
        match frame {
            0 => assert_eq!(detection.peak_frame(), None),
            3 => assert_eq!(detection.peak_frame(), Some(2)),
            6 => assert_eq!(detection.peak_frame(), Some(4)),
            _ => {}
        }
    }
    let [new, end] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((new.phase, new.incident.sequence, new.incident.number), (Phase::New, 0, 0));
    assert_eq!((new.incident.first.frame, new.incident.peak.frame), (1, 2));
    assert_eq!((end.phase, end.incident.sequence, end.incident.number), (Phase::End, 1, 0));
    // The first of two equal peaks, with its own kind and region.
    assert_eq!((end.incident.peak.frame, end.incident.peak.kind), (4, Some(4)));
    assert_eq!(end.incident.peak.region.unwrap().x, 4.0);
    assert_eq!((end.incident.last.frame, end.score), (6, 0.4));
    assert!(!detection.is_active());
}

#[test]
fn a_score_that_is_not_a_number_counts_as_nothing() {
    let mut detection = Detection::new(Rules { min_duration: 0.0, end_after: 0.0, ..RULES });
    let seen = |frame: u64, score| Observation {
        frame,
        time: frame as f64,
        score,
        kind: None,
        region: None,
        vetoed: false,
    };
    assert_eq!(detection.push(seen(0, f64::NAN)), None);
    assert_eq!(detection.push(seen(1, 0.9)).unwrap().phase, Phase::New);
    let end = detection.push(seen(2, f64::INFINITY)).unwrap();
    assert_eq!((end.phase, end.incident.peak.score), (Phase::End, 0.9));
}

#[test]
fn a_gap_in_time_ends_a_running_incident_and_starts_afresh() {
    let mut detection = Detection::new(RULES);
    let seen = |frame: u64, time| Observation {
        frame,
        time,
        score: 0.9,
        kind: None,
        region: None,
        vetoed: false,
    };
    detection.push(seen(0, 0.0));
    assert!(detection.push(seen(1, 0.5)).is_some());
    assert_eq!(detection.finish().unwrap().phase, Phase::End);
    assert!(detection.push(seen(2, 60.0)).is_none());
    let again = detection.push(seen(3, 61.0)).unwrap();
    assert_eq!((again.phase, again.incident.number), (Phase::New, 1));
}

#[test]
fn a_veto_keeps_incidents_from_beginning_and_does_not_end_one() {
    let rules = Rules {
        enter: 0.5,
        exit: 0.4,
        min_duration: 0.2,
        end_after: 0.3,
        cool_down: 0.0,
        update_every: 100.0,
        longest: LONGEST,
        normal_level: 0.0,
    };
    let story = |vetoed: std::ops::Range<u64>| {
        let mut detection = Detection::new(rules);
        let mut out = Vec::new();
        for frame in 0..14 {
            let score = if (2..9).contains(&frame) { 0.9 } else { 0.0 };
            let transition = detection.push(Observation {
                frame,
                time: frame as f64 * 0.1,
                score,
                kind: None,
                region: None,
                vetoed: vetoed.contains(&frame),
            });
            out.extend(transition.map(|t| (t.phase, t.incident.first.frame)));
        }
        out
    };
    assert_eq!(story(0..0), [(Phase::New, 2), (Phase::End, 2)]);
    // Over the whole; at its beginning, pending included; after it was announced.
    assert_eq!(story(0..14), []);
    assert_eq!(story(2..4), [(Phase::New, 4), (Phase::End, 4)]);
    assert_eq!(story(3..4), [(Phase::New, 4), (Phase::End, 4)]);
    assert_eq!(story(5..14), [(Phase::New, 2), (Phase::End, 2)]);
}

/// Drawn scores in 0 to 1 that repeat, as the normal frames of a site have them.
fn flicker(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A model before the normal level was stated: one detector, and a scale that followed how strong its
/// pseudo events were.
fn older_model(threshold: f64, scale: f64) -> Detectors {
    Detectors {
        input: InputSpec { width: 32, height: 32, frame_rate: 10.0 },
        local: None,
        motion: Some(MotionSpec {
            box_size: 8,
            epsilon: 1.0,
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
            excess_over: None,
        }),
        semantic: None,
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
        calibration: Calibration { threshold, scale, false_alarms_per_hour: 0.25, normal: None },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.3,
            end_after: 1.0,
            cool_down: 1.0,
        },
    }
}

#[test]
fn every_incident_once_begun_never_ends() {
    // The drawn scene of seed 90125: a scale of 17.6, normal frames that score 0.41 to 0.47, ten
    // events of four seconds that score 0.7, in ten minutes.
    let model = older_model(4.3, 17.6);
    let mut drawn = flicker(90_125);
    let scores: Vec<f64> = (0..6000)
        .map(|frame| if frame % 600 >= 560 { 0.7 } else { 0.41 + 0.06 * drawn() })
        .collect();
    let watch = |exit: f64| {
        let EventSpec { enter, min_duration, end_after, cool_down, .. } = model.events;
        let mut detection = Detection::new(Rules {
            enter,
            exit,
            min_duration,
            end_after,
            cool_down,
            update_every: 1e9,
            longest: 1e9,
            normal_level: 0.0,
        });
        let mut ends = Vec::new();
        for (frame, score) in scores.iter().enumerate() {
            let seen = Observation {
                frame: frame as u64,
                time: frame as f64 / 10.0,
                score: *score,
                kind: None,
                region: None,
                vetoed: false,
            };
            let end = detection.push(seen).filter(|t| t.phase == Phase::End);
            ends.extend(end.map(|t| (t.incident.first.frame, frame as u64)));
        }
        ends
    };
    assert_eq!(watch(model.events.exit), [], "the fault: none ends while the film runs");
    let ends = watch(hysteresis::sound_events(&model).exit);
    let begun: Vec<u64> = ends.iter().map(|(first, _)| *first).collect();
    // The last event ends with the film.
    assert_eq!(begun, (0..9).map(|i| 560 + 600 * i).collect::<Vec<_>>());
    // Each within three seconds after its event.
    assert!(ends.iter().all(|(first, end)| end - (first + 39) <= 30), "{ends:?}");
}

#[test]
fn a_threshold_of_the_users_stays_above_normal_too() {
    let rules = Rules { exit: 0.48, normal_level: 0.46, ..RULES };
    // In proportion it would be 0.4608 at 0.48, and 0.451 at 0.47: the latter lies within.
    assert!((rules.with_threshold(0.48).exit - 0.4608).abs() < 1e-12);
    assert!((rules.with_threshold(0.47).exit - 0.465).abs() < 1e-12);
    // A threshold within normal footage is the user's to choose.
    assert!(rules.with_threshold(0.3).exit < 0.3);
}

#[test]
fn a_score_that_stays_high_for_minutes_is_a_state_and_not_an_endless_incident() {
    let rules = Rules { longest: 120.0, update_every: 1e9, cool_down: 1.0, ..RULES };
    let mut detection = Detection::new(rules);
    let (mut messages, mut lasting) = (Vec::new(), 0);
    for frame in 0..7200_u64 {
        // High from the first to the tenth minute, with dips of a tenth of a second; then normal, and
        // at last an event.
        let score = match frame {
            600..6000 if frame % 50 != 0 => 0.9,
            6800..6850 => 0.8,
            _ => 0.1,
        };
        let seen = Observation {
            frame,
            time: frame as f64 / 10.0 + frame as f64 * 1e-9,
            score,
            kind: None,
            region: None,
            vetoed: false,
        };
        messages.extend(detection.push(seen).map(|t| (t.phase, frame)));
        lasting += u64::from(detection.is_lasting());
        assert!(!(detection.is_lasting() && detection.is_active()));
    }
    let [(Phase::New, begun), (Phase::End, ended), (Phase::New, again), (Phase::End, _)] =
        messages[..]
    else {
        panic!("{messages:?}")
    };
    // Two minutes and no longer: that bounds the siren.
    assert_eq!((begun, ended), (603, 1801));
    assert_eq!(again, 6802);
    assert!((4195..4210).contains(&lasting), "{lasting}");
}

#[test]
fn what_lasts_is_over_with_the_stream() {
    let mut detection = Detection::new(Rules { longest: 1.0, ..RULES });
    let seen = |frame: u64| Observation {
        frame,
        time: frame as f64 / 10.0,
        score: 0.9,
        kind: None,
        region: None,
        vetoed: false,
    };
    for frame in 0..30 {
        detection.push(seen(frame));
    }
    assert!(detection.is_lasting());
    assert_eq!(detection.finish(), None);
    assert!(!detection.is_lasting());
}
