//! Poses: a walker's picture bent at knee and hip.
//!
//! A walker's sprite shows somebody upright. Cut at knee and hip, its three parts can be turned, each
//! about the end of the one below: somebody kneels, sits, stoops or lies. Enough for how a body's outline
//! changes, which is what can be seen of a fall.

use super::brush::{CLEAR, over};
use super::sprite::Sprite;

/// Where knee and hip are, as parts of the height above the foot.
const KNEE: f32 = 0.27;
const HIP: f32 = 0.5;
/// How far a part reaches over its joints, as a part of the height: a joint is round.
const OVERLAP: f32 = 0.05;

/// Angles from the upright of the three parts in radians, clockwise, and the height that is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pose {
    /// From foot to knee.
    pub shank: f32,
    /// From knee to hip.
    pub thigh: f32,
    /// From hip to head.
    pub torso: f32,
    /// Height over the upright one's, for who lies toward the camera or away from it.
    pub depth: f32,
}

impl Pose {
    /// As filmed.
    pub const UPRIGHT: Self = Self { shank: 0.0, thigh: 0.0, torso: 0.0, depth: 1.0 };

    /// The pose with these angles in degrees.
    pub fn degrees(shank: f32, thigh: f32, torso: f32) -> Self {
        let [shank, thigh, torso] = [shank, thigh, torso].map(f32::to_radians);
        Self { shank, thigh, torso, depth: 1.0 }
    }

    /// The same to the other side.
    pub fn mirrored(self) -> Self {
        Self { shank: -self.shank, thigh: -self.thigh, torso: -self.torso, ..self }
    }

    /// Between this one (0) and another (1).
    pub fn toward(self, other: Self, part: f32) -> Self {
        let mix = |a: f32, b: f32| a + part * (b - a);
        Self {
            shank: mix(self.shank, other.shank),
            thigh: mix(self.thigh, other.thigh),
            torso: mix(self.torso, other.torso),
            depth: mix(self.depth, other.depth),
        }
    }

    /// How high the head is, as a part of the upright height.
    pub fn head(&self) -> f32 {
        let [shank, thigh, torso] = self.parts().map(|(_, length, angle)| length * angle.cos());
        self.depth * (shank + thigh + torso)
    }

    /// Start above the foot, length and angle of each part, all lengths as parts of the height.
    fn parts(&self) -> [(f32, f32, f32); 3] {
        [(0.0, KNEE, self.shank), (KNEE, HIP - KNEE, self.thigh), (HIP, 1.0 - HIP, self.torso)]
    }
}

impl Sprite {
    /// The sprite of somebody upright, `tall` texels high above its anchor, in another pose; anchored at the foot.
    pub fn posed(&self, tall: f32, pose: &Pose) -> Self {
        if *pose == Pose::UPRIGHT {
            return self.clone();
        }
        // Where each part begins, relative to the anchor, y down.
        let mut base = [0.0f32; 2];
        let parts = pose.parts().map(|(start, length, angle)| {
            let from = base;
            let (sin, cos) = angle.sin_cos();
            base = [from[0] + length * tall * sin, from[1] - length * tall * cos];
            (from, start * tall, length * tall, sin, cos)
        });
        let half = 0.6 * self.width as f32;
        let reach = |axis: usize| {
            let ends = parts.iter().map(|p| p.0[axis]).chain([base[axis]]);
            ends.fold((0.0f32, 0.0f32), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((left, right), (top, bottom)) = (reach(0), reach(1));
        let (left, top) = (left - half, top * pose.depth - half);
        let width = (right + half - left).ceil() as usize;
        let height = (bottom * pose.depth + half - top).ceil() as usize;
        let anchor = [-left, -top];
        let (overlap, last) = (OVERLAP * tall, parts.len() - 1);
        let mut posed = Self::paint(width, height, anchor, |x, y| {
            let p = [x - anchor[0], (y - anchor[1]) / pose.depth];
            let mut ink = CLEAR;
            for (i, (from, start, length, sin, cos)) in parts.iter().enumerate() {
                let d = [p[0] - from[0], p[1] - from[1]];
                // Along the part, upward, and across it.
                let (along, across) = (d[0] * sin - d[1] * cos, d[0] * cos + d[1] * sin);
                let below = if i == 0 { tall } else { overlap };
                let above = if i == last { tall } else { overlap };
                if along < -below || along > length + above {
                    continue;
                }
                let at = [self.anchor[0] + across, self.anchor[1] - start - along];
                ink = over(self.straight(at[0], at[1]), ink);
            }
            ink
        });
        posed.light = self.light;
        posed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rod of 4 × 40 texels with a foot margin.
    fn rod() -> Sprite {
        Sprite::paint(12, 46, [6.0, 43.0], |x, y| {
            let inside = (4.0..8.0).contains(&x) && (3.0..43.0).contains(&y);
            ([200.0; 3], if inside { 1.0 } else { 0.0 })
        })
    }

    /// Leftmost, topmost, rightmost and lowest opaque texel, relative to the anchor.
    fn extent(sprite: &Sprite) -> [f32; 4] {
        let mut out = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for y in 0..sprite.height {
            for x in 0..sprite.width {
                if sprite.sample(x as f32 + 0.5, y as f32 + 0.5)[3] > 0.5 {
                    let at = [x as f32 + 0.5 - sprite.anchor[0], y as f32 + 0.5 - sprite.anchor[1]];
                    for k in 0..2 {
                        out[k] = out[k].min(at[k]);
                        out[k + 2] = out[k + 2].max(at[k]);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn who_lies_is_as_long_as_tall_and_beside_the_feet() {
        let [left, top, right, bottom] =
            extent(&rod().posed(40.0, &Pose::degrees(90.0, 90.0, 90.0)));
        assert!(left.abs() < 2.0 && (right - 40.0).abs() < 2.0, "{left} {right}");
        assert!(top > -3.5 && bottom < 3.5, "{top} {bottom}");
    }

    #[test]
    fn who_sits_on_the_floor_is_half_as_high() {
        let pose = Pose::degrees(-90.0, -90.0, 0.0);
        assert!((pose.head() - 0.5).abs() < 1e-3);
        let [left, top, right, _] = extent(&rod().posed(40.0, &pose));
        assert!((left + 22.0).abs() < 2.0 && right < 2.0, "{left} {right}");
        assert!((top + 20.0).abs() < 2.0, "{top}");
    }

    #[test]
    fn who_falls_away_from_the_camera_gets_shorter() {
        let pose = Pose { depth: 0.4, ..Pose::UPRIGHT };
        let [_, top, _, bottom] = extent(&rod().posed(40.0, &pose));
        assert!((top + 16.0).abs() < 1.5 && bottom < 1.5, "{top} {bottom}");
        assert_eq!(Pose::UPRIGHT.toward(pose, 0.5).depth, 0.7);
    }
}
