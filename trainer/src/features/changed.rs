//! Which instances of a pseudo clip show what the synthesizer changed: from labels of pixels to labels
//! of (snippet, cell) pairs.

use model_bundle::manifest::{GridSpec, SnippetSpec};

use crate::synthesis::LabelMap;

/// Share of a cell's pixels, over all frames of the snippet, from which the cell is changed. A figure
/// half as wide as the cell that crosses it within half of the snippet is well above it; an edge that
/// grazes the cell, or a thing of a few pixels, is below.
const CHANGED: f64 = 1.0 / 16.0;

/// Whether each cell of each snippet is changed, `[snippets, cells]`. `labels` are those of the clip's
/// frames; snippets that the end cuts short count by the frames that they have.
#[must_use]
pub fn changed(labels: &[LabelMap], spec: &SnippetSpec, grid: &GridSpec) -> Vec<bool> {
    let (columns, rows) = (grid.columns as usize, grid.rows as usize);
    let shares: Vec<Vec<f64>> = labels.iter().map(|map| shares(map, columns, rows)).collect();
    let (length, stride) = (spec.frames as usize, spec.stride.max(1) as usize);
    let mut out = Vec::new();
    for first in (0..labels.len()).step_by(stride) {
        let frames = &shares[first..labels.len().min(first + length)];
        let least = CHANGED * frames.len() as f64;
        out.extend(
            (0..columns * rows)
                .map(|cell| frames.iter().map(|shares| shares[cell]).sum::<f64>() >= least),
        );
    }
    out
}

/// For each cell, the share of its pixels that are of any kind of anomaly.
fn shares(map: &LabelMap, columns: usize, rows: usize) -> Vec<f64> {
    let mut counts = vec![(0usize, 0usize); columns * rows];
    for (y, line) in map.data.chunks_exact(map.width.max(1)).enumerate() {
        let row = y * rows / map.height;
        for (x, label) in line.iter().enumerate() {
            let (abnormal, all) = &mut counts[row * columns + x * columns / map.width];
            *all += 1;
            *abnormal += usize::from(!matches!(*label, LabelMap::NORMAL | LabelMap::IGNORE));
        }
    }
    counts.into_iter().map(|(abnormal, all)| abnormal as f64 / all.max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 8 × 4 picture with one changed pixel.
    fn map(changed: Option<(usize, usize, u8)>) -> LabelMap {
        let mut map = LabelMap::new(8, 4);
        if let Some((x, y, label)) = changed {
            map.data[y * 8 + x] = label;
        }
        map
    }

    fn spec(frames: u32, stride: u32) -> SnippetSpec {
        SnippetSpec {
            frames,
            stride,
            width: 8,
            height: 8,
            mean: [0.0; 3],
            std: [1.0; 3],
            stream: None,
        }
    }

    #[test]
    fn a_sixteenth_of_pixels_and_frames_decides() {
        // Cells of 4 x 2 pixels: one pixel is an eighth, in every second frame a sixteenth.
        let grid = GridSpec { columns: 2, rows: 2 };
        let labels = [map(Some((5, 3, 2))), map(None), map(None), map(None)];
        assert_eq!(
            changed(&labels, &spec(2, 2), &grid),
            [
                false, false, false, true, // the lower right cell
                false, false, false, false,
            ]
        );
        assert_eq!(changed(&labels, &spec(4, 4), &grid), [false; 4]);
        // Every frame begins a snippet; the last has one frame.
        assert_eq!(changed(&labels[..2], &spec(2, 1), &grid)[4..], [false; 4]);
    }

    #[test]
    fn what_is_uncertain_is_not_changed() {
        let grid = GridSpec { columns: 2, rows: 1 };
        let labels = [map(Some((0, 0, LabelMap::IGNORE)))];
        assert_eq!(changed(&labels, &spec(1, 1), &grid), [false, false]);
        let labels = [map(Some((0, 0, 1)))];
        assert_eq!(changed(&labels, &spec(1, 1), &grid), [true, false]);
    }
}
