//! What flows through the arbiter's graph.

/// A tensor, row-major.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub value: Value,
}

/// How a tensor's values are held.
#[derive(Debug, Clone)]
pub enum Value {
    /// Real numbers.
    Float(Vec<f32>),
    /// Quantized: each value is `scale` times its level, which counts from the zero point.
    Levels { levels: Vec<i16>, scale: f32 },
    /// The sums of a layer's products, not yet rounded to 8 bits.
    Sums(Sums),
}

/// The sums of a layer's products.
#[derive(Debug, Clone)]
pub struct Sums {
    pub sums: Vec<i32>,
    /// Scale of the layer's input.
    pub input_scale: f32,
    /// Scale of the weights of each output channel.
    pub weight_scales: Vec<f32>,
    /// What rounding the bias of each output channel to steps of the sums left out; empty for nothing.
    /// Reals have it, levels do not.
    pub bias_rest: Vec<f64>,
    /// Elements between one output channel and the next.
    pub inner: usize,
    /// What an activation holds the sums within, as reals.
    pub low: f32,
    pub high: f32,
}

impl Sums {
    fn channel(&self, i: usize) -> usize {
        i / self.inner % self.weight_scales.len()
    }

    /// The real numbers that the sums stand for.
    fn to_float(&self) -> Vec<f32> {
        let real = |(i, sum): (usize, &i32)| {
            let channel = self.channel(i);
            let scale = f64::from(self.input_scale) * f64::from(self.weight_scales[channel]);
            let rest = self.bias_rest.get(channel).copied().unwrap_or(0.0);
            ((f64::from(*sum) * scale + rest) as f32).clamp(self.low, self.high)
        };
        self.sums.iter().enumerate().map(real).collect()
    }

    /// Rounds the sums to levels of a scale, within `limits` from its zero point.
    fn round(&self, scale: f32, limits: (i32, i32)) -> Vec<i16> {
        // One factor for each channel, computed in `f32` in this order, as ONNX Runtime's kernels do.
        let factors: Vec<f32> =
            self.weight_scales.iter().map(|w| self.input_scale * w / scale).collect();
        let low = (limits.0 as f32).max(self.low / scale);
        let high = (limits.1 as f32).min(self.high / scale);
        let level = |(i, sum): (usize, &i32)| {
            let real = *sum as f32 * factors[self.channel(i)];
            real.clamp(low, high).round_ties_even() as i16
        };
        self.sums.iter().enumerate().map(level).collect()
    }
}

impl Tensor {
    pub fn float(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, value: Value::Float(values) }
    }

    /// The real numbers.
    pub fn to_float(&self) -> Vec<f32> {
        match &self.value {
            Value::Float(values) => values.clone(),
            Value::Levels { levels, scale } => {
                levels.iter().map(|level| f32::from(*level) * scale).collect()
            }
            Value::Sums(sums) => sums.to_float(),
        }
    }

    /// `QuantizeLinear`: levels of a scale, within `limits` from its zero point.
    pub fn quantize(&self, scale: f32, limits: (i32, i32)) -> Self {
        let levels = match &self.value {
            Value::Sums(sums) => sums.round(scale, limits),
            _ => {
                let (low, high) = (limits.0 as f32, limits.1 as f32);
                let level = |x: &f32| (x / scale).round_ties_even().clamp(low, high) as i16;
                self.to_float().iter().map(level).collect()
            }
        };
        Self { shape: self.shape.clone(), value: Value::Levels { levels, scale } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(sums: Vec<i32>, weight_scales: Vec<f32>) -> Tensor {
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        let shape = vec![1, weight_scales.len(), sums.len() / weight_scales.len()];
        let inner = shape[2];
        let value = Value::Sums(Sums {
            sums,
            input_scale: 0.5,
            weight_scales,
            bias_rest: Vec::new(),
            inner,
            low,
            high,
        });
        Tensor { shape, value }
    }

    fn levels(tensor: &Tensor) -> &[i16] {
        match &tensor.value {
            Value::Levels { levels, .. } => levels,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sums_are_rounded_half_to_even_and_saturate_at_the_end() {
        // Channel 0: 0.5 * 1 / 2 = a quarter of a level for each; channel 1: a half.
        let tensor = sums(vec![2, 6, 10, 10_000, 1, 3, -1, -10_000], vec![1.0, 2.0]);
        let rounded = tensor.quantize(2.0, (-10, 245));
        assert_eq!(levels(&rounded), [0, 2, 2, 245, 0, 2, 0, -10]);
        assert_eq!(rounded.to_float()[..3], [0.0, 4.0, 4.0]);
        assert_eq!(tensor.to_float()[..3], [1.0, 3.0, 5.0]);
    }

    #[test]
    fn an_activation_bounds_the_sums() {
        let mut tensor = sums(vec![-8, 8, 80], vec![1.0]);
        if let Value::Sums(sums) = &mut tensor.value {
            (sums.low, sums.high) = (0.0, 6.0);
        }
        assert_eq!(tensor.to_float(), [0.0, 4.0, 6.0]);
        assert_eq!(levels(&tensor.quantize(2.0, (-128, 127))), [0, 2, 3]);
    }

    #[test]
    fn reals_are_quantized_as_onnx_says() {
        let tensor = Tensor::float(vec![5], vec![0.25, 0.75, -0.25, -9.0, 400.0]);
        assert_eq!(levels(&tensor.quantize(0.5, (-10, 245))), [0, 2, 0, -10, 245]);
    }
}
