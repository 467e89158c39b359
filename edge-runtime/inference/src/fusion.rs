//! From the detectors' z-scores to one value.

use model_bundle::manifest::Detectors;

/// The fused value of smoothed z-scores: their weighted sum, of what they exceed the usual by where a
/// detector says so. A detector without a value adds nothing.
pub fn fuse(
    detectors: &Detectors,
    local: Option<f64>,
    motion: Option<f64>,
    semantic: Option<f64>,
) -> f64 {
    parts(detectors, local, motion, semantic).into_iter().flatten().sum()
}

/// What the local detector, the motion prior and the semantic detector each add to the fused value.
pub(crate) fn parts(
    detectors: &Detectors,
    local: Option<f64>,
    motion: Option<f64>,
    semantic: Option<f64>,
) -> [Option<f64>; 3] {
    let add = |z: f64, weight: f64, excess_over: Option<f64>| {
        weight * excess_over.map_or(z, |usual| (z - usual).max(0.0))
    };
    let local = local.zip(detectors.local.as_ref()).map(|(z, d)| add(z, d.weight, None));
    let motion =
        motion.zip(detectors.motion.as_ref()).map(|(z, d)| add(z, d.weight, d.excess_over));
    let semantic =
        semantic.zip(detectors.semantic.as_ref()).map(|(z, d)| add(z, d.weight, d.excess_over));
    [local, motion, semantic]
}
