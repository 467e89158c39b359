//! Any bytes as a `.npy` file: what is read has as many values as its shape says, and is read again
//! from what is written of it; frame labels are its values, or there is one line that says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::dataset::arrays;
use trainer::npy;

fuzz_target!(|bytes: &[u8]| {
    let array = npy::parse(bytes);
    match arrays::labels(bytes) {
        Ok(labels) => {
            let array = array.as_ref().expect("labels are of a whole array");
            assert!(labels.iter().zip(&array.values).all(|(l, v)| *l == (*v == 1.0)));
        }
        Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
    }
    let array = match array {
        Ok(array) => array,
        Err(reason) => {
            assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
            return;
        }
    };
    assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
    assert!(array.values.len() <= bytes.len());
    if let Ok(again) = npy::parse(&npy::to_bytes(&array.shape, &array.values)) {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(again.shape, array.shape);
        assert_eq!(bits(&again.values), bits(&array.values));
    }
});
