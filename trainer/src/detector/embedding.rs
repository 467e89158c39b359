//! The temporal embedding: a convolution over snippets.

use candle_core::{Result, Tensor};

use super::fused;

/// 1-D convolution over time, kernel 3, zero padding 1, then ReLU. `x` `[B, T, D]`, `weight`
/// `[E, D, 3]`, `bias` `[E]`; result `[B, T, E]`.
pub fn forward(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if fused::fits(x) {
        let op = fused::embedding::Embedding::default();
        return x.contiguous()?.apply_op3(weight, bias, op);
    }
    composed(x, weight, bias)
}

/// The same from primitives: three matrix products, one a tap, with their results shifted in time;
/// candle's own backward pass of `conv1d` is many times slower.
fn composed(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (b, t, d) = x.dims3()?;
    let e = weight.dim(0)?;
    let rows = x.reshape((b * t, d))?;
    let tap = |k: usize| -> Result<Tensor> {
        let w = weight.narrow(2, k, 1)?.squeeze(2)?.contiguous()?; // [E, D]
        rows.matmul(&w.t()?)?.reshape((b, t, e))
    };
    let mut y = tap(1)?;
    if t > 1 {
        // Tap 0 sees the snippet before, tap 2 the one after.
        y = (y + tap(0)?.narrow(1, 0, t - 1)?.pad_with_zeros(1, 1, 0)?)?;
        y = (y + tap(2)?.narrow(1, 1, t - 1)?.pad_with_zeros(1, 0, 1)?)?;
    }
    y.broadcast_add(bias)?.relu() // [B, T, E]
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn taps_see_before_now_and_after() {
        let x = Tensor::new(&[[[1.0f64], [10.0], [100.0]]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[[1.0f64, 2.0, 3.0]]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[-40.0f64], &Device::Cpu).unwrap();
        let y = forward(&x, &weight, &bias).unwrap().flatten_all().unwrap();
        // 1·2 + 10·3 = 32; 1·1 + 10·2 + 100·3 = 321; 10·1 + 100·2 = 210; less 40, ReLU.
        assert_eq!(y.to_vec1::<f64>().unwrap(), [0.0, 281.0, 170.0]);
        let one = forward(&x.narrow(1, 2, 1).unwrap(), &weight, &bias).unwrap();
        assert_eq!(one.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [160.0]);
    }
}
