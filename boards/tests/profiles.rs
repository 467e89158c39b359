//! Profiles: the ones that are part of the program, detection, and what a wrong file says.
#![cfg(feature = "std")]

use std::path::Path;

use boards::profile::{ArmProfile, Error, Origin, OutputProfile, Profile, WatchdogProfile};
use boards::{ActiveLevel, HardwareError, ThermalLimits};

const JETSON: [&str; 4] =
    ["jetson-agx-orin", "jetson-orin-nano", "jetson-orin-nx", "jetson-xavier-nx"];

#[test]
fn every_built_in_profile_is_valid_and_says_what_its_board_has() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        assert_eq!(profile.name, name);
        assert!(!profile.description.is_empty());
        // What the camera program calls its backends.
        assert!(profile.backends.iter().all(|b| b == "ort" || b == "tract"), "{name}");
        if JETSON.contains(&name) {
            let lines = [&profile.alarm, &profile.led].map(|output| match output {
                OutputProfile::Gpio { name: Some(line), .. } => line.clone(),
                other => panic!("{name}: {other:?}"),
            });
            let ArmProfile::Gpio { name: Some(arm), .. } = &profile.arm else {
                panic!("{name}: {:?}", profile.arm)
            };
            assert!(lines[0] != lines[1] && !lines.contains(arm), "{name}: a line has one use");
            assert!(profile.watchdog.is_some() && profile.memory_ceiling_mib.is_some(), "{name}");
            assert!(!profile.thermal.zones.is_empty() && !profile.thermal.throttles.is_empty());
            assert!(!profile.power_modes.is_empty() && !profile.cameras.is_empty(), "{name}");
            assert_eq!(profile.backends, ["ort", "tract"]);
        }
    }
    for name in JETSON.into_iter().chain(["development-host", "generic-arm64", "generic-x86-64"]) {
        assert!(Profile::names().any(|n| n == name), "{name}");
    }
}

/// What an unknown board is taken for on the machine that runs the test.
fn fallback() -> &'static str {
    if cfg!(target_arch = "aarch64") { "generic-arm64" } else { "generic-x86-64" }
}

#[test]
fn recorded_models_are_recognised() {
    let mut seen = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let expected = match stem {
            "unknown" => (fallback(), Origin::Unknown),
            board => (board, Origin::Model),
        };
        for model in std::fs::read_to_string(&path).unwrap().lines() {
            let (profile, origin) = Profile::detect(Some(model), None).unwrap();
            assert_eq!((profile.name.as_str(), origin), expected, "{model}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} models");
    // Every board with models of its own has a recorded one.
    for name in Profile::names().filter(|n| !Profile::named(n).unwrap().models.is_empty()) {
        let file = format!("{}/tests/models/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        assert!(Path::new(&file).exists(), "{file}");
    }
}

#[test]
fn detection_can_be_overridden_and_knows_when_it_knows_nothing() {
    let detect = |model, asked_for| {
        let (profile, origin) = Profile::detect(model, asked_for).unwrap();
        (profile.name, origin)
    };
    let orin = "NVIDIA Jetson Orin Nano Developer Kit";
    assert_eq!(detect(None, None), (fallback().into(), Origin::Unknown));
    let asked = detect(Some(orin), Some("development-host"));
    assert_eq!(asked, ("development-host".into(), Origin::AskedFor));
    let unknown = Profile::detect(None, Some("toaster")).unwrap_err();
    assert!(matches!(unknown, Error::Unknown { .. }));
    assert!(unknown.to_string().contains("generic-arm64"), "{unknown}");
}

const GOOD: &str = r#"
name = "site"
description = "A site's own board"
device_class = "generic-linux"
alarm_hold_seconds = 2.5
memory_ceiling_mib = 512

[alarm]
kind = "gpio"
chip = "/dev/gpiochip3"
line = 7
active = "low"

[arm]
kind = "gpio"
name = "PQ.06"

[watchdog]
device = "/dev/watchdog0"
frames_within = 30.0

[thermal]
warm = 50.5
throttled = 60.0
critical = 70.0
"#;

#[test]
fn a_site_writes_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.toml");
    std::fs::write(&path, GOOD).unwrap();
    let profile = Profile::named(path.to_str().unwrap()).unwrap();
    let alarm = OutputProfile::Gpio {
        chip: Some("/dev/gpiochip3".into()),
        line: Some(7),
        name: None,
        active: ActiveLevel::Low,
    };
    assert_eq!(profile.alarm, alarm);
    let arm = ArmProfile::Gpio {
        chip: None,
        line: None,
        name: Some("PQ.06".into()),
        active: ActiveLevel::High,
    };
    assert_eq!(profile.arm, arm);
    let watchdog =
        WatchdogProfile { device: "/dev/watchdog0".into(), timeout: None, frames_within: 30.0 };
    assert_eq!(profile.watchdog, Some(watchdog));
    assert_eq!(profile.led, OutputProfile::None);
    assert_eq!(profile.alarm_hold().as_millis(), 2500);
    let limits =
        ThermalLimits { warm: 50_500, throttled: 60_000, critical: 70_000, hysteresis: 5_000 };
    assert_eq!(profile.thermal.limits(), limits);
}

#[test]
fn wrong_profiles_are_refused_on_one_line() {
    let missing = Profile::named("/no/such/board.toml").unwrap_err();
    assert!(matches!(missing, Error::Io { .. }));
    for (from, to, expected) in [
        ("name = \"site\"", "nmae = \"site\"", "site.toml: line 2: "),
        ("active = \"low\"", "active = \"on\"", "line "),
        ("line = 7", "line = -7", "line "),
        ("kind = \"gpio\"", "kind = \"laser\"", "line "),
        ("critical = 70.0", "critical = 55.0", "0 < warm < throttled < critical"),
        ("throttled = 60.0", "throttled = 50.0", "0 < warm < throttled < critical"),
        ("critical = 70.0", "critical = 62.0", "thermal.hysteresis"),
        ("line = 7", "name = \"PQ.05\"", "by `name` alone"),
        ("name = \"PQ.06\"", "line = 3", "by `name` alone"),
        ("frames_within = 30.0", "frames_within = 0.0", "watchdog.frames_within"),
        ("frames_within = 30.0", "timeout = 1", "watchdog.timeout"),
        ("= 512", "= 5", "memory_ceiling_mib"),
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
    assert!(generic.open_arm(root.path()).unwrap().is_none());

    let site = Profile::parse(GOOD, "site").unwrap();
    assert_eq!(site.open_alarm(root.path()).err(), Some(HardwareError::NotFound));
    assert_eq!(site.open_watchdog(root.path()).err(), Some(HardwareError::NotFound));
    std::fs::create_dir_all(root.path().join("dev")).unwrap();
    std::fs::write(root.path().join("dev/watchdog0"), "").unwrap();
    site.open_watchdog(Path::new(root.path())).unwrap().unwrap().feed().unwrap();
    assert_eq!(std::fs::read(root.path().join("dev/watchdog0")).unwrap(), b"\0");
}
