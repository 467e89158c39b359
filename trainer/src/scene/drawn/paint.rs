//! Drawing what moves over the empty place: limbs, panels and glows, the far ones first.

use video::Frame;

use super::super::canvas::Colour;
use super::backdrop::{Backdrop, Light, hash};
use super::viewpoint::{Point, Seen, Viewpoint, add, cross, dot, scaled, sub, unit};

/// What a limb's cloth looks like.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Cloth {
    #[default]
    Plain,
    /// Rings of so many metres.
    Rings(f32),
    /// Bars along the limb.
    Bars,
    /// Checks of so many metres.
    Checks(f32),
}

/// A rounded rod in space, thick at both ends as told, in metres.
#[derive(Debug, Clone, Copy)]
pub struct Limb {
    pub ends: [Point; 2],
    pub thick: [f32; 2],
    pub colour: Colour,
    pub cloth: Cloth,
}

/// What can be drawn.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Limb(Limb),
    /// A flat four-cornered face.
    Panel([Point; 4], Colour),
    /// A light that is seen, so many metres across.
    Glow(Point, f32, Colour),
}

/// A light that falls on the ground: the place, metres, strength.
pub type Pool = ((f32, f32), f32, f32);

/// The shapes of a moment.
#[derive(Debug, Default)]
pub struct Shapes {
    pub all: Vec<Shape>,
    pub pools: Vec<Pool>,
}

impl Shapes {
    /// A rod without a pattern.
    pub fn rod(&mut self, a: Point, b: Point, thick: f32, colour: Colour) {
        let (ends, thick) = ([a, b], [thick, thick]);
        self.all.push(Shape::Limb(Limb { ends, thick, colour, cloth: Cloth::Plain }));
    }

    /// A box with a heading: `size` along, across and up, its middle at the ground point `at`.
    pub fn block(
        &mut self,
        at: Point,
        heading: f32,
        size: Point,
        colour: Colour,
        top: Option<Colour>,
    ) {
        let (s, c) = heading.sin_cos();
        let corner = |a: f32, l: f32, u: f32| {
            let (a, l) = (a * size[0] / 2.0, l * size[1] / 2.0);
            add(at, [a * c - l * s, a * s + l * c, u * size[2]])
        };
        let mut face = |corners: [(f32, f32, f32); 4], colour| {
            let corners = corners.map(|(a, l, u)| corner(a, l, u));
            self.all.push(Shape::Panel(corners, colour));
        };
        let (f, b) = (1.0, -1.0);
        face([(f, f, 0.0), (f, b, 0.0), (f, b, 1.0), (f, f, 1.0)], colour);
        face([(b, b, 0.0), (b, f, 0.0), (b, f, 1.0), (b, b, 1.0)], colour);
        face([(b, f, 0.0), (f, f, 0.0), (f, f, 1.0), (b, f, 1.0)], colour);
        face([(f, b, 0.0), (b, b, 0.0), (b, b, 1.0), (f, b, 1.0)], colour);
        face([(b, b, 1.0), (b, f, 1.0), (f, f, 1.0), (f, b, 1.0)], top.unwrap_or(colour));
    }

    /// A wheel that stands upright along `heading`, as spokes and a rim.
    pub fn wheel(&mut self, hub: Point, heading: f32, radius: f32, turn: f32, colour: Colour) {
        let (s, c) = heading.sin_cos();
        let rim = |i: usize| {
            let (su, cu) = (turn + i as f32 * std::f32::consts::TAU / 10.0).sin_cos();
            add(hub, [radius * cu * c, radius * cu * s, radius * su])
        };
        for i in 0..10 {
            self.rod(rim(i), rim(i + 1), 0.022, colour);
            if i % 3 == 0 {
                self.rod(hub, rim(i), 0.008, [150.0; 3]);
            }
        }
    }
}

/// A frame being painted.
#[derive(Debug)]
pub struct Painter<'a> {
    view: &'a Viewpoint,
    backdrop: &'a Backdrop,
    light: &'a Light,
    /// Where the light comes from, as the picture has it.
    lit: Point,
    pixels: Vec<Colour>,
    shade: Vec<f32>,
}

impl<'a> Painter<'a> {
    pub fn new(view: &'a Viewpoint, backdrop: &'a Backdrop, light: &'a Light) -> Self {
        Self {
            view,
            backdrop,
            light,
            lit: view.turned(light.from),
            pixels: backdrop.pixels.clone(),
            shade: vec![0.0; backdrop.pixels.len()],
        }
    }

    /// Paints the shapes over the empty place; `clock` in seconds moves the picture on screens.
    pub fn paint(&mut self, shapes: &Shapes, clock: f32) {
        self.pixels.copy_from_slice(&self.backdrop.pixels);
        self.screens(clock);
        self.shadows(shapes);
        for &(at, wide, strength) in &shapes.pools {
            self.pool(at, wide, strength);
        }
        let far = |shape: &Shape| {
            let depth = |p: Point| dot(sub(p, self.view.at), self.view.ahead());
            match shape {
                Shape::Limb(limb) => depth(scaled(add(limb.ends[0], limb.ends[1]), 0.5)),
                Shape::Panel(c, _) => depth(scaled(add(add(c[0], c[1]), add(c[2], c[3])), 0.25)),
                Shape::Glow(p, ..) => depth(*p),
            }
        };
        let mut order: Vec<(f32, &Shape)> = shapes.all.iter().map(|s| (far(s), s)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, shape) in order {
            match shape {
                Shape::Limb(limb) => self.limb(limb),
                Shape::Panel(corners, colour) => self.panel(corners, *colour),
                Shape::Glow(at, wide, colour) => self.glow(*at, *wide, *colour),
            }
        }
    }

    /// The picture in 8 bits: `gain` for the light of the moment, `grain` for the sensor's noise, of
    /// which frame after frame begins elsewhere.
    pub fn expose(&self, gain: f32, grain: &[f32], start: usize, frame: &mut Frame) {
        frame.reshape(self.backdrop.width, self.backdrop.height);
        let (before, after) = grain.split_at(start % grain.len().max(1));
        let noise = after.iter().chain(before).cycle();
        let out = frame.rgb_mut().chunks_exact_mut(3);
        for ((out, pixel), grain) in out.zip(&self.pixels).zip(noise) {
            // Half a level more, for the conversion cuts.
            let grain = grain * self.light.noise + 0.5;
            for (o, p) in out.iter_mut().zip(pixel) {
                *o = (p * gain + grain) as u8;
            }
        }
    }

    /// Another picture every few seconds, brighter and darker, with something that moves in it.
    fn screens(&mut self, clock: f32) {
        let cut = (clock / 2.3).floor();
        let pick = |salt: u32| hash(cut as i32, 3, salt);
        let (level, drift) = (40.0 + 190.0 * pick(1), 0.6 * (pick(2) - 0.5));
        let tint = [0.7 + 0.6 * pick(3), 0.7 + 0.6 * pick(4), 0.7 + 0.6 * pick(5)];
        for &(i, u, v) in &self.backdrop.screens {
            let moved = ((u + drift * clock) * 3.0).floor();
            let part = 0.5 + hash(moved as i32, (v * 3.0) as i32, cut as u32);
            self.pixels[i] = tint.map(|t| (level * part * t).min(250.0));
        }
    }

    /// Shadows on the ground, away from the light.
    fn shadows(&mut self, shapes: &Shapes) {
        if self.light.shadow <= 0.0 {
            return;
        }
        self.shade.fill(0.0);
        let from = self.light.from;
        let fall = |p: Point| {
            let away = p[2] / from[2].max(0.2);
            [p[0] - from[0] * away, p[1] - from[1] * away, 0.0]
        };
        for shape in &shapes.all {
            match shape {
                Shape::Limb(limb) => {
                    let thick = limb.thick[0].max(limb.thick[1]);
                    self.shadow(fall(limb.ends[0]), fall(limb.ends[1]), thick);
                }
                Shape::Panel(c, _) if c[0][2] < 1.0 => {
                    let middle = |a: Point, b: Point| scaled(add(a, b), 0.5);
                    self.shadow(fall(middle(c[0], c[3])), fall(middle(c[1], c[2])), 0.25);
                }
                _ => {}
            }
        }
        let strength = self.light.shadow;
        for (pixel, shade) in self.pixels.iter_mut().zip(&self.shade) {
            if *shade > 0.0 {
                pixel.iter_mut().for_each(|p| *p *= 1.0 - strength * shade);
            }
        }
    }

    fn shadow(&mut self, a: Point, b: Point, thick: f32) {
        let (Some(sa), Some(sb)) = (self.view.see(a), self.view.see(b)) else { return };
        let soft = self.light.soft;
        let wide = (thick + soft) * self.view.scale(sa.depth.min(sb.depth)) + 1.0;
        let (d, length2) = ((b[0] - a[0], b[1] - a[1]), {
            let (x, y) = (b[0] - a[0], b[1] - a[1]);
            (x * x + y * y).max(1e-6)
        });
        let width = self.backdrop.width;
        for (y, xs) in self.rows(&[sa, sb], wide) {
            for x in xs {
                let i = y * width + x;
                let (gx, gy) = self.backdrop.ground[i];
                let along = (((gx - a[0]) * d.0 + (gy - a[1]) * d.1) / length2).clamp(0.0, 1.0);
                let (px, py) = (gx - a[0] - along * d.0, gy - a[1] - along * d.1);
                let far = px * px + py * py;
                // Not a number, where no ground is seen, is no shadow.
                if far < (thick + soft) * (thick + soft) {
                    let dark = ((thick + soft - far.sqrt()) / (2.0 * soft)).min(1.0);
                    self.shade[i] = self.shade[i].max(dark);
                }
            }
        }
    }

    /// The pixels around some points, row by row.
    fn rows(
        &self,
        around: &[Seen],
        wide: f32,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + use<> {
        let (w, h) = (self.backdrop.width, self.backdrop.height);
        let span = |pick: fn(&Seen) -> f32, end: usize| {
            let low = around.iter().map(pick).fold(f32::MAX, f32::min) - wide;
            let high = around.iter().map(pick).fold(f32::MIN, f32::max) + wide;
            let inside = |v: f32| (v.max(0.0) as usize).min(end);
            inside(low.floor())..inside(high.ceil() + 1.0)
        };
        let (xs, ys) = (span(|s| s.x, w), span(|s| s.y, h));
        ys.map(move |y| (y, xs.clone()))
    }

    fn limb(&mut self, limb: &Limb) {
        let [a, b] = limb.ends;
        let (Some(sa), Some(sb)) = (self.view.see(a), self.view.see(b)) else { return };
        let radius =
            [limb.thick[0] * self.view.scale(sa.depth), limb.thick[1] * self.view.scale(sb.depth)];
        let bright = self.light.at(scaled(add(a, b), 0.5));
        let (dx, dy) = (sb.x - sa.x, sb.y - sa.y);
        let length2 = (dx * dx + dy * dy).max(1e-4);
        let length = length2.sqrt();
        let across = (-dy / length, dx / length);
        let sideways = across.0 * self.lit[0] + across.1 * self.lit[1];
        let metres = { dot(sub(b, a), sub(b, a)).sqrt() };
        let fine = ((radius[0].max(radius[1]) - 1.5) / 4.0).clamp(0.0, 1.0);
        let width = self.backdrop.width;
        for (y, xs) in self.rows(&[sa, sb], radius[0].max(radius[1]) + 1.0) {
            for x in xs {
                let (px, py) = (x as f32 + 0.5 - sa.x, y as f32 + 0.5 - sa.y);
                let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                let (ox, oy) = (px - along * dx, py - along * dy);
                let r = radius[0] + along * (radius[1] - radius[0]);
                let distance = ox * ox + oy * oy;
                if distance >= (r + 0.5) * (r + 0.5) {
                    continue;
                }
                let distance = distance.sqrt();
                let cover = (r + 0.5 - distance).min(2.0 * r).clamp(0.0, 1.0);
                let i = y * width + x;
                let depth = sa.depth + along * (sb.depth - sa.depth);
                if cover <= 0.0 || depth > self.backdrop.depth[i] + 0.06 {
                    continue;
                }
                let t = ((ox * across.0 + oy * across.1) / r.max(0.5)).clamp(-1.0, 1.0);
                let towards = (1.0 - t * t).sqrt();
                let light = 0.58 + 0.55 * (t * sideways + towards * self.lit[2]).max(0.0);
                let cloth = fine * woven(limb.cloth, along * metres, t, limb.thick[0]);
                let light = light * bright * (1.0 + cloth);
                let pixel = &mut self.pixels[i];
                for (p, c) in pixel.iter_mut().zip(limb.colour) {
                    *p += cover * (c * light - *p);
                }
            }
        }
    }

    fn panel(&mut self, corners: &[Point; 4], colour: Colour) {
        let normal = unit(cross(sub(corners[1], corners[0]), sub(corners[3], corners[0])));
        let middle = scaled(add(add(corners[0], corners[1]), add(corners[2], corners[3])), 0.25);
        let to_camera = sub(self.view.at, middle);
        let normal = if dot(normal, to_camera) < 0.0 { scaled(normal, -1.0) } else { normal };
        let mut seen = [Seen { x: 0.0, y: 0.0, depth: 0.0 }; 4];
        for (slot, corner) in seen.iter_mut().zip(corners) {
            let Some(s) = self.view.see(*corner) else { return };
            *slot = s;
        }
        let area: f32 = (0..4)
            .map(|i| {
                let (p, q) = (seen[i], seen[(i + 1) % 4]);
                p.x * q.y - q.x * p.y
            })
            .sum();
        if area.abs() < 0.2 {
            return;
        }
        let turn = area.signum();
        let bright = self.light.at(middle) * (0.6 + 0.5 * dot(normal, self.light.from).max(0.0));
        let depth = seen.iter().map(|s| s.depth).sum::<f32>() / 4.0;
        let width = self.backdrop.width;
        for (y, xs) in self.rows(&seen, 1.0) {
            for x in xs {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let inside = (0..4).fold(f32::MAX, |least, i| {
                    let (p, q) = (seen[i], seen[(i + 1) % 4]);
                    let (ex, ey) = (q.x - p.x, q.y - p.y);
                    let edge = (ex * (py - p.y) - ey * (px - p.x)) * turn;
                    least.min(edge / (ex * ex + ey * ey).sqrt().max(1e-3))
                });
                let i = y * width + x;
                let cover = (inside + 0.5).clamp(0.0, 1.0);
                if cover > 0.0 && depth < self.backdrop.depth[i] + 0.06 {
                    let pixel = &mut self.pixels[i];
                    for (p, c) in pixel.iter_mut().zip(colour) {
                        *p += cover * (c * bright - *p);
                    }
                }
            }
        }
    }

    fn glow(&mut self, at: Point, wide: f32, colour: Colour) {
        let Some(seen) = self.view.see(at) else { return };
        if !self.backdrop.shows(seen.x, seen.y, seen.depth) {
            return;
        }
        let r = (wide * self.view.scale(seen.depth)).max(1.5);
        let width = self.backdrop.width;
        for (y, xs) in self.rows(&[seen], 3.0 * r) {
            for x in xs {
                let (dx, dy) = (x as f32 + 0.5 - seen.x, y as f32 + 0.5 - seen.y);
                let near = (-(dx * dx + dy * dy) / (r * r)).exp();
                let pixel = &mut self.pixels[y * width + x];
                pixel.iter_mut().zip(colour).for_each(|(p, c)| *p += near * c);
            }
        }
    }

    /// Light on the ground, on top of what is there.
    fn pool(&mut self, at: (f32, f32), wide: f32, strength: f32) {
        let middle = [at.0, at.1, 0.0];
        let Some(seen) = self.view.see(middle) else { return };
        let reach = 2.0 * wide * self.view.scale(seen.depth);
        let width = self.backdrop.width;
        for (y, xs) in self.rows(&[seen], reach) {
            for x in xs {
                let i = y * width + x;
                let (gx, gy) = self.backdrop.ground[i];
                let far = ((gx - at.0).powi(2) + (gy - at.1).powi(2)) / (wide * wide);
                if far < 4.0 {
                    let more = strength * (-far).exp();
                    self.pixels[i].iter_mut().for_each(|p| *p += more);
                }
            }
        }
    }
}

/// How much lighter the cloth is at a place of a limb: metres along it, -1 to 1 across it.
fn woven(cloth: Cloth, along: f32, across: f32, thick: f32) -> f32 {
    let fold = 0.09 * (hash((along * 22.0) as i32, (across * 3.0) as i32, 5) - 0.5);
    let wave = |v: f32| if v.rem_euclid(1.0) < 0.5 { 0.2 } else { -0.2 };
    fold + match cloth {
        Cloth::Plain => 0.0,
        Cloth::Rings(size) => wave(along / size),
        Cloth::Bars => wave(across * 1.6),
        Cloth::Checks(size) => 0.5 * (wave(along / size) + wave(across * thick / size)),
    }
}
