//! Drawn scenes with known walkers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use video::Frame;

use crate::synthesis::NormalClip;

/// A drawn scene.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub width: usize,
    pub height: usize,
    /// Height of a walker in pixels.
    pub tall: f32,
    /// Speed of a walker in pixels a frame.
    pub speed: f32,
    pub walkers: usize,
    /// Half width of the uniform noise in levels.
    pub noise: f32,
    /// Brightness of the picture.
    pub light: f32,
    pub coloured: bool,
}

pub(super) const SCENE: Scene = Scene {
    width: 180,
    height: 120,
    tall: 20.0,
    speed: 1.25,
    walkers: 3,
    noise: 2.0,
    light: 1.0,
    coloured: false,
};

/// A clip of 72 frames: walkers in lanes, right and left in turn, legs swinging.
pub(super) fn clip(scene: &Scene, seed: u64) -> NormalClip {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (w, h) = (scene.width, scene.height);
    let lanes = scene.walkers.max(1) as f32;
    let walkers: Vec<(f32, f32, f32)> = (0..scene.walkers)
        .map(|i| {
            let foot = h as f32 * (0.35 + 0.6 * (i as f32 + 0.5) / lanes);
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            (w as f32 * rng.random_range(0.25..0.75), foot, sign)
        })
        .collect();
    let frames = (0..72)
        .map(|t| {
            let mut rgb = vec![0; w * h * 3];
            for (i, p) in rgb.chunks_exact_mut(3).enumerate() {
                let (x, y) = ((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
                let mut colour = [110.0 + 25.0 * (x / 17.0).sin() * (y / 11.0).cos(); 3];
                if scene.coloured {
                    colour[0] += 15.0;
                    colour[2] -= 20.0;
                }
                for &(x0, foot, sign) in &walkers {
                    let middle = x0 + sign * scene.speed * (t as f32 - 36.0);
                    let up = (foot - y) / scene.tall;
                    let swing = 0.12 * (t as f32 * 0.8).sin() * (0.5 - up).max(0.0) * 2.0;
                    let half = if up < 0.5 { 0.1 } else { 0.15 };
                    let across = (x - middle) / scene.tall;
                    let legs = (across - swing).abs().min((across + swing).abs());
                    if (0.0..1.0).contains(&up) && legs < half {
                        colour = if scene.coloured { [30.0, 60.0, 190.0] } else { [35.0; 3] };
                    }
                }
                let noise = scene.noise * rng.random_range(-1.0..1.0f32);
                for (v, c) in p.iter_mut().zip(colour) {
                    *v = (c * scene.light + noise).round().clamp(0.0, 255.0) as u8;
                }
            }
            Frame::from_rgb(w, h, rgb).unwrap()
        })
        .collect();
    NormalClip { name: format!("drawn-{seed}"), frame_rate: 10.0, frames }
}

pub(super) fn clips(scene: &Scene, n: u64) -> Vec<NormalClip> {
    (0..n).map(|seed| clip(scene, seed)).collect()
}
