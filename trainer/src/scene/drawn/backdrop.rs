//! The place with nobody in it: ground, walls and furniture, and how far away each pixel is.

use super::super::canvas::Colour;
use super::super::random::Random;
use super::viewpoint::{Point, Viewpoint, add, scaled, sub};

/// Samples a pixel along each axis.
const SAMPLES: usize = 3;
/// A pixel in which nothing stands is this far away, in metres.
const SKY: f32 = 1e6;

/// How a surface looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finish {
    Plain,
    /// Square tiles of so many metres.
    Tiles(f32),
    /// Boards or bricks of so many metres, each row shifted.
    Bricks(f32),
    /// Goods on shelves.
    Goods,
    /// Windows in a wall, so many metres apart.
    Windows(f32),
    /// Uneven: grass, asphalt, gravel.
    Rough,
    /// A screen whose picture changes.
    Screen,
}

/// A box that stands in the place, with sides along the axes.
#[derive(Debug, Clone, Copy)]
pub struct Solid {
    pub low: Point,
    pub high: Point,
    pub colour: Colour,
    pub finish: Finish,
}

/// A rectangle on the ground that looks otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Patch {
    pub low: (f32, f32),
    pub high: (f32, f32),
    pub colour: Colour,
    pub finish: Finish,
}

/// A lamp.
#[derive(Debug, Clone, Copy)]
pub struct Lamp {
    pub at: Point,
    /// Metres at which it has lost half of its light.
    pub reach: f32,
    pub strength: f32,
}

/// What lights the place.
#[derive(Debug, Clone)]
pub struct Light {
    /// Light from everywhere.
    pub ambient: f32,
    /// Where most light comes from: a unit vector towards it.
    pub from: Point,
    /// How dark a shadow is, and how soft its edge is in metres.
    pub shadow: f32,
    pub soft: f32,
    pub lamps: Vec<Lamp>,
    /// Standard deviation of the sensor's noise in levels.
    pub noise: f32,
}

impl Light {
    /// How bright a surface at a point is, 1 for as bright as it is painted.
    pub fn at(&self, point: Point) -> f32 {
        let lamps = self.lamps.iter().map(|lamp| {
            let d = sub(point, lamp.at);
            let near = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) / (lamp.reach * lamp.reach);
            lamp.strength / (1.0 + near * near)
        });
        self.ambient + lamps.sum::<f32>()
    }
}

/// What a place is made of.
#[derive(Debug, Clone)]
pub struct Setting {
    pub ground: Colour,
    pub finish: Finish,
    pub patches: Vec<Patch>,
    pub solids: Vec<Solid>,
    pub light: Light,
    /// What is seen above the horizon.
    pub sky: Colour,
}

/// The picture of the empty place.
#[derive(Debug, Clone)]
pub struct Backdrop {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Colour>,
    /// Metres along the line of sight.
    pub depth: Vec<f32>,
    /// Where on the ground each pixel is; not a number where it shows something else.
    pub ground: Vec<(f32, f32)>,
    /// Pixels of screens, with the place on the screen.
    pub screens: Vec<(usize, f32, f32)>,
}

/// What a line of sight meets first.
struct Met {
    depth: f32,
    colour: Colour,
    ground: Option<(f32, f32)>,
    screen: Option<(f32, f32)>,
}

impl Backdrop {
    pub fn new(size: (usize, usize), view: &Viewpoint, setting: &Setting, seed: u32) -> Self {
        let (width, height) = size;
        let count = width * height;
        let mut this = Self {
            width,
            height,
            pixels: Vec::with_capacity(count),
            depth: Vec::with_capacity(count),
            ground: Vec::with_capacity(count),
            screens: Vec::new(),
        };
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 3];
                for sample in 0..SAMPLES * SAMPLES {
                    let part = |i: usize| (i as f32 + 0.5) / SAMPLES as f32;
                    let (dx, dy) = (part(sample % SAMPLES), part(sample / SAMPLES));
                    let ray = view.ray(x as f32 + dx, y as f32 + dy);
                    let met = meet(view.at, ray, setting, seed);
                    sum.iter_mut().zip(met.colour).for_each(|(s, c)| *s += c);
                    if sample == SAMPLES * SAMPLES / 2 {
                        this.depth.push(met.depth);
                        this.ground.push(met.ground.unwrap_or((f32::NAN, f32::NAN)));
                        if let Some((u, v)) = met.screen {
                            this.screens.push((y * width + x, u, v));
                        }
                    }
                }
                this.pixels.push(sum.map(|s| s / (SAMPLES * SAMPLES) as f32));
            }
        }
        this
    }

    /// Whether something at `depth` would be seen at a pixel.
    pub fn shows(&self, x: f32, y: f32, depth: f32) -> bool {
        if x < 0.0 || y < 0.0 || x >= self.width as f32 || y >= self.height as f32 {
            return false;
        }
        depth < self.depth[y as usize * self.width + x as usize] + 0.3
    }
}

fn meet(from: Point, ray: Point, setting: &Setting, seed: u32) -> Met {
    let mut depth = SKY;
    let mut hit: Option<(&Solid, usize)> = None;
    for solid in &setting.solids {
        let spans = [0, 1, 2].map(|axis| {
            let inverse = 1.0 / if ray[axis].abs() < 1e-7 { 1e-7 } else { ray[axis] };
            let a = (solid.low[axis] - from[axis]) * inverse;
            let b = (solid.high[axis] - from[axis]) * inverse;
            (a.min(b), a.max(b))
        });
        let far = spans.iter().map(|span| span.1).fold(SKY, f32::min);
        // Met where the last of the three pairs of sides is reached.
        let (face, near) =
            spans.iter().map(|span| span.0).enumerate().fold((0, 0.0_f32), |last, (axis, near)| {
                if near > last.1 { (axis, near) } else { last }
            });
        if near < far && near > 0.05 && near < depth {
            depth = near;
            hit = Some((solid, face));
        }
    }
    let down = if ray[2] < -1e-6 { -from[2] / ray[2] } else { SKY };
    if down < depth {
        let at = add(from, scaled(ray, down));
        let patch = setting.patches.iter().rev().find(|p| {
            (p.low.0..=p.high.0).contains(&at[0]) && (p.low.1..=p.high.1).contains(&at[1])
        });
        let (colour, finish) =
            patch.map_or((setting.ground, setting.finish), |p| (p.colour, p.finish));
        let shade = textured(finish, at[0], at[1], seed)
            * corner(at, &setting.solids)
            * setting.light.at(at);
        return Met {
            depth: down,
            colour: colour.map(|c| c * shade),
            ground: Some((at[0], at[1])),
            screen: None,
        };
    }
    let Some((solid, face)) = hit else {
        return Met { depth: SKY, colour: setting.sky, ground: None, screen: None };
    };
    let at = add(from, scaled(ray, depth));
    let (u, v) = match face {
        0 => (at[1], at[2]),
        1 => (at[0], at[2]),
        _ => (at[0], at[1]),
    };
    // Faces that look up are lit best, those that look sideways least.
    let facing = [0.7, 0.84, 1.0][face];
    let screen = (solid.finish == Finish::Screen).then(|| {
        let part = |axis: usize| {
            (at[axis] - solid.low[axis]) / (solid.high[axis] - solid.low[axis]).max(1e-3)
        };
        (part(usize::from(face == 0)), part(2))
    });
    let salt = seed ^ (solid.low[0] * 97.0 + solid.low[1] * 31.0) as i32 as u32;
    let shade = facing * textured(solid.finish, u, v, salt) * setting.light.at(at);
    Met { depth, colour: solid.colour.map(|c| c * shade), ground: None, screen }
}

/// The ground is darker close to what stands on it.
fn corner(at: Point, solids: &[Solid]) -> f32 {
    solids.iter().filter(|s| s.low[2] < 0.3).fold(1.0, |shade, s| {
        let dx = (s.low[0] - at[0]).max(at[0] - s.high[0]).max(0.0);
        let dy = (s.low[1] - at[1]).max(at[1] - s.high[1]).max(0.0);
        shade * (1.0 - 0.32 * (-(dx * dx + dy * dy).sqrt() / 0.22).exp())
    })
}

/// A number in 0 to 1 that belongs to a cell.
pub fn hash(x: i32, y: i32, salt: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ salt.wrapping_mul(0xC2B2_AE3D);
    h ^= h >> 15;
    h = h.wrapping_mul(0x2C1B_3C6D);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297A_2D39);
    h ^= h >> 15;
    (h & 0xFFFF) as f32 / 65_535.0
}

/// Smooth noise in 0 to 1.
fn smooth(u: f32, v: f32, salt: u32) -> f32 {
    let (x, y) = (u.floor(), v.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(u - x), ease(v - y));
    let h = |dx: i32, dy: i32| hash(x as i32 + dx, y as i32 + dy, salt);
    let top = h(0, 0) + fx * (h(1, 0) - h(0, 0));
    let low = h(0, 1) + fx * (h(1, 1) - h(0, 1));
    top + fy * (low - top)
}

/// How light the surface is at a place on it, in metres; about 1.
fn textured(finish: Finish, u: f32, v: f32, salt: u32) -> f32 {
    let worn = 0.92 + 0.16 * smooth(u * 0.9, v * 0.9, salt);
    let cell = |u: f32, v: f32| hash(u.floor() as i32, v.floor() as i32, salt);
    let joint = |t: f32, wide: f32| if t.rem_euclid(1.0) < wide { 0.86 } else { 1.0 };
    match finish {
        Finish::Plain => worn,
        Finish::Rough => worn * (0.88 + 0.24 * smooth(u * 14.0, v * 14.0, salt ^ 7)),
        Finish::Tiles(size) => {
            let (a, b) = (u / size, v / size);
            worn * (0.95 + 0.1 * cell(a, b)) * joint(a, 0.04) * joint(b, 0.04)
        }
        Finish::Bricks(size) => {
            let row = v / (size * 0.35);
            let a = u / size + if row.floor() as i32 % 2 == 0 { 0.0 } else { 0.5 };
            worn * (0.92 + 0.16 * cell(a, row)) * joint(a, 0.05) * joint(row, 0.1)
        }
        Finish::Goods => {
            let row = v / 0.38;
            if row.rem_euclid(1.0) < 0.12 {
                return 0.75;
            }
            0.45 + 0.9 * cell(u / 0.17, row)
        }
        Finish::Windows(size) => {
            let (a, b) = ((u / size).rem_euclid(1.0), (v / (size * 1.1)).rem_euclid(1.0));
            let pane = (0.25..0.75).contains(&a) && (0.3..0.8).contains(&b);
            if pane { 0.4 + 0.15 * cell(u / size, v / size) } else { worn }
        }
        Finish::Screen => 1.0,
    }
}

/// A colour whose channels lie between two levels, around a common tone.
pub fn tone(random: &mut Random, low: f32, high: f32, tint: f32) -> Colour {
    let level = random.between(low, high);
    [0; 3].map(|_| level * random.between(1.0 - tint, 1.0 + tint))
}
