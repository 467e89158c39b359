//! The site: what the camera sees when nobody is there, and the ways people take.

use super::canvas::{Canvas, Colour};
use super::random::Random;

/// A way across the picture: a quadratic Bézier curve on the ground, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub from: (f32, f32),
    pub bend: (f32, f32),
    pub to: (f32, f32),
}

impl Way {
    /// The point at `u` in 0 to 1.
    pub fn at(&self, u: f32) -> (f32, f32) {
        let v = 1.0 - u;
        let mix = |a: f32, b: f32, c: f32| v * v * a + 2.0 * u * v * b + u * u * c;
        (mix(self.from.0, self.bend.0, self.to.0), mix(self.from.1, self.bend.1, self.to.1))
    }

    /// The direction at `u`: pixels for each unit of `u`.
    pub fn tangent(&self, u: f32) -> (f32, f32) {
        let v = 1.0 - u;
        let mix = |a: f32, b: f32, c: f32| 2.0 * v * (b - a) + 2.0 * u * (c - b);
        (mix(self.from.0, self.bend.0, self.to.0), mix(self.from.1, self.bend.1, self.to.1))
    }
}

/// A square with a building behind it, lanes across it, and a camera that looks down on it.
#[derive(Debug, Clone)]
pub struct Site {
    pub width: usize,
    pub height: usize,
    pub background: Canvas,
    pub ways: Vec<Way>,
    /// Row at which the ground ends and the building starts.
    pub horizon: f32,
}

impl Site {
    pub fn new(width: usize, height: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let (w, h) = (width as f32, height as f32);
        let horizon = h * random.between(0.24, 0.32);
        let ways = ways(w, h, horizon, &mut random);
        let background = background(width, height, horizon, &ways, &mut random);
        Self { width, height, background, ways, horizon }
    }

    /// Height in pixels of a person whose feet are at row `y`: the camera's perspective.
    pub fn person_height(&self, y: f32) -> f32 {
        let h = self.height as f32;
        let near = ((y - self.horizon) / (h - self.horizon)).clamp(0.0, 1.2);
        h * (0.085 + 0.085 * near)
    }
}

fn ways(w: f32, h: f32, horizon: f32, random: &mut Random) -> Vec<Way> {
    let ground = h - horizon;
    let mut ways = Vec::new();
    // Two or three lanes from side to side, one that comes from the building.
    let lanes = 2 + random.below(2);
    for lane in 0..lanes {
        let y = horizon + ground * (0.28 + 0.56 * (lane as f32 + 0.5) / lanes as f32);
        let drift = ground * random.between(-0.07, 0.07);
        ways.push(Way {
            from: (-0.08 * w, y - drift),
            bend: (w * random.between(0.35, 0.65), y + ground * random.between(-0.06, 0.06)),
            to: (1.08 * w, y + drift),
        });
    }
    let door = w * random.between(0.25, 0.75);
    ways.push(Way {
        from: (door, horizon + 2.0),
        bend: (door + w * random.between(-0.1, 0.1), horizon + ground * 0.5),
        to: (door + w * random.between(-0.25, 0.25), h * 1.18),
    });
    ways
}

/// Smooth noise in -1 to 1: random values on a grid of `cell` pixels, interpolated.
fn smooth_noise(width: usize, height: usize, cell: usize, random: &mut Random) -> Vec<f32> {
    let (gw, gh) = (width / cell + 2, height / cell + 2);
    let grid: Vec<f32> = (0..gw * gh).map(|_| random.between(-1.0, 1.0)).collect();
    let mut out = Vec::with_capacity(width * height);
    for y in 0..height {
        let (gy, fy) = (y / cell, (y % cell) as f32 / cell as f32);
        for x in 0..width {
            let (gx, fx) = (x / cell, (x % cell) as f32 / cell as f32);
            let g = |dx: usize, dy: usize| grid[(gy + dy) * gw + gx + dx];
            let top = g(0, 0) + fx * (g(1, 0) - g(0, 0));
            let low = g(0, 1) + fx * (g(1, 1) - g(0, 1));
            out.push(top + fy * (low - top));
        }
    }
    out
}

fn background(
    width: usize,
    height: usize,
    horizon: f32,
    ways: &[Way],
    random: &mut Random,
) -> Canvas {
    let tone = random.between(105.0, 150.0);
    let ground: Colour =
        [tone, tone * random.between(0.95, 1.0), tone * random.between(0.88, 0.98)];
    let mut canvas = Canvas::new(width, height, ground);
    let (w, h) = (width as f32, height as f32);

    // Ways are worn lighter.
    for way in ways {
        let worn = ground.map(|c| c + 16.0);
        for i in 0..60 {
            let (a, b) = (way.at(i as f32 / 60.0), way.at((i + 1) as f32 / 60.0));
            canvas.capsule(a, b, h * 0.035, worn);
        }
    }
    // Paving, patches and grain.
    let patches = smooth_noise(width, height, 24, random);
    let grain = smooth_noise(width, height, 3, random);
    for (i, pixel) in canvas.pixels.iter_mut().enumerate() {
        let joint = if (i / width).is_multiple_of(17)
            || (i % width + (i / width) / 17 * 9).is_multiple_of(31)
        {
            -7.0
        } else {
            0.0
        };
        pixel.iter_mut().for_each(|p| *p += 9.0 * patches[i] + 6.0 * grain[i] + joint);
    }
    // The building, its windows and door.
    let wall =
        [random.between(90.0, 170.0), random.between(85.0, 150.0), random.between(80.0, 140.0)];
    canvas.block((-4.0, -4.0, w + 4.0, horizon), 0.5, wall);
    let panes = 5 + random.below(4);
    for i in 0..panes {
        let x = w * (i as f32 + 0.5) / panes as f32;
        let half = w * 0.28 / panes as f32;
        let shade = random.between(35.0, 75.0);
        canvas.block(
            (x - half, horizon * 0.2, x + half, horizon * 0.68),
            1.0,
            [shade, shade + 8.0, shade + 16.0],
        );
    }
    if let Some(door) = ways.last() {
        let x = door.from.0;
        canvas.block((x - 7.0, horizon * 0.35, x + 7.0, horizon + 1.0), 1.0, [52.0, 44.0, 40.0]);
    }
    // A few bushes and posts at the edges, away from the ways.
    for _ in 0..5 {
        let at = (random.between(0.0, w), horizon + random.between(2.0, 8.0));
        for _ in 0..6 {
            let leaf = (at.0 + random.between(-9.0, 9.0), at.1 + random.between(-8.0, 3.0));
            let green = random.between(60.0, 105.0);
            canvas.disc(leaf, random.between(2.5, 5.0), [green * 0.55, green, green * 0.45]);
        }
    }
    canvas
}
