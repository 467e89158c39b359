//! Damaged files: every parser answers with one line, whatever it is given. The fuzz targets do the
//! same with a mind of their own; here the inputs are the same every time.

use std::io::Cursor;
use std::path::Path;

use trainer::dataset::{arrays, mat, ranges, shanghaitech, ucf_crime, xd_violence};
use trainer::npy;

use crate::site::golden;

/// A small generator of numbers (Knuth's MMIX), so that a failure comes back.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
}

/// Reads all matrices of a cell array; how many there were.
fn matrices(bytes: &[u8]) -> Result<usize, String> {
    let mut cells = mat::Cells::find(Cursor::new(bytes), "volLabel")?;
    let mut count = 0;
    while let Some(matrix) = cells.next_matrix()? {
        assert_eq!(matrix.nonzero.len(), matrix.rows * matrix.columns);
        count += 1;
    }
    Ok(count)
}

#[test]
fn matlab_files() {
    for file in ["compressed.mat", "plain.mat"] {
        let whole = std::fs::read(golden(file)).unwrap();
        assert_eq!(matrices(&whole), Ok(6));
        for end in 0..whole.len() {
            let message = matrices(&whole[..end]).unwrap_err();
            one_line(&message);
        }
        let mut refused = 0;
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 1] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Err(message) = matrices(&bytes) {
                    one_line(&message);
                    refused += 1;
                }
            }
        }
        assert!(refused > whole.len(), "{file}: {refused}");
    }
}

#[test]
fn numpy_files() {
    let whole = npy::to_bytes(&[2, 1], &[0.0, 1.0]);
    let read = arrays::labels;
    assert_eq!(read(&whole).unwrap(), [false, true]);
    for end in 0..whole.len() {
        one_line(&read(&whole[..end]).unwrap_err());
    }
    for at in 0..whole.len() {
        for value in 0..=255 {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Err(message) = read(&bytes) {
                one_line(&message);
            }
        }
    }
}

#[test]
fn text_files() {
    let pieces = [
        "TestVideoFile",
        "{end+1}",
        ".gt_frame",
        " = ",
        "[",
        "]",
        ";",
        ":",
        ",",
        "1",
        "0",
        "-1",
        "99",
        "18446744073709551615",
        "9223372036854775808",
        " ",
        "\n",
        "\t",
        "a_label_B1-0-0",
        "_label_A",
        "Abuse/A.mp4",
        "A.mp4 ",
        "Abuse",
        "Normal",
        "01_001",
        "/",
        "\u{fffd}",
        "é",
        "%",
        "__0.npy",
    ];
    let mut numbers = Numbers(7);
    let path = Path::new("a.txt");
    let mut accepted = 0;
    for _ in 0..20_000 {
        let count = numbers.below(12);
        let text: String = (0..count).map(|_| pieces[numbers.below(pieces.len())]).collect();
        let results = [
            ranges::parse(&text, path).map(|_| ()),
            shanghaitech::parse_list(&text, path).map(|_| ()),
            ucf_crime::parse_list(&text, path).map(|_| ()),
            ucf_crime::parse_annotation(&text, path).map(|_| ()),
            xd_violence::parse_annotation(&text, path).map(|_| ()),
            xd_violence::parse_list(&text, path).map(|_| ()),
        ];
        for result in results {
            match result {
                Ok(()) => accepted += 1,
                Err(error) => {
                    let message = error.to_string();
                    one_line(&message);
                    assert!(message.starts_with("a.txt: "), "{message}");
                }
            }
        }
    }
    assert!(accepted > 0);
}
