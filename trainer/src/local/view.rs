//! The part of a picture that a training crop shows, resampled to the crop's size.

use super::config::CropSize;

/// Where a crop looks. A scale of 2 shows twice as many pixels along each axis, as a camera farther
/// away would.
pub(super) struct View {
    /// Width of the picture.
    stride: usize,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    /// One pixel of the picture for each of the crop, from the first tap on.
    exact: bool,
}

/// What a pixel of the crop takes from the picture along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    at: usize,
    next: usize,
    /// Share of `next`.
    fraction: f32,
}

impl Tap {
    fn nearest(self) -> usize {
        if self.fraction < 0.5 { self.at } else { self.next }
    }
}

impl View {
    /// A view of `crop` pixels of a picture `width` pixels wide, from `left`, `top` on; `span` is the
    /// part of the picture that it covers and lies inside of it.
    pub fn new(crop: CropSize, span: CropSize, width: usize, left: usize, top: usize) -> Self {
        Self {
            stride: width,
            columns: taps(crop.width, span.width, left),
            rows: taps(crop.height, span.height, top),
            exact: crop == span,
        }
    }

    /// The levels of row `y` of the crop, each put through `tone`, bilinearly resampled.
    pub fn levels(&self, picture: &[u8], tone: &[f32; 256], y: usize, out: &mut [f32]) {
        let of = |pixel: u8| tone[usize::from(pixel)];
        let row = self.rows[y];
        if self.exact {
            let start = row.at * self.stride + self.columns[0].at;
            let pixels = &picture[start..start + out.len()];
            out.iter_mut().zip(pixels).for_each(|(out, pixel)| *out = of(*pixel));
            return;
        }
        let upper = &picture[row.at * self.stride..][..self.stride];
        let lower = &picture[row.next * self.stride..][..self.stride];
        for (out, tap) in out.iter_mut().zip(&self.columns) {
            let along = |row: &[u8]| {
                let (a, b) = (of(row[tap.at]), of(row[tap.next]));
                a + tap.fraction * (b - a)
            };
            let (a, b) = (along(upper), along(lower));
            *out = a + row.fraction * (b - a);
        }
    }

    /// The labels of row `y` of the crop: those of the nearest pixels.
    pub fn labels(&self, picture: &[u8], y: usize, out: &mut [u8]) {
        let start = self.rows[y].nearest() * self.stride;
        for (out, tap) in out.iter_mut().zip(&self.columns) {
            *out = picture[start + tap.nearest()];
        }
    }
}

/// `count` pixels spread over `span` pixels of the picture from `first` on.
fn taps(count: usize, span: usize, first: usize) -> Vec<Tap> {
    let scale = span as f64 / count as f64;
    let last = (span - 1) as f64;
    (0..count)
        .map(|i| {
            // Centres of pixels meet centres of pixels.
            let place = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, last);
            let at = place as usize;
            Tap {
                at: first + at,
                next: first + (at + 1).min(span - 1),
                fraction: (place - at as f64) as f32,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 × 8 pixels whose level is ten times the column plus the row.
    fn picture() -> Vec<u8> {
        (0..64).map(|i| (10 * (i % 8) + i / 8) as u8).collect()
    }

    fn look(crop: usize, span: usize, left: usize, top: usize) -> Vec<Vec<f32>> {
        let size = |n| CropSize { width: n, height: n };
        let view = View::new(size(crop), size(span), 8, left, top);
        let tone = std::array::from_fn(|level| level as f32);
        let row = |y| {
            let mut out = vec![0.0; crop];
            view.levels(&picture(), &tone, y, &mut out);
            out
        };
        (0..crop).map(row).collect()
    }

    #[test]
    fn the_same_size_is_a_copy() {
        assert_eq!(look(3, 3, 2, 4), [[24.0, 34.0, 44.0], [25.0, 35.0, 45.0], [26.0, 36.0, 46.0]]);
    }

    #[test]
    fn twice_as_much_halves_and_half_as_much_doubles() {
        // Centres fall between two pixels: 0.5 and 2.5 along each axis.
        assert_eq!(look(2, 4, 0, 0), [[5.5, 25.5], [7.5, 27.5]]);
        // Quarters between two pixels, held inside the view at its border.
        let columns = &look(4, 2, 3, 0)[0];
        assert_eq!(columns, &[30.0, 32.5, 37.5, 40.0]);
    }

    #[test]
    fn labels_are_those_of_the_nearest_pixel() {
        let size = |n| CropSize { width: n, height: n };
        let view = View::new(size(4), size(2), 8, 3, 0);
        let mut out = [0; 4];
        view.labels(&picture(), 3, &mut out);
        assert_eq!(out, [31, 31, 41, 41]);
    }
}
