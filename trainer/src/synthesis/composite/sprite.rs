//! Sprites: small pictures with transparency, cut from footage or painted.

use video::Frame;

use super::{background::Background, foreground::Component};

/// Texels are stored in sixteenths of a level.
const FRACTION: f32 = 16.0;

/// A small picture with transparency and an anchor.
///
/// Colours are premultiplied by alpha. For a sprite cut from a frame I over background B they are
/// `I - (1 - alpha) B`: pasted where the background is the same, it gives exactly I again, and on
/// another background no halo of the old one.
#[derive(Debug, Clone)]
pub(super) struct Sprite {
    /// Width in texels.
    pub width: usize,
    /// Height in texels.
    pub height: usize,
    /// The point of the sprite that is placed, in texels: a walker's foot.
    pub anchor: [f32; 2],
    /// Light where it was filmed, in luma levels; `None` if painted for where it goes.
    pub light: Option<f32>,
    /// Red, green, blue and alpha (1 is 255 levels).
    texels: Vec<[i16; 4]>,
}

impl Sprite {
    /// Cuts `part` out of `frame`. `anchor` is in pixels of the frame.
    pub fn cut(frame: &Frame, background: &Background, part: &Component, anchor: [f32; 2]) -> Self {
        const MARGIN: usize = 3;
        let (w, h) = (part.width + 2 * MARGIN, part.height + 2 * MARGIN);
        let alpha = matte(part, MARGIN, w, h);
        let (x0, y0) = (part.x as isize - MARGIN as isize, part.y as isize - MARGIN as isize);
        let (fw, fh) = (frame.width(), frame.height());
        let mut texels = vec![[0; 4]; w * h];
        for (i, texel) in texels.iter_mut().enumerate() {
            let (x, y) = (x0 + (i % w) as isize, y0 + (i / w) as isize);
            let a = alpha[i];
            if a == 0.0 || x < 0 || y < 0 || x >= fw as isize || y >= fh as isize {
                continue;
            }
            let at = (y as usize * fw + x as usize) * 3;
            let (filmed, still) = (&frame.rgb()[at..at + 3], &background.frame.rgb()[at..at + 3]);
            let colour = [0, 1, 2].map(|c| filmed[c] as f32 - (1.0 - a) * still[c] as f32);
            *texel = [colour[0], colour[1], colour[2], a * 255.0].map(store);
        }
        let middle = part.centre;
        Self {
            width: w,
            height: h,
            anchor: [anchor[0] - x0 as f32, anchor[1] - y0 as f32],
            light: Some(background.light_at(middle[0], middle[1])),
            texels,
        }
    }

    /// A sprite whose texel at (x, y) (its middle, in texels) has the straight colour and alpha
    /// (0 to 1) that `paint` gives.
    pub fn paint(
        width: usize,
        height: usize,
        anchor: [f32; 2],
        mut paint: impl FnMut(f32, f32) -> ([f32; 3], f32),
    ) -> Self {
        let mut texels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (rgb, a) = paint(x as f32 + 0.5, y as f32 + 0.5);
                texels.push([rgb[0] * a, rgb[1] * a, rgb[2] * a, a * 255.0].map(store));
            }
        }
        Self { width, height, anchor, light: None, texels }
    }

    /// The same shape with every straight colour changed; `change` gets the texel's middle.
    pub fn recolour(&self, mut change: impl FnMut(f32, f32, [f32; 3]) -> [f32; 3]) -> Self {
        let mut out = self.clone();
        for (i, texel) in out.texels.iter_mut().enumerate() {
            let a = texel[3] as f32 / FRACTION / 255.0;
            if a > 0.0 {
                let straight = [0, 1, 2].map(|c| texel[c] as f32 / FRACTION / a);
                let (x, y) = ((i % self.width) as f32 + 0.5, (i / self.width) as f32 + 0.5);
                let changed = change(x, y, straight);
                for c in 0..3 {
                    texel[c] = store(changed[c].clamp(0.0, 255.0) * a);
                }
            }
        }
        out
    }

    /// Premultiplied colour in levels and alpha (0 to 1) at a point in texels, bilinear;
    /// transparent outside.
    pub fn sample(&self, x: f32, y: f32) -> [f32; 4] {
        let (x, y) = (x - 0.5, y - 0.5);
        let (fx, fy) = (x.floor(), y.floor());
        let (ax, ay) = (x - fx, y - fy);
        let mut out = [0.0; 4];
        for (dx, dy, weight) in [
            (0, 0, (1.0 - ax) * (1.0 - ay)),
            (1, 0, ax * (1.0 - ay)),
            (0, 1, (1.0 - ax) * ay),
            (1, 1, ax * ay),
        ] {
            let (sx, sy) = (fx as isize + dx, fy as isize + dy);
            if sx < 0 || sy < 0 || sx >= self.width as isize || sy >= self.height as isize {
                continue;
            }
            let texel = self.texels[sy as usize * self.width + sx as usize];
            for (o, t) in out.iter_mut().zip(texel) {
                *o += weight * t as f32;
            }
        }
        let scale = 1.0 / FRACTION;
        [out[0] * scale, out[1] * scale, out[2] * scale, out[3] * scale / 255.0]
    }

    /// The straight colour and alpha at a point, for painting a sprite onto another.
    pub fn straight(&self, x: f32, y: f32) -> ([f32; 3], f32) {
        let [r, g, b, a] = self.sample(x, y);
        if a < 1e-3 { ([0.0; 3], 0.0) } else { ([r / a, g / a, b / a], a) }
    }
}

fn store(level: f32) -> i16 {
    (level * FRACTION).round().clamp(-4095.0, 4095.0) as i16
}

/// Alpha of the box of `part` with a margin, `w` × `h` pixels: the mask, blurred. It reaches a pixel
/// beyond the mask, for the soft edge of a figure lies below the threshold.
fn matte(part: &Component, margin: usize, w: usize, h: usize) -> Vec<f32> {
    let mut alpha = vec![0.0; w * h];
    for (i, _) in part.mask.iter().enumerate().filter(|(_, inside)| **inside) {
        alpha[(i / part.width + margin) * w + i % part.width + margin] = 1.0;
    }
    blur(&mut alpha, w, h);
    // Half and more (a straight edge's own pixels have 3/4, those outside 1/4) is made opaque.
    alpha.iter_mut().for_each(|a| *a = (*a / 0.75).min(1.0));
    alpha
}

/// A 1-2-1 blur along both axes.
fn blur(plane: &mut [f32], w: usize, h: usize) {
    let mut pass = |start: usize, step: usize, n: usize| {
        let mut before = 0.0;
        for i in 0..n {
            let at = start + i * step;
            let after = if i + 1 < n { plane[at + step] } else { 0.0 };
            let here = plane[at];
            plane[at] = 0.25 * before + 0.5 * here + 0.25 * after;
            before = here;
        }
    };
    for y in 0..h {
        pass(y * w, 1, w);
    }
    for x in 0..w {
        pass(x, w, h);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_between_texels_are_blended() {
        let sprite = Sprite::paint(2, 1, [0.0; 2], |x, _| ([100.0 * x; 3], 1.0));
        assert_eq!(sprite.sample(0.5, 0.5), [50.0, 50.0, 50.0, 1.0]);
        assert_eq!(sprite.sample(1.0, 0.5), [100.0, 100.0, 100.0, 1.0]);
        assert_eq!(sprite.sample(0.0, 0.5)[3], 0.5);
        assert_eq!(sprite.sample(9.0, 0.5), [0.0; 4]);
    }

    #[test]
    fn a_sprite_put_back_gives_the_frame_again() {
        let luma = |k: usize| (0..400).map(|i| (i * k % 200) as u8 + 20).collect::<Vec<_>>();
        let still = Frame::from_luma(20, 20, &luma(7)).unwrap();
        let frame = Frame::from_luma(20, 20, &luma(13)).unwrap();
        let background = Background::new(&[&still]);
        let part = Component {
            x: 6,
            y: 5,
            width: 4,
            height: 7,
            area: 28,
            centre: [8.0, 8.5],
            mask: vec![true; 28],
        };
        let sprite = Sprite::cut(&frame, &background, &part, [8.0, 12.0]);
        let mut opaque = 0;
        for y in 0..20 {
            for x in 0..20 {
                let at = [x as f32 + 0.5 - 8.0, y as f32 + 0.5 - 12.0];
                let [r, .., a] = sprite.sample(at[0] + sprite.anchor[0], at[1] + sprite.anchor[1]);
                let i = (y * 20 + x) * 3;
                let shown = r + (1.0 - a) * still.rgb()[i] as f32;
                let expected = if a > 0.0 { &frame } else { &still };
                assert!((shown - expected.rgb()[i] as f32).abs() < 0.1, "{x} {y}");
                opaque += (a > 0.99) as usize;
            }
        }
        // Corners are round.
        assert!((24..=28).contains(&opaque), "{opaque}");
    }

    #[test]
    fn recolour_keeps_the_shape() {
        let sprite = Sprite::paint(3, 3, [0.0; 2], |x, y| ([80.0; 3], (x * y / 9.0).min(1.0)));
        let inverse = sprite.recolour(|_, _, rgb| rgb.map(|v| 255.0 - v));
        let ([r, ..], a) = inverse.straight(1.5, 1.5);
        assert!((r - 175.0).abs() < 1.0, "{r}");
        assert_eq!(a, sprite.straight(1.5, 1.5).1);
    }
}
