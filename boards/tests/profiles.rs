//! Profiles: the ones that are part of the program, detection, and what a wrong file says.
#![cfg(feature = "std")]

use std::path::Path;

use boards::profile::{Error, OutputProfile, Profile};
use boards::{ActiveLevel, HardwareError, ThermalLimits};

#[test]
fn every_built_in_profile_is_valid_and_bears_its_name() {
    for name in Profile::names() {
        assert_eq!(Profile::named(name).unwrap().name, name);
    }
    assert!(Profile::names().any(|n| n == "development-host"));
    assert!(Profile::names().any(|n| n == "generic-linux"));
}

#[test]
fn detection_goes_by_model_and_can_be_overridden() {
    let detect = |model, asked_for| Profile::detect(model, asked_for).unwrap().name;
    let orin = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super";
    assert_eq!(detect(Some(orin), None), "jetson-orin-nano");
    assert_eq!(detect(Some("Raspberry Pi 5 Model B Rev 1.0"), None), "raspberry-pi-5");
    assert_eq!(detect(Some("Raspberry Pi 3"), None), "generic-linux");
    assert_eq!(detect(None, None), "generic-linux");
    assert_eq!(detect(Some(orin), Some("development-host")), "development-host");
    let unknown = Profile::detect(None, Some("toaster")).unwrap_err();
    assert!(matches!(unknown, Error::Unknown { .. }));
    assert!(unknown.to_string().contains("generic-linux"), "{unknown}");
}

const GOOD: &str = r#"
name = "site"
description = "A site's own board"
device_class = "generic-linux"
alarm_hold_seconds = 2.5
watchdog = "/dev/watchdog0"

[alarm]
kind = "gpio"
chip = "/dev/gpiochip3"
line = 7
active = "low"

[thermal]
warm = 60.5
critical = 70.0
"#;

#[test]
fn a_site_writes_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.toml");
    std::fs::write(&path, GOOD).unwrap();
    let profile = Profile::named(path.to_str().unwrap()).unwrap();
    let alarm =
        OutputProfile::Gpio { chip: "/dev/gpiochip3".into(), line: 7, active: ActiveLevel::Low };
    assert_eq!(profile.alarm, alarm);
    assert_eq!(profile.led, OutputProfile::None);
    assert_eq!(profile.alarm_hold().as_millis(), 2500);
    let limits = ThermalLimits { warm: 60_500, critical: 70_000, hysteresis: 5_000 };
    assert_eq!(profile.thermal.limits(), limits);
}

#[test]
fn wrong_profiles_are_refused_on_one_line() {
    let missing = Profile::named("/no/such/board.toml").unwrap_err();
    assert!(matches!(missing, Error::Io { .. }));
    for (from, to, expected) in [
        ("name =", "nmae =", "site.toml: line 2: "),
        ("active = \"low\"", "active = \"on\"", "line "),
        ("line = 7", "line = -7", "line "),
        ("kind = \"gpio\"", "kind = \"laser\"", "line "),
        ("critical = 70.0", "critical = 50.0", "0 < warm < critical"),
        ("critical = 70.0", "critical = 62.0", "thermal.hysteresis"),
        ("= 2.5", "= -1", "alarm_hold_seconds"),
        ("\"site\"", "\"Site 1\"", "a-z"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD);
        let message = Profile::parse(&text, "site.toml").unwrap_err().to_string();
        assert!(message.starts_with("board profile site.toml: "), "{message}");
        assert!(message.contains(expected) && !message.contains('\n'), "{to}: {message}");
    }
}

#[test]
fn opening_what_is_there_and_what_is_not() {
    let root = tempfile::tempdir().unwrap();
    let host = Profile::named("development-host").unwrap();
    host.open_alarm(root.path()).unwrap().unwrap().set(true).unwrap();
    assert!(host.open_led(root.path()).unwrap().is_some());
    assert!(host.open_watchdog(root.path()).unwrap().is_none());
    assert!(host.open_thermal(root.path()).unwrap().is_none());

    let generic = Profile::named("generic-linux").unwrap();
    assert!(generic.open_alarm(root.path()).unwrap().is_none());

    let site = Profile::parse(GOOD, "site").unwrap();
    assert_eq!(site.open_alarm(root.path()).err(), Some(HardwareError::NotFound));
    assert_eq!(site.open_watchdog(root.path()).err(), Some(HardwareError::NotFound));
    std::fs::create_dir_all(root.path().join("dev")).unwrap();
    std::fs::write(root.path().join("dev/watchdog0"), "").unwrap();
    site.open_watchdog(Path::new(root.path())).unwrap().unwrap().feed().unwrap();
    assert_eq!(std::fs::read(root.path().join("dev/watchdog0")).unwrap(), b"\0");
}
