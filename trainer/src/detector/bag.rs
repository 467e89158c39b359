//! Bags: the snippet features of one video, and their averaging to a fixed length.

use super::Error;

/// The snippet features of one video.
#[derive(Debug, Clone, PartialEq)]
pub struct Bag {
    /// Name of the video, for messages.
    pub name: String,
    /// Features, row-major `[snippets, d]`.
    pub features: Vec<f32>,
    /// Number of snippets.
    pub snippets: usize,
    /// Length of a feature vector.
    pub d: usize,
}

impl Bag {
    /// Checks shape and values against the model's feature size.
    ///
    /// # Errors
    /// [`Error::Bag`] naming the bag, its shape and what is wrong. `kind` is `normal` or
    /// `pseudo-abnormal`.
    pub fn validate(&self, kind: &'static str, feature_size: usize) -> Result<(), Error> {
        let fail = |problem: String| {
            Err(Error::Bag {
                kind,
                name: self.name.clone(),
                snippets: self.snippets,
                d: self.d,
                problem,
            })
        };
        if self.snippets == 0 {
            return fail("is empty: the video is shorter than one snippet; leave it out".into());
        }
        if self.d != feature_size {
            return fail(format!("the detector takes features of length {feature_size}"));
        }
        if self.snippets.checked_mul(self.d) != Some(self.features.len()) {
            return fail(format!("has {} values instead", self.features.len()));
        }
        if let Some(at) = self.features.iter().position(|v| !v.is_finite()) {
            return fail(format!(
                "value {} at snippet {}, channel {}: extract its features again",
                self.features[at],
                at / self.d,
                at % self.d
            ));
        }
        Ok(())
    }
}

/// Averages features `[snippets, d]` over `segments` equal spans; a span shorter than a snippet
/// repeats the snippet it lies in. Result `[segments, d]`.
///
/// Span i is `floor(i · snippets / segments) .. floor((i + 1) · snippets / segments)`, with the
/// floating-point rounding of `numpy.linspace`, as in UR-DMU's `dataset_loader.py`.
///
/// # Panics
/// If `snippets`, `d` or `segments` is zero, or `features` is shorter than `snippets · d`.
pub fn segment(features: &[f32], snippets: usize, d: usize, segments: usize) -> Vec<f32> {
    assert!(
        snippets > 0 && d > 0 && segments > 0 && features.len() >= snippets * d,
        "a bag to segment is not empty"
    );
    let step = snippets as f64 / segments as f64;
    let bound = |i: usize| {
        if i == segments { snippets } else { (i as f64 * step).floor() as usize }
    };
    let mut out = Vec::with_capacity(segments * d);
    let mut sum = vec![0.0f64; d];
    for i in 0..segments {
        let (first, end) = (bound(i), bound(i + 1));
        let end = end.max(first + 1).min(snippets);
        sum.fill(0.0);
        for row in features[first * d..end * d].chunks_exact(d) {
            sum.iter_mut().zip(row).for_each(|(s, &v)| *s += v as f64);
        }
        let scale = 1.0 / (end - first) as f64;
        out.extend(sum.iter().map(|&s| (s * scale) as f32));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_averaged() {
        // Five snippets to two spans: [0, 2) and [2, 5).
        assert_eq!(segment(&[1.0, 3.0, 10.0, 20.0, 30.0], 5, 1, 2), [2.0, 20.0]);
        // Two channels stay apart.
        assert_eq!(segment(&[1.0, 10.0, 3.0, 30.0], 2, 2, 1), [2.0, 20.0]);
    }

    #[test]
    fn short_videos_repeat_their_snippets() {
        assert_eq!(segment(&[1.0, 2.0], 2, 1, 5), [1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(segment(&[7.0], 1, 1, 3), [7.0, 7.0, 7.0]);
    }

    #[test]
    fn equal_length_is_the_identity() {
        let features: Vec<f32> = (0..600).map(|v| v as f32).collect();
        assert_eq!(segment(&features, 200, 3, 200), features);
    }

    #[test]
    fn bad_bags_are_named() {
        let bag =
            |features: Vec<f32>, snippets, d| Bag { name: "clip7".into(), features, snippets, d };
        let message = |b: Bag| b.validate("normal", 2).unwrap_err().to_string();
        assert!(message(bag(vec![], 0, 2)).contains("normal bag `clip7` [0, 2]: is empty"));
        assert!(
            message(bag(vec![0.0; 6], 2, 3))
                .contains("[2, 3]: the detector takes features of length 2")
        );
        assert!(message(bag(vec![0.0; 3], 2, 2)).contains("has 3 values"));
        let nan = message(bag(vec![0.0, 0.0, 0.0, f32::NAN], 2, 2));
        assert!(nan.contains("value NaN at snippet 1, channel 1"), "{nan}");
        bag(vec![0.0; 4], 2, 2).validate("normal", 2).unwrap();
    }
}
