//! Pixel labels to cell labels.

/// Label of a pixel or cell that the loss leaves out.
pub const IGNORED: u8 = 255;

/// Pixels of a cell along each axis: the network's maps have a quarter of the resolution.
pub const CELL: usize = 4;

/// Labels of the cells `[⌈h/4⌉, ⌈w/4⌉]` from the labels of a picture's pixels: 0 normal, `k + 1`
/// kind `k`, [`IGNORED`] left out.
///
/// A cell belongs to the kind that most of its pixels have, if that is at least a quarter of the
/// cell. A cell with fewer is left out, being neither clearly normal nor clearly changed, unless no
/// cell around it has more of that kind: then it is the densest of a small thing, which must not
/// vanish, and belongs to the kind all the same.
#[must_use]
pub fn to_cells(labels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
    let mut cells = Vec::with_capacity(columns * rows);
    // For each undecided cell: its kind and how many of its pixels have it.
    let mut undecided = vec![(0u8, 0usize); columns * rows];
    for row in 0..rows {
        for column in 0..columns {
            let tally = tally(labels, width, height, row * CELL, column * CELL);
            let at = row * columns + column;
            cells.push(if tally.pixels * 4 >= CELL * CELL {
                tally.kind
            } else if tally.pixels > 0 {
                undecided[at] = (tally.kind, tally.pixels);
                IGNORED
            } else if tally.ignored * 4 >= CELL * CELL {
                IGNORED
            } else {
                0
            });
        }
    }
    let decided = cells.clone();
    for (at, (kind, pixels)) in undecided.iter().copied().enumerate().filter(|(_, c)| c.1 > 0) {
        let (row, column) = (at / columns, at % columns);
        let densest = (row.saturating_sub(1)..(row + 2).min(rows))
            .flat_map(|y| {
                (column.saturating_sub(1)..(column + 2).min(columns)).map(move |x| (y, x))
            })
            .map(|(y, x)| y * columns + x)
            .all(|other| {
                let (other_kind, other_pixels) = undecided[other];
                // Of two equal neighbours the first one in reading order is kept.
                decided[other] != kind
                    && (other_kind != kind
                        || other_pixels < pixels
                        || (other_pixels == pixels && other >= at))
            });
        if densest {
            cells[at] = kind;
        }
    }
    cells
}

struct Tally {
    kind: u8,
    pixels: usize,
    ignored: usize,
}

/// The most frequent kind of one cell (the lower of two equal ones), and the ignored pixels.
fn tally(labels: &[u8], width: usize, height: usize, top: usize, left: usize) -> Tally {
    let mut pixels = [0u8; CELL * CELL];
    let mut count = 0;
    for y in top..(top + CELL).min(height) {
        for x in left..(left + CELL).min(width) {
            pixels[count] = labels[y * width + x];
            count += 1;
        }
    }
    let pixels = &mut pixels[..count];
    pixels.sort_unstable();
    let mut best = Tally { kind: 0, pixels: 0, ignored: 0 };
    for run in pixels.chunk_by(|a, b| a == b) {
        match run[0] {
            0 => {}
            IGNORED => best.ignored = run.len(),
            kind if run.len() > best.pixels => (best.kind, best.pixels) = (kind, run.len()),
            _ => {}
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 16 × 12 picture, 4 × 3 cells, with the given pixels (x, y, label).
    fn cells(pixels: &[(usize, usize, u8)]) -> Vec<u8> {
        let mut labels = vec![0u8; 16 * 12];
        for (x, y, label) in pixels {
            labels[y * 16 + x] = *label;
        }
        to_cells(&labels, 16, 12)
    }

    #[test]
    fn a_quarter_of_the_cell_decides() {
        let quarter = [(4, 4, 3), (5, 4, 3), (4, 5, 3), (5, 5, 3)];
        let mut expected = vec![0; 12];
        expected[5] = 3;
        assert_eq!(cells(&quarter), expected);
    }

    #[test]
    fn a_thin_edge_beside_a_positive_cell_is_left_out() {
        let mut pixels: Vec<_> = (4..8).map(|y| (7, y, 2)).collect();
        pixels.push((8, 5, 2));
        let mut expected = vec![0; 12];
        (expected[5], expected[6]) = (2, IGNORED);
        assert_eq!(cells(&pixels), expected);
    }

    #[test]
    fn the_densest_cell_of_a_small_thing_stays() {
        let mut expected = vec![0; 12];
        (expected[5], expected[6]) = (1, IGNORED);
        assert_eq!(cells(&[(6, 5, 1), (7, 5, 1), (8, 5, 1)]), expected);
        // Two equal neighbours: the first.
        (expected[5], expected[6]) = (1, IGNORED);
        assert_eq!(cells(&[(7, 5, 1), (8, 5, 1)]), expected);
    }

    #[test]
    fn the_commoner_kind_wins_and_ignored_pixels_are_left_out() {
        let mixed: Vec<_> = (0..16)
            .map(|i| {
                (
                    i % 4,
                    i / 4,
                    if i < 5 {
                        1
                    } else if i < 11 {
                        2
                    } else {
                        IGNORED
                    },
                )
            })
            .collect();
        assert_eq!(cells(&mixed)[0], 2);
        let ignored: Vec<_> = (0..4).map(|x| (x, 0, IGNORED)).collect();
        assert_eq!(cells(&ignored)[0], IGNORED);
        assert_eq!(cells(&ignored[..3])[0], 0);
    }

    #[test]
    fn odd_sizes_round_up() {
        let labels = [0, 0, 0, 0, 7];
        assert_eq!(to_cells(&labels, 5, 1), vec![0, 7]);
    }
}
