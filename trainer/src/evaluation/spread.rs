//! A figure over several seeds.

use serde::Serialize;

/// Mean and sample standard deviation; the latter needs two runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation with n − 1; `None` of a single run.
    pub std: Option<f64>,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let std = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Some(Self { mean, std })
    }

    /// In another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { mean: self.mean * factor, std: self.std.map(|std| std * factor) }
    }

    /// For a table, with two digits.
    pub fn text(this: Option<Self>) -> String {
        match this {
            None => "-".into(),
            Some(Self { mean, std: None }) => format!("{mean:.2}"),
            Some(Self { mean, std: Some(std) }) => format!("{mean:.2} ± {std:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(Spread::text(Spread::of(&[])), "-");
        assert_eq!(Spread::text(Spread::of(&[0.5])), "0.50");
        // (1² + 1²) / 1, its root 1.4142.
        assert_eq!(Spread::text(Spread::of(&[2.0, 4.0])), "3.00 ± 1.41");
        let percent = Spread { mean: 0.25, std: Some(0.125) }.times(100.0);
        assert_eq!(percent, Spread { mean: 25.0, std: Some(12.5) });
    }
}
