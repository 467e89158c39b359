//! The foreground: connected regions of a frame that differ from the background.

use rayon::prelude::*;
use video::Frame;

use super::background::Background;

/// Differences are sums over 3 × 3 pixels, so that sensor noise averages out before the threshold.
const BOX: u16 = 9;

/// Thresholds in levels: below it would be shadows, above nothing but the strongest contrasts is left.
const LOWEST: u16 = 7;
const HIGHEST: u16 = 40;

/// A connected region of foreground.
#[derive(Debug, Clone)]
pub(super) struct Component {
    /// Left edge of the bounding box.
    pub x: usize,
    /// Top edge of the bounding box.
    pub y: usize,
    /// Width of the bounding box.
    pub width: usize,
    /// Height of the bounding box.
    pub height: usize,
    /// Pixels in the region.
    pub area: usize,
    /// Mean position of its pixels.
    pub centre: [f32; 2],
    /// Which pixels of the bounding box belong to it, row-major.
    pub mask: Vec<bool>,
}

/// Finds the foreground of frames of one scene.
pub(super) struct Foreground {
    /// For every pixel, in units of the 3 × 3 sum.
    thresholds: Vec<u16>,
    close: [usize; 2],
    min_area: usize,
}

impl Foreground {
    /// Sets the thresholds from how the pixels of `samples` differ from the background when nobody is
    /// there. Each pixel has its own: dark trousers on a dark floor need a finer one than the edge
    /// of a glittering window has.
    pub fn new(background: &Background, samples: &[&Frame]) -> Self {
        let (w, h) = (background.frame.width(), background.frame.height());
        let differences: Vec<Vec<u16>> =
            samples.par_iter().map(|frame| difference(frame, &background.frame).0).collect();
        let mut sigmas = vec![0u16; w * h];
        sigmas.par_chunks_mut(w).enumerate().for_each(|(y, row)| {
            let mut values = vec![0u16; differences.len()];
            for (x, sigma) in row.iter_mut().enumerate() {
                let of = differences.iter().map(|d| d[y * w + x]);
                values.iter_mut().zip(of).for_each(|(v, d)| *v = d);
                // The 0.35 quantile of a half-normal is 0.454 sigma; more than half of the time
                // somebody may be there.
                let at = (values.len() * 35 / 100).min(values.len() - 1);
                *sigma = (f32::from(*values.select_nth_unstable(at).1) / 0.454) as u16;
            }
        });
        // Five sigma, of a pixel or its neighbours, leaves still pixels out.
        let thresholds = (0..w * h)
            .map(|i| {
                let (x, y) = (i % w, i / w);
                let rows = y.saturating_sub(1)..(y + 2).min(h);
                let around = rows.flat_map(|y| {
                    let row = &sigmas[y * w..][..w];
                    row[x.saturating_sub(1)..(x + 2).min(w)].iter()
                });
                let sigma = around.copied().max().unwrap_or(0);
                sigma.saturating_mul(5).clamp(LOWEST * BOX, HIGHEST * BOX)
            })
            .collect();
        Self {
            thresholds,
            close: [(w / 360).max(1), (h / 120).max(1)],
            // A fifteenth of the prototype's person; smaller regions are no use as sprites.
            min_area: (w * h / 5000).max(12),
        }
    }

    /// Part of the picture where the threshold is as high as it can be.
    pub fn restless(&self) -> f32 {
        let most = self.thresholds.iter().filter(|&&limit| limit >= HIGHEST * BOX).count();
        most as f32 / self.thresholds.len() as f32
    }

    /// The regions of `frame` that differ from the background at its time, in order of their first pixel.
    pub fn components(&self, frame: &Frame, background: &Frame) -> Vec<Component> {
        let (w, h) = (frame.width(), frame.height());
        let (smooth, sharp) = difference(frame, background);
        // The sums spill over edges by a pixel: what is itself like the background is out.
        let all = smooth.iter().zip(&sharp).zip(&*self.thresholds);
        let mut mask: Vec<bool> =
            all.map(|((&d, &own), &limit)| d > limit && own > limit / BOX / 2).collect();
        let [rx, ry] = self.close;
        spread(&mut mask, w, h, rx, ry, true);
        spread(&mut mask, w, h, rx, ry, false);
        let found = regions(&mask, w, h, self.min_area);
        found.into_iter().filter_map(|part| self.trim(&part, frame, background, &smooth)).collect()
    }

    /// Takes off a figure what hangs on it: coding halos (far weaker than the figure itself) and
    /// shadows (the background, a little darker). Of what is left the largest piece is the figure.
    fn trim(
        &self,
        part: &Component,
        frame: &Frame,
        background: &Frame,
        smooth: &[u16],
    ) -> Option<Component> {
        let w = frame.width();
        let at = |i: usize| (part.y + i / part.width) * w + part.x + i % part.width;
        let mut strengths: Vec<u16> =
            (0..part.mask.len()).filter(|&i| part.mask[i]).map(|i| smooth[at(i)]).collect();
        let strong = strengths.len() * 9 / 10;
        let strong = *strengths.select_nth_unstable(strong).1 as f32;
        let mut kept = part.mask.clone();
        for (i, keep) in kept.iter_mut().enumerate().filter(|(_, keep)| **keep) {
            let (d, at) = (smooth[at(i)] as f32, at(i) * 3);
            let pixel = frame.rgb()[at..at + 3].iter();
            let dimmed = pixel
                .zip(&background.rgb()[at..])
                .all(|(&i, &b)| (0.65..1.0).contains(&((i as f32 + 1.0) / (b as f32 + 1.0))));
            *keep = d > 0.2 * strong && !(dimmed && d < 0.4 * strong);
        }
        let [rx, ry] = self.close;
        spread(&mut kept, part.width, part.height, rx, ry, true);
        spread(&mut kept, part.width, part.height, rx, ry, false);
        fill_holes(&mut kept, part.width, part.height);
        let pieces = regions(&kept, part.width, part.height, self.min_area);
        let mut figure = pieces.into_iter().rev().max_by_key(|piece| piece.area)?;
        figure.x += part.x;
        figure.y += part.y;
        figure.centre[0] += part.x as f32;
        figure.centre[1] += part.y as f32;
        Some(figure)
    }
}

/// Sets what the outside of a `w` × `h` mask cannot reach along rows and columns.
fn fill_holes(mask: &mut [bool], w: usize, h: usize) {
    let mut outside = vec![false; mask.len()];
    let mut open: Vec<usize> = (0..mask.len())
        .filter(|i| i % w == 0 || i % w == w - 1 || i / w == 0 || i / w == h - 1)
        .collect();
    while let Some(i) = open.pop() {
        if mask[i] || std::mem::replace(&mut outside[i], true) {
            continue;
        }
        let (x, y) = (i % w, i / w);
        open.extend((x > 0).then(|| i - 1));
        open.extend((x + 1 < w).then(|| i + 1));
        open.extend((y > 0).then(|| i - w));
        open.extend((y + 1 < h).then(|| i + w));
    }
    for (m, outside) in mask.iter_mut().zip(outside) {
        *m |= !outside;
    }
}

/// The largest channel's difference from the background, summed over 3 × 3 pixels and for the pixel
/// alone, less the median difference of the whole picture (flicker, automatic exposure).
fn difference(frame: &Frame, background: &Frame) -> (Vec<u16>, Vec<u16>) {
    let (w, h) = (frame.width(), frame.height());
    let (rgb, still) = (frame.rgb(), background.rgb());
    let grey = rgb.chunks_exact(3).step_by(5).all(|p| p[0] == p[1] && p[1] == p[2])
        && still.chunks_exact(3).step_by(5).all(|p| p[0] == p[1] && p[1] == p[2]);
    let (mut smooth, mut sharp) = (vec![0; w * h], vec![0; w * h]);
    let mut plane = vec![0i16; w * h];
    for channel in 0..if grey { 1 } else { 3 } {
        let mut histogram = [0u32; 511];
        for (d, (a, b)) in plane.iter_mut().zip(rgb.chunks_exact(3).zip(still.chunks_exact(3))) {
            *d = a[channel] as i16 - b[channel] as i16;
            histogram[(*d + 255) as usize] += 1;
        }
        let mut below = 0;
        let offset = histogram.iter().position(|&n| {
            below += n as usize;
            below * 2 >= w * h
        });
        let offset = offset.map_or(0, |bin| bin as i16 - 255);
        add_box_sums(&plane, offset, w, h, &mut smooth);
        for (own, d) in sharp.iter_mut().zip(&plane) {
            *own = (*own).max(d.abs_diff(offset));
        }
    }
    (smooth, sharp)
}

/// Raises `out` to the magnitude of the 3 × 3 sums of `plane - offset`; border pixels stay 0.
fn add_box_sums(plane: &[i16], offset: i16, w: usize, h: usize, out: &mut [u16]) {
    let mut columns = vec![0i16; w];
    for y in 1..h.saturating_sub(1) {
        let rows = [&plane[(y - 1) * w..y * w], &plane[y * w..(y + 1) * w], &plane[(y + 1) * w..]];
        for (x, sum) in columns.iter_mut().enumerate() {
            *sum = rows[0][x] + rows[1][x] + rows[2][x] - 3 * offset;
        }
        let out = &mut out[y * w + 1..(y + 1) * w - 1];
        for (o, s) in out.iter_mut().zip(columns.windows(3)) {
            *o = (*o).max((s[0] + s[1] + s[2]).unsigned_abs().min(255 * BOX));
        }
    }
}

/// Dilation (`value` true) or erosion (false) of a mask by a box of ± `rx`, ± `ry` pixels.
pub(super) fn spread(mask: &mut [bool], w: usize, h: usize, rx: usize, ry: usize, value: bool) {
    let mut line = Vec::with_capacity(w.max(h));
    let mut pass = |mask: &mut [bool], start: usize, step: usize, n: usize, radius: usize| {
        line.clear();
        // Reach of the last pixel of `value` seen, from either side.
        let mut reach = 0;
        line.resize(n, false);
        for i in 0..n {
            if mask[start + i * step] == value {
                reach = radius + 1;
            }
            line[i] |= reach > 0;
            reach = reach.saturating_sub(1);
        }
        reach = 0;
        for i in (0..n).rev() {
            if mask[start + i * step] == value {
                reach = radius + 1;
            }
            line[i] |= reach > 0;
            reach = reach.saturating_sub(1);
        }
        for (i, &hit) in line.iter().enumerate() {
            if hit {
                mask[start + i * step] = value;
            }
        }
    };
    for y in 0..h {
        pass(mask, y * w, 1, w, rx);
    }
    for x in 0..w {
        pass(mask, x, w, h, ry);
    }
}

/// The 8-connected regions of at least `min_area` pixels.
fn regions(mask: &[bool], w: usize, h: usize, min_area: usize) -> Vec<Component> {
    let mut seen = vec![false; mask.len()];
    let mut out = Vec::new();
    let mut pixels: Vec<usize> = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        pixels.clear();
        pixels.push(start);
        seen[start] = true;
        let mut next = 0;
        let (mut x0, mut x1, mut y0, mut y1) = (w, 0, h, 0);
        let (mut sx, mut sy) = (0, 0);
        while let Some(&at) = pixels.get(next) {
            next += 1;
            let (x, y) = (at % w, at / w);
            (x0, x1, y0, y1) = (x0.min(x), x1.max(x), y0.min(y), y1.max(y));
            sx += x;
            sy += y;
            for ny in y.saturating_sub(1)..=(y + 1).min(h - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(w - 1) {
                    let n = ny * w + nx;
                    if mask[n] && !seen[n] {
                        seen[n] = true;
                        pixels.push(n);
                    }
                }
            }
        }
        if pixels.len() < min_area {
            continue;
        }
        let (width, height) = (x1 + 1 - x0, y1 + 1 - y0);
        let mut own = vec![false; width * height];
        for &at in &pixels {
            own[(at / w - y0) * width + at % w - x0] = true;
        }
        let n = pixels.len() as f32;
        out.push(Component {
            x: x0,
            y: y0,
            width,
            height,
            area: pixels.len(),
            centre: [sx as f32 / n + 0.5, sy as f32 / n + 0.5],
            mask: own,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[&str]) -> Vec<bool> {
        rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect()
    }

    #[test]
    fn spread_dilates_and_erodes_by_a_box() {
        let mut mask = parse(&[".......", "...#...", ".......", "......."]);
        spread(&mut mask, 7, 4, 2, 1, true);
        assert_eq!(mask, parse(&[".#####.", ".#####.", ".#####.", "......."]));
        spread(&mut mask, 7, 4, 2, 1, false);
        // The border does not erode: what is outside the picture counts as neither.
        assert_eq!(mask, parse(&["...#...", "...#...", ".......", "......."]));
    }

    #[test]
    fn holes_are_filled() {
        let mut mask = parse(&["####.", "#..#.", "####.", "#...."]);
        fill_holes(&mut mask, 5, 4);
        assert_eq!(mask, parse(&["####.", "####.", "####.", "#...."]));
    }

    #[test]
    fn a_shadow_is_trimmed_off() {
        // A dark figure of 4 × 10 pixels, and right of it its shadow of 8 × 2.
        let (w, h) = (30, 20);
        let still = Frame::from_luma(w, h, &vec![120; w * h]).unwrap();
        let mut luma = vec![120; w * h];
        for y in 4..14 {
            luma[y * w + 8..y * w + 12].fill(30);
        }
        for y in 12..14 {
            luma[y * w + 12..y * w + 20].fill(95);
        }
        let frame = Frame::from_luma(w, h, &luma).unwrap();
        let background = Background::new(&[&still]);
        let found = Foreground::new(&background, &[&still]).components(&frame, &still);
        let [part] = &found[..] else { panic!("one figure") };
        assert!(part.width <= 6 && (10..=12).contains(&part.height), "{part:?}");
        assert!((part.centre[0] - 10.0).abs() < 1.0 && (part.centre[1] - 9.0).abs() < 1.0);
    }

    #[test]
    fn regions_join_diagonals_and_drop_specks() {
        let mask = parse(&["##....#", "..#....", "......."]);
        let found = regions(&mask, 7, 3, 2);
        assert_eq!(found.len(), 1);
        let c = &found[0];
        assert_eq!((c.x, c.y, c.width, c.height, c.area), (0, 0, 3, 2, 3));
        assert_eq!(c.mask, parse(&["##.", "..#"]));
        assert_eq!(c.centre, [1.5, 1.0 / 3.0 + 0.5]);
    }
}
