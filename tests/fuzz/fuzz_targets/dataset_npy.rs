//! Any bytes as frame labels in a NumPy file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::dataset::npy::labels;

fuzz_target!(|bytes: &[u8]| match labels(bytes, bytes.len() as u64) {
    Ok(labels) => assert!(labels.len() < bytes.len()),
    Err(message) => assert!(!message.is_empty() && !message.contains('\n'), "{message:?}"),
});
