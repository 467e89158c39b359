//! Any bytes as a MATLAB file with a cell array of masks: matrices of the size they state, or one line
//! that says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::dataset::mat::Cells;

fuzz_target!(|bytes: &[u8]| {
    let read = || -> Result<(), String> {
        let mut cells = Cells::find(bytes, "volLabel")?;
        // A small file may state a million matrices of the same few bytes.
        for _ in 0..1000 {
            let Some(matrix) = cells.next_matrix()? else {
                break;
            };
            assert_eq!(matrix.nonzero.len(), matrix.rows * matrix.columns);
        }
        Ok(())
    };
    if let Err(message) = read() {
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
    }
});
