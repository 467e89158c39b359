//! Any bytes as a request to the local page: understood, refused, or waited for; what is understood in
//! parts is understood as a whole.
#![no_main]

use edge_runtime::web::{MAX_BODY, MAX_HEAD, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Request::parse(bytes) {
        Ok(Some(request)) => {
            assert!(request.body.len() <= MAX_BODY && request.path.len() <= MAX_HEAD);
            let _ = request.query("token");
        }
        Ok(None) => assert!(bytes.len() <= MAX_HEAD + MAX_BODY),
        Err(error) => assert!(error.status().as_bytes()[0] == b'4'),
    }
});
