//! The loss of the local detector.
//!
//! For each kind: the mean of softplus(z) over normal cells, plus a weight times its mean over the
//! hardest of them, plus the mean of softplus(−z) over the kind's own cells; cells of other kinds
//! and ignored cells are left out. The total is the mean over kinds. Means, not sums: a kind of few
//! and small events counts as much as one of large ones, and the hardest share keeps the few cells
//! that would raise a false alarm from drowning among thousands of easy ones.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// Weights of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Weight of the hardest negatives.
    pub hard_weight: f32,
    /// Share of the negatives that counts as hardest (at least one cell).
    pub hard_share: f64,
}

/// The loss and its gradient with respect to the logits, `[n, kinds, cells]` row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Mean over the kinds.
    pub value: f32,
    /// Gradient, as long as the logits.
    pub gradient: Vec<f32>,
}

/// Computes the loss of `logits` `[n, kinds, cells]` for labels `[n, cells]` (0 normal, `k + 1`
/// kind `k`, anything else of no kind is left out).
#[must_use]
pub fn loss(
    logits: &[f32],
    labels: &[u8],
    kinds: usize,
    cells: usize,
    weights: LossWeights,
) -> Loss {
    let per_kind: Vec<(f64, Vec<(usize, f32)>)> = (0..kinds)
        .into_par_iter()
        .map(|k| of_kind(logits, labels, (k, kinds, cells), weights))
        .collect();
    let mut gradient = vec![0f32; logits.len()];
    let mut value = 0f64;
    for (kind_value, kind_gradient) in per_kind {
        value += kind_value;
        for (at, g) in kind_gradient {
            gradient[at] = g / kinds as f32;
        }
    }
    Loss { value: (value / kinds as f64) as f32, gradient }
}

/// The loss of one kind and its gradient at each logit it touches.
fn of_kind(
    logits: &[f32],
    labels: &[u8],
    (kind, kinds, cells): (usize, usize, usize),
    weights: LossWeights,
) -> (f64, Vec<(usize, f32)>) {
    let (mut negatives, mut positives) = (Vec::new(), Vec::new());
    for (image, labels) in labels.chunks_exact(cells).enumerate() {
        let start = (image * kinds + kind) * cells;
        for (cell, label) in labels.iter().enumerate() {
            if *label == 0 {
                negatives.push(start + cell);
            } else if usize::from(*label) == kind + 1 {
                positives.push(start + cell);
            }
        }
    }
    let mut total = 0f64;
    let mut gradient = Vec::with_capacity(negatives.len() + positives.len());
    if !negatives.is_empty() {
        let hard = ((negatives.len() as f64 * weights.hard_share).ceil() as usize)
            .clamp(1, negatives.len());
        // Equal logits are ordered by place, so that the choice never depends on the algorithm.
        negatives.select_nth_unstable_by(hard - 1, |a, b| {
            logits[*b].total_cmp(&logits[*a]).then(a.cmp(b))
        });
        negatives[hard..].sort_unstable();
        negatives[..hard].sort_unstable();
        let each = 1.0 / negatives.len() as f32;
        let each_hard = weights.hard_weight / hard as f32;
        for (rank, at) in negatives.iter().copied().enumerate() {
            let weight = if rank < hard { each + each_hard } else { each };
            total += f64::from(weight * softplus(logits[at]));
            gradient.push((at, weight * sigmoid(logits[at])));
        }
    }
    let each = 1.0 / positives.len().max(1) as f32;
    for at in positives {
        total += f64::from(each * softplus(-logits[at]));
        gradient.push((at, -each * sigmoid(-logits[at])));
    }
    (total, gradient)
}

/// A scalar with the loss's value whose backward pass gives the loss's gradient, on any device.
///
/// `maps` are logits `[n, kinds, h, w]`, `labels` `[n, h · w]`. The sort that finds the hardest
/// negatives has no device kernel worth its transfer: maps are small.
///
/// # Errors
/// If shapes do not match, or on a device error.
pub fn attach(maps: &Tensor, labels: &[u8], weights: LossWeights) -> Result<(f32, Tensor)> {
    let (images, kinds, height, width) = maps.dims4()?;
    let cells = height * width;
    if labels.len() != images * cells {
        bail!("{} cell labels for {images} maps of {height} × {width}", labels.len());
    }
    let logits: Vec<f32> = maps.detach().flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
    let loss = loss(&logits, labels, kinds, cells, weights);
    let gradient = Tensor::from_vec(loss.gradient, maps.shape(), maps.device())?;
    let gradient = gradient.to_dtype(maps.dtype())?;
    Ok((loss.value, (maps * gradient)?.sum_all()?))
}

/// ln(1 + eᶻ) without overflow.
fn softplus(z: f32) -> f32 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

fn sigmoid(z: f32) -> f32 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const WEIGHTS: LossWeights = LossWeights { hard_weight: 0.3, hard_share: 0.01 };

    /// One image, two kinds, four cells: normal, kind 0, kind 1, ignored.
    const LOGITS: [f32; 8] = [2.0, -1.0, 5.0, 9.0, -3.0, 4.0, 0.0, 9.0];
    const LABELS: [u8; 4] = [0, 1, 2, 255];

    #[test]
    fn equals_the_value_computed_by_hand() {
        let sp = |z: f64| z.exp().ln_1p();
        // One negative, which is also the hardest: weight 1 + 0.3.
        let kind0 = 1.3 * sp(2.0) + sp(1.0);
        let kind1 = 1.3 * sp(-3.0) + sp(0.0);
        let expected = (kind0 + kind1) / 2.0;
        let got = loss(&LOGITS, &LABELS, 2, 4, WEIGHTS);
        assert!((f64::from(got.value) - expected).abs() < 1e-6, "{} {expected}", got.value);
        // 2.126928 · 1.3 + 1.313262 and 0.048587 · 1.3 + 0.693147, halved.
        assert!((got.value - 2.417289).abs() < 1e-5, "{}", got.value);
    }

    #[test]
    fn only_the_hardest_share_gets_the_extra_weight() {
        // 200 negatives of one kind: two hardest.
        let mut logits = vec![-2.0f32; 200];
        (logits[7], logits[90]) = (1.0, 3.0);
        let got = loss(&logits, &[0; 200], 1, 200, WEIGHTS);
        let sp = |z: f64| z.exp().ln_1p();
        let expected =
            (198.0 * sp(-2.0) + sp(1.0) + sp(3.0)) / 200.0 + 0.3 * (sp(1.0) + sp(3.0)) / 2.0;
        assert!((f64::from(got.value) - expected).abs() < 1e-6);
        let easy = 1.0 / (1.0 + 2f32.exp()) / 200.0;
        assert!((got.gradient[0] - easy).abs() < 1e-8);
        let hard = (1.0 / 200.0 + 0.3 / 2.0) / (1.0 + (-3f32).exp());
        assert!((got.gradient[90] - hard).abs() < 1e-7);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences_and_leaves_ignored_cells_alone() {
        let got = loss(&LOGITS, &LABELS, 2, 4, WEIGHTS);
        for at in 0..LOGITS.len() {
            let shifted = |by: f32| {
                let mut logits = LOGITS;
                logits[at] += by;
                loss(&logits, &LABELS, 2, 4, WEIGHTS).value
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((numeric - got.gradient[at]).abs() < 1e-3, "{at}: {numeric}");
        }
        // Another kind's cells and ignored ones.
        for at in [2, 3, 5, 7] {
            assert_eq!(got.gradient[at], 0.0);
        }
    }

    #[test]
    fn every_term_matters() {
        let whole = loss(&LOGITS, &LABELS, 2, 4, WEIGHTS).value;
        let without_hard = LossWeights { hard_weight: 0.0, ..WEIGHTS };
        assert!(loss(&LOGITS, &LABELS, 2, 4, without_hard).value < whole - 0.1);
        // Without negatives, and without positives.
        assert!(loss(&LOGITS, &[255, 1, 2, 255], 2, 4, WEIGHTS).value < whole - 0.1);
        assert!(loss(&LOGITS, &[0, 255, 255, 255], 2, 4, WEIGHTS).value < whole - 0.1);
        // Nothing to learn from at all.
        assert_eq!(loss(&LOGITS, &[255; 4], 2, 4, WEIGHTS).value, 0.0);
    }

    #[test]
    fn the_attached_scalar_passes_the_gradient_on() {
        let maps = Var::from_slice(&LOGITS, (1, 2, 2, 2), &Device::Cpu).unwrap();
        let (value, scalar) = attach(&maps, &LABELS, WEIGHTS).unwrap();
        let expected = loss(&LOGITS, &LABELS, 2, 4, WEIGHTS);
        assert_eq!(value, expected.value);
        let grads = scalar.backward().unwrap();
        let got: Vec<f32> = grads.get(&maps).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(got, expected.gradient);
        assert!(attach(&maps, &LABELS[..3], WEIGHTS).is_err());
    }
}
