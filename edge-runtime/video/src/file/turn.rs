//! How a picture is turned before it is shown: phones, and cameras mounted on their side.

use std::path::Path;

use ffmpeg_next::util::frame::Video;
use ffmpeg_next::util::frame::side_data::Type;

use crate::Frame;

/// A turn by quarters, a mirror, or both: a pixel at (x, y) goes to (a x + c y, b x + d y).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    a: i8,
    b: i8,
    c: i8,
    d: i8,
}

impl Turn {
    pub(super) const NONE: Self = Self { a: 1, b: 0, c: 0, d: 1 };

    /// How a decoded picture says that it is turned. Other angles than quarters are said in the log
    /// and not carried out.
    pub(super) fn of(picture: &Video, path: &Path) -> Self {
        let Some(matrix) = picture.side_data(Type::DisplayMatrix) else {
            return Self::NONE;
        };
        Self::parse(matrix.data()).unwrap_or_else(|| {
            log::warn!(
                "{}: it is to be shown turned by an angle that is no quarter; it is read as it lies",
                path.display()
            );
            Self::NONE
        })
    }

    /// A display matrix: nine numbers of 32 bits, those of the turn with 16 behind the point.
    fn parse(matrix: &[u8]) -> Option<Self> {
        let unit = |i: usize| {
            let bytes = matrix.get(4 * i..4 * i + 4)?.try_into().ok()?;
            match f64::from(i32::from_ne_bytes(bytes)) / 65536.0 {
                v if (v - 1.0).abs() < 0.01 => Some(1),
                v if (v + 1.0).abs() < 0.01 => Some(-1),
                v if v.abs() < 0.01 => Some(0),
                _ => None,
            }
        };
        let turn = Self { a: unit(0)?, b: unit(1)?, c: unit(3)?, d: unit(4)? };
        let upright = turn.a != 0 && turn.d != 0 && turn.b == 0 && turn.c == 0;
        let sideways = turn.b != 0 && turn.c != 0 && turn.a == 0 && turn.d == 0;
        (upright || sideways).then_some(turn)
    }

    /// The size of what is shown of a picture.
    pub(super) fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.a == 0 { (height, width) } else { (width, height) }
    }

    /// Copies a picture of RGB, turned.
    pub(super) fn copy(self, rgb: &Video, frame: &mut Frame) {
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        let (out_width, out_height) = self.size(width, height);
        frame.reshape(out_width, out_height);
        let rows = rgb.data(0).chunks(rgb.stride(0)).take(height);
        if self == Self::NONE {
            for (out, row) in frame.rgb_mut().chunks_exact_mut(width * 3).zip(rows) {
                out.copy_from_slice(&row[..width * 3]);
            }
            return;
        }
        let last = |n: usize| n as isize - 1;
        let negative = |v: i8, n: usize| if v < 0 { last(n) } else { 0 };
        let left = negative(self.a, width) + negative(self.c, height);
        let top = negative(self.b, width) + negative(self.d, height);
        let out = frame.rgb_mut();
        for (y, row) in rows.enumerate() {
            for (x, pixel) in row[..width * 3].chunks_exact(3).enumerate() {
                let (x, y) = (x as isize, y as isize);
                let to_x = isize::from(self.a) * x + isize::from(self.c) * y + left;
                let to_y = isize::from(self.b) * x + isize::from(self.d) * y + top;
                let at = (to_y as usize * out_width + to_x as usize) * 3;
                out[at..at + 3].copy_from_slice(pixel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ffmpeg_next::format::Pixel;

    fn matrix(a: f64, b: f64, c: f64, d: f64) -> Vec<u8> {
        let values = [a, b, 0.0, c, d, 0.0, 0.0, 0.0, 16384.0];
        values.iter().flat_map(|v| ((v * 65536.0) as i32).to_ne_bytes()).collect()
    }

    /// The reds of a picture of 3 by 2 that counts its pixels, turned.
    fn turned(a: f64, b: f64, c: f64, d: f64) -> (usize, usize, Vec<u8>) {
        let mut rgb = Video::new(Pixel::RGB24, 3, 2);
        let stride = rgb.stride(0);
        for i in 0..6 {
            rgb.data_mut(0)[i / 3 * stride + i % 3 * 3] = i as u8;
        }
        let turn = Turn::parse(&matrix(a, b, c, d)).unwrap();
        let mut frame = Frame::default();
        turn.copy(&rgb, &mut frame);
        let reds = frame.rgb().iter().step_by(3).copied().collect();
        (frame.width(), frame.height(), reds)
    }

    #[test]
    fn quarters_and_mirrors() {
        assert_eq!(turned(1.0, 0.0, 0.0, 1.0), (3, 2, vec![0, 1, 2, 3, 4, 5]));
        // A quarter clockwise, a half, a quarter the other way.
        assert_eq!(turned(0.0, 1.0, -1.0, 0.0), (2, 3, vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(turned(-1.0, 0.0, 0.0, -1.0), (3, 2, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(turned(0.0, -1.0, 1.0, 0.0), (2, 3, vec![2, 5, 1, 4, 0, 3]));
        assert_eq!(turned(-1.0, 0.0, 0.0, 1.0), (3, 2, vec![2, 1, 0, 5, 4, 3]));
    }

    #[test]
    fn other_angles_and_short_data_are_none() {
        let (sin, cos) = 0.5f64.sin_cos();
        assert!(Turn::parse(&matrix(cos, sin, -sin, cos)).is_none());
        assert!(Turn::parse(&matrix(0.0, 0.0, 0.0, 0.0)).is_none());
        assert!(Turn::parse(&[0; 10]).is_none());
    }
}
