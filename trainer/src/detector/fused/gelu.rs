//! GELU by the error function: x Φ(x).

use candle_core::cpu::erf::erf_f32;
use rayon::prelude::*;

/// Values handed to a thread at once.
const CHUNK: usize = 1 << 13;

/// Φ(x), the normal distribution.
fn normal(x: f32) -> f32 {
    0.5 * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// GELU of each value, times the dropout mask if there is one.
pub(super) fn forward(x: &[f32], mask: Option<&[f32]>) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * normal(*x));
    });
    super::masked(y, mask)
}

/// `grad` (already masked) times the derivative Φ(x) + x φ(x).
pub(super) fn backward(x: &[f32], mut grad: Vec<f32>) -> Vec<f32> {
    let scale = 1.0 / std::f32::consts::TAU.sqrt();
    grad.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(grad, x)| {
        for (grad, x) in grad.iter_mut().zip(x) {
            *grad *= normal(*x) + x * scale * (-0.5 * x * x).exp();
        }
    });
    grad
}
