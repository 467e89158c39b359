//! Any bytes as a `.npy` file: what is read has as many values as its shape says, and is read again
//! from what is written of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::features::npy;

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = npy::parse(bytes) else {
        return;
    };
    assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
    assert!(array.values.len() <= bytes.len());
    if let Ok(again) = npy::parse(&npy::to_bytes(&array.shape, &array.values)) {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(again.shape, array.shape);
        assert_eq!(bits(&again.values), bits(&array.values));
    }
});
