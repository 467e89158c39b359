//! The time tie by hand, and by seed: cameras whose clocks, networks and pictures are out of order.

mod simulated;

use super::*;

const TIMEOUT: f64 = 10.0;

/// Ten frames a second, each a key frame, in no time; `stamp` tells the stamp of each.
struct Played {
    tie: Tie,
    /// Number and time of the frames shown.
    shown: Vec<(usize, f64)>,
    gaps: Vec<Break>,
    lost: Option<(f64, String)>,
}

fn play(frames: usize, stamp: impl Fn(usize) -> f64) -> Played {
    let mut played =
        Played { tie: Tie::new(TIMEOUT, 0.0), shown: vec![], gaps: vec![], lost: None };
    for i in 0..frames {
        let now = i as f64 / 10.0;
        let stamp = stamp(i);
        let unit = Unit { stamp, key: true, whole: true, waited: true, wanted: true };
        for _ in 0..4 {
            match played.tie.unit(&unit, now) {
                Step::TieAgain(why) => {
                    played.gaps.push(why);
                    continue;
                }
                Step::Deliver { taken, .. } => {
                    played.shown.push((i, taken));
                    played.tie.shown(now);
                }
                Step::Lost(why) => {
                    played.lost.get_or_insert((now, why));
                }
                Step::Skip | Step::Undated => {}
            }
            break;
        }
    }
    played
}

fn stamped(i: usize) -> f64 {
    1000.0 + i as f64 / 10.0
}

#[test]
fn a_camera_with_nothing_odd_has_its_own_time() {
    let played = play(600, stamped);
    assert_eq!((played.shown.len(), played.gaps.len()), (600, 0));
    assert!(played.shown.iter().all(|(i, taken)| (taken - *i as f64 / 10.0).abs() < 1e-9));
}

#[test]
fn one_stamp_ahead_costs_one_frame() {
    for ahead in [3.0, 36_000.0, 4_294_967_296.0 / 90_000.0, -3.0, -36_000.0, f64::NAN] {
        let played = play(600, |i| stamped(i) + if i == 100 { ahead } else { 0.0 });
        assert_eq!((played.shown.len(), played.gaps.len()), (599, 0), "{ahead}");
        assert!(played.lost.is_none());
    }
}

#[test]
fn one_stamp_away_again_and_again_costs_those_frames() {
    for away in [40_000.0, -40_000.0] {
        let played = play(600, |i| stamped(i) + if i % 20 == 19 { away } else { 0.0 });
        assert_eq!((played.shown.len(), played.gaps.len()), (570, 0), "{away}");
    }
}

#[test]
fn a_step_of_all_stamps_is_a_gap_and_goes_on() {
    // Seconds, hours, and all of RTP's 32 bits at 90 kHz.
    for by in [-9800.0, -1.0, 0.9, 3.0, 36_000.0, 4_294_967_296.0 / 90_000.0] {
        let played = play(600, |i| stamped(i) + if i >= 40 { by } else { 0.0 });
        assert_eq!(played.shown.len(), 599, "{by}");
        assert_eq!(played.gaps.len(), 1, "{by}");
        let Break::Jump(told) = played.gaps[0] else { panic!("{:?}", played.gaps) };
        assert!((told - by).abs() < 0.2, "{told} for {by}");
        let (i, taken) = played.shown[598];
        assert!((taken - i as f64 / 10.0).abs() < 1e-6, "{by}: {taken}");
    }
}

#[test]
fn equal_stamps_are_given_up_for_the_time_of_arrival() {
    let played = play(600, |_| 5.0);
    assert!(played.gaps.ends_with(&[Break::Useless]), "{:?}", played.gaps);
    assert!(played.gaps.len() <= 3);
    assert!(played.lost.is_none());
    let last: Vec<usize> = played.shown.iter().map(|(i, _)| *i).skip_while(|i| *i < 300).collect();
    assert_eq!(last, (300..600).collect::<Vec<_>>(), "every frame in the second half");
    assert!(played.shown.iter().rev().take(300).all(|(i, t)| (t - *i as f64 / 10.0).abs() < 1e-9));
}

#[test]
fn clocks_that_are_slow_or_fast_are_followed() {
    for pace in [0.998, 0.95, 0.84, 0.8, 1.002, 1.05, 1.2] {
        let played = play(6000, |i| 1000.0 + pace * i as f64 / 10.0);
        assert_eq!((played.shown.len(), played.gaps.len()), (6000, 0), "{pace}");
        // The time of the stream goes as ours does.
        let (from, to) = (played.shown[100].1, played.shown[5999].1);
        assert!((to - from - 589.9).abs() < 0.5, "{pace}: {}", to - from);
        let steps = played.shown.windows(2).map(|w| w[1].1 - w[0].1);
        let (least, most) = steps.skip(50).fold((9.0f64, 0.0f64), |a, s| (a.0.min(s), a.1.max(s)));
        assert!(least > 0.06 && most < 0.14, "{pace}: {least} to {most}");
    }
}

#[test]
fn a_camera_that_accepts_play_and_sends_nothing_is_told_so() {
    let mut tie = Tie::new(TIMEOUT, 100.0);
    for i in 0..100 {
        assert_eq!(tie.silence(true, 100.0 + f64::from(i) / 10.0), Step::Skip);
    }
    let step = tie.silence(true, 110.1);
    let told = "the camera has accepted to play and sends nothing for 10 s";
    assert_eq!(step, Step::Lost(told.into()));
    assert!(!tie.began());
}

#[test]
fn the_timeout_counts_frames_that_are_shown() {
    // Frames come, but the first key frame never does.
    let mut tie = Tie::new(TIMEOUT, 0.0);
    let mut lost = None;
    for i in 0..200 {
        let now = f64::from(i) / 10.0;
        let unit = Unit { stamp: now, key: false, whole: true, waited: true, wanted: true };
        if let Step::Lost(why) = tie.unit(&unit, now) {
            lost = Some((now, why));
            break;
        }
    }
    let (now, why) = lost.unwrap();
    assert!((10.0..10.2).contains(&now) && why.contains("no frame that can be shown"), "{why}");
}

#[test]
fn damaged_frames_are_counted_with_those_behind_them() {
    // A key frame in 30, each of them damaged: the old count would have come to ten.
    let mut tie = Tie::new(1000.0, 0.0);
    let mut units = 0;
    loop {
        let now = f64::from(units) / 30.0;
        let unit =
            Unit { stamp: now, key: units % 30 == 0, whole: true, waited: true, wanted: true };
        units += 1;
        match tie.unit(&unit, now) {
            Step::Deliver { .. } if tie.damaged() => break,
            Step::Deliver { .. } | Step::Skip => {}
            Step::Lost(why) => {
                assert!(why.contains("300 damaged frames in a row"), "{why}");
                break;
            }
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(units, MAX_DAMAGED);
    // One that can be decoded begins the count anew.
    tie.shown(0.0);
    assert!(!tie.damaged());
}

#[test]
fn nobody_who_wants_no_frames_is_told_that_none_is_shown() {
    let mut tie = Tie::new(TIMEOUT, 0.0);
    let unit = |now: f64, wanted| Unit { stamp: now, key: true, whole: true, waited: true, wanted };
    for i in 0..1000 {
        let now = f64::from(i) / 10.0;
        assert_eq!(tie.unit(&unit(now, false), now), Step::Skip);
        assert_eq!(tie.silence(false, now), Step::Skip);
    }
    // Wanted again: from a key frame on, and at once.
    let step = tie.unit(&unit(100.0, true), 100.0);
    assert_eq!(step, Step::Deliver { taken: 100.0, flush: true });
    // A camera that is gone is noticed, wanted or not.
    assert_eq!(tie.silence(false, 109.9), Step::Skip);
    let mut tie = Tie::new(TIMEOUT, 0.0);
    tie.unit(&unit(1.0, false), 1.0);
    assert_eq!(tie.silence(false, 11.0), Step::Skip);
    assert!(matches!(tie.silence(false, 21.1), Step::Lost(_)));
}

#[test]
fn decoding_that_falls_behind_lets_go_up_to_a_key_frame_that_is_on_time() {
    // A key frame a second. From frame 100 on, four seconds are lost by decoding; what has come
    // meanwhile is read in no time.
    let mut tie = Tie::new(TIMEOUT, 0.0);
    let mut shown = Vec::new();
    for i in 0..200usize {
        let taken = i as f64 / 10.0;
        let now = if (100..140).contains(&i) { 14.0 + i as f64 * 1e-4 } else { taken };
        let waited = !(100..140).contains(&i);
        let unit = Unit { stamp: taken, key: i % 10 == 0, whole: true, waited, wanted: true };
        match tie.unit(&unit, now) {
            Step::Deliver { flush, .. } => {
                tie.shown(now);
                shown.push((i, flush));
            }
            step => assert_eq!(step, Step::Skip, "{i}"),
        }
    }
    let late: Vec<usize> = shown.iter().map(|s| s.0).filter(|i| (100..150).contains(i)).collect();
    assert_eq!(late, (140..150).collect::<Vec<_>>(), "130 is late by a second and a bit");
    let flushed: Vec<usize> = shown.iter().filter(|s| s.1).map(|s| s.0).collect();
    assert_eq!(flushed, [0, 140]);
}

#[test]
fn a_network_that_is_slower_from_now_on_is_a_gap() {
    let mut tie = Tie::new(TIMEOUT, 0.0);
    let (mut gaps, mut shown) = (Vec::new(), 0);
    for i in 0..300 {
        let stamp = f64::from(i) / 10.0;
        let now = stamp + if i >= 100 { 3.0 } else { 0.0 };
        let unit = Unit { stamp, key: true, whole: true, waited: true, wanted: true };
        let mut step = tie.unit(&unit, now);
        if let Step::TieAgain(why) = step {
            gaps.push(why);
            step = tie.unit(&unit, now);
        }
        if let Step::Deliver { .. } = step {
            tie.shown(now);
            shown += 1;
        }
    }
    assert!(matches!(gaps[..], [Break::Late(by)] if by > 1.0 && by < 3.1), "{gaps:?}");
    assert!(shown > 270, "{shown}");
}
