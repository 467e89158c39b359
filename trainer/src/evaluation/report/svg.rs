//! What charts are drawn with: scales, ticks, thinning of long series, escaping.

/// At most so many points of a series are drawn.
pub const MAX_POINTS: usize = 800;

/// Text made safe for HTML and for quoted attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A straight line from values to positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Takes `from.0` to `to.0` and `from.1` to `to.1`.
    pub fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to }
    }

    /// The position of a value; the start if the scale has no extent.
    pub fn at(&self, value: f64) -> f64 {
        let extent = self.from.1 - self.from.0;
        if extent == 0.0 {
            return self.to.0;
        }
        self.to.0 + (value - self.from.0) / extent * (self.to.1 - self.to.0)
    }
}

/// At most `limit` points of a series, as (index, value): of each of `limit` equal parts its highest
/// value, so that no peak is lost.
pub fn thin_by_maximum(values: &[f64], limit: usize) -> Vec<(usize, f64)> {
    let parts = limit.clamp(1, values.len().max(1));
    (0..parts)
        .filter_map(|part| {
            let (first, end) = (part * values.len() / parts, (part + 1) * values.len() / parts);
            (first..end).map(|i| (i, values[i])).reduce(|a, b| if b.1 > a.1 { b } else { a })
        })
        .collect()
}

/// At most `limit` points of a curve, evenly chosen, with both ends.
pub fn thin_curve(points: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    if points.len() <= limit || limit < 2 {
        return points.to_vec();
    }
    (0..limit).map(|i| points[i * (points.len() - 1) / (limit - 1)]).collect()
}

/// Round instants for an axis of so many seconds, at most `limit` steps: 0, step, 2 step, ...
pub fn time_ticks(seconds: f64, limit: usize) -> Vec<f64> {
    const STEPS: [f64; 14] =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];
    let fits = |step: &&f64| seconds / **step <= limit as f64;
    let step = STEPS.iter().find(fits).copied().unwrap_or(seconds / limit.max(1) as f64);
    let count = (seconds / step).floor() as usize;
    (0..=count).map(|i| step * i as f64).collect()
}

/// Seconds as a clock shows them: `0:07`, `12:30`, `1:02:03`; tenths if asked for.
pub fn clock(seconds: f64, tenths: bool) -> String {
    let units = if tenths { 10 } else { 1 };
    let total = (seconds.max(0.0) * units as f64).round() as u64;
    let (whole, rest) = (total / units, total % units);
    let (hours, minutes, second) = (whole / 3600, whole / 60 % 60, whole % 60);
    let mut text = match hours {
        0 => format!("{minutes}:{second:02}"),
        _ => format!("{hours}:{minutes:02}:{second:02}"),
    };
    if tenths {
        text.push_str(&format!(".{rest}"));
    }
    text
}

/// A number for an attribute: two decimals at most, without trailing zeros.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// The `points` attribute of a polyline.
pub fn polyline(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let pairs: Vec<String> =
        points.into_iter().map(|(x, y)| format!("{},{}", number(x), number(y))).collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape(r#"a <b> & "c" 'd'"#), "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        assert_eq!(escape("line\nbell\u{7}"), "line\nbell\u{fffd}");
    }

    #[test]
    fn scales_by_hand() {
        let scale = Scale::new((0.0, 1.0), (88.0, 4.0));
        assert_eq!((scale.at(0.0), scale.at(0.5), scale.at(1.0)), (88.0, 46.0, 4.0));
        assert_eq!(Scale::new((3.0, 3.0), (0.0, 100.0)).at(3.0), 0.0);
    }

    #[test]
    fn thinning_keeps_every_peak() {
        let mut values: Vec<f64> = (0..10_000).map(|i| (i % 7) as f64 / 100.0).collect();
        values[4321] = 0.93;
        values[9999] = 0.91;
        let points = thin_by_maximum(&values, MAX_POINTS);
        assert_eq!(points.len(), MAX_POINTS);
        assert!(points.contains(&(4321, 0.93)) && points.contains(&(9999, 0.91)));
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(thin_by_maximum(&[0.2, 0.8, 0.3, 0.1], 2), [(1, 0.8), (2, 0.3)]);
        assert_eq!(thin_by_maximum(&[0.2, 0.8], 800), [(0, 0.2), (1, 0.8)]);
        assert_eq!(thin_by_maximum(&[], 800), []);
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends() {
        let points: Vec<(f64, f64)> = (0..=5000).map(|i| (i as f64, 2.0 * i as f64)).collect();
        let thin = thin_curve(&points, 101);
        assert_eq!(thin.len(), 101);
        assert_eq!((thin[0], thin[50]), ((0.0, 0.0), (2500.0, 5000.0)));
        assert_eq!(thin[100], (5000.0, 10_000.0));
    }

    #[test]
    fn ticks_and_clocks_are_round() {
        assert_eq!(time_ticks(45.0, 6), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(time_ticks(300.0, 5), [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]);
        assert_eq!(time_ticks(0.0, 5), [0.0]);
        assert_eq!(clock(7.26, true), "0:07.3");
        assert_eq!(clock(59.96, true), "1:00.0");
        assert_eq!(clock(3723.0, false), "1:02:03");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.0, 0.5, 33.333, -0.001].map(number), ["1", "0.5", "33.33", "0"]);
        assert_eq!(polyline([(0.0, 1.5), (2.0, 3.0)]), "0,1.5 2,3");
    }
}
