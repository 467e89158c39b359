//! Where in the picture a camera is to look: polygons that count, and polygons that do not.

use serde::Serialize;

/// A polygon, its corners relative to the picture: 0 is left or top, 1 is right or bottom. It may be
/// given in either direction and need not be convex; the last corner is joined to the first.
pub type Polygon = Vec<[f64; 2]>;

/// The places of a picture that count.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Zones {
    /// If there are any, only places inside one of them count.
    pub zones: Vec<Polygon>,
    /// Places inside one of them do not count.
    pub ignore: Vec<Polygon>,
}

impl Zones {
    /// Whether the whole picture counts.
    pub fn is_everything(&self) -> bool {
        self.zones.is_empty() && self.ignore.is_empty()
    }

    /// Whether a place counts.
    pub fn contains(&self, x: f64, y: f64) -> bool {
        let inside = |polygon: &Polygon| is_inside(polygon, x, y);
        (self.zones.is_empty() || self.zones.iter().any(inside)) && !self.ignore.iter().any(inside)
    }

    /// For each pixel of a picture, row by row, whether its middle counts.
    pub fn raster(&self, width: usize, height: usize) -> Vec<bool> {
        let middle = |i: usize, of: usize| (i as f64 + 0.5) / of as f64;
        (0..width * height)
            .map(|i| self.contains(middle(i % width, width), middle(i / width, height)))
            .collect()
    }
}

/// Even-odd rule: a ray to the right crosses the border an odd number of times.
fn is_inside(polygon: &[[f64; 2]], x: f64, y: f64) -> bool {
    let mut inside = false;
    let mut before = polygon.last();
    for corner in polygon {
        if let Some([bx, by]) = before {
            let [cx, cy] = corner;
            if (*cy > y) != (*by > y) && x < (bx - cx) * (y - cy) / (by - cy) + cx {
                inside = !inside;
            }
        }
        before = Some(corner);
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(zones: &Zones) -> String {
        let cells = zones.raster(8, 4);
        let row = |row: &[bool]| row.iter().map(|&c| if c { '#' } else { '.' }).collect::<String>();
        cells.chunks(8).map(row).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn zones_and_holes_in_them() {
        let everything = Zones::default();
        assert!(everything.is_everything());
        assert_eq!(picture(&everything), "########/########/########/########");
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let corner = vec![[0.75, 0.5], [0.75, 1.0], [1.0, 1.0], [1.0, 0.5]];
        let zones = Zones { zones: vec![left.clone(), corner.clone()], ignore: vec![] };
        assert_eq!(picture(&zones), "####..../####..../####..##/####..##");
        let hole = vec![[0.25, 0.25], [0.375, 0.25], [0.375, 0.75], [0.25, 0.75]];
        let zones = Zones { zones: vec![left.clone()], ignore: vec![hole] };
        assert_eq!(picture(&zones), "####..../##.#..../##.#..../####....");
        let zones = Zones { zones: vec![], ignore: vec![left, corner] };
        assert_eq!(picture(&zones), "....####/....####/....##../....##..");
        // A triangle, and one that goes the other way round.
        let triangle = vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        let other = triangle.iter().rev().copied().collect();
        for polygon in [triangle, other] {
            let zones = Zones { zones: vec![polygon], ignore: vec![] };
            assert_eq!(picture(&zones), "#######./#####.../###...../#.......");
        }
    }
}
