//! Any bytes as a file of score maps: a shape with cells, or a reason on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::evaluation::npy::parse_header;

fuzz_target!(|bytes: &[u8]| {
    match parse_header(bytes) {
        Ok([_, height, width]) => assert!(height > 0 && width > 0),
        Err(reason) => assert!(!reason.contains('\n'), "{reason:?}"),
    }
});
