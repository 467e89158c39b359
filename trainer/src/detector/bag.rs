//! Bags: the snippet features of one video, and how they come to a fixed length.
//!
//! The instances of a bag are its snippets, as in UR-DMU, or its (snippet, cell) pairs: the places of
//! the backbone's map kept apart, so that something small is not averaged away.

use std::ops::Range;

use super::Error;

/// The snippet features of one video.
#[derive(Debug, Clone, PartialEq)]
pub struct Bag {
    /// Name of the video, for messages.
    pub name: String,
    /// Features, row-major `[snippets, cells, d]`.
    pub features: Vec<f32>,
    /// Number of snippets.
    pub snippets: usize,
    /// Cells of the picture that have features of their own; 1 where they are pooled.
    pub cells: usize,
    /// Length of a feature vector.
    pub d: usize,
    /// Which instances `[snippets, cells]` are known to show something abnormal; `None` where only the
    /// video is known to.
    pub changed: Option<Vec<bool>>,
}

impl Bag {
    /// A bag whose snippets have one feature vector each, `features` `[snippets, d]`.
    #[must_use]
    pub fn pooled(name: String, features: Vec<f32>, snippets: usize, d: usize) -> Self {
        Self { name, features, snippets, cells: 1, d, changed: None }
    }

    /// Checks shape and values against the model's feature size.
    ///
    /// # Errors
    /// [`Error::Bag`] naming the bag, its shape and what is wrong. `kind` is `normal` or
    /// `pseudo-abnormal`.
    pub fn validate(&self, kind: &'static str, feature_size: usize) -> Result<(), Error> {
        let fail = |problem: String| Err(self.refused(kind, problem));
        if self.snippets == 0 {
            return fail("is empty: the video is shorter than one snippet; leave it out".into());
        }
        if self.d != feature_size {
            return fail(format!("the detector takes features of length {feature_size}"));
        }
        let instances = self.snippets.checked_mul(self.cells).filter(|n| *n > 0);
        if instances.and_then(|n| n.checked_mul(self.d)) != Some(self.features.len()) {
            return fail(format!("has {} values instead", self.features.len()));
        }
        if let Some(changed) = self.changed.as_ref().filter(|c| Some(c.len()) != instances) {
            return fail(format!("has {} labels of instances", changed.len()));
        }
        if let Some(at) = self.features.iter().position(|v| !v.is_finite()) {
            return fail(format!(
                "value {} at snippet {}, cell {}, channel {}: extract its features again",
                self.features[at],
                at / (self.cells * self.d),
                at / self.d % self.cells,
                at % self.d
            ));
        }
        Ok(())
    }

    /// Why the bag cannot be used.
    pub(super) fn refused(&self, kind: &'static str, problem: String) -> Error {
        Error::Bag {
            kind,
            name: self.name.clone(),
            snippets: self.snippets,
            cells: self.cells,
            d: self.d,
            problem,
        }
    }

    /// The instances of some `cells` in the snippets `range`, averaged over `segments` equal spans:
    /// features `[cells, segments, d]`, and which of them are changed, `[cells, segments]`, none if
    /// that is not known. A span with a changed snippet is changed.
    ///
    /// # Panics
    /// If the range is empty or reaches beyond the bag, or a cell does.
    #[must_use]
    pub fn instances(
        &self,
        cells: &[usize],
        range: Range<usize>,
        segments: usize,
    ) -> (Vec<f32>, Vec<bool>) {
        let (d, snippets) = (self.d, range.len());
        let mut chosen = Vec::with_capacity(snippets * cells.len() * d); // [snippets, cells, d]
        for snippet in range.clone() {
            for &cell in cells {
                let at = (snippet * self.cells + cell) * d;
                chosen.extend_from_slice(&self.features[at..at + d]);
            }
        }
        let spans = segment(&chosen, snippets, cells.len() * d, segments); // [segments, cells, d]
        let mut features = Vec::with_capacity(spans.len());
        let mut changed = vec![false; cells.len() * segments];
        for (place, cell) in cells.iter().enumerate() {
            for i in 0..segments {
                features.extend_from_slice(&spans[(i * cells.len() + place) * d..][..d]);
                if let Some(labels) = &self.changed {
                    let mut span = span(i, snippets, segments);
                    changed[place * segments + i] =
                        span.any(|s| labels[(range.start + s) * self.cells + cell]);
                }
            }
        }
        (features, changed)
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
    let mut out = Vec::with_capacity(segments * d);
    let mut sum = vec![0.0f64; d];
    for i in 0..segments {
        let span = span(i, snippets, segments);
        sum.fill(0.0);
        for row in features[span.start * d..span.end * d].chunks_exact(d) {
            sum.iter_mut().zip(row).for_each(|(s, &v)| *s += v as f64);
        }
        let scale = 1.0 / span.len() as f64;
        out.extend(sum.iter().map(|&s| (s * scale) as f32));
    }
    out
}

/// The snippets of span `i`.
fn span(i: usize, snippets: usize, segments: usize) -> Range<usize> {
    let step = snippets as f64 / segments as f64;
    let bound = |i: usize| {
        if i == segments { snippets } else { (i as f64 * step).floor() as usize }
    };
    let (first, end) = (bound(i), bound(i + 1));
    first..end.max(first + 1).min(snippets)
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
            |features: Vec<f32>, snippets, d| Bag::pooled("clip7".into(), features, snippets, d);
        let message = |b: Bag| b.validate("normal", 2).unwrap_err().to_string();
        assert!(message(bag(vec![], 0, 2)).contains("normal bag `clip7` [0, 1, 2]: is empty"));
        assert!(
            message(bag(vec![0.0; 6], 2, 3))
                .contains("[2, 1, 3]: the detector takes features of length 2")
        );
        assert!(message(bag(vec![0.0; 3], 2, 2)).contains("has 3 values"));
        let nan = message(bag(vec![0.0, 0.0, 0.0, f32::NAN], 2, 2));
        assert!(nan.contains("value NaN at snippet 1, cell 0, channel 1"), "{nan}");
        bag(vec![0.0; 4], 2, 2).validate("normal", 2).unwrap();
        let cells = Bag { cells: 2, ..bag(vec![0.0; 8], 2, 2) };
        cells.validate("normal", 2).unwrap();
        assert!(message(Bag { cells: 3, ..cells.clone() }).contains("[2, 3, 2]: has 8 values"));
        assert!(message(Bag { cells: 0, ..cells.clone() }).contains("has 8 values"));
        assert!(message(Bag { changed: Some(vec![true; 3]), ..cells }).contains("3 labels"));
    }

    #[test]
    fn instances_are_cut_by_cell_and_run() {
        // Four snippets of three cells; the value says which: 10 · snippet + cell.
        let features = (0..12).map(|i| (10 * (i / 3) + i % 3) as f32).collect();
        let mut changed = vec![false; 12];
        changed[3 * 3 + 2] = true; // snippet 3, cell 2
        let bag =
            Bag { cells: 3, changed: Some(changed), ..Bag::pooled("a".into(), features, 4, 1) };
        let (features, changed) = bag.instances(&[2, 0], 2..4, 2);
        assert_eq!(features, [22.0, 32.0, 20.0, 30.0]);
        assert_eq!(changed, [false, true, false, false]);
        // Averaged over the whole bag: spans of two snippets.
        let (features, changed) = bag.instances(&[2], 0..4, 2);
        assert_eq!(features, [7.0, 27.0]);
        assert_eq!(changed, [false, true]);
        // Fewer snippets than spans repeat.
        assert_eq!(bag.instances(&[1], 3..4, 3).0, [31.0; 3]);
    }
}
