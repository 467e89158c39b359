//! Any bytes as an alert in JSON: what is accepted can be written again and read back.
#![no_main]

use alert_wire::Alert;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(alert) = Alert::from_json(bytes) else {
        return;
    };
    let text = alert
        .to_json()
        .expect("an accepted alert has finite numbers");
    assert_eq!(Alert::from_json(text.as_bytes()), Ok(alert));
});
