//! What people carry, push, ride and drive.

use super::super::canvas::Colour;
use super::paint::Shapes;
use super::viewpoint::{Point, add};

/// What a person has with him.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    Nothing,
    Bag(Colour),
    Box(Colour),
    Trolley(Colour),
    Pram(Colour),
    Bicycle(Colour),
    Torch,
}

impl Load {
    /// Whether it rolls on the ground ahead of the person.
    pub fn pushed(self) -> bool {
        matches!(self, Self::Trolley(_) | Self::Pram(_))
    }

    /// Draws what a person at `at` with those hands has.
    pub fn draw(
        self,
        at: (f32, f32),
        heading: f32,
        hands: [Point; 2],
        rolled: f32,
        shapes: &mut Shapes,
    ) {
        let (s, c) = heading.sin_cos();
        let to = |a: f32, l: f32, u: f32| [at.0 + a * c - l * s, at.1 + a * s + l * c, u];
        match self {
            Self::Nothing => {}
            Self::Bag(colour) => {
                let [x, y, z] = hands[1];
                shapes.block([x, y, (z - 0.42).max(0.0)], heading, [0.34, 0.14, 0.3], colour, None);
                shapes.rod(hands[1], [x, y, (z - 0.12).max(0.1)], 0.012, colour);
            }
            Self::Box(colour) => {
                let x = [0, 1, 2].map(|i| f32::midpoint(hands[0][i], hands[1][i]));
                let lid = colour.map(|v| v * 1.15);
                let low = [x[0], x[1], (x[2] - 0.15).max(0.0)];
                shapes.block(
                    add(low, [0.12 * c, 0.12 * s, 0.0]),
                    heading,
                    [0.34, 0.42, 0.3],
                    colour,
                    Some(lid),
                );
            }
            Self::Trolley(colour) => {
                let base = to(0.85, 0.0, 0.32);
                shapes.block(base, heading, [0.8, 0.52, 0.5], colour, Some([60.0; 3]));
                for (a, l) in [(0.5, 0.22), (0.5, -0.22), (1.2, 0.22), (1.2, -0.22)] {
                    shapes.rod(to(a, l, 0.06), to(a, l, 0.34), 0.025, [70.0; 3]);
                }
                shapes.rod(to(0.42, 0.26, 0.95), to(0.42, -0.26, 0.95), 0.02, [170.0, 40.0, 40.0]);
            }
            Self::Pram(colour) => {
                shapes.block(
                    to(0.8, 0.0, 0.42),
                    heading,
                    [0.75, 0.42, 0.25],
                    colour,
                    Some([200.0; 3]),
                );
                shapes.rod(to(0.95, 0.2, 0.75), to(0.95, -0.2, 0.75), 0.16, colour);
                for (a, l) in [(0.5, 0.2), (0.5, -0.2), (1.1, 0.2), (1.1, -0.2)] {
                    shapes.rod(to(a, l, 0.12), to(a, l, 0.121), 0.12, [40.0; 3]);
                }
                shapes.rod(to(0.5, 0.0, 0.6), to(0.38, 0.0, 0.98), 0.015, [90.0; 3]);
            }
            Self::Bicycle(colour) => {
                let turn = rolled / 0.34;
                let (rear, front) = (to(-0.5, 0.0, 0.34), to(0.58, 0.0, 0.34));
                for hub in [rear, front] {
                    shapes.wheel(hub, heading, 0.33, -turn, [35.0; 3]);
                }
                let (crank, saddle, bars) =
                    (to(0.0, 0.0, 0.3), to(-0.15, 0.0, 0.88), to(0.48, 0.0, 0.95));
                for (a, b) in [
                    (rear, crank),
                    (crank, saddle),
                    (rear, saddle),
                    (saddle, bars),
                    (crank, bars),
                    (bars, front),
                ] {
                    shapes.rod(a, b, 0.022, colour);
                }
                shapes.rod(to(0.46, 0.26, 0.98), to(0.46, -0.26, 0.98), 0.018, [50.0; 3]);
            }
            Self::Torch => {
                let spot = to(2.4, 0.0, 0.0);
                shapes.pools.push(((spot[0], spot[1]), 1.1, 70.0));
                shapes.all.push(super::paint::Shape::Glow(hands[1], 0.06, [150.0, 150.0, 130.0]));
            }
        }
    }
}

/// A thing that flies, or lies on the ground.
#[derive(Debug, Clone, Copy)]
pub struct Thing {
    pub at: Point,
    pub velocity: Point,
    /// Half of its width in metres.
    pub half: f32,
    pub colour: Colour,
    /// What it is when it is picked up.
    pub load: Load,
}

impl Thing {
    /// Flies on for `dt` seconds, bounces and comes to rest.
    pub fn step(&mut self, dt: f32) {
        if self.velocity == [0.0; 3] {
            return;
        }
        self.velocity[2] -= 9.81 * dt;
        for axis in 0..3 {
            self.at[axis] += self.velocity[axis] * dt;
        }
        if self.at[2] < 0.0 {
            self.at[2] = 0.0;
            self.velocity =
                [self.velocity[0] * 0.45, self.velocity[1] * 0.45, -0.3 * self.velocity[2]];
            if self.velocity[2] < 0.5 {
                self.velocity = [0.0; 3];
            }
        }
    }

    pub fn draw(&self, shapes: &mut Shapes) {
        let size = [1.9 * self.half, 1.4 * self.half, 1.7 * self.half];
        shapes.block(
            self.at,
            0.4 + self.at[2],
            size,
            self.colour,
            Some(self.colour.map(|c| c * 1.1)),
        );
    }
}

/// A car.
#[derive(Debug, Clone, Copy)]
pub struct Car {
    pub body: Colour,
    pub lights: bool,
}

impl Car {
    /// Draws it at `at`, driving along `heading`.
    pub fn draw(&self, at: (f32, f32), heading: f32, shapes: &mut Shapes) {
        let (s, c) = heading.sin_cos();
        let to = |a: f32, l: f32, u: f32| [at.0 + a * c - l * s, at.1 + a * s + l * c, u];
        let glass = [42.0, 52.0, 62.0];
        for (a, l) in [(1.3, 0.78), (1.3, -0.78), (-1.3, 0.78), (-1.3, -0.78)] {
            shapes.rod(to(a - 0.01, l, 0.3), to(a + 0.01, l, 0.3), 0.3, [24.0; 3]);
        }
        shapes.block(to(0.0, 0.0, 0.26), heading, [4.2, 1.74, 0.58], self.body, None);
        shapes.block(to(-0.2, 0.0, 0.84), heading, [2.2, 1.52, 0.52], glass, Some(self.body));
        if self.lights {
            for l in [0.6, -0.6] {
                let lamp =
                    super::paint::Shape::Glow(to(2.15, l, 0.65), 0.22, [230.0, 225.0, 200.0]);
                let rear = super::paint::Shape::Glow(to(-2.15, l, 0.7), 0.1, [150.0, 20.0, 15.0]);
                shapes.all.extend([lamp, rear]);
            }
            for (a, strength) in [(4.0, 75.0), (7.0, 45.0), (10.0, 22.0)] {
                let spot = to(a, 0.0, 0.0);
                shapes.pools.push(((spot[0], spot[1]), 1.2 + 0.12 * a, strength));
            }
        }
    }
}
