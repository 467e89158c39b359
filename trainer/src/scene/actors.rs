//! Who moves: people on their ways, a vehicle, a thrown object.

use super::canvas::{Canvas, Colour};
use super::random::Random;
use super::site::{Site, Way};

/// Walking speed in body heights a second: about 1.4 m/s at 1.7 m.
const WALK: f32 = 0.82;
/// A step towards the camera covers fewer rows than one across: the camera looks down at a slant.
const FORESHORTENING: f32 = 0.5;

/// How a person looks; drawn once, kept for life.
#[derive(Debug, Clone, Copy)]
struct Looks {
    size: f32,
    skin: Colour,
    top: Colour,
    legs: Colour,
}

/// What a person does at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    Walking,
    Standing {
        left: f32,
    },
    /// Falls, lies, gets up: seconds since the fall began.
    Falling {
        since: f32,
    },
}

/// Seconds to fall over, lying included, and until the person stands again.
const FALL: f32 = 0.6;
const LIE: f32 = 2.6;
const RISE: f32 = 1.2;

/// A person on a way.
#[derive(Debug, Clone)]
pub struct Person {
    way: Way,
    /// Position along the way, 0 to 1, and the sign of its change.
    u: f32,
    forward: f32,
    /// Lateral distance from the way's middle, in pixels.
    aside: f32,
    /// Speed relative to a usual walk.
    pub speed: f32,
    phase: f32,
    looks: Looks,
    doing: Doing,
    /// Whether the person may stop to look around.
    may_stop: bool,
}

impl Person {
    pub fn new(site: &Site, random: &mut Random) -> Self {
        let way = site.ways[random.below(site.ways.len())];
        let forward = if random.chance(0.5) { 1.0 } else { -1.0 };
        let shade = |r: &mut Random| {
            [r.between(25.0, 225.0), r.between(25.0, 215.0), r.between(25.0, 215.0)]
        };
        let dark = random.between(25.0, 110.0);
        let skin = random.between(95.0, 205.0);
        Self {
            way,
            u: if forward > 0.0 { 0.0 } else { 1.0 },
            forward,
            aside: random.between(-0.035, 0.035) * site.height as f32,
            speed: random.between(0.8, 1.2),
            phase: random.between(0.0, std::f32::consts::TAU),
            looks: Looks {
                size: random.between(0.92, 1.08),
                skin: [skin, skin * 0.8, skin * 0.66],
                top: shade(random),
                legs: [dark, dark * 0.97, dark * 1.1],
            },
            doing: Doing::Walking,
            may_stop: true,
        }
    }

    /// The same person, running on a lane from side to side.
    pub fn runner(site: &Site, random: &mut Random) -> Self {
        let mut person = Self::new(site, random);
        person.way = site.ways[random.below(site.ways.len() - 1)];
        person.speed = random.between(2.7, 3.4);
        person.may_stop = false;
        person
    }

    /// A person in the middle of a lane, about to fall.
    pub fn faller(site: &Site, random: &mut Random) -> Self {
        let mut person = Self::new(site, random);
        person.way = site.ways[random.below(site.ways.len() - 1)];
        person.may_stop = false;
        person
    }

    /// Starts to fall.
    pub fn fall(&mut self) {
        self.doing = Doing::Falling { since: 0.0 };
    }

    /// Whether the person has left the picture.
    pub fn gone(&self) -> bool {
        !(-0.02..=1.02).contains(&self.u)
    }

    /// Whether the person is well inside the picture.
    pub fn inside(&self, site: &Site) -> bool {
        let (x, y) = self.feet();
        let (w, h) = (site.width as f32, site.height as f32);
        (0.25 * w..0.75 * w).contains(&x) && y < 0.95 * h
    }

    /// Whether the person is on the ground or getting up.
    pub fn is_down(&self) -> bool {
        matches!(self.doing, Doing::Falling { .. })
    }

    /// Where the feet are, in pixels.
    pub fn feet(&self) -> (f32, f32) {
        let (x, y) = self.way.at(self.u);
        (x, y + self.aside)
    }

    /// Moves on by `dt` seconds.
    pub fn step(&mut self, dt: f32, site: &Site, random: &mut Random) {
        match &mut self.doing {
            Doing::Walking => {}
            Doing::Standing { left } => {
                *left -= dt;
                if *left <= 0.0 {
                    self.doing = Doing::Walking;
                }
                return;
            }
            Doing::Falling { since } => {
                *since += dt;
                if *since > FALL + LIE + RISE {
                    self.doing = Doing::Walking;
                }
                return;
            }
        }
        if self.may_stop && random.chance(0.012 * dt * 10.0 * 0.5) {
            self.doing = Doing::Standing { left: random.between(1.0, 3.0) };
            return;
        }
        let (_, y) = self.feet();
        let height = site.person_height(y) * self.looks.size;
        let distance = WALK * height * self.speed * dt;
        let (tx, ty) = self.way.tangent(self.u);
        let length = (tx * tx + (ty / FORESHORTENING).powi(2)).sqrt().max(1.0);
        self.u += self.forward * distance / length;
        // Two steps of about 0.42 body heights each make a cycle; a runner's steps are longer.
        let stride = 0.84 * if self.speed > 2.0 { 1.9 } else { 1.0 };
        self.phase += 2.0 * std::f32::consts::PI * distance / (height * stride);
    }

    /// How far the body is tilted from upright, in radians.
    fn tilt(&self) -> f32 {
        let down = std::f32::consts::FRAC_PI_2 * 0.96;
        match self.doing {
            Doing::Falling { since } if since < FALL => down * (since / FALL).powi(2),
            Doing::Falling { since } if since < FALL + LIE => down,
            Doing::Falling { since } => down * (1.0 - (since - FALL - LIE) / RISE).clamp(0.0, 1.0),
            _ => 0.0,
        }
    }

    /// Draws the person and the shadow.
    pub fn draw(&self, canvas: &mut Canvas, site: &Site) {
        let (x, y) = self.feet();
        let h = site.person_height(y) * self.looks.size;
        let (tx, _) = self.way.tangent(self.u);
        let facing = if tx * self.forward >= 0.0 { 1.0 } else { -1.0 };
        let running = self.speed > 2.0;
        let swing = match self.doing {
            Doing::Standing { .. } => 0.04,
            Doing::Falling { .. } => 0.25,
            Doing::Walking if running => 0.62,
            Doing::Walking => 0.36,
        };
        let lean = if running { 0.16 * facing } else { 0.0 };
        let tilt = self.tilt() * facing;
        let spread = h * (0.22 + 0.35 * tilt.abs().sin());
        canvas.shadow((x + 0.1 * h + 0.4 * h * tilt.sin(), y), spread, h * 0.07, 0.42);

        // Body coordinates: `a` ahead, `b` up from the feet, in body heights; turned by the tilt.
        let (sin, cos) = tilt.sin_cos();
        let place = |a: f32, b: f32| {
            let (a, b) = ((a * facing + lean * b) * h, b * h);
            (x + a * cos + b * sin, y + a * sin * 0.5 - b * cos - 0.05 * h * sin.abs())
        };
        let s = self.phase.sin();
        let hip = place(0.0, 0.48);
        let neck = place(0.0, 0.82);
        for side in [-1.0, 1.0] {
            let reach = side * s * swing;
            let lift = (side * self.phase.cos()).max(0.0) * swing * 0.25;
            let knee = place(reach * 0.5 + lift * 0.3, 0.25 + lift * 0.3);
            let foot = place(reach * 0.72 - lift * 0.3, 0.02 + lift);
            let dim = self.looks.legs.map(|c| c * if side > 0.0 { 1.0 } else { 0.8 });
            canvas.capsule(hip, knee, h * 0.055, dim);
            canvas.capsule(knee, foot, h * 0.045, dim);
        }
        canvas.capsule(place(0.0, 0.54), place(0.0, 0.76), h * 0.105, self.looks.top);
        for side in [-1.0, 1.0] {
            let reach = -side * s * swing * 0.7;
            let sleeve = self.looks.top.map(|c| c * if side > 0.0 { 0.9 } else { 0.72 });
            canvas.capsule(neck, place(reach * 0.55, 0.62), h * 0.035, sleeve);
            canvas.capsule(
                place(reach * 0.55, 0.62),
                place(reach, 0.48),
                h * 0.03,
                self.looks.skin,
            );
        }
        canvas.disc(place(0.0, 0.92), h * 0.075, self.looks.skin);
    }
}

/// A small vehicle that crosses the square.
#[derive(Debug, Clone)]
pub struct Vehicle {
    x: f32,
    y: f32,
    forward: f32,
    speed: f32,
    body: Colour,
}

impl Vehicle {
    pub fn new(site: &Site, random: &mut Random) -> Self {
        let forward = if random.chance(0.5) { 1.0 } else { -1.0 };
        let (w, h) = (site.width as f32, site.height as f32);
        Self {
            x: if forward > 0.0 { -0.2 * w } else { 1.2 * w },
            y: site.horizon + (h - site.horizon) * random.between(0.35, 0.8),
            forward,
            speed: random.between(1.6, 2.6),
            body: [
                random.between(40.0, 230.0),
                random.between(40.0, 220.0),
                random.between(40.0, 220.0),
            ],
        }
    }

    fn height(&self, site: &Site) -> f32 {
        site.person_height(self.y)
    }

    pub fn step(&mut self, dt: f32, site: &Site) {
        self.x += self.forward * self.speed * self.height(site) * dt;
    }

    /// Whether any of it is in the picture.
    pub fn visible(&self, site: &Site) -> bool {
        let half = 1.3 * self.height(site);
        self.x + half > 3.0 && self.x - half < site.width as f32 - 3.0
    }

    pub fn gone(&self, site: &Site) -> bool {
        let w = site.width as f32;
        (self.forward > 0.0 && self.x > 1.25 * w) || (self.forward < 0.0 && self.x < -0.25 * w)
    }

    pub fn draw(&self, canvas: &mut Canvas, site: &Site) {
        let h = self.height(site);
        let (x, y, f) = (self.x, self.y, self.forward);
        canvas.shadow((x, y), 1.4 * h, 0.16 * h, 0.5);
        canvas.block((x - 1.2 * h, y - 0.72 * h, x + 1.2 * h, y - 0.16 * h), 0.12 * h, self.body);
        let (rear, front) = (x - f * 0.75 * h, x + f * 0.5 * h);
        let cabin = (rear.min(front), y - 1.12 * h, rear.max(front), y - 0.6 * h);
        canvas.block(cabin, 0.14 * h, self.body.map(|c| c * 0.85));
        let glass = (cabin.0 + 0.12 * h, cabin.1 + 0.1 * h, cabin.2 - 0.12 * h, cabin.3 - 0.05 * h);
        canvas.block(glass, 0.05 * h, [48.0, 58.0, 70.0]);
        for wheel in [-0.75, 0.75] {
            canvas.disc((x + wheel * h, y - 0.16 * h), 0.2 * h, [26.0, 26.0, 28.0]);
            canvas.disc((x + wheel * h, y - 0.16 * h), 0.08 * h, [120.0, 120.0, 122.0]);
        }
    }
}

/// An object that flies and bounces until it lies still.
#[derive(Debug, Clone)]
pub struct Thrown {
    x: f32,
    ground: f32,
    /// Height above the ground and the velocities, pixels and pixels a second.
    up: f32,
    vx: f32,
    vup: f32,
    radius: f32,
    scale: f32,
    colour: Colour,
    pub at_rest: bool,
}

impl Thrown {
    /// Thrown by a person whose feet are at `feet`.
    pub fn new(feet: (f32, f32), site: &Site, random: &mut Random) -> Self {
        let h = site.person_height(feet.1);
        let to_the_middle = if feet.0 < site.width as f32 / 2.0 { 1.0 } else { -1.0 };
        let tone = if random.chance(0.5) { 235.0 } else { 25.0 };
        Self {
            x: feet.0,
            ground: feet.1,
            up: 0.9 * h,
            vx: to_the_middle * random.between(3.2, 4.6) * h,
            vup: random.between(2.6, 3.6) * h,
            radius: random.between(0.13, 0.19) * h,
            scale: h,
            colour: [tone, tone * random.between(0.6, 1.0), tone * random.between(0.5, 1.0)],
            at_rest: false,
        }
    }

    pub fn step(&mut self, dt: f32) {
        if self.at_rest {
            return;
        }
        // 9.81 m/s² in body heights of 1.7 m.
        self.vup -= 5.8 * self.scale * dt;
        self.up += self.vup * dt;
        self.x += self.vx * dt;
        if self.up < self.radius {
            self.up = self.radius;
            self.vup *= -0.5;
            self.vx *= 0.55;
            self.at_rest = self.vup.abs() < 0.5 * self.scale;
        }
    }

    pub fn draw(&self, canvas: &mut Canvas) {
        canvas.shadow((self.x, self.ground), 1.3 * self.radius, 0.5 * self.radius, 0.4);
        canvas.disc((self.x, self.ground - self.up), self.radius, self.colour);
    }
}
