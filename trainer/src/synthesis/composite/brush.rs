//! Shapes for painted sprites: coverage from distance, and one colour over another.

/// A straight colour and its alpha.
pub(super) type Ink = ([f32; 3], f32);

/// Nothing at all.
pub(super) const CLEAR: Ink = ([0.0; 3], 0.0);

/// `top` over `bottom`.
pub(super) fn over(top: Ink, bottom: Ink) -> Ink {
    let below = bottom.1 * (1.0 - top.1);
    let alpha = top.1 + below;
    if alpha <= 0.0 {
        return CLEAR;
    }
    ([0, 1, 2].map(|c| (top.0[c] * top.1 + bottom.0[c] * below) / alpha), alpha)
}

/// How much of a pixel is inside a shape whose edge is `distance` away (negative inside).
pub(super) fn cover(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Distance of `p` from the segment from `a` to `b`.
pub(super) fn segment(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    let (bx, by) = (b[0] - a[0], b[1] - a[1]);
    let along = ((px * bx + py * by) / (bx * bx + by * by).max(1e-6)).clamp(0.0, 1.0);
    (px - along * bx).hypot(py - along * by)
}

/// Signed distance (good near the edge) of `p` from an upright ellipse.
pub(super) fn ellipse(p: [f32; 2], centre: [f32; 2], radius: [f32; 2]) -> f32 {
    let (x, y) = ((p[0] - centre[0]) / radius[0], (p[1] - centre[1]) / radius[1]);
    let r = x.hypot(y);
    if r < 1e-6 {
        return -radius[0].min(radius[1]);
    }
    // First order: the implicit function over its gradient.
    r * (r - 1.0) / (x / radius[0]).hypot(y / radius[1])
}

/// Signed distance of `p` from a box with rounded corners.
pub(super) fn rounded(p: [f32; 2], centre: [f32; 2], half: [f32; 2], corner: f32) -> f32 {
    let x = (p[0] - centre[0]).abs() - half[0] + corner;
    let y = (p[1] - centre[1]).abs() - half[1] + corner;
    x.max(0.0).hypot(y.max(0.0)) + x.max(y).min(0.0) - corner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(segment([3.0, 4.0], [0.0, 0.0], [3.0, 0.0]), 4.0);
        assert!((ellipse([6.0, 0.0], [0.0, 0.0], [4.0, 2.0]) - 2.0).abs() < 1.1);
        assert!(ellipse([4.0, 0.0], [0.0, 0.0], [4.0, 2.0]).abs() < 1e-5);
        assert_eq!(rounded([7.0, 0.0], [0.0, 0.0], [5.0, 2.0], 1.0), 2.0);
        assert_eq!(rounded([0.0, 0.0], [0.0, 0.0], [5.0, 2.0], 1.0), -2.0);
    }

    #[test]
    fn half_over_solid_mixes() {
        assert_eq!(over(([100.0; 3], 0.5), ([0.0; 3], 1.0)), ([50.0; 3], 1.0));
        assert_eq!(over(CLEAR, CLEAR), CLEAR);
    }
}
