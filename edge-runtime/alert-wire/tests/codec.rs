//! The wire format, through the public interface: round trips, bounds, pinned bytes.

use alert_wire::{
    Alert, DecodeError, EncodeError, MAX_ID, MAX_NAME, MAX_POSTCARD, ModelId, Phase, Region,
    SCHEMA, truncate,
};

fn alert() -> Alert {
    Alert {
        schema: SCHEMA,
        id: truncate("0f8fad5b-d9cb-469f-a165-70867728950e"),
        sequence: 2,
        phase: Phase::Update,
        device: truncate("cam-01"),
        camera: truncate("door"),
        kind: truncate("fast"),
        score: 0.75,
        peak_score: 0.875,
        threshold: 0.5,
        region: Some(Region { x: 0.25, y: 0.5, width: 0.125, height: 0.0625 }),
        started_ms: 1_700_000_000_000,
        time_ms: 1_700_000_004_000,
        uptime_ms: 123_456,
        duration_ms: 4000,
        first_frame: 100,
        frame: 140,
        peak_frame: 120,
        time_synced: true,
        snapshot: Some(truncate("door/0f8fad5b.jpg")),
        clip: Some(truncate("door/0f8fad5b.mov")),
        model: ModelId { name: truncate("ped2"), version: truncate("1.2.0") },
    }
}

/// The largest value of every field.
fn largest() -> Alert {
    Alert {
        sequence: u32::MAX,
        device: truncate(&"d".repeat(200)),
        camera: truncate(&"c".repeat(200)),
        kind: truncate(&"k".repeat(200)),
        started_ms: u64::MAX,
        time_ms: u64::MAX,
        uptime_ms: u64::MAX,
        duration_ms: u64::MAX,
        first_frame: u64::MAX,
        frame: u64::MAX,
        peak_frame: u64::MAX,
        snapshot: Some(truncate(&"s".repeat(200))),
        clip: Some(truncate(&"c".repeat(200))),
        model: ModelId { name: truncate(&"m".repeat(200)), version: truncate(&"v".repeat(200)) },
        ..alert()
    }
}

#[test]
fn postcard_round_trip() {
    let mut buffer = [0; MAX_POSTCARD];
    for a in [alert(), largest(), Alert { region: None, snapshot: None, clip: None, ..alert() }] {
        let bytes = a.to_postcard(&mut buffer).unwrap();
        assert_eq!(Alert::from_postcard(bytes).unwrap(), a);
    }
}

#[test]
fn the_bound_is_exact() {
    let mut buffer = [0; MAX_POSTCARD];
    assert_eq!(largest().to_postcard(&mut buffer).unwrap().len(), MAX_POSTCARD);
    let mut short = [0; MAX_POSTCARD - 1];
    assert_eq!(largest().to_postcard(&mut short), Err(EncodeError::BufferTooSmall));
}

#[test]
fn oversized_names_are_cut_to_fit() {
    let a = largest();
    assert_eq!((a.device.len(), a.kind.len()), (MAX_ID, MAX_NAME));
    // Two-byte characters fill an even bound exactly.
    assert_eq!(truncate::<MAX_NAME>(&"ä".repeat(40)).chars().count(), MAX_NAME / 2);
}

/// The layout that deployed microcontrollers read. If this test fails the format has changed:
/// raise `SCHEMA`.
#[test]
fn golden_bytes() {
    let mut expected = Vec::new();
    expected.push(2); // schema
    expected.push(36);
    expected.extend(b"0f8fad5b-d9cb-469f-a165-70867728950e");
    expected.push(2); // sequence
    expected.push(1); // phase: update
    expected.push(6);
    expected.extend(b"cam-01");
    expected.push(4);
    expected.extend(b"door");
    expected.push(4);
    expected.extend(b"fast");
    expected.extend([0, 0, 0x40, 0x3f]); // 0.75, little-endian
    expected.extend([0, 0, 0x60, 0x3f]); // 0.875
    expected.extend([0, 0, 0, 0x3f]); // 0.5
    expected.push(1); // a region follows
    expected.extend([0, 0, 0x80, 0x3e, 0, 0, 0, 0x3f, 0, 0, 0, 0x3e, 0, 0, 0x80, 0x3d]);
    expected.extend([0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]); // 1 700 000 000 000
    expected.extend([0xa0, 0xef, 0x95, 0xff, 0xbc, 0x31]); // 1 700 000 004 000
    expected.extend([0xc0, 0xc4, 0x07]); // 123 456
    expected.extend([0xa0, 0x1f]); // 4000
    expected.push(100);
    expected.extend([0x8c, 0x01]); // 140
    expected.push(120);
    expected.push(1); // time is synced
    expected.push(1); // a snapshot follows
    expected.push(17);
    expected.extend(b"door/0f8fad5b.jpg");
    expected.push(1); // a clip follows
    expected.push(17);
    expected.extend(b"door/0f8fad5b.mov");
    expected.push(4);
    expected.extend(b"ped2");
    expected.push(5);
    expected.extend(b"1.2.0");

    let mut buffer = [0; MAX_POSTCARD];
    assert_eq!(alert().to_postcard(&mut buffer).unwrap(), expected);
}

#[test]
fn every_cut_of_a_message_is_refused() {
    let mut buffer = [0; MAX_POSTCARD];
    let bytes = alert().to_postcard(&mut buffer).unwrap().to_vec();
    for end in 0..bytes.len() {
        assert_eq!(
            Alert::from_postcard(&bytes[..end]),
            Err(DecodeError::Malformed),
            "cut at {end}"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Alert::from_postcard(&longer), Err(DecodeError::Malformed));
}

#[test]
fn flipped_bytes_never_panic() {
    let mut buffer = [0; MAX_POSTCARD];
    let bytes = alert().to_postcard(&mut buffer).unwrap().to_vec();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if let Ok(a) = Alert::from_postcard(&damaged) {
                assert!(a.score.is_finite());
            }
        }
    }
}

#[test]
fn another_schema_is_named() {
    let mut buffer = [0; MAX_POSTCARD];
    let mut bytes = alert().to_postcard(&mut buffer).unwrap().to_vec();
    bytes[0] = 9;
    assert_eq!(Alert::from_postcard(&bytes), Err(DecodeError::Schema(9)));
}

#[test]
fn a_score_that_is_not_a_number_is_refused() {
    let mut buffer = [0; MAX_POSTCARD];
    let bad = Alert { score: f32::NAN, ..alert() };
    assert_eq!(bad.to_postcard(&mut buffer), Err(EncodeError::NotFinite));
    let mut bytes = alert().to_postcard(&mut buffer).unwrap().to_vec();
    let score_at = 1 + 37 + 1 + 1 + 7 + 5 + 5;
    bytes[score_at..score_at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert_eq!(Alert::from_postcard(&bytes), Err(DecodeError::NotFinite));
}

#[cfg(feature = "json")]
mod json {
    use super::*;

    #[test]
    fn round_trip_and_names() {
        for a in [alert(), largest(), Alert { region: None, snapshot: None, clip: None, ..alert() }]
        {
            assert_eq!(Alert::from_json(a.to_json().unwrap().as_bytes()).unwrap(), a);
        }
        let text = alert().to_json().unwrap();
        for part in [
            r#""id":"0f8fad5b-d9cb-469f-a165-70867728950e""#,
            r#""phase":"update""#,
            r#""score":0.75"#,
            r#""region":{"x":0.25,"y":0.5,"width":0.125,"height":0.0625}"#,
            r#""time_synced":true"#,
            r#""model":{"name":"ped2","version":"1.2.0"}"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\n'));
    }

    #[test]
    fn unknown_fields_are_for_the_future_and_long_names_are_refused() {
        let text = alert().to_json().unwrap();
        let newer = text.replacen('{', r#"{"later":1,"#, 1);
        assert_eq!(Alert::from_json(newer.as_bytes()).unwrap(), alert());
        let long = text.replace("cam-01", &"x".repeat(MAX_ID + 1));
        assert_eq!(Alert::from_json(long.as_bytes()), Err(DecodeError::Malformed));
        let other = text.replace(r#""schema":2"#, r#""schema":7"#);
        assert_eq!(Alert::from_json(other.as_bytes()), Err(DecodeError::Schema(7)));
        assert_eq!(Alert::from_json(b"[1"), Err(DecodeError::Malformed));
    }
}
