//! Resizing as Pillow does it for 8-bit pictures: the preprocessing that CLIP was trained and is
//! published with.
//!
//! Two passes; each output is a weighted sum of input levels, with weights of 22 fractional bits,
//! rounded to 8 bits after each pass. The filter is widened by the reduction, so that nothing is skipped
//! (`ImagingResample` in Pillow's `Resample.c`). The passes' order shows in the rounding: rows first, but
//! columns first where the height is reduced by more than twice as many pixels as the width. That is how
//! Pillow 13 decides, found by its results (300 random sizes agree exactly); older ones always begin with
//! the rows.

use video::Frame;

/// Fractional bits of a weight: 32 less 8 for the level less 2 for what a filter may overshoot.
const PRECISION: u32 = 22;

/// An interpolation, by Pillow's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

impl Filter {
    /// From `PIL.Image.Resampling`.
    pub fn of(number: u64) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// Half width in input pixels when nothing is reduced.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Lanczos => 3.0,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Box => 0.5,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI)
            }
        };
        let distance = x.abs();
        match self {
            Self::Nearest => 0.0,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
            Self::Bilinear => (1.0 - distance).max(0.0),
            // Keys' cubic with a = -0.5.
            Self::Bicubic if distance < 1.0 => ((1.5 * distance) - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
            }
            Self::Bicubic => 0.0,
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Box => 0.0,
            Self::Hamming if distance == 0.0 => 1.0,
            Self::Hamming if distance >= 1.0 => 0.0,
            Self::Hamming => {
                let x = distance * std::f64::consts::PI;
                x.sin() / x * (0.54 + 0.46 * x.cos())
            }
        }
    }
}

/// The picture at `width` × `height` pixels, both at least 1.
pub(super) fn resize(frame: &Frame, width: usize, height: usize, filter: Filter) -> Frame {
    let (w, h) = (frame.width(), frame.height());
    if (w, h) == (width, height) {
        return frame.clone();
    }
    if filter == Filter::Nearest {
        return nearest(frame, width, height);
    }
    let columns_first = height < h && (h - height) as i64 > 2 * (w as i64 - width as i64);
    if columns_first {
        along_rows(&along_columns(frame, height, filter), width, filter)
    } else {
        along_columns(&along_rows(frame, width, filter), height, filter)
    }
}

/// The picture at another width.
fn along_rows(frame: &Frame, width: usize, filter: Filter) -> Frame {
    let (w, h) = (frame.width(), frame.height());
    if width == w {
        return frame.clone();
    }
    let taps = taps(w, width, filter);
    let mut out = Frame::new(width, h);
    let rows = out.rgb_mut().chunks_exact_mut(width * 3).zip(frame.rgb().chunks_exact(w * 3));
    for (row, line) in rows {
        for (pixel, (first, weights)) in row.chunks_exact_mut(3).zip(&taps) {
            for (c, level) in pixel.iter_mut().enumerate() {
                *level = sum(line[first * 3 + c..].iter().step_by(3).zip(weights));
            }
        }
    }
    out
}

/// The picture at another height.
fn along_columns(frame: &Frame, height: usize, filter: Filter) -> Frame {
    let (w, h) = (frame.width(), frame.height());
    if height == h {
        return frame.clone();
    }
    let (taps, stride) = (taps(h, height, filter), w * 3);
    let mut out = Frame::new(w, height);
    for (row, (first, weights)) in out.rgb_mut().chunks_exact_mut(stride).zip(&taps) {
        for (x, level) in row.iter_mut().enumerate() {
            let levels = frame.rgb()[first * stride + x..].iter().step_by(stride);
            *level = sum(levels.zip(weights));
        }
    }
    out
}

/// First input and weights of each of `outputs` places along an axis of `inputs` pixels.
fn taps(inputs: usize, outputs: usize, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = inputs as f64 / outputs as f64;
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    (0..outputs)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(inputs);
            let weights: Vec<f64> = (first..end)
                .map(|x| filter.weight((x as f64 - centre + 0.5) * (1.0 / widened)))
                .collect();
            let total: f64 = weights.iter().sum();
            let share = |w: &f64| if total == 0.0 { *w } else { w / total };
            let fixed = |w: f64| (w * f64::from(1u32 << PRECISION) + 0.5f64.copysign(w)) as i32;
            (first, weights.iter().map(|w| fixed(share(w))).collect())
        })
        .collect()
}

/// A weighted sum, rounded and clipped to a level.
fn sum<'a>(terms: impl Iterator<Item = (&'a u8, &'a i32)>) -> u8 {
    let half = 1i32 << (PRECISION - 1);
    let sum = terms.fold(half, |sum, (level, weight)| {
        sum.wrapping_add(i32::from(*level).wrapping_mul(*weight))
    });
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn nearest(frame: &Frame, width: usize, height: usize) -> Frame {
    // Pillow adds the step up, and on a pixel's edge the rounding of that sum decides.
    let places = |inputs: usize, outputs: usize| {
        let step = inputs as f64 / outputs as f64;
        let places = std::iter::successors(Some(step * 0.5), move |at| Some(at + step));
        places.map(move |at| (at as usize).min(inputs - 1)).take(outputs)
    };
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in places(frame.height(), height) {
        for column in places(frame.width(), width) {
            let at = (row * frame.width() + column) * 3;
            rgb.extend_from_slice(&frame.rgb()[at..at + 3]);
        }
    }
    Frame::from_rgb(width, height, rgb).expect("as many levels as the size says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_breaks_ties_as_pillow_does() {
        // Image.resize((m, 1), NEAREST) of a row of n levels 0 to n - 1, Pillow 13.
        let row = |n: usize, m: usize| {
            let rgb = (0..n as u8).flat_map(|v| [v; 3]).collect();
            let small = resize(&Frame::from_rgb(n, 1, rgb).unwrap(), m, 1, Filter::Nearest);
            small.rgb().iter().step_by(3).copied().collect::<Vec<_>>()
        };
        assert_eq!(row(4, 6), [0, 1, 1, 2, 2, 3]);
        assert_eq!(row(4, 7), [0, 0, 1, 1, 2, 3, 3]);
        assert_eq!(row(7, 4), [0, 2, 4, 6]);
    }
}
