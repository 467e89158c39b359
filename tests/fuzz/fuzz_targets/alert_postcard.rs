//! Any bytes as an alert in postcard: what is accepted can be written again and read back.
#![no_main]

use alert_wire::{Alert, MAX_POSTCARD};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(alert) = Alert::from_postcard(bytes) else {
        return;
    };
    let mut buffer = [0; MAX_POSTCARD];
    let written = alert
        .to_postcard(&mut buffer)
        .expect("an accepted alert fits its maximum");
    assert_eq!(Alert::from_postcard(written), Ok(alert));
});
