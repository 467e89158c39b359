//! The node against a mocked pin: every transition, with the exact levels that the pin sees.

use std::vec::Vec;

use alert_wire::{Alert, MAX_POSTCARD, ModelId, Phase, SCHEMA, truncate};
use boards::{ActiveLevel, HardwareError, PinAlarm};
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock, State as Level, Transaction};

use super::*;

fn message(id: &str, sequence: u32, phase: Phase) -> Vec<u8> {
    let alert = Alert {
        schema: SCHEMA,
        id: truncate(id),
        sequence,
        phase,
        device: truncate("gate"),
        camera: truncate("north"),
        kind: truncate("bike"),
        score: 0.9,
        peak_score: 0.9,
        threshold: 0.5,
        region: None,
        started_ms: 0,
        time_ms: 0,
        uptime_ms: 0,
        duration_ms: 0,
        first_frame: 0,
        frame: 0,
        peak_frame: 0,
        time_synced: false,
        snapshot: None,
        clip: None,
        model: ModelId::default(),
    };
    let mut buffer = [0; MAX_POSTCARD];
    alert.to_postcard(&mut buffer).unwrap().to_vec()
}

type Node<const N: usize = 32> = AlarmNode<PinAlarm<Mock>, N>;

/// A node on an active-high pin that must be switched exactly so, off at the start first.
fn node<const N: usize>(config: Config, levels: &[bool]) -> Node<N> {
    let expected: Vec<_> = [false]
        .iter()
        .chain(levels)
        .map(|high| Transaction::set(if *high { Level::High } else { Level::Low }))
        .collect();
    Node::new(PinAlarm::new(Mock::new(&expected), ActiveLevel::High), config, 0).unwrap()
}

fn done<const N: usize>(node: Node<N>) {
    node.release().release().done();
}

#[test]
fn on_at_new_off_when_all_have_ended() {
    let mut node: Node = node(Config::default(), &[true, false]);
    assert_eq!(node.state(), State::Quiet);
    assert_eq!(node.on_message(&message("a", 0, Phase::New), 10), Ok(Outcome::Accepted));
    assert_eq!(node.state(), State::Alarm);
    node.on_message(&message("b", 0, Phase::New), 20).unwrap();
    node.on_message(&message("a", 1, Phase::Update), 30).unwrap();
    node.on_message(&message("a", 2, Phase::End), 40).unwrap();
    assert_eq!((node.state(), node.active()), (State::Alarm, 1));
    node.on_message(&message("b", 1, Phase::End), 50).unwrap();
    assert_eq!((node.state(), node.active()), (State::Quiet, 0));
    done(node);
}

#[test]
fn replays_change_nothing() {
    let mut node: Node = node(Config::default(), &[true, false]);
    let new = message("a", 0, Phase::New);
    let update = message("a", 1, Phase::Update);
    let end = message("a", 2, Phase::End);
    node.on_message(&new, 0).unwrap();
    assert_eq!(node.on_message(&new, 1), Ok(Outcome::Replayed));
    node.on_message(&end, 2).unwrap();
    // Neither a repeated beginning nor an update that was overtaken by the end starts it again.
    for old in [&new, &update, &end] {
        assert_eq!(node.on_message(old, 3), Ok(Outcome::Replayed));
    }
    assert_eq!(node.on_message(&message("a", 9, Phase::New), 4), Ok(Outcome::Replayed));
    assert_eq!(node.state(), State::Quiet);
    done(node);
}

#[test]
fn a_node_started_in_the_middle_follows_from_the_first_update() {
    let mut node: Node = node(Config::default(), &[true, false]);
    node.on_message(&message("a", 7, Phase::Update), 0).unwrap();
    assert_eq!(node.state(), State::Alarm);
    node.on_message(&message("a", 8, Phase::End), 1).unwrap();
    // An end alone, and its beginning arriving after it, are no alarm.
    node.on_message(&message("b", 3, Phase::End), 2).unwrap();
    assert_eq!(node.on_message(&message("b", 0, Phase::New), 3), Ok(Outcome::Replayed));
    assert_eq!(node.state(), State::Quiet);
    done(node);
}

#[test]
fn acknowledged_until_the_next_incident() {
    let mut node: Node = node(Config::default(), &[true, false, true, false]);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    node.acknowledge().unwrap();
    assert_eq!(node.state(), State::Acknowledged);
    node.on_message(&message("a", 1, Phase::Update), 1).unwrap();
    assert_eq!(node.state(), State::Acknowledged);
    node.on_message(&message("b", 0, Phase::New), 2).unwrap();
    assert_eq!(node.state(), State::Alarm);
    node.on_message(&message("a", 2, Phase::End), 3).unwrap();
    node.on_message(&message("b", 1, Phase::End), 4).unwrap();
    assert_eq!(node.state(), State::Quiet);
    done(node);
}

#[test]
fn a_latched_alarm_waits_for_someone() {
    let mut node: Node = node(Config { latch: true, ..Config::default() }, &[true, false]);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    node.on_message(&message("a", 1, Phase::End), 1).unwrap();
    assert_eq!(node.state(), State::Latched);
    node.tick(60_000).unwrap();
    assert_eq!(node.state(), State::Latched);
    node.acknowledge().unwrap();
    assert_eq!(node.state(), State::Quiet);
    done(node);
}

#[test]
fn silence_sounds_until_a_message_comes() {
    let mut node: Node = node(Config::default(), &[true, false, true, false]);
    node.tick(89_999).unwrap();
    assert_eq!(node.state(), State::Quiet);
    node.tick(90_000).unwrap();
    assert_eq!(node.state(), State::LinkLost);
    node.on_heartbeat(100_000).unwrap();
    assert_eq!(node.state(), State::Quiet);
    // Bytes that are no alert are no sign of life.
    let garbage = node.on_message(&[9, 9, 9], 190_000);
    assert_eq!(garbage, Err(Error::Decode(DecodeError::Schema(9))));
    assert_eq!(node.state(), State::LinkLost);
    node.acknowledge().unwrap();
    assert_eq!(node.state(), State::LinkLost);
    node.tick(500_000).unwrap();
    node.on_heartbeat(500_001).unwrap();
    done(node);
}

#[test]
fn a_recorded_message_is_no_sign_of_life() {
    let mut node: Node = node(Config::default(), &[true, false, true]);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    let end = message("a", 1, Phase::End);
    node.on_message(&end, 1000).unwrap();
    for now in (2000..=91_000).step_by(1000) {
        assert_eq!(node.on_message(&end, now), Ok(Outcome::Replayed));
    }
    assert_eq!(node.state(), State::LinkLost);
    done(node);
}

#[test]
fn the_fail_safe_state_is_a_choice() {
    for (on_silence, levels) in [
        (FailSafe::Sound, &[true][..]),
        (FailSafe::Quiet, &[true, false]),
        (FailSafe::Hold, &[true]),
    ] {
        let mut node: Node = node(Config { on_silence, ..Config::default() }, levels);
        node.on_message(&message("a", 0, Phase::New), 0).unwrap();
        node.tick(90_000).unwrap();
        assert_eq!(node.state(), State::LinkLost);
        done(node);
    }
    let mut never: Node = node(Config { silence_ms: 0, ..Config::default() }, &[]);
    never.tick(u64::MAX).unwrap();
    assert_eq!(never.state(), State::Quiet);
    done(never);
}

#[test]
fn other_devices_are_not_heard() {
    let config = Config { device: truncate("attic"), ..Config::default() };
    let mut node: Node = node(config, &[true]);
    assert_eq!(node.on_message(&message("a", 0, Phase::New), 0), Ok(Outcome::Foreign));
    assert_eq!(node.state(), State::Quiet);
    assert_eq!(node.on_message(&message("a", 1, Phase::New), 90_000), Ok(Outcome::Foreign));
    assert_eq!(node.state(), State::LinkLost);
    done(node);
}

#[test]
fn a_full_table_forgets_ended_incidents_and_never_an_alarm() {
    let mut node: Node<2> = node(Config::default(), &[true, false]);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    node.on_message(&message("b", 0, Phase::New), 1).unwrap();
    node.on_message(&message("c", 0, Phase::New), 2).unwrap();
    for (id, now) in [("a", 3), ("b", 4), ("c", 5)] {
        node.on_message(&message(id, 1, Phase::End), now).unwrap();
    }
    // There was no place for c, so nobody knows whether it has ended.
    assert_eq!((node.state(), node.active()), (State::Alarm, 0));
    node.acknowledge().unwrap();
    assert_eq!(node.state(), State::Quiet);
    // b and c, the newest ended ones, are still known.
    for id in ["b", "c"] {
        assert_eq!(node.on_message(&message(id, 0, Phase::New), 6), Ok(Outcome::Replayed), "{id}");
    }
    done(node);
}

#[test]
fn a_pin_that_fails_is_reported_and_tried_again() {
    let failure = MockError::Io(std::io::ErrorKind::Other);
    let pin = Mock::new(&[
        Transaction::set(Level::High),
        Transaction::set(Level::Low).with_error(failure),
        Transaction::set(Level::Low),
    ]);
    let mut node: Node =
        Node::new(PinAlarm::new(pin, ActiveLevel::Low), Config::default(), 0).unwrap();
    let failed = node.on_message(&message("a", 0, Phase::New), 0);
    assert_eq!(failed, Err(Error::Output(HardwareError::Pin)));
    node.tick(1).unwrap();
    assert_eq!(node.state(), State::Alarm);
    done(node);
}

#[test]
fn any_bytes_are_survived() {
    // Each byte of a message changed in turn, and each prefix: an error or a message, no panic.
    let good = message("a", 0, Phase::New);
    let pin = Mock::new(&[Transaction::set(Level::Low), Transaction::set(Level::High)]);
    let mut node: Node<4> =
        Node::new(PinAlarm::new(pin, ActiveLevel::High), Config::default(), 0).unwrap();
    node.on_message(&good, 0).unwrap();
    for at in 0..good.len() {
        assert!(matches!(node.on_message(&good[..at], 0), Err(Error::Decode(_))));
        for mask in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            let _ = node.on_message(&bytes, 0);
            assert!(node.active() <= 4);
        }
    }
    assert_eq!(node.state(), State::Alarm);
    done(node);
}

#[test]
fn messages_out_of_order_end_where_they_should() {
    // Every order of the four messages of one incident: the siren is off in the end.
    let messages = [
        message("a", 0, Phase::New),
        message("a", 1, Phase::Update),
        message("a", 2, Phase::Update),
        message("a", 3, Phase::End),
    ];
    for order in 0..256usize {
        let order = [order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6];
        if (0..4).any(|i| !order.contains(&i)) {
            continue;
        }
        // It sounds if anything comes before the end.
        let sounds = order[0] != 3;
        let mut node: Node = node(Config::default(), if sounds { &[true, false] } else { &[] });
        for (now, &i) in order.iter().enumerate() {
            node.on_message(&messages[i], now as u64).unwrap();
        }
        assert_eq!(node.state(), State::Quiet, "{order:?}");
        done(node);
    }
}

#[test]
fn the_siren_follows_its_pattern_and_stops_in_time() {
    let config = Config {
        pattern: Pattern { on_ms: 1000, off_ms: 500 },
        sound_ms: 4000,
        ..Config::default()
    };
    // On at 0, off at 1000, on at 1500, off at 2500, on at 3000, and off for good at 4000.
    let levels = [true, false, true, false, true, false, true, false];
    let mut node: Node = node(config, &levels);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    for now in (0..10_000).step_by(100) {
        node.tick(now).unwrap();
    }
    assert_eq!(node.state(), State::Alarm);
    // An update does not start it again, another incident does.
    node.on_message(&message("a", 1, Phase::Update), 10_000).unwrap();
    node.on_message(&message("b", 0, Phase::New), 10_100).unwrap();
    node.acknowledge().unwrap();
    done(node);
}

#[test]
fn a_stuck_button_silences_one_alarm_and_none_after_it() {
    let mut node: Node = node(Config::default(), &[true, false, true]);
    node.on_button(false, 0).unwrap();
    node.on_button(false, DEBOUNCE_MS).unwrap();
    node.on_message(&message("a", 0, Phase::New), 100).unwrap();
    let mut events = Vec::new();
    for now in (1000..20_000).step_by(10) {
        events.extend(node.on_button(true, now).unwrap());
    }
    assert_eq!(events, [ButtonEvent::Pressed, ButtonEvent::Stuck]);
    assert_eq!(node.state(), State::Acknowledged);
    node.on_message(&message("b", 0, Phase::New), 20_000).unwrap();
    for now in (20_000..40_000).step_by(10) {
        assert_eq!(node.on_button(true, now), Ok(None));
    }
    assert_eq!(node.state(), State::Alarm);
    done(node);
}

#[test]
fn a_button_pressed_from_the_start_silences_nothing() {
    let mut node: Node = node(Config::default(), &[true]);
    node.on_message(&message("a", 0, Phase::New), 0).unwrap();
    for now in (0..9000).step_by(10) {
        assert_eq!(node.on_button(true, now), Ok(None));
    }
    assert_eq!(node.state(), State::Alarm);
    done(node);
}
