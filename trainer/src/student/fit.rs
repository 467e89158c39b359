//! A first projection: ridge regression from pooled features to the teacher's.
//!
//! A drawn projection would send large gradients of no meaning through weights that took a GPU weeks;
//! the best linear one costs a pass over the footage.

use candle_core::{Device, Result, Tensor, bail};

/// Penalties that are tried, as shares of the mean variance of the inputs.
const PENALTIES: [f64; 6] = [1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
/// One row in so many groups is kept out to choose the penalty.
const FOLD: usize = 5;

/// A linear map that was fitted.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    /// `[outputs, inputs]`.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Tensor,
    /// The penalty that was chosen.
    pub penalty: f64,
}

/// Fits `y ≈ x weightᵀ + bias` for rows `x` `[n, inputs]` and `y` `[n, outputs]`, both `f64` on the
/// CPU: least squares with a penalty on the weight, chosen by every fifth group of rows kept out.
/// `groups` has one number a row, rising; the rows of one clip are one group.
///
/// # Errors
/// If there are fewer than two rows, or on an error of the tensor library.
pub(super) fn ridge(x: &Tensor, y: &Tensor, groups: &[usize]) -> Result<Fit> {
    let rows = x.dim(0)?;
    if rows < 2 || groups.len() != rows || y.dim(0)? != rows {
        bail!("a projection cannot be fitted to {rows} snippets");
    }
    let mut seen = 0;
    let kept_out: Vec<bool> = (0..rows)
        .map(|row| {
            if row > 0 && groups[row] != groups[row - 1] {
                seen += 1;
            }
            seen % FOLD == FOLD - 1
        })
        .collect();
    let pick = |tensor: &Tensor, out: bool| {
        let index: Vec<u32> =
            (0..rows).filter(|row| kept_out[*row] == out).map(|row| row as u32).collect();
        tensor.index_select(&Tensor::new(index, &Device::Cpu)?, 0)
    };
    let penalty = if kept_out.contains(&true) {
        let (inside, outside) = (Moments::of(&pick(x, false)?, &pick(y, false)?)?, pick(x, true)?);
        let wanted = pick(y, true)?;
        let mut best = (f64::INFINITY, PENALTIES[0]);
        for penalty in PENALTIES {
            let (weight, bias) = inside.solve(penalty)?;
            let found = outside.matmul(&weight.t()?)?.broadcast_add(&bias)?;
            let error = (found - &wanted)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
            log::debug!("penalty {penalty}: mean squared error {error:.3e} on clips kept out");
            if error < best.0 {
                best = (error, penalty);
            }
        }
        best.1
    } else {
        0.1
    };
    let (weight, bias) = Moments::of(x, y)?.solve(penalty)?;
    Ok(Fit { weight, bias: bias.squeeze(0)?, penalty })
}

/// What the solution depends on.
struct Moments {
    /// `[inputs, inputs]`.
    covariance: Vec<f64>,
    /// `[inputs, outputs]`.
    cross: Vec<f64>,
    x_mean: Tensor,
    y_mean: Tensor,
    inputs: usize,
    outputs: usize,
}

impl Moments {
    fn of(x: &Tensor, y: &Tensor) -> Result<Self> {
        let (rows, inputs) = x.dims2()?;
        let (x_mean, y_mean) = (x.mean_keepdim(0)?, y.mean_keepdim(0)?);
        let x = x.broadcast_sub(&x_mean)?;
        let xt = (x.t()? / rows as f64)?.contiguous()?;
        let flat = |t: Tensor| t.flatten_all()?.to_vec1::<f64>();
        let covariance = flat(xt.matmul(&x)?)?;
        let cross = flat(xt.matmul(&y.broadcast_sub(&y_mean)?)?)?;
        Ok(Self { covariance, cross, x_mean, y_mean, inputs, outputs: y.dim(1)? })
    }

    /// Weight `[outputs, inputs]` and bias `[1, outputs]`.
    fn solve(&self, penalty: f64) -> Result<(Tensor, Tensor)> {
        let (n, outputs) = (self.inputs, self.outputs);
        let variance = (0..n).map(|i| self.covariance[i * n + i]).sum::<f64>() / n.max(1) as f64;
        let mut matrix = self.covariance.clone();
        // So small a number that it only keeps a matrix of zeros from being singular.
        let added = penalty * variance + f64::MIN_POSITIVE.sqrt();
        (0..n).for_each(|i| matrix[i * n + i] += added);
        cholesky(&mut matrix, n)?;
        let mut solution = self.cross.clone();
        substitute(&matrix, n, &mut solution, outputs);
        let weight = Tensor::from_vec(solution, (n, outputs), &Device::Cpu)?.t()?.contiguous()?;
        let bias = (&self.y_mean - self.x_mean.matmul(&weight.t()?)?)?;
        Ok((weight, bias))
    }
}

/// Replaces the lower half of a symmetric matrix by the L of L Lᵀ.
fn cholesky(matrix: &mut [f64], n: usize) -> Result<()> {
    for i in 0..n {
        for j in 0..=i {
            let (upper, lower) = matrix.split_at(i * n);
            let row = &lower[..n];
            let other = if j == i { row } else { &upper[j * n..][..n] };
            let sum: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
            let rest = row[j] - sum;
            matrix[i * n + j] = if i == j {
                if rest <= 0.0 || !rest.is_finite() {
                    bail!("the features to project are not numbers, or all the same");
                }
                rest.sqrt()
            } else {
                rest / other[j]
            };
        }
    }
    Ok(())
}

/// Solves L Lᵀ x = b in place for the columns of b `[n, columns]`.
fn substitute(matrix: &[f64], n: usize, b: &mut [f64], columns: usize) {
    let mut eliminate = |i: usize, others: &mut dyn Iterator<Item = (usize, f64)>| {
        let mut row = b[i * columns..][..columns].to_vec();
        for (j, factor) in others {
            let other = &b[j * columns..][..columns];
            row.iter_mut().zip(other).for_each(|(value, other)| *value -= factor * other);
        }
        row.iter_mut().for_each(|value| *value /= matrix[i * n + i]);
        b[i * columns..][..columns].copy_from_slice(&row);
    };
    for i in 0..n {
        eliminate(i, &mut (0..i).map(|j| (j, matrix[i * n + j])));
    }
    for i in (0..n).rev() {
        eliminate(i, &mut (i + 1..n).map(|j| (j, matrix[j * n + i])));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(shape: (usize, usize), seed: u64) -> Tensor {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let data: Vec<f64> = (0..shape.0 * shape.1).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
    }

    fn largest(t: &Tensor) -> f64 {
        t.abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_linear_map_is_found_again() {
        let x = random((200, 7), 1);
        let (weight, bias) = (random((3, 7), 2), random((1, 3), 3));
        let y = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
        let groups: Vec<usize> = (0..200).map(|row| row / 4).collect();
        let fit = ridge(&x, &y, &groups).unwrap();
        assert_eq!(fit.penalty, 1e-3);
        assert!(largest(&(fit.weight - weight).unwrap()) < 1e-2);
        assert!(largest(&(fit.bias - bias.squeeze(0).unwrap()).unwrap()) < 1e-2);
    }

    #[test]
    fn noise_makes_the_penalty_large_and_the_gradient_is_zero_at_the_solution() {
        let (x, y) = (random((60, 40), 1), random((60, 2), 2));
        let groups: Vec<usize> = (0..60).collect();
        let fit = ridge(&x, &y, &groups).unwrap();
        assert!(fit.penalty >= 1.0, "{}", fit.penalty);
        // 2/n Xᵀ (X w − y) + 2 λ w = 0 for centred X and y.
        let centre = |t: &Tensor| t.broadcast_sub(&t.mean_keepdim(0).unwrap()).unwrap();
        let (x, y) = (centre(&x), centre(&y));
        let rest = (x.matmul(&fit.weight.t().unwrap()).unwrap() - y).unwrap();
        let slope = (x.t().unwrap().matmul(&rest).unwrap() / 60.0).unwrap();
        let variance = x.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap();
        let pull = (fit.weight.t().unwrap() * (fit.penalty * variance)).unwrap();
        assert!(largest(&(slope + pull).unwrap()) < 1e-10);
    }

    #[test]
    fn what_cannot_be_fitted_is_an_error() {
        let one = random((1, 3), 1);
        assert!(ridge(&one, &one, &[0]).is_err());
        let nan = Tensor::new(&[[f64::NAN], [1.0], [2.0]], &Device::Cpu).unwrap();
        assert!(ridge(&nan, &nan, &[0, 0, 0]).is_err());
    }
}
