//! Any bytes as a bundle: refused or accepted, never a panic. Without the secret key nothing but a
//! seed can be accepted, so this exercises everything before the manifest; `manifest` goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_bundle::{Bundle, Trust};

fuzz_target!(|bytes: &[u8]| {
    match Bundle::from_bytes(bytes.to_vec(), &Trust::Embedded) {
        Ok(bundle) => assert_eq!(bundle.as_bytes(), bytes),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
