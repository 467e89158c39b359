//! Lower-case letters of 3 × 5 pixels, for the captions of contact sheets.

/// Width of a letter in pixels.
pub(super) const WIDTH: usize = 3;
/// Height of a letter in pixels.
pub(super) const HEIGHT: usize = 5;

/// Rows of a to z from the top, three bits each, the left pixel the highest.
const LETTERS: [[u8; HEIGHT]; 26] = [
    [0b010, 0b101, 0b111, 0b101, 0b101],
    [0b110, 0b101, 0b110, 0b101, 0b110],
    [0b011, 0b100, 0b100, 0b100, 0b011],
    [0b110, 0b101, 0b101, 0b101, 0b110],
    [0b111, 0b100, 0b110, 0b100, 0b111],
    [0b111, 0b100, 0b110, 0b100, 0b100],
    [0b011, 0b100, 0b101, 0b101, 0b011],
    [0b101, 0b101, 0b111, 0b101, 0b101],
    [0b111, 0b010, 0b010, 0b010, 0b111],
    [0b001, 0b001, 0b001, 0b101, 0b010],
    [0b101, 0b101, 0b110, 0b101, 0b101],
    [0b100, 0b100, 0b100, 0b100, 0b111],
    [0b101, 0b111, 0b111, 0b101, 0b101],
    [0b110, 0b101, 0b101, 0b101, 0b101],
    [0b010, 0b101, 0b101, 0b101, 0b010],
    [0b110, 0b101, 0b110, 0b100, 0b100],
    [0b010, 0b101, 0b101, 0b110, 0b011],
    [0b110, 0b101, 0b110, 0b101, 0b101],
    [0b011, 0b100, 0b010, 0b001, 0b110],
    [0b111, 0b010, 0b010, 0b010, 0b010],
    [0b101, 0b101, 0b101, 0b101, 0b111],
    [0b101, 0b101, 0b101, 0b101, 0b010],
    [0b101, 0b101, 0b111, 0b111, 0b101],
    [0b101, 0b101, 0b010, 0b101, 0b101],
    [0b101, 0b101, 0b010, 0b010, 0b010],
    [0b111, 0b001, 0b010, 0b100, 0b111],
];

/// Calls `dot(x, y)` for every pixel of `text`, its top left corner at (0, 0) and one empty column
/// between letters. What is not a letter is left blank.
pub(super) fn draw(text: &str, mut dot: impl FnMut(usize, usize)) {
    for (i, c) in text.bytes().enumerate() {
        let Some(rows) = LETTERS.get((c.to_ascii_lowercase() as usize).wrapping_sub(97)) else {
            continue;
        };
        for (y, row) in rows.iter().enumerate() {
            for x in 0..WIDTH {
                if row >> (WIDTH - 1 - x) & 1 == 1 {
                    dot(i * (WIDTH + 1) + x, y);
                }
            }
        }
    }
}
