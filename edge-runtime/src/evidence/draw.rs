//! Drawing into pictures.

use alert_wire::Region;
use video::Frame;

/// Red, and two pixels wide, so that JPEG's halved colour resolution does not wash it out.
const COLOUR: [u8; 3] = [255, 0, 0];
const LINE: usize = 2;

/// Draws the outline of a region; what lies outside the picture is cut off.
pub fn draw_region(frame: &mut Frame, region: Region) {
    let (width, height) = (frame.width(), frame.height());
    if width == 0 || height == 0 {
        return;
    }
    // Values that are not finite or outside of 0..1 end at the nearest edge (NaN at 0).
    let at =
        |value: f32, size: usize| ((value.clamp(0.0, 1.0) * size as f32) as usize).min(size - 1);
    let (left, right) = (at(region.x, width), at(region.x + region.width, width));
    let (top, bottom) = (at(region.y, height), at(region.y + region.height, height));
    let rgb = frame.rgb_mut();
    for y in top..=bottom {
        for x in left..=right {
            let inside =
                x >= left + LINE && x + LINE <= right && y >= top + LINE && y + LINE <= bottom;
            if !inside {
                let pixel = (y * width + x) * 3;
                rgb[pixel..pixel + 3].copy_from_slice(&COLOUR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(region: Region) -> Vec<String> {
        let mut frame = Frame::new(10, 8);
        draw_region(&mut frame, region);
        frame
            .rgb()
            .chunks_exact(30)
            .map(|row| row.chunks_exact(3).map(|p| if p[0] == 255 { '#' } else { '.' }).collect())
            .collect()
    }

    #[test]
    fn an_outline() {
        let picture = drawn(Region { x: 0.2, y: 0.125, width: 0.6, height: 0.75 });
        let expected = [
            "..........",
            "..#######.",
            "..#######.",
            "..##...##.",
            "..##...##.",
            "..##...##.",
            "..#######.",
            "..#######.",
        ];
        assert_eq!(picture, expected);
    }

    #[test]
    fn regions_outside_do_no_harm() {
        for v in [-1.0, 2.0, f32::NAN, f32::INFINITY] {
            drawn(Region { x: v, y: v, width: v, height: v });
            draw_region(&mut Frame::new(0, 0), Region { x: v, y: v, width: v, height: v });
        }
        // A region of no extent still marks its place.
        let picture = drawn(Region { x: 0.5, y: 0.5, width: 0.0, height: 0.0 });
        assert_eq!(picture.concat().matches('#').count(), 1);
    }
}
