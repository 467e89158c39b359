//! Anti-aliased drawing of a few shapes on a floating-point picture.

use video::Frame;

/// A colour, 0 to 255 each of red, green and blue.
pub type Colour = [f32; 3];

/// A picture of floating-point RGB, so that light and noise can be applied before rounding.
#[derive(Debug, Clone)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Colour>,
}

impl Canvas {
    pub fn new(width: usize, height: usize, fill: Colour) -> Self {
        Self { width, height, pixels: vec![fill; width * height] }
    }

    /// Blends `colour` over every pixel of the box with the coverage that `cover(x, y)` gives.
    fn blend(
        &mut self,
        (x0, y0, x1, y1): (f32, f32, f32, f32),
        colour: Colour,
        cover: impl Fn(f32, f32) -> f32,
    ) {
        let left = (x0.floor() - 1.0).max(0.0) as usize;
        let top = (y0.floor() - 1.0).max(0.0) as usize;
        let right = ((x1.ceil() + 1.0).max(0.0) as usize).min(self.width);
        let bottom = ((y1.ceil() + 1.0).max(0.0) as usize).min(self.height);
        for y in top..bottom {
            for x in left..right {
                let alpha = cover(x as f32 + 0.5, y as f32 + 0.5).clamp(0.0, 1.0);
                if alpha > 0.0 {
                    let pixel = &mut self.pixels[y * self.width + x];
                    for (p, c) in pixel.iter_mut().zip(colour) {
                        *p += alpha * (c - *p);
                    }
                }
            }
        }
    }

    /// A line from `a` to `b` with round ends, `radius` to each side.
    pub fn capsule(&mut self, a: (f32, f32), b: (f32, f32), radius: f32, colour: Colour) {
        let bounds = (
            a.0.min(b.0) - radius,
            a.1.min(b.1) - radius,
            a.0.max(b.0) + radius,
            a.1.max(b.1) + radius,
        );
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length2 = (dx * dx + dy * dy).max(1e-6);
        self.blend(bounds, colour, |x, y| {
            let along = (((x - a.0) * dx + (y - a.1) * dy) / length2).clamp(0.0, 1.0);
            let (px, py) = (x - a.0 - along * dx, y - a.1 - along * dy);
            radius + 0.5 - (px * px + py * py).sqrt()
        });
    }

    /// A disc.
    pub fn disc(&mut self, centre: (f32, f32), radius: f32, colour: Colour) {
        self.capsule(centre, centre, radius, colour);
    }

    /// A soft dark ellipse: a shadow on the ground. `strength` 0 to 1.
    pub fn shadow(&mut self, centre: (f32, f32), rx: f32, ry: f32, strength: f32) {
        let bounds = (centre.0 - rx, centre.1 - ry, centre.0 + rx, centre.1 + ry);
        self.blend(bounds, [20.0, 20.0, 24.0], |x, y| {
            let (u, v) = ((x - centre.0) / rx, (y - centre.1) / ry);
            (1.0 - u * u - v * v).max(0.0).sqrt() * strength
        });
    }

    /// An axis-aligned rectangle with corners rounded by `round`.
    pub fn block(&mut self, (x0, y0, x1, y1): (f32, f32, f32, f32), round: f32, colour: Colour) {
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let (hx, hy) = ((x1 - x0) / 2.0 - round, (y1 - y0) / 2.0 - round);
        self.blend((x0, y0, x1, y1), colour, |x, y| {
            let (dx, dy) = (((x - cx).abs() - hx).max(0.0), ((y - cy).abs() - hy).max(0.0));
            round + 0.5 - (dx * dx + dy * dy).sqrt()
        });
    }

    /// The picture rounded to 8 bits, after `light` (gain) and `noise(i)` (levels to be added to
    /// byte i) are applied.
    pub fn to_frame(&self, light: f32, mut noise: impl FnMut() -> f32, frame: &mut Frame) {
        frame.reshape(self.width, self.height);
        for (out, pixel) in frame.rgb_mut().chunks_exact_mut(3).zip(&self.pixels) {
            // Sensor noise is mostly common to the three channels after demosaicing.
            let grain = noise();
            for (o, p) in out.iter_mut().zip(pixel) {
                *o = (p * light + grain).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
}
