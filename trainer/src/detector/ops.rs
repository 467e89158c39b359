//! Tensor operations of the detector, each differentiable.
//!
//! candle_nn's fused `LayerNorm` and `softmax_last_dim` have no backward pass and drop the
//! gradient without a word, so the forms here are built from primitives; a test of the model
//! asserts that every parameter gets a gradient.

use candle_core::{D, Result, Tensor};

use super::fused;

/// `x Wᵀ + b`; `x` `[..., in]`, `weight` `[out, in]`, `bias` `[out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fused::fits(x) {
        let none = || Tensor::zeros(weight.dim(0)?, x.dtype(), x.device());
        let bias = bias.map_or_else(none, |bias| Ok(bias.clone()))?;
        return x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, fused::dense::Dense);
    }
    linear_composed(x, weight, bias)
}

/// [`linear`] from primitives.
fn linear_composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let inputs = x.dim(D::Minus1)?;
    // One large matrix product instead of a batch of small ones. On a GPU candle takes matrices only
    // whose rows or columns lie one behind the other, which those of a part of a weight do not.
    let rows = x.reshape(((), inputs))?; // [rows, in]
    let mut y = rows.matmul(&weight.contiguous()?.t()?)?; // [rows, out]
    if let Some(bias) = bias {
        y = y.broadcast_add(bias)?;
    }
    if let Some(last) = shape.last_mut() {
        *last = weight.dim(0)?;
    }
    y.reshape(shape)
}

/// Layer normalisation over the last dimension, eps 1e-5, PyTorch's default.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let unit = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?;
    unit.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Softmax over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The shift cancels out of the gradient, so it need not be followed backwards.
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let exp = shifted.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Logistic function.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// Weights `[..., n]` that are 1/k at the k largest values of each row and 0 elsewhere. A constant:
/// like PyTorch's top-k, the choice has no gradient, the chosen values do.
///
/// # Errors
/// If a value is not finite: sorting would have no meaning.
pub fn top_k_weights(values: &Tensor, k: usize) -> Result<Tensor> {
    let values = values.detach().contiguous()?;
    let sum = values.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    if !sum.is_finite() {
        candle_core::bail!("activations are {sum}: lower the learning rate or check the features");
    }
    let k = k.min(values.dim(D::Minus1)?);
    let order = values.arg_sort_last_dim(false)?; // [..., n]
    let order = order.narrow(D::Minus1, 0, k)?.contiguous()?; // [..., k]
    let share = (Tensor::ones(order.shape(), values.dtype(), values.device())? / k as f64)?;
    values.zeros_like()?.scatter_add(&order, &share, D::Minus1)
}

/// Mean of the k largest values of each row; `[..., n]` to `[...]`.
pub fn top_k_mean(values: &Tensor, k: usize) -> Result<Tensor> {
    values.mul(&top_k_weights(values, k)?)?.sum(D::Minus1)
}

/// Mean of rows of `x` `[B, T, E]` with weights `[B, T]`; `[B, E]`.
pub fn weighted_rows(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    weights.unsqueeze(1)?.matmul(&x.contiguous()?)?.squeeze(1)
}

/// Euclidean norm over the last dimension, with a finite gradient at zero.
pub fn norm(x: &Tensor) -> Result<Tensor> {
    (x.sqr()?.sum(D::Minus1)? + 1e-24)?.sqrt()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn top_k_mean_chooses_values_and_passes_their_gradient() {
        let x = Var::new(&[[3.0f64, 1.0, 5.0, 4.0], [0.0, -1.0, -2.0, 7.0]], &Device::Cpu).unwrap();
        let mean = top_k_mean(&x, 2).unwrap();
        assert_eq!(mean.to_vec1::<f64>().unwrap(), [4.5, 3.5]);
        let grads = mean.sum_all().unwrap().backward().unwrap();
        let grad = grads.get(&x).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(grad, [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 0.0, 0.5]]);
    }

    #[test]
    fn not_a_number_is_an_error_not_a_panic() {
        let x = Tensor::new(&[1.0f32, f32::NAN, 0.0], &Device::Cpu).unwrap();
        assert!(top_k_mean(&x, 1).unwrap_err().to_string().contains("NaN"));
    }

    #[test]
    fn norm_at_zero_has_a_gradient_of_zero() {
        let x = Var::zeros((1, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let grads = norm(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.0; 3]]);
    }
}
