use boards::ThermalReading;
use boards::simulated::{Action, Simulated};

use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

const FLOWING: Conditions =
    Conditions { started: true, alarm: false, degraded: false, fault: false, frames_flow: true };

#[test]
fn the_watchdog_lives_on_frames() {
    let device = Simulated::new();
    let mut board =
        Board::with_parts(Some((Box::new(device.clone()), Duration::from_secs(5))), None, None);
    for step in 0..100 {
        board.tick(at(f64::from(step) * 0.1), &FLOWING);
    }
    let fed = device.history().len();
    assert!((18..=21).contains(&fed), "twice a second: {fed}");
    for step in 100..200 {
        board.tick(at(f64::from(step) * 0.1), &Conditions { frames_flow: false, ..FLOWING });
    }
    assert_eq!(device.history().len(), fed);
    board.tick(at(20.0), &FLOWING);
    assert_eq!(device.history().len(), fed + 1);
    board.close();
    assert_eq!(device.history().last(), Some(&Action::Disarm));
    board.tick(at(30.0), &FLOWING);
    assert_eq!(device.history().len(), fed + 2);
}

#[test]
fn a_board_that_is_dropped_leaves_its_watchdog_running() {
    let device = Simulated::new();
    let mut board =
        Board::with_parts(Some((Box::new(device.clone()), Duration::from_secs(5))), None, None);
    board.tick(at(0.0), &FLOWING);
    drop(board);
    assert_eq!(device.history(), [Action::Feed]);
}

#[test]
fn heat_climbs_the_ladder_and_a_blind_sensor_changes_nothing() {
    let device = Simulated::new();
    let mut board = Board::with_parts(None, None, Some(Box::new(device.clone())));
    let mut tick = |seconds: f64, celsius: i32| {
        device.set_reading(ThermalReading { temperature: celsius * 1000, throttling: false });
        board.tick(at(seconds), &FLOWING)
    };
    assert_eq!(tick(0.0, 40), Rung::Full);
    assert_eq!(tick(1.0, 99), Rung::Full); // between two readings
    assert_eq!(tick(2.0, 99), Rung::Paused);
    let status = board.status();
    assert_eq!((status.thermal, status.temperature_celsius), (Some("critical"), Some(99.0)));
    assert_eq!((status.rung, status.armed, status.watchdog), ("paused", None, false));
    device.fail_with(Some(HardwareError::NotFound));
    assert_eq!(board.tick(at(60.0), &FLOWING), Rung::Paused);
    assert_eq!(board.status().temperature_celsius, None);
}

#[test]
fn a_key_switch_that_cannot_be_read_is_armed() {
    let device = Simulated::new();
    let mut board = Board::with_parts(None, Some(Box::new(device.clone())), None);
    assert_eq!(board.armed(), Some(true));
    device.set_armed(false);
    assert_eq!(board.armed(), Some(false));
    device.fail_with(Some(HardwareError::NotFound));
    assert_eq!(board.armed(), Some(true));
}

#[test]
fn boards_are_found_and_unknown_ones_are_told_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let (found, origin) = profile("auto", root.path()).unwrap();
    assert_eq!(origin, Origin::Unknown);
    let message = describe(&found, origin, root.path());
    assert!(message.contains("no device tree") && message.contains("`board`"), "{message}");
    std::fs::create_dir_all(root.path().join("proc/device-tree")).unwrap();
    let model = root.path().join("proc/device-tree/model");
    std::fs::write(&model, b"Toaster 3000\0").unwrap();
    let (found, origin) = profile("auto", root.path()).unwrap();
    let message = describe(&found, origin, root.path());
    assert!(message.contains("\"Toaster 3000\"") && message.contains(&found.name), "{message}");
    std::fs::write(&model, b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0").unwrap();
    let (found, origin) = profile("auto", root.path()).unwrap();
    assert_eq!((found.name.as_str(), origin), ("jetson-orin-nx", Origin::Model));
    assert_eq!(backends(&found), Some(vec![BackendName::Ort, BackendName::Tract]));
    assert!(profile("toaster", root.path()).unwrap_err().to_string().contains("change `board`"));
}
