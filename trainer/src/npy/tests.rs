//! What NumPy writes is read, what is damaged is named.

use super::header::MAGIC;
use super::*;

/// A file of a format version, of what the header says and the data.
pub(crate) fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The header that NumPy writes, but for the blanks at its end.
pub(crate) fn header(dtype: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

#[test]
fn what_is_written_is_what_numpy_writes_and_is_read() {
    // `numpy.save` of `numpy.array([[1.5], [-2]], "<f4")`.
    let mut numpy = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, \
                      'shape': (2, 1), }"
        .to_vec();
    numpy.resize(127, b' ');
    numpy.extend(b"\n\x00\x00\xc0\x3f\x00\x00\x00\xc0");
    assert_eq!(to_bytes(&[2, 1], &[1.5, -2.0]), numpy);
    assert_eq!(parse(&numpy).unwrap(), Array { shape: vec![2, 1], values: vec![1.5, -2.0] });
    for shape in [vec![], vec![1], vec![0, 4], vec![1, 1, 1]] {
        let values = vec![7.0; shape.iter().product()];
        let bytes = to_bytes(&shape, &values);
        assert_eq!(parse(&bytes).unwrap(), Array { shape, values });
    }
}

#[test]
fn every_type_has_its_value() {
    let one = |dtype: &str, data: &[u8]| {
        parse(&file(2, &header(dtype, "False", "(1,)"), data)).unwrap().values[0]
    };
    assert_eq!(one("<f2", &[0x00, 0xc1]), -2.5);
    assert_eq!(one("<f4", &(-0.25f32).to_le_bytes()), -0.25);
    assert_eq!(one("<f8", &1e-3f64.to_le_bytes()), 1e-3);
    assert_eq!(one("|b1", &[1]), 1.0);
    assert_eq!(one("|u1", &[255]), 255.0);
    assert_eq!(one("|i1", &[255]), -1.0);
    assert_eq!(one("<i2", &(-300i16).to_le_bytes()), -300.0);
    assert_eq!(one("<u2", &65535u16.to_le_bytes()), 65535.0);
    assert_eq!(one("<i4", &(-70_000i32).to_le_bytes()), -70_000.0);
    assert_eq!(one("<u4", &70_000u32.to_le_bytes()), 70_000.0);
    assert_eq!(one("<i8", &(-5i64).to_le_bytes()), -5.0);
    assert_eq!(one("<u8", &9u64.to_le_bytes()), 9.0);
}

#[test]
fn fortran_order_becomes_c_order() {
    // `numpy.arange(12).reshape(2, 3, 2)` saved in Fortran order.
    let data = [0u8, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
    let array = parse(&file(1, &header("|u1", "True", "(2, 3, 2)"), &data)).unwrap();
    assert_eq!(array.values, (0..12).map(|v| v as f32).collect::<Vec<_>>());
}

#[test]
fn other_ways_to_write_a_header_are_read() {
    let text = "  {\"shape\":(2L , 1L),\n'fortran_order':True,'descr':\"|u1\"}   ";
    for version in [1, 2, 3] {
        let array = parse(&file(version, text, &[3, 4])).unwrap();
        assert_eq!(array, Array { shape: vec![2, 1], values: vec![3.0, 4.0] });
    }
}

#[test]
fn damage_is_named() {
    let refused = |header: &str, data: &[u8], part: &str| {
        let error = parse(&file(1, header, data)).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(&header("<f4", "False", "(2,)"), &[0; 7], "does not fit its 7 bytes");
    refused(&header("<f4", "False", "(2,)"), &[0; 9], "[2]");
    refused(&header(">f4", "False", "(1,)"), &[0; 4], "little-endian");
    refused(&header("|O", "False", "(1,)"), &[0; 8], "float32");
    refused(&header("<f4", "Maybe", "(1,)"), &[0; 4], "neither True nor False");
    refused(&header("<f4", "False", "(-1,)"), &[0; 4], "no number");
    refused(&header("<f4", "False", "(99999999999999999999,)"), &[0; 4], "no number");
    refused(&header("<f8", "False", "(4294967295, 4294967295, 9)"), &[], "does not fit");
    refused(&header("<f8", "False", "(0, 18446744073709551615, 2)"), &[], "does not fit");
    let wide = "(0, 4294967295, 4294967295, 4294967295)";
    assert!(parse(&file(1, &header("<f8", "False", wide), &[])).unwrap().values.is_empty());
    refused("{'descr': [('a', '<f4')], }", &[], "records");
    refused("{'descr': '<f4', 'descr': '<f4'}", &[], "twice");
    refused("{'descr': '<f4'}", &[], "needs descr");
    refused("{'more': 1}", &[], "unknown key");
    refused("{'descr': '<f4", &[], "no end");
    refused(&format!("{} 1", header("<f4", "False", "()").trim()), &[0; 4], "after");
    refused(&header("<f4", "False", &format!("({})", "1,".repeat(70))), &[0; 4], "64");
    assert!(parse(b"").unwrap_err().contains("not a whole"));
    assert!(parse(b"PK\x03\x04 and more").unwrap_err().contains("not a NumPy file"));
    assert!(parse(&file(9, "", &[])).unwrap_err().contains("9.0"));
    let mut huge = file(2, "", &[]);
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(parse(&huge).unwrap_err().contains("at most"));
}

#[test]
fn no_change_of_a_byte_panics() {
    let whole = to_bytes(&[3, 2], &[0.0; 6]);
    for end in 0..whole.len() {
        assert!(parse(&whole[..end]).is_err());
    }
    for at in 0..whole.len() {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            if let Ok(array) = parse(&bytes) {
                assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    std::fs::create_dir(&path).unwrap();
    let error = write(&path, &[1], &[0.0]).unwrap_err();
    assert!(error.to_string().contains("x.npy"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
