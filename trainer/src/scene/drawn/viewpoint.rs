//! The camera: where it stands and what it sees where.

/// A place or a direction: right, away and up, in metres.
pub type Point = [f32; 3];

/// Nothing nearer to the camera than this is drawn, in metres.
const NEAREST: f32 = 0.25;

pub fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub fn scaled(a: Point, by: f32) -> Point {
    a.map(|v| v * by)
}

pub fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub fn unit(a: Point) -> Point {
    scaled(a, 1.0 / dot(a, a).sqrt().max(1e-6))
}

/// Where a point is seen: pixels right and down, and metres along the line of sight.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub x: f32,
    pub y: f32,
    pub depth: f32,
}

/// A pinhole camera above the ground.
#[derive(Debug, Clone, Copy)]
pub struct Viewpoint {
    pub at: Point,
    right: Point,
    up: Point,
    forward: Point,
    /// Pixels for each metre at a depth of one metre.
    focal: f32,
    centre: (f32, f32),
}

impl Viewpoint {
    /// Looks away from `at`, `yaw` to the right and `pitch` down, with a horizontal field of view;
    /// angles in radians.
    pub fn new(size: (usize, usize), at: Point, yaw: f32, pitch: f32, field: f32) -> Self {
        let (w, h) = (size.0 as f32, size.1 as f32);
        let ahead = [yaw.sin(), yaw.cos()];
        Self {
            at,
            right: [ahead[1], -ahead[0], 0.0],
            up: [ahead[0] * pitch.sin(), ahead[1] * pitch.sin(), pitch.cos()],
            forward: [ahead[0] * pitch.cos(), ahead[1] * pitch.cos(), -pitch.sin()],
            focal: w / 2.0 / (field / 2.0).tan(),
            centre: (w / 2.0, h / 2.0),
        }
    }

    /// Where a point is seen, unless it is behind the camera.
    pub fn see(&self, point: Point) -> Option<Seen> {
        let r = sub(point, self.at);
        let depth = dot(r, self.forward);
        (depth > NEAREST).then(|| Seen {
            x: self.centre.0 + self.focal * dot(r, self.right) / depth,
            y: self.centre.1 - self.focal * dot(r, self.up) / depth,
            depth,
        })
    }

    /// Pixels of a metre at a depth.
    pub fn scale(&self, depth: f32) -> f32 {
        self.focal / depth
    }

    /// The line of sight through a pixel; one unit of it is a metre of depth.
    pub fn ray(&self, x: f32, y: f32) -> Point {
        let (u, v) = ((x - self.centre.0) / self.focal, (self.centre.1 - y) / self.focal);
        add(self.forward, add(scaled(self.right, u), scaled(self.up, v)))
    }

    /// The direction along which depth is measured.
    pub fn ahead(&self) -> Point {
        self.forward
    }

    /// A direction as the picture has it: right, down, and towards the camera.
    pub fn turned(&self, direction: Point) -> Point {
        [dot(direction, self.right), -dot(direction, self.up), -dot(direction, self.forward)]
    }
}
