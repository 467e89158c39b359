//! Layer normalisation over rows, eps 1e-5, PyTorch's default.

use rayon::prelude::*;

use super::{BLOCK, add};

/// Mean and reciprocal deviation of each row.
pub(super) type Moments = Vec<(f32, f32)>;

/// `(x − mean) / deviation · scale + shift`, and the moments.
pub(super) fn forward(x: &[f32], scale: &[f32], shift: &[f32]) -> (Vec<f32>, Moments) {
    let e = scale.len();
    let mut y = vec![0.0; x.len()];
    let moments = y
        .par_chunks_mut(e)
        .zip(x.par_chunks(e))
        .map(|(y, x)| {
            let mean = x.iter().sum::<f32>() / e as f32;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / e as f32;
            let unit = 1.0 / (variance + 1e-5).sqrt();
            for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                *y = (x - mean) * unit * scale + shift;
            }
            (mean, unit)
        })
        .collect();
    (y, moments)
}

/// The gradients of `x`, `scale` and `shift`.
pub(super) fn backward(
    x: &[f32],
    moments: &Moments,
    scale: &[f32],
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let e = scale.len();
    let mut dx = vec![0.0; x.len()];
    let sums: Vec<(Vec<f32>, Vec<f32>)> = dx
        .par_chunks_mut(BLOCK * e)
        .zip(x.par_chunks(BLOCK * e))
        .zip(grad.par_chunks(BLOCK * e))
        .zip(moments.par_chunks(BLOCK))
        .map(|(((dx, x), grad), moments)| {
            let (mut dscale, mut dshift) = (vec![0.0; e], vec![0.0; e]);
            let rows = dx.chunks_exact_mut(e).zip(x.chunks_exact(e)).zip(grad.chunks_exact(e));
            for (((dx, x), grad), (mean, unit)) in rows.zip(moments) {
                let (mut sum, mut along) = (0.0, 0.0);
                for i in 0..e {
                    let (hat, g) = ((x[i] - mean) * unit, grad[i]);
                    dscale[i] += g * hat;
                    dshift[i] += g;
                    dx[i] = g * scale[i];
                    sum += dx[i];
                    along += dx[i] * hat;
                }
                let (sum, along) = (sum / e as f32, along / e as f32);
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = (*dx - sum - (x - mean) * unit * along) * unit;
                }
            }
            (dscale, dshift)
        })
        .collect();
    let (mut dscale, mut dshift) = (vec![0.0; e], vec![0.0; e]);
    for (scale, shift) in &sums {
        add(&mut dscale, scale);
        add(&mut dshift, shift);
    }
    (dx, dscale, dshift)
}
