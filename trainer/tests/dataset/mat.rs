//! The MATLAB reader against scipy (`tests/reference/mat.py`).

use std::io::Cursor;

use trainer::dataset::Masks;
use trainer::dataset::mat::{Cells, Matrix};

use crate::site::golden;

fn read(bytes: &[u8]) -> Result<Vec<Matrix>, String> {
    let mut cells = Cells::find(Cursor::new(bytes), "volLabel")?;
    let mut matrices = Vec::new();
    while let Some(matrix) = cells.next_matrix()? {
        matrices.push(matrix);
    }
    Ok(matrices)
}

#[test]
fn masks_agree_with_scipy() {
    let at = |rows: usize, columns: usize, places: &[(usize, usize)]| {
        let mut nonzero = vec![false; rows * columns];
        for (row, column) in places {
            nonzero[row * columns + column] = true;
        }
        Matrix { rows, columns, nonzero }
    };
    let expected = [
        at(3, 5, &[]),
        at(3, 5, &[(0, 4), (2, 1)]),
        at(3, 5, &[(1, 0)]),
        at(3, 5, &[(2, 4)]),
        at(1, 2, &[(0, 1)]),
        at(0, 0, &[]),
    ];
    for file in ["compressed.mat", "plain.mat"] {
        assert_eq!(read(&std::fs::read(golden(file)).unwrap()).unwrap(), expected, "{file}");
        let masks = Masks::Mat(golden(file));
        assert_eq!(masks.frames().unwrap(), [false, true, true, true, true, false], "{file}");
    }
}

#[test]
fn other_files_are_named() {
    let bytes = std::fs::read(golden("plain.mat")).unwrap();
    let find = |bytes: &[u8], name| Cells::find(Cursor::new(bytes.to_vec()), name).err().unwrap();
    assert_eq!(find(&bytes, "absent"), "no variable absent in it");
    assert_eq!(find(&bytes, "fps"), "variable fps is no cell array");
    assert_eq!(find(b"MATLAB 5.0", "volLabel"), "it ends too early");
    let mut hdf = bytes.clone();
    hdf[..10].copy_from_slice(b"MATLAB 7.3");
    assert!(find(&hdf, "volLabel").contains("-v7"));
    let mut big = bytes;
    big[124..128].copy_from_slice(&[1, 0, b'M', b'I']);
    assert!(find(&big, "volLabel").contains("big-endian"));
}
