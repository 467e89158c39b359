//! Whether two figures put the same things in the same order.

/// Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank; −1 to 1. `None` with
/// fewer than two pairs, or if one side has a single value. As SciPy's `spearmanr`.
///
/// # Panics
/// If the lengths differ or a value is NaN.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    check(a, b);
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let spread = product(&a, &a) * product(&b, &b);
    (a.len() > 1 && spread > 0.0).then(|| product(&a, &b) / spread.sqrt())
}

/// Kendall's τ-b: pairs in the same order less pairs in opposite order, divided by the geometric mean
/// of the pairs that each side does not tie; −1 to 1. `None` as for [`spearman`]. As SciPy's
/// `kendalltau`.
///
/// # Panics
/// If the lengths differ or a value is NaN.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    check(a, b);
    let (mut balance, mut untied_a, mut untied_b) = (0.0, 0.0f64, 0.0f64);
    for i in 0..a.len() {
        for j in 0..i {
            let sign = |v: &[f64]| v[i].partial_cmp(&v[j]).map_or(0.0, |o| o as i8 as f64);
            let (x, y) = (sign(a), sign(b));
            balance += x * y;
            untied_a += x.abs();
            untied_b += y.abs();
        }
    }
    (untied_a > 0.0 && untied_b > 0.0).then(|| balance / (untied_a * untied_b).sqrt())
}

fn check(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "pairs of values");
    assert!(a.iter().chain(b).all(|v| !v.is_nan()), "values are numbers");
}

/// Ranks from 1 in ascending order; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let of = |value: &f64| {
        let below = values.iter().filter(|v| *v < value).count() as f64;
        let equal = values.iter().filter(|v| *v == value).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    values.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_alone_counts() {
        let a = [0.1, 0.2, 0.4, 0.9];
        assert_eq!((spearman(&a, &[1.0, 8.0, 9.0, 99.0]), kendall(&a, &a)), (Some(1.0), Some(1.0)));
        let back = [4.0, 3.0, 2.0, -1.0];
        assert_eq!((spearman(&a, &back), kendall(&a, &back)), (Some(-1.0), Some(-1.0)));
    }

    #[test]
    fn values_by_hand() {
        // Differences of ranks 1, 1, 1, 1, 0: 1 − 6 · 4 / (5 · 24); two of ten pairs are turned round.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]);
        assert!((spearman(&a, &b).unwrap() - 0.8).abs() < 1e-12);
        assert!((kendall(&a, &b).unwrap() - 0.6).abs() < 1e-12);
        // Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / √(1.5 · 2). Two of two untied pairs agree, b has
        // three untied ones: 2 / √(2 · 3).
        let (a, b) = ([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]);
        assert!((spearman(&a, &b).unwrap() - 1.5 / 3f64.sqrt()).abs() < 1e-12);
        assert!((kendall(&a, &b).unwrap() - 2.0 / 6f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_order() {
        assert_eq!((spearman(&[1.0], &[2.0]), kendall(&[1.0], &[2.0])), (None, None));
        assert_eq!((spearman(&[], &[]), kendall(&[], &[])), (None, None));
        let flat = [3.0; 3];
        assert_eq!(spearman(&flat, &[1.0, 2.0, 3.0]), None);
        assert_eq!(kendall(&[1.0, 2.0, 3.0], &flat), None);
    }
}
