//! How far the student's features are from the teacher's.

use candle_core::{DType, Device, Result, Tensor};

/// Keeps a length from being 0.
const EPSILON: f64 = 1e-12;

/// The teacher's features' mean and standard deviation, by which both are normalised: every value of
/// the 1024 then counts alike, and what all footage has in common counts for nothing.
#[derive(Debug, Clone)]
pub(super) struct Normal {
    /// `[1, features]`.
    pub mean: Tensor,
    /// `[1, features]`, more than 0.
    pub deviation: Tensor,
}

/// The terms of the loss, scalars.
pub(super) struct Terms {
    /// Mean over snippets and values of the smooth L1 distance of the normalised features:
    /// d² / 2 up to a distance of 1, then |d| − 1/2.
    pub smooth_l1: Tensor,
    /// Mean over snippets of 1 − cosine of the normalised features.
    pub cosine: Tensor,
}

impl Normal {
    pub fn new(mean: Vec<f32>, deviation: Vec<f32>, dtype: DType, device: &Device) -> Result<Self> {
        let row = |values: Vec<f32>| Tensor::new(values, device)?.unsqueeze(0)?.to_dtype(dtype);
        Ok(Self { mean: row(mean)?, deviation: row(deviation)? })
    }

    /// `(features − mean) / deviation` `[n, features]`.
    pub fn apply(&self, features: &Tensor) -> Result<Tensor> {
        features.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)
    }

    /// The inverse of [`Normal::apply`].
    pub fn undo(&self, normalised: &Tensor) -> Result<Tensor> {
        normalised.broadcast_mul(&self.deviation)?.broadcast_add(&self.mean)
    }

    /// The loss terms of the student's normalised and the teacher's own features `[n, features]`.
    pub fn terms(&self, student: &Tensor, teacher: &Tensor) -> Result<Terms> {
        let teacher = self.apply(teacher)?;
        let distance = (student - &teacher)?.abs()?;
        let near = distance.clamp(0f32, 1f32)?;
        let smooth_l1 = ((near.sqr()? * 0.5)? + (distance - near)?)?.mean_all()?;
        let cosine = (1.0 - cosines(student, &teacher)?)?.mean_all()?;
        Ok(Terms { smooth_l1, cosine })
    }
}

/// Cosine of each row of `a` with that of `b`, `[n]`.
pub(super) fn cosines(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let length = |t: &Tensor| (t.sqr()?.sum(1)? + EPSILON)?.sqrt();
    (a * b)?.sum(1)? / (length(a)? * length(b)?)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_follow_their_formulas() {
        let normal =
            Normal::new(vec![1.0, -1.0], vec![2.0, 0.5], DType::F64, &Device::Cpu).unwrap();
        let rows = |values: &[[f64; 2]]| {
            Tensor::from_slice(values.as_flattened(), (values.len(), 2), &Device::Cpu).unwrap()
        };
        // Normalised: (1, 0) and (0, 2) against (0, 0.5) and (0, 1).
        let student = rows(&[[1.0, 0.0], [0.0, 2.0]]);
        let teacher = rows(&[[1.0, -0.75], [1.0, -0.5]]);
        let own = normal.undo(&student).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(own, [[3.0, -1.0], [1.0, 0.0]]);
        let terms = normal.terms(&student, &teacher).unwrap();
        let value = |t: &Tensor| t.to_scalar::<f64>().unwrap();
        // Distances 1, 0.5, 0, 1.
        let expected = (0.5 + 0.125 + 0.0 + 0.5) / 4.0;
        assert!((value(&terms.smooth_l1) - expected).abs() < 1e-12);
        // Cosines 0 and 1.
        assert!((value(&terms.cosine) - 0.5).abs() < 1e-9);
        let far = normal.terms(&rows(&[[3.0, 0.0]]), &rows(&[[1.0, -1.0]])).unwrap();
        assert!((value(&far.smooth_l1) - 2.5 / 2.0).abs() < 1e-12);
    }
}
