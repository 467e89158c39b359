//! The weights of the local branch, whole or a block of rows at a time.

use std::ops::Range;
use std::sync::Arc;

/// Places beyond which a weight is 0 in `f32`: exp(−300 / e) is 1e-48.
const REACH: usize = 300;

/// Weights `[T, T]`: `exp(−|i − j| / e)`, column j divided by its sum, as
/// [`super::super::attention::local_weights`] defines them. A video of a day has 54 000 snippets, and
/// all its weights 12 GB; of a block of rows there are few that are not 0.
#[derive(Debug, Clone)]
pub(in crate::detector) struct Nearby {
    t: usize,
    /// By distance.
    near: Arc<Vec<f64>>,
    /// Of each column.
    sums: Arc<Vec<f64>>,
    /// All of them, row-major, where a backward pass wants them; else nothing.
    pub whole: Arc<Vec<f32>>,
}

impl Nearby {
    /// Of `t` snippets; all weights are kept if `whole`.
    pub fn new(t: usize, whole: bool) -> Self {
        let near: Vec<f64> = (0..t).map(|i| (-(i as f64) / std::f64::consts::E).exp()).collect();
        // What lies before a column, and itself, and what lies behind it.
        let mut up_to = Vec::with_capacity(t);
        let mut sum = 0.0;
        for value in &near {
            sum += value;
            up_to.push(sum);
        }
        let sums: Vec<f64> = (0..t).map(|j| up_to[j] + up_to[t - 1 - j] - near[0]).collect();
        let mut weights = Self { t, near: near.into(), sums: sums.into(), whole: Arc::default() };
        if whole {
            weights.whole = Arc::new((0..t).flat_map(|i| weights.row(i, 0..t)).collect());
        }
        weights
    }

    /// Number of snippets.
    pub fn snippets(&self) -> usize {
        self.t
    }

    /// The columns outside of which the weights of some rows are 0.
    pub fn columns(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start.saturating_sub(REACH)..(rows.end + REACH).min(self.t)
    }

    /// Some columns of a row.
    pub fn row(&self, i: usize, columns: Range<usize>) -> impl Iterator<Item = f32> + '_ {
        columns.map(move |j| (self.near[i.abs_diff(j)] / self.sums[j]) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_reach_a_weight_is_nothing() {
        let nearby = Nearby::new(700, true);
        let columns = nearby.columns(&(320..330));
        assert_eq!(columns, 20..630);
        for i in 320..330 {
            let row = &nearby.whole[i * 700..(i + 1) * 700];
            assert!(row[..20].iter().chain(&row[630..]).all(|weight| *weight == 0.0));
            assert_eq!(nearby.row(i, columns.clone()).collect::<Vec<_>>(), row[20..630]);
        }
        // Columns add up to 1.
        for j in [0, 5, 350, 699] {
            let sum: f32 = (0..700).map(|i| nearby.whole[i * 700 + j]).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{j}: {sum}");
        }
        assert!(Nearby::new(700, false).whole.is_empty());
    }
}
