//! From maps to detections, and from masks to tracks: what RBDC and TBDC compare.

use super::masks::Mask;
use super::metrics::{Detection, PixelBox, Place, TrackedRegion};

/// Regions taken from one map: the criterion counts up to one false detection a frame.
const MOST: usize = 8;

/// The pixel column or row that a cell begins and ends with, `None` of a cell without a pixel.
fn extents(pixels: usize, cells: usize) -> Vec<Option<(u64, u64)>> {
    let mut extents = vec![None; cells];
    for pixel in 0..pixels {
        let extent: &mut Option<(u64, u64)> =
            &mut extents[super::regions::cell_of(pixel, pixels, cells)];
        let at = pixel as u64;
        *extent = Some(extent.map_or((at, at), |(first, _)| (first, at)));
    }
    extents
}

/// Detections of a map of `columns` × `rows` cells, for a frame of `width` × `height` pixels: the
/// highest cell and the cells connected to it that have at least half its value, as their bounding
/// box; then the highest of the rest, and so on. Cells that are not above 0, the usual of normal
/// footage, are none.
pub fn detections(
    map: &[f32],
    (columns, rows): (usize, usize),
    (width, height): (usize, usize),
    place: Place,
) -> Vec<Detection> {
    let (across, down) = (extents(width, columns), extents(height, rows));
    let mut taken = vec![false; map.len()];
    let mut found = Vec::new();
    while found.len() < MOST {
        let free = (0..map.len()).filter(|i| !taken[*i]);
        let Some(peak) = free.max_by(|a, b| map[*a].total_cmp(&map[*b])) else { break };
        if map[peak] <= 0.0 {
            break;
        }
        let level = map[peak] / 2.0;
        let mut area: Option<PixelBox> = None;
        let mut stack = vec![peak];
        taken[peak] = true;
        while let Some(cell) = stack.pop() {
            let (x, y) = (cell % columns, cell / columns);
            if let (Some(h), Some(v)) = (across[x], down[y]) {
                area = Some(union(area, [h.0, v.0, h.1, v.1]));
            }
            for next in neighbours(x, y, columns, rows) {
                if !taken[next] && map[next] >= level {
                    taken[next] = true;
                    stack.push(next);
                }
            }
        }
        if let Some(area) = area {
            found.push(Detection { place, area, score: map[peak] });
        }
    }
    found
}

/// The tracks of a clip's masks: in each frame the connected abnormal pixels are one region; it
/// belongs to the track of the region before that it shares most pixels with, which goes on in one
/// region only.
#[derive(Debug, Default)]
pub struct Tracks {
    /// Track of each pixel of the frame before, if any.
    before: Vec<Option<usize>>,
    /// Tracks so far.
    pub count: usize,
    /// Regions of all frames so far.
    pub regions: Vec<TrackedRegion>,
}

impl Tracks {
    /// The next clip begins.
    pub fn cut(&mut self) {
        self.before.clear();
    }

    /// Takes the next frame's mask.
    pub fn push(&mut self, mask: &Mask, place: Place) {
        let (width, height) = (mask.width, mask.height);
        let mut part: Vec<Option<usize>> = vec![None; width * height];
        let mut areas: Vec<PixelBox> = Vec::new();
        // Pixels that a part shares with a track of the frame before.
        let mut shared: Vec<(usize, usize, usize)> = Vec::new();
        for start in 0..mask.abnormal.len() {
            if !mask.abnormal[start] || part[start].is_some() {
                continue;
            }
            let number = areas.len();
            let mut area = None;
            let mut counts = std::collections::BTreeMap::new();
            let mut stack = vec![start];
            part[start] = Some(number);
            while let Some(pixel) = stack.pop() {
                let (x, y) = (pixel % width, pixel / width);
                let at = [x as u64, y as u64, x as u64, y as u64];
                area = Some(union(area, at));
                if let Some(Some(track)) = self.before.get(pixel) {
                    *counts.entry(*track).or_insert(0) += 1;
                }
                for next in neighbours(x, y, width, height) {
                    if mask.abnormal[next] && part[next].is_none() {
                        part[next] = Some(number);
                        stack.push(next);
                    }
                }
            }
            areas.extend(area);
            shared.extend(counts.into_iter().map(|(track, pixels)| (pixels, number, track)));
        }
        shared.sort_by_key(|(pixels, number, track)| (std::cmp::Reverse(*pixels), *number, *track));
        let mut track_of: Vec<Option<usize>> = vec![None; areas.len()];
        let mut going_on = Vec::new();
        for (_, number, track) in shared {
            if track_of[number].is_none() && !going_on.contains(&track) {
                track_of[number] = Some(track);
                going_on.push(track);
            }
        }
        for (area, track) in areas.iter().zip(&mut track_of) {
            let track = *track.get_or_insert_with(|| {
                self.count += 1;
                self.count - 1
            });
            self.regions.push(TrackedRegion { place, area: *area, track });
        }
        self.before = part.into_iter().map(|p| track_of[p?]).collect();
    }
}

fn union(area: Option<PixelBox>, other: PixelBox) -> PixelBox {
    area.map_or(other, |a| {
        [a[0].min(other[0]), a[1].min(other[1]), a[2].max(other[2]), a[3].max(other[3])]
    })
}

/// The eight places around one, within the grid.
fn neighbours(x: usize, y: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let columns = x.saturating_sub(1)..(x + 2).min(width);
    (y.saturating_sub(1)..(y + 2).min(height))
        .flat_map(move |row| columns.clone().map(move |column| row * width + column))
        .filter(move |i| *i != y * width + x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_and_what_has_half_its_value_is_a_detection() {
        #[rustfmt::skip]
        let map = [
            4.0, 2.0, 0.5, 0.0,
            0.0, 1.9, 0.0, 0.6,
        ];
        let found = detections(&map, (4, 2), (8, 4), (3, 7));
        let areas: Vec<_> = found.iter().map(|d| (d.area, d.score)).collect();
        // Two cells of two pixels; the cell below is a little less than half, and its own peak.
        assert_eq!(areas[0], ([0, 0, 3, 1], 4.0));
        assert_eq!(areas[1], ([2, 2, 3, 3], 1.9));
        assert_eq!(areas[2], ([4, 0, 7, 3], 0.6));
        assert_eq!((areas.len(), found[0].place), (3, (3, 7)));
        assert!(detections(&[-1.0, 0.0], (2, 1), (2, 1), (0, 0)).is_empty());
    }

    fn mask(rows: &[&str]) -> Mask {
        let abnormal = rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect();
        Mask { width: rows[0].len(), height: rows.len(), abnormal }
    }

    #[test]
    fn regions_that_share_pixels_are_one_track() {
        let mut tracks = Tracks::default();
        tracks.push(&mask(&["##....", "##...."]), (0, 0));
        tracks.push(&mask(&[".##..#", ".##..#"]), (0, 1));
        // The first falls in two: the larger share goes on, the other is a new one.
        tracks.push(&mask(&[".#.#.#", ".#...."]), (0, 2));
        let seen: Vec<_> = tracks.regions.iter().map(|r| (r.place.1, r.track, r.area)).collect();
        assert_eq!(seen[..3], [(0, 0, [0, 0, 1, 1]), (1, 0, [1, 0, 2, 1]), (1, 1, [5, 0, 5, 1])]);
        assert_eq!(seen[3..], [(2, 0, [1, 0, 1, 1]), (2, 2, [3, 0, 3, 0]), (2, 1, [5, 0, 5, 0])]);
        tracks.cut();
        tracks.push(&mask(&[".#"]), (1, 0));
        assert_eq!((tracks.count, tracks.regions.last().unwrap().track), (4, 3));
    }
}
