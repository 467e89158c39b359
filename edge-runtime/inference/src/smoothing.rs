//! Temporal smoothing.

use model_bundle::manifest::SmoothingSpec;

/// A Gaussian over the frames around one, truncated at the ends of the stream and renormalised.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Weight at each distance from the centre.
    weights: Vec<f64>,
}

impl Kernel {
    /// The kernel that a model describes.
    pub fn new(spec: &SmoothingSpec) -> Self {
        let radius = if spec.sigma > 0.0 { spec.radius } else { 0 };
        let weight = |d: u32| {
            let distance = f64::from(d) / spec.sigma;
            if d == 0 { 1.0 } else { (-0.5 * distance * distance).exp() }
        };
        Self { weights: (0..=radius).map(weight).collect() }
    }

    /// Frames to each side that are looked at.
    pub fn radius(&self) -> u64 {
        self.weights.len() as u64 - 1
    }

    /// The weighted mean of `value` around `frame`, over frames from 0 to `last`.
    pub fn smooth(&self, frame: u64, last: u64, value: impl Fn(u64) -> f64) -> f64 {
        let from = frame.saturating_sub(self.radius());
        let to = (frame + self.radius()).min(last);
        let (mut sum, mut total) = (0.0, 0.0);
        for t in from..=to {
            let weight = self.weights[t.abs_diff(frame) as usize];
            sum += weight * value(t);
            total += weight;
        }
        sum / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_is_truncated_and_renormalised() {
        let kernel = Kernel::new(&SmoothingSpec { sigma: 1.0, radius: 2, lag: 2 });
        let impulse = |t: u64| if t == 3 { 1.0 } else { 0.0 };
        let (a, b) = ((-0.5f64).exp(), (-2.0f64).exp());
        let full = 1.0 + 2.0 * a + 2.0 * b;
        assert!((kernel.smooth(3, 9, impulse) - 1.0 / full).abs() < 1e-12);
        assert!((kernel.smooth(1, 9, impulse) - b / (full - b)).abs() < 1e-12);
        assert!((kernel.smooth(4, 4, impulse) - a / (1.0 + a + b)).abs() < 1e-12);
        assert_eq!(kernel.smooth(6, 9, impulse), 0.0);
        assert!((kernel.smooth(0, 9, |_| 7.0) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn sigma_zero_changes_nothing() {
        let kernel = Kernel::new(&SmoothingSpec { sigma: 0.0, radius: 5, lag: 5 });
        assert_eq!(kernel.radius(), 0);
        assert_eq!(kernel.smooth(3, 9, |t| t as f64), 3.0);
    }
}
