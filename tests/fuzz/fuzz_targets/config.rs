//! Any text as the camera's configuration: accepted, or refused on one line that names the file.
#![no_main]

use std::path::Path;

use edge_runtime::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("camera.toml")) {
        let message = error.to_string();
        assert!(
            message.contains("camera.toml") && !message.contains('\n'),
            "{message:?}"
        );
    }
});
