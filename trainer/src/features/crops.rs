//! Which axis of a features array is what: one crop, or several.
//!
//! Published features often hold several crops of each picture (ten: corners and centre, each also
//! mirrored; five for XD-Violence), whose scores are averaged. An array of three dimensions may then
//! be `[snippets, crops, d]`, as RTFM's, or `[crops, snippets, d]`. Only the number of crops tells
//! them apart, so that number is always known before an array is looked at.

use crate::detector::{Bag, segment};

/// Order of the first two axes of an array with crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CropLayout {
    /// `[snippets, crops, d]`.
    SnippetsFirst,
    /// `[crops, snippets, d]`.
    CropsFirst,
}

/// What the axes of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes {
    /// Snippets.
    pub snippets: usize,
    /// Crops.
    pub crops: usize,
    /// Length of a feature vector.
    pub d: usize,
    /// Order of the crops' axis; `None` in an array of two dimensions, and where both orders fit.
    pub layout: Option<CropLayout>,
}

/// What the axes of an array with a known number of crops are.
///
/// # Errors
/// What is wrong with the shape, and what to do.
pub fn axes(shape: &[usize], crops: usize) -> Result<Axes, String> {
    let axes = match *shape {
        [snippets, d] if crops == 1 => Axes { snippets, crops, d, layout: None },
        [_, _] => {
            return Err(format!("has one crop, {crops} were asked for; give --crops 1"));
        }
        [n, c, d] => {
            let layout = match (c == crops, n == crops) {
                (true, true) => None,
                (true, false) => Some(CropLayout::SnippetsFirst),
                (false, true) => Some(CropLayout::CropsFirst),
                (false, false) => {
                    return Err(format!(
                        "neither of the first two dimensions has {crops} crops; give their number \
                         with --crops"
                    ));
                }
            };
            let snippets = if layout == Some(CropLayout::CropsFirst) { c } else { n };
            Axes { snippets, crops, d, layout }
        }
        _ => return Err("features have the shape [snippets, d] or [snippets, crops, d]".into()),
    };
    if axes.snippets == 0 {
        return Err("is empty: no snippets; leave the video out".into());
    }
    if axes.d == 0 || axes.crops == 0 {
        return Err("is empty".into());
    }
    Ok(axes)
}

/// The features of one video, all crops.
#[derive(Debug, Clone, PartialEq)]
pub struct Crops {
    /// Name of the video.
    pub name: String,
    /// Crops.
    pub crops: usize,
    /// Snippets.
    pub snippets: usize,
    /// Length of a feature vector.
    pub d: usize,
    /// Features, row-major `[crops, snippets, d]`.
    pub values: Vec<f32>,
}

impl Crops {
    /// From an array in its own order.
    ///
    /// # Panics
    /// If there are not as many values as the axes say.
    pub fn new(name: &str, axes: &Axes, layout: CropLayout, values: Vec<f32>) -> Self {
        let Axes { snippets, crops, d, .. } = *axes;
        assert_eq!(values.len(), snippets * crops * d, "as many values as the axes say");
        let name = name.to_string();
        if layout == CropLayout::CropsFirst || crops == 1 {
            return Self { name, crops, snippets, d, values };
        }
        let mut ordered = Vec::with_capacity(values.len());
        for crop in 0..crops {
            for snippet in values.chunks_exact(crops * d) {
                ordered.extend_from_slice(&snippet[crop * d..(crop + 1) * d]);
            }
        }
        Self { name, crops, snippets, d, values: ordered }
    }

    /// Features of each crop, row-major `[snippets, d]`.
    pub fn each(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.snippets * self.d)
    }

    /// The first `count` crops as bags for training, which takes each crop for a video of its own,
    /// as UR-DMU does. What is longer than `segments` is averaged over as many equal spans, which is
    /// all that training uses of it; what is shorter stays, and training repeats its snippets.
    pub fn bags(&self, count: usize, segments: usize) -> Vec<Bag> {
        let bag = |(crop, features): (usize, &[f32])| {
            let (snippets, features) = if self.snippets > segments {
                (segments, segment(features, self.snippets, self.d, segments))
            } else {
                (self.snippets, features.to_vec())
            };
            let name =
                if self.crops == 1 { self.name.clone() } else { format!("{}#{crop}", self.name) };
            Bag::pooled(name, features, snippets, self.d)
        };
        self.each().take(count).enumerate().map(bag).collect()
    }
}

/// The mean over crops of their scores.
///
/// # Panics
/// If there are no scores or crops differ in length.
pub fn mean(scores: &[Vec<f32>]) -> Vec<f32> {
    let length = scores[0].len();
    assert!(scores.iter().all(|s| s.len() == length), "crops have the same length");
    let at = |i: usize| scores.iter().map(|s| s[i] as f64).sum::<f64>() / scores.len() as f64;
    (0..length).map(|i| at(i) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_crops_tells_the_axes_apart() {
        let layout = |shape: &[usize], crops| axes(shape, crops).map(|a| (a.snippets, a.layout));
        assert_eq!(layout(&[7, 4], 1), Ok((7, None)));
        assert_eq!(layout(&[7, 10, 4], 10), Ok((7, Some(CropLayout::SnippetsFirst))));
        assert_eq!(layout(&[10, 7, 4], 10), Ok((7, Some(CropLayout::CropsFirst))));
        assert_eq!(layout(&[10, 10, 4], 10), Ok((10, None)));
        assert_eq!(layout(&[7, 1, 4], 1), Ok((7, Some(CropLayout::SnippetsFirst))));
    }

    #[test]
    fn shapes_that_are_no_features_are_refused() {
        let refused = |shape: &[usize], crops| axes(shape, crops).unwrap_err();
        assert!(refused(&[7, 4], 10).contains("one crop"));
        assert!(refused(&[7, 5, 4], 10).contains("neither"));
        assert!(refused(&[4], 1).contains("[snippets, d]"));
        assert!(refused(&[1, 2, 3, 4], 1).contains("[snippets, d]"));
        assert!(refused(&[0, 4], 1).contains("no snippets"));
        assert!(refused(&[0, 10, 4], 10).contains("no snippets"));
        assert!(refused(&[3, 0], 1).contains("empty"));
    }

    #[test]
    fn both_orders_give_the_same_crops() {
        // Snippet s, crop c has the value 10 s + c; d is 1.
        let snippets_first = vec![0.0, 1.0, 10.0, 11.0, 20.0, 21.0];
        let crops_first = vec![0.0, 10.0, 20.0, 1.0, 11.0, 21.0];
        let made = |shape: &[usize], values: &[f32]| {
            let axes = axes(shape, 2).unwrap();
            Crops::new("a", &axes, axes.layout.unwrap(), values.to_vec())
        };
        let a = made(&[3, 2, 1], &snippets_first);
        assert_eq!(a, made(&[2, 3, 1], &crops_first));
        assert_eq!(a.each().nth(1).unwrap(), [1.0, 11.0, 21.0]);
        let bags = a.bags(2, 2);
        // Spans [0, 1) and [1, 3).
        assert_eq!((bags[1].name.as_str(), bags[1].snippets), ("a#1", 2));
        assert_eq!(bags[1].features, [1.0, 16.0]);
        assert_eq!(a.bags(1, 9)[0].snippets, 3);
        assert_eq!(a.bags(1, 9).len(), 1);
    }

    #[test]
    fn scores_are_averaged_over_crops() {
        assert_eq!(mean(&[vec![0.0, 1.0], vec![0.5, 0.0]]), [0.25, 0.5]);
    }
}
