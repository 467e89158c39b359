//! What comes out of a stream.

/// The score of one source frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameScore {
    /// Source frame, from 0. Every source frame comes exactly once, in order; a frame that was
    /// thinned out repeats the values of the model frame before it.
    pub frame: u64,
    /// The published score, 0 to 1; 0.5 is the alarm threshold.
    pub score: f64,
    /// Weighted sum of the smoothed z-scores.
    pub fused: f64,
    /// Smoothed z-score of the local detector.
    pub local: Option<f64>,
    /// Smoothed z-score of the motion prior.
    pub motion: Option<f64>,
    /// Smoothed z-score of the semantic detector.
    pub semantic: Option<f64>,
    /// Index in `LocalSpec::kinds` of the hottest map.
    pub kind: Option<u16>,
    /// Where: the hottest place of the local detector's maps, or the cell that scores highest where a
    /// semantic detector with cells adds more to `fused`.
    pub region: Option<Region>,
}

/// The raw values of one model frame, neither normalised nor smoothed: what calibration needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawScores {
    /// Model frame, from 0.
    pub frame: u64,
    /// Largest pooled logit of the local detector.
    pub local: Option<f64>,
    /// Value of the motion prior.
    pub motion: Option<f64>,
    /// The head's score of the frame's snippet; with cells, the log-odds of the highest one's.
    pub semantic: Option<f64>,
}

/// The local detector's map of one model frame: what its raw value is the largest of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreMap<'a> {
    /// Model frame, from 0.
    pub frame: u64,
    /// Cells in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// For each cell, `[height, width]`, the largest pooled logit over all kinds, normalised with the
    /// local detector's `z`; neither smoothed over time nor weighted.
    pub z: &'a [f32],
}

/// A rectangle of the picture; all values from 0 to 1, relative to the picture's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}
