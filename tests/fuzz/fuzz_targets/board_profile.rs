//! Any text as a board profile: accepted, or refused on one line; what is accepted can be used.
#![no_main]

use boards::profile::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Profile::parse(text, "board.toml") {
        Ok(profile) => {
            let limits = profile.thermal.limits();
            assert!(limits.warm <= limits.critical);
            let _ = profile.alarm_hold();
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
