//! Any bytes as a manifest that carries a good signature: what validation accepts keeps its
//! promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model_bundle::layout::blob_layout;
use model_bundle::{Manifest, validate};

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else {
        return;
    };
    if validate::validate(&manifest).is_err() {
        return;
    }
    let input = &manifest.detectors.input;
    assert!(input.width > 0 && input.height > 0 && input.frame_rate > 0.0);
    if let Some(local) = &manifest.detectors.local {
        assert!(input.width.is_multiple_of(local.map_stride));
        assert!((1.0 / local.std).is_finite() && (1.0 / local.diff_scale).is_finite());
    }
    for size in [0, 1, bytes.len() as u64, u64::MAX] {
        if let Ok(blobs) = blob_layout(&manifest, size) {
            for blob in blobs {
                let end = blob.reference.offset.checked_add(blob.reference.size);
                assert!(end.is_some_and(|end| end <= size));
            }
        }
    }
});
