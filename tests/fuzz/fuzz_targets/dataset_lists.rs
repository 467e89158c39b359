//! Any text as each of the data sets' lists and annotations: accepted, or refused on one line that
//! names the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trainer::dataset::{Error, ranges, shanghaitech, ucf_crime, xd_violence};

fn refused<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        let message = error.to_string();
        assert!(message.starts_with("a.txt: ") && !message.contains('\n'), "{message:?}");
    }
}

fuzz_target!(|text: &str| {
    let path = Path::new("a.txt");
    refused(ranges::parse(text, path));
    refused(shanghaitech::parse_list(text, path));
    refused(ucf_crime::parse_list(text, path));
    refused(ucf_crime::parse_annotation(text, path));
    refused(xd_violence::parse_annotation(text, path));
    refused(xd_violence::parse_list(text, path));
});
