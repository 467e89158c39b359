//! The background: what a camera sees when nobody is there, and how much that trembles.

use rayon::prelude::*;
use video::Frame;

/// Frames that a background is made of at most: more cost time and change nothing.
const SAMPLES: usize = 120;
/// Levels on either side of a value that are taken for the same thing in other light, at least.
const SAME: f32 = 6.0;

/// Frames of a clip that is long enough to have a background of its own.
const LONG: usize = 200;

/// The still part of a scene.
pub(super) struct Background {
    /// The temporal median.
    pub frame: Frame,
    /// Luma of the background averaged over a person's surroundings; the local light.
    pub light: Vec<f32>,
    /// Whether the footage has no colour.
    pub grey: bool,
    /// Standard deviation of a still pixel over time, in levels.
    pub noise: f32,
}

impl Background {
    /// The background of `frames`, which are all used (see [`thin`]).
    pub fn new(frames: &[&Frame]) -> Self {
        // The median takes in who stays longer than half of the time; it is good enough for the noise.
        let noise = noise(frames, &median(frames));
        let frame = usual(frames, (3.0 * noise).max(SAME));
        let (w, h) = (frame.width(), frame.height());
        // A tenth of the picture is more than a person and less than a lit area.
        let light = box_mean(&frame.luma(), w, h, (h / 20).max(2));
        let grey = frame.rgb().chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
        Self { frame, light, grey, noise }
    }

    /// The background during one clip of `length` frames, of which `frames` are some and `own` is the background by
    /// itself: where the clip shows something else nearly all the time (a chair that was moved, a
    /// cloth on a table), that. Short clips, in which people hardly move on, keep the site's.
    pub fn during(&self, own: &Self, frames: &[&Frame], length: usize) -> Frame {
        let mut then = self.frame.clone();
        if length < LONG {
            return then;
        }
        let limit = (3.0 * self.noise).max(2.0 * SAME);
        let (w, usual, site) = (then.width(), own.frame.luma(), self.frame.luma());
        let lumas: Vec<Vec<u8>> = frames.iter().map(|f| f.luma()).collect();
        for i in 0..w * then.height() {
            if f32::from(usual[i].abs_diff(site[i])) <= limit {
                continue;
            }
            let same = |luma: &&Vec<u8>| f32::from(luma[i].abs_diff(usual[i])) <= limit;
            if lumas.iter().filter(same).count() * 10 >= lumas.len() * 9 {
                then.rgb_mut()[3 * i..3 * i + 3]
                    .copy_from_slice(&own.frame.rgb()[3 * i..3 * i + 3]);
            }
        }
        then
    }

    /// The local light at a point; outside the picture that of the nearest pixel.
    pub fn light_at(&self, x: f32, y: f32) -> f32 {
        let (w, h) = (self.frame.width(), self.frame.height());
        let x = x.clamp(0.0, (w - 1) as f32) as usize;
        let y = y.clamp(0.0, (h - 1) as f32) as usize;
        self.light[y * w + x]
    }

    /// Whether `other` is the same scene in the same light: most pixels agree.
    pub fn matches(&self, other: &Self) -> bool {
        let (a, b) = (self.frame.luma(), other.frame.luma());
        let limit = (5.0 * self.noise.max(other.noise)).max(20.0);
        let differing = a.iter().zip(&b).filter(|(a, b)| a.abs_diff(**b) as f32 > limit).count();
        differing * 5 < a.len()
    }
}

/// Every third frame, thinned evenly to what a background needs; people must have time to walk on.
pub(super) fn thin(frames: &[Frame]) -> Vec<&Frame> {
    let third: Vec<&Frame> = frames.iter().step_by(3).collect();
    thin_evenly(&third)
}

/// At most [`SAMPLES`] of `frames`, evenly spread.
pub(super) fn thin_evenly<'f>(frames: &[&'f Frame]) -> Vec<&'f Frame> {
    let n = frames.len().min(SAMPLES);
    (0..n).map(|i| frames[i * frames.len() / n]).collect()
}

/// For every pixel the values within ± `same` levels of luma that were there most often: the median of
/// each channel among them. Who stands here for a third of the time, and there for another, is more than
/// half of some pixels, but seldom more often the same than what is behind; a median would take them in.
fn usual(frames: &[&Frame], same: f32) -> Frame {
    let mut out = frames[0].clone();
    let w = out.width();
    let lumas: Vec<Vec<u8>> = frames.par_iter().map(|f| f.luma()).collect();
    out.rgb_mut().par_chunks_mut(3 * w).enumerate().for_each(|(y, row)| {
        let mut sorted: Vec<(u8, usize)> = Vec::with_capacity(frames.len());
        let mut values: Vec<u8> = Vec::with_capacity(frames.len());
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let i = y * w + x;
            sorted.clear();
            sorted.extend(lumas.iter().enumerate().map(|(n, luma)| (luma[i], n)));
            sorted.sort_unstable();
            let (from, to) = most_frequent(&sorted, 2.0 * same);
            for (channel, byte) in pixel.iter_mut().enumerate() {
                values.clear();
                values.extend(sorted[from..to].iter().map(|s| frames[s.1].rgb()[3 * i + channel]));
                let middle = values.len() / 2;
                *byte = *values.select_nth_unstable(middle).1;
            }
        }
    });
    out
}

/// The longest run of sorted values that spans at most `width` levels; of equals the first.
fn most_frequent(sorted: &[(u8, usize)], width: f32) -> (usize, usize) {
    let (mut from, mut best) = (0, (0, 0));
    for to in 0..sorted.len() {
        while f32::from(sorted[to].0 - sorted[from].0) > width {
            from += 1;
        }
        if to + 1 - from > best.1 - best.0 {
            best = (from, to + 1);
        }
    }
    best
}

/// The median of every byte over `frames`.
fn median(frames: &[&Frame]) -> Frame {
    let mut out = frames[0].clone();
    let mut values = vec![0; frames.len()];
    let middle = frames.len() / 2;
    for (i, byte) in out.rgb_mut().iter_mut().enumerate() {
        for (value, frame) in values.iter_mut().zip(frames) {
            *value = frame.rgb()[i];
        }
        *byte = *values.select_nth_unstable(middle).1;
    }
    out
}

/// The noise of still pixels: 1.4826 × the median absolute residual, which a moving minority does
/// not disturb.
fn noise(frames: &[&Frame], background: &Frame) -> f32 {
    let still = background.luma();
    let mut histogram = [0u32; 256];
    let mut luma = vec![0; still.len()];
    for frame in frames {
        frame.luma_into(&mut luma);
        for (a, b) in luma.iter().zip(&still).step_by(3) {
            histogram[a.abs_diff(*b) as usize] += 1;
        }
    }
    1.4826 * quantile(&histogram, 0.5)
}

/// The `q` quantile of a histogram of rounded values, interpolated within its bin.
fn quantile(histogram: &[u32], q: f32) -> f32 {
    let total: u64 = histogram.iter().map(|&n| n as u64).sum();
    let wanted = q as f64 * total as f64;
    let mut below = 0.0;
    for (value, &n) in histogram.iter().enumerate() {
        if n > 0 && below + n as f64 >= wanted {
            // Magnitudes: bin 0 spans 0 to 0.5, bin v spans v - 0.5 to v + 0.5.
            let (low, span) = if value == 0 { (0.0, 0.5) } else { (value as f64 - 0.5, 1.0) };
            return (low + span * (wanted - below) / n as f64) as f32;
        }
        below += n as f64;
    }
    0.0
}

/// The mean over the box of ± `radius` pixels around each pixel, cut at the border.
pub(super) fn box_mean(plane: &[u8], width: usize, height: usize, radius: usize) -> Vec<f32> {
    let stride = width + 1;
    let mut sums = vec![0u64; stride * (height + 1)];
    for y in 0..height {
        let mut row = 0;
        for x in 0..width {
            row += plane[y * width + x] as u64;
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    let mut out = Vec::with_capacity(width * height);
    for y in 0..height {
        let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(height));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            let sum = sums[bottom * stride + right] + sums[top * stride + left]
                - sums[top * stride + right]
                - sums[bottom * stride + left];
            out.push(sum as f32 / ((bottom - top) * (right - left)) as f32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_a_passer_by() {
        let frames: Vec<Frame> = (0..9)
            .map(|t| {
                let luma: Vec<u8> = (0..9).map(|x| if x == t { 250 } else { 10 * x }).collect();
                Frame::from_luma(9, 1, &luma).unwrap()
            })
            .collect();
        let frames: Vec<&Frame> = frames.iter().collect();
        assert_eq!(median(&frames).luma(), [0, 10, 20, 30, 40, 50, 60, 70, 80]);
        assert_eq!(Background::new(&frames).frame.luma(), [0, 10, 20, 30, 40, 50, 60, 70, 80]);
    }

    #[test]
    fn who_stands_about_for_most_of_the_time_is_no_background() {
        // Somebody dark in the first third, somebody light in the second, before a grey wall.
        let frames: Vec<Frame> = (0..90u8)
            .map(|t| {
                let tremble = t % 3;
                let level = if t < 27 {
                    20
                } else if t < 54 {
                    230
                } else {
                    120
                };
                Frame::from_luma(2, 1, &[level + tremble, 90 + tremble]).unwrap()
            })
            .collect();
        let frames: Vec<&Frame> = frames.iter().collect();
        assert_eq!(Background::new(&frames).frame.luma(), [121, 91]);
        // Who is there for more than a third has the median, too.
        let frames: Vec<&Frame> = frames[10..].iter().chain(&frames[27..54]).copied().collect();
        assert_ne!(median(&frames).luma()[0], 121);
    }

    #[test]
    fn box_mean_is_cut_at_the_border() {
        let mean = box_mean(&[1, 2, 3, 4, 5, 6], 3, 2, 1);
        assert_eq!(mean, [3.0, 3.5, 4.0, 3.0, 3.5, 4.0]);
    }

    #[test]
    fn quantile_interpolates_within_a_bin() {
        assert_eq!(quantile(&[4, 0, 0], 0.5), 0.25);
        assert_eq!(quantile(&[1, 2, 1], 0.5), 1.0);
    }
}
