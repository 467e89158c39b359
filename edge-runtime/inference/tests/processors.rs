//! The motion prior is the same on every processor: its sums are integers, and only the last bit of
//! the logarithm is the C library's own. `cargo xtask processors` runs this program as if on others.

use inference::motion;
use model_bundle::manifest::{MotionSpec, ZScore};

/// Noise, from integers alone.
fn picture(width: usize, height: usize, seed: u32) -> Vec<u8> {
    (0..(width * height) as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn motion_prior() {
    let mut scratch = Vec::new();
    let expected = [
        ((160, 120), 12, 2.895_758_458_108_79),
        ((97, 65), 7, 3.132_383_793_514_757_4),
        ((31, 17), 40, 2.700_622_302_937_413),
    ];
    for ((width, height), box_size, value) in expected {
        let spec = MotionSpec {
            box_size,
            epsilon: 0.5,
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
            excess_over: None,
        };
        let (a, b) = (picture(width, height, 1), picture(width, height, 77));
        let found: f64 = motion::raw(&a, &b, width, height, &spec, &mut scratch);
        assert!((found - value).abs() < 1e-14, "{width}x{height}: {found:?} instead of {value:?}");
    }
}
