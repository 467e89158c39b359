//! Scales, zero points and rounding: the arithmetic of 8-bit affine quantization.
//!
//! `real = scale * (quantized - zero_point)` (Jacob et al., "Quantization and Training of Neural
//! Networks for Efficient Integer-Arithmetic-Only Inference", 2018), rounding half to even as ONNX's
//! `QuantizeLinear` does.

use serde::{Deserialize, Serialize};

/// Number format of the activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Unsigned asymmetric activations, signed weights: what ONNX Runtime's CPU kernels like best.
    U8S8,
    /// Signed symmetric activations and weights, zero points all 0: what TensorRT asks for.
    S8S8,
}

impl Flavour {
    /// Smallest and largest quantized activation.
    pub fn limits(self) -> (i32, i32) {
        match self {
            Flavour::U8S8 => (0, 255),
            Flavour::S8S8 => (-127, 127),
        }
    }
}

/// How one activation tensor is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ActivationParams {
    /// Number format.
    pub flavour: Flavour,
    /// Real value of one step, greater than zero.
    pub scale: f32,
    /// Quantized value that stands for zero.
    pub zero_point: i32,
}

impl ActivationParams {
    /// Parameters that cover `[low, high]`, widened to contain zero, which is always represented
    /// exactly. An empty range (a tensor that is all zero) gets scale 1. The scale has ten fractional bits, rounded up (see `coarse`).
    pub fn from_range(flavour: Flavour, low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let (scale, zero_point) = match flavour {
            Flavour::U8S8 => {
                let scale = positive(coarse((high - low) / 255.0));
                let zero_point = (-low / f64::from(scale)).round_ties_even().clamp(0.0, 255.0);
                (scale, zero_point as i32)
            }
            Flavour::S8S8 => (positive(coarse(high.max(-low) / 127.0)), 0),
        };
        Self { flavour, scale, zero_point }
    }

    /// The quantized value nearest to `x`, saturated.
    pub fn quantize(&self, x: f64) -> i32 {
        let (low, high) = self.flavour.limits();
        let q = (x / f64::from(self.scale)).round_ties_even() + f64::from(self.zero_point);
        q.clamp(low.into(), high.into()) as i32
    }

    /// The real value of a quantized one.
    pub fn dequantize(&self, q: i32) -> f64 {
        f64::from(self.scale) * f64::from(q - self.zero_point)
    }
}

/// The next number of ten fractional bits that is not below, at most a thousandth larger. What
/// calibration sees differs between processors in the last bits of `f32`; with these left out the
/// quantized graph does not.
fn coarse(scale: f64) -> f64 {
    const DROPPED: u64 = (1 << (f64::MANTISSA_DIGITS - 1 - 10)) - 1;
    f64::from_bits((scale.to_bits() + DROPPED) & !DROPPED)
}

/// A usable scale: 1 where the range is empty or too small for `f32`.
pub(super) fn positive(scale: f64) -> f32 {
    let scale = scale as f32;
    if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

/// A bias in steps of `input_scale * weight_scale` of each channel.
pub fn quantize_bias(
    bias: &[f32],
    input_scale: f32,
    weight_scales: &[f32],
) -> (Vec<i32>, Vec<f32>) {
    let scales: Vec<f32> =
        weight_scales.iter().map(|s| positive((s * input_scale).into())).collect();
    let values = bias
        .iter()
        .zip(&scales)
        .map(|(b, s)| (f64::from(*b) / f64::from(*s)).round_ties_even() as i32)
        .collect();
    (values, scales)
}

/// `10 log10(signal / noise)`, at most 200 and at least -200 dB.
pub fn decibel(signal: f64, noise: f64) -> f64 {
    if noise <= 0.0 {
        return 200.0;
    }
    if signal <= 0.0 {
        return -200.0;
    }
    (10.0 * (signal / noise).log10()).clamp(-200.0, 200.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_parameters_of_hand_computed_ranges() {
        let p = ActivationParams::from_range(Flavour::U8S8, 0.0, 255.0 * 0.125);
        assert_eq!((p.scale, p.zero_point), (0.125, 0));
        // -1..3: scale 4/255, or 1.003921... / 64, rounded up to 1029/1024 of it; zero at 63.7, rounded to 64.
        let p = ActivationParams::from_range(Flavour::U8S8, -1.0, 3.0);
        assert_eq!((p.scale, p.zero_point), (1029.0 / 1024.0 / 64.0, 64));
        // A range away from zero is widened to contain it.
        let p = ActivationParams::from_range(Flavour::U8S8, 2.0, 255.0 / 64.0);
        assert_eq!((p.scale, p.zero_point), (1.0 / 64.0, 0));
        let p = ActivationParams::from_range(Flavour::U8S8, -255.0 / 64.0, -1.0);
        assert_eq!((p.scale, p.zero_point), (1.0 / 64.0, 255));
    }

    #[test]
    fn the_last_bits_of_a_range_do_not_matter() {
        let (low, high) = (-0.731_234_5f32, 2.319_112_3f32);
        let nearly = |x: f32| [x, f32::from_bits(x.to_bits() + 1), f32::from_bits(x.to_bits() - 1)];
        for flavour in [Flavour::U8S8, Flavour::S8S8] {
            let of = |low: f32, high: f32| {
                ActivationParams::from_range(flavour, low.into(), high.into())
            };
            let exact = of(low, high);
            for (low, high) in nearly(low).into_iter().zip(nearly(high)) {
                assert_eq!(of(low, high), exact);
            }
            // Nothing that was seen is cut off.
            assert!(
                exact.dequantize(flavour.limits().1)
                    >= f64::from(high) - 0.6 * f64::from(exact.scale)
            );
        }
    }

    #[test]
    fn signed_parameters_are_symmetric() {
        let p = ActivationParams::from_range(Flavour::S8S8, -1.0, 127.0 / 8.0);
        assert_eq!((p.scale, p.zero_point), (0.125, 0));
        assert_eq!(p.quantize(-100.0), -127);
        assert_eq!(p.quantize(100.0), 127);
    }

    #[test]
    fn rounds_half_to_even_and_saturates() {
        let p = ActivationParams { flavour: Flavour::U8S8, scale: 0.5, zero_point: 10 };
        // 0.25 is half a step: to even 0; 0.75 is one and a half: to even 2.
        assert_eq!([0.25, 0.75, 1.25, -0.25, -0.75].map(|x| p.quantize(x)), [10, 12, 12, 10, 8]);
        assert_eq!([-100.0, 1000.0].map(|x| p.quantize(x)), [0, 255]);
        assert_eq!(p.dequantize(12), 1.0);
    }

    #[test]
    fn an_all_zero_tensor_has_a_usable_scale() {
        for flavour in [Flavour::U8S8, Flavour::S8S8] {
            let p = ActivationParams::from_range(flavour, 0.0, 0.0);
            assert_eq!((p.scale, p.quantize(0.0)), (1.0, 0));
        }
    }

    #[test]
    fn bias_by_hand() {
        let (values, scales) = quantize_bias(&[1.0, -0.5], 0.5, &[0.25, 0.125]);
        assert_eq!((values, scales), (vec![8, -8], vec![0.125, 0.0625]));
    }
}
