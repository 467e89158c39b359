//! Reading the local network's maps: the hottest place, its kind and its extent.

use crate::Region;

/// How far below the peak, in logits, a cell may be and still belong to the peak's blob. Two
/// logits are a factor of 7.4 in odds: the flanks of one hot thing, seldom a neighbouring one.
pub const BLOB_MARGIN: f32 = 2.0;

/// The hottest place of a set of maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// The largest pooled logit.
    pub value: f32,
    /// The map it is on.
    pub kind: usize,
    /// Its column, in cells.
    pub x: usize,
    /// Its row, in cells.
    pub y: usize,
}

/// Finds peaks and blobs; keeps its buffers between calls.
#[derive(Debug)]
pub struct MapReader {
    width: usize,
    height: usize,
    pool: usize,
    /// Sums along rows of the map being pooled.
    rows: Vec<f32>,
    /// Pooled logits of the map being looked at.
    pooled: Vec<f32>,
    /// Pooled logits of the map with the peak.
    hottest: Vec<f32>,
    reached: Vec<bool>,
    queue: Vec<usize>,
    /// Whether a peak may be in a cell; empty stands for everywhere.
    keep: Vec<bool>,
}

impl MapReader {
    /// A reader of maps of `width` × `height` cells, pooled over `pool` × `pool` cells (odd).
    pub fn new(width: usize, height: usize, pool: usize) -> Self {
        let cells = width * height;
        Self {
            width,
            height,
            pool,
            rows: vec![0.0; cells],
            pooled: vec![0.0; cells],
            hottest: vec![0.0; cells],
            reached: vec![false; cells],
            queue: Vec::with_capacity(cells),
            keep: Vec::new(),
        }
    }

    /// Looks for peaks only where `keep`, `[height, width]`, is true. One of another size, or that
    /// keeps no cell, is refused: false.
    pub fn look_only_at(&mut self, keep: &[bool]) -> bool {
        let fits = keep.len() == self.width * self.height && keep.contains(&true);
        if fits {
            self.keep = keep.to_vec();
        }
        fits
    }

    /// The largest `pool` × `pool` mean of the logits over all maps and cells, the first one if
    /// there are equals. At the border the mean is over the cells that exist. `maps` is
    /// `[kinds, height, width]`. `None` if there are no maps or a logit is not a number.
    pub fn peak(&mut self, maps: &[f32]) -> Option<Peak> {
        let mut best: Option<Peak> = None;
        for (kind, map) in maps.chunks_exact(self.width * self.height).enumerate() {
            self.pool_map(map);
            let mut cell = self.keep.iter().position(|&kept| kept).unwrap_or(0);
            for (i, value) in self.pooled.iter().enumerate() {
                if value.is_nan() {
                    return None;
                }
                if *value > self.pooled[cell] && self.keep.get(i).is_none_or(|&kept| kept) {
                    cell = i;
                }
            }
            let value = self.pooled[cell];
            if best.is_none_or(|b| value > b.value) {
                best = Some(Peak { value, kind, x: cell % self.width, y: cell / self.width });
                std::mem::swap(&mut self.pooled, &mut self.hottest);
            }
        }
        best
    }

    /// The largest `pool` × `pool` mean of each cell over all maps, into `out`, `[height, width]`: its
    /// largest value is that of [`MapReader::peak`]. `maps` is `[kinds, height, width]` with at
    /// least one kind. What `peak` found last stays for [`MapReader::region`].
    pub fn strongest(&mut self, maps: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.width * self.height, f32::NEG_INFINITY);
        for map in maps.chunks_exact(self.width * self.height) {
            self.pool_map(map);
            for (strongest, value) in out.iter_mut().zip(&self.pooled) {
                *strongest = strongest.max(*value);
            }
        }
    }

    /// The box around the blob of the peak that [`MapReader::peak`] found last: the cells of its
    /// map that are connected to it (8 neighbours) with a pooled logit of at least the peak's less
    /// [`BLOB_MARGIN`].
    pub fn region(&mut self, peak: &Peak) -> Region {
        let floor = peak.value - BLOB_MARGIN;
        self.reached.fill(false);
        self.queue.clear();
        let start = peak.y * self.width + peak.x;
        self.reached[start] = true;
        self.queue.push(start);
        let (mut left, mut right, mut top, mut bottom) = (peak.x, peak.x, peak.y, peak.y);
        while let Some(cell) = self.queue.pop() {
            let (x, y) = (cell % self.width, cell / self.width);
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
            for ny in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                    let next = ny * self.width + nx;
                    if !self.reached[next] && self.hottest[next] >= floor {
                        self.reached[next] = true;
                        self.queue.push(next);
                    }
                }
            }
        }
        let (w, h) = (self.width as f32, self.height as f32);
        Region {
            x: left as f32 / w,
            y: top as f32 / h,
            width: (right - left + 1) as f32 / w,
            height: (bottom - top + 1) as f32 / h,
        }
    }

    /// The `pool` × `pool` mean of a map, into `self.pooled`.
    fn pool_map(&mut self, map: &[f32]) {
        let (width, height, half) = (self.width, self.height, self.pool / 2);
        for (row, sums) in map.chunks_exact(width).zip(self.rows.chunks_exact_mut(width)) {
            for (x, sum) in sums.iter_mut().enumerate() {
                *sum = row[x.saturating_sub(half)..(x + half + 1).min(width)].iter().sum();
            }
        }
        for y in 0..height {
            let span = y.saturating_sub(half)..(y + half + 1).min(height);
            let out = &mut self.pooled[y * width..][..width];
            out.fill(0.0);
            for row in span.clone() {
                for (value, sum) in out.iter_mut().zip(&self.rows[row * width..][..width]) {
                    *value += sum;
                }
            }
            for (x, value) in out.iter_mut().enumerate() {
                let columns = (x + half + 1).min(width) - x.saturating_sub(half);
                *value /= (columns * span.len()) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_averages_what_exists() {
        let mut reader = MapReader::new(4, 3, 3);
        let map: Vec<f32> = (0..12).map(|i| i as f32).collect();
        reader.pool_map(&map);
        assert_eq!(reader.pooled[0], (0.0 + 1.0 + 4.0 + 5.0) / 4.0);
        assert_eq!(reader.pooled[5], 5.0);
        assert_eq!(reader.pooled[11], (6.0 + 7.0 + 10.0 + 11.0) / 4.0);
        assert_eq!(reader.pooled[1], (0.0 + 1.0 + 2.0 + 4.0 + 5.0 + 6.0) / 6.0);
        let mut plain = MapReader::new(4, 3, 1);
        plain.pool_map(&map);
        assert_eq!(plain.pooled, map);
    }

    #[test]
    fn the_peak_is_found_over_kinds() {
        let mut maps = vec![-5.0; 2 * 6 * 4];
        maps[6 + 2] = 1.0; // kind 0, a single cell
        for (x, y) in [(3, 1), (4, 1), (3, 2), (4, 2)] {
            maps[24 + y * 6 + x] = 4.0; // kind 1, a block
        }
        maps[24 + 18] = 4.0; // kind 1, far away
        let mut reader = MapReader::new(6, 4, 1);
        let peak = reader.peak(&maps).unwrap();
        assert_eq!(peak, Peak { value: 4.0, kind: 1, x: 3, y: 1 });
        let region = reader.region(&peak);
        assert_eq!((region.x, region.y), (0.5, 0.25));
        assert_eq!((region.width, region.height), (2.0 / 6.0, 0.5));
        let mut pooled = MapReader::new(6, 4, 3);
        let peak = pooled.peak(&maps).unwrap();
        assert_eq!((peak.kind, peak.value), (1, (4.0 * 4.0 - 5.0 * 5.0) / 9.0));
    }

    #[test]
    fn the_strongest_kind_of_each_cell() {
        let mut reader = MapReader::new(2, 2, 1);
        let maps = [1.0, -2.0, 0.0, 5.0, 0.5, 3.0, -1.0, 4.0];
        let peak = reader.peak(&maps).unwrap();
        let before = reader.region(&peak);
        let mut out = vec![9.0; 7];
        reader.strongest(&maps, &mut out);
        assert_eq!(out, [1.0, 3.0, 0.0, 5.0]);
        assert_eq!(out.iter().copied().fold(f32::MIN, f32::max), peak.value);
        assert_eq!(reader.region(&peak), before);
        // Pooled before the kinds are compared: each kind's mean of all four cells.
        let mut pooled = MapReader::new(2, 2, 3);
        pooled.strongest(&maps, &mut out);
        assert_eq!(out, [1.625; 4]);
    }

    #[test]
    fn not_a_number_has_no_peak() {
        let mut reader = MapReader::new(2, 2, 1);
        assert_eq!(reader.peak(&[0.0, 1.0, f32::NAN, 3.0]), None);
        assert_eq!(reader.peak(&[f32::NAN, 1.0, 2.0, 3.0]), None);
        assert_eq!(reader.peak(&[]), None);
    }

    #[test]
    fn a_mask_hides_a_peak() {
        let maps = [9.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0];
        let mut reader = MapReader::new(4, 2, 1);
        assert_eq!(reader.peak(&maps).map(|p| (p.x, p.y, p.value)), Some((0, 0, 9.0)));
        assert!(reader.look_only_at(&[false, true, true, true, true, true, true, false]));
        assert_eq!(reader.peak(&maps).map(|p| (p.x, p.y, p.value)), Some((3, 0, 3.0)));
        assert!(!reader.look_only_at(&[true; 7]) && !reader.look_only_at(&[false; 8]));
        assert_eq!(reader.peak(&maps).map(|p| p.value), Some(3.0));
    }
}
