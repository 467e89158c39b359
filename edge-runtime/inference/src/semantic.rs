//! The semantic detector of a stream: snippet features, a window of them, the head's score.

use model_bundle::manifest::{GridSpec, SemanticSpec};
use video::Frame;

use crate::track::Track;
use crate::{Error, Graph, Region, SnippetFeatures};

/// Log-odds are held within ± this: a score in `f32` rounds to 1 at about 17.
const LARGEST_LOG_ODDS: f64 = 16.0;

/// A frame's raw value is the head's score of its snippet, which is the one whose stride it falls
/// into: snippet `frame / stride`. It is known when that snippet is complete. With a grid every cell
/// has a window of its own, and the value is that of the cell that scores highest.
pub(crate) struct SemanticStage {
    stride: u64,
    size: usize,
    snippets: SnippetFeatures,
    /// The head's input `[cells, window, size]`, each cell's oldest first.
    window: Vec<f32>,
    /// Snippets in the window.
    length: usize,
    grid: Option<GridSpec>,
    started: bool,
    outputs: Vec<Vec<f32>>,
    /// The highest cell of each frame that is still held; empty without a grid.
    hits: Vec<Region>,
    pub(crate) track: Track,
}

impl SemanticStage {
    /// `capacity` is the track's.
    pub(crate) fn new(spec: &SemanticSpec, track: Track, capacity: usize) -> Self {
        let (size, length) = (spec.feature_size as usize, spec.window as usize);
        let nowhere = Region { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        Self {
            stride: spec.snippet.stride.max(1) as u64,
            size,
            snippets: SnippetFeatures::new(&spec.snippet),
            window: vec![0.0; spec.cells() as usize * length * size],
            length,
            grid: spec.grid,
            started: false,
            outputs: vec![Vec::new()],
            hits: vec![nowhere; if spec.grid.is_some() { capacity } else { 0 }],
            track,
        }
    }

    /// Takes up the next model frame, in its original size.
    pub(crate) fn advance(
        &mut self,
        frame: &Frame,
        backbone: &mut dyn Graph,
        head: &mut dyn Graph,
    ) -> Result<(), Error> {
        if let Some(features) = self.snippets.push(backbone, frame)? {
            slide(&mut self.window, self.length, self.size, &mut self.started, features);
            self.score(head, u64::MAX)?;
        }
        Ok(())
    }

    /// Scores the snippets that the end of a stream of `frames` model frames cut short.
    pub(crate) fn finish(
        &mut self,
        frames: u64,
        backbone: &mut dyn Graph,
        head: &mut dyn Graph,
    ) -> Result<(), Error> {
        while let Some(features) = self.snippets.finish(backbone)? {
            slide(&mut self.window, self.length, self.size, &mut self.started, features);
            self.score(head, frames)?;
        }
        Ok(())
    }

    /// The cell that scored highest at a frame that is still held; `None` without a grid.
    pub(crate) fn hit(&self, frame: u64) -> Option<Region> {
        let slot = frame.checked_rem(self.hits.len() as u64)?;
        self.hits.get(slot as usize).copied()
    }

    /// Scores the newest snippet and gives its frames, those before `end`, their value.
    fn score(&mut self, head: &mut dyn Graph, end: u64) -> Result<(), Error> {
        head.run(&[&self.window], &mut self.outputs)?;
        let (cell, score) = highest(&self.outputs[0], self.length);
        let value = if self.grid.is_some() { log_odds(score) } else { score.into() };
        let end = end.min(self.snippets.snippets() * self.stride);
        while self.track.known() < end {
            if let Some(grid) = &self.grid {
                let slot = (self.track.known() % self.hits.len() as u64) as usize;
                self.hits[slot] = region(grid, cell);
            }
            self.track.push(value)?;
        }
        Ok(())
    }
}

/// Appends a snippet's feature vectors to the windows of their cells; the first ones fill them.
fn slide(window: &mut [f32], length: usize, size: usize, started: &mut bool, features: &[f32]) {
    let cells = window.chunks_exact_mut(length * size).zip(features.chunks_exact(size));
    for (window, features) in cells {
        if *started {
            window.copy_within(size.., 0);
            let newest = window.len() - size;
            window[newest..].copy_from_slice(features);
        } else {
            window.chunks_exact_mut(size).for_each(|row| row.copy_from_slice(features));
        }
    }
    *started = true;
}

/// The cell whose newest score is the highest, the first of equal ones, and that score; one that is
/// not a number counts as highest, so that it is found. `scores` is `[cells, window]`.
fn highest(scores: &[f32], window: usize) -> (usize, f32) {
    let mut best = (0, f32::NAN);
    for (cell, score) in scores.chunks_exact(window).map(|row| row[window - 1]).enumerate() {
        if score.is_nan() {
            return (cell, score);
        }
        if cell == 0 || score > best.1 {
            best = (cell, score);
        }
    }
    best
}

fn log_odds(score: f32) -> f64 {
    let score = f64::from(score);
    (score / (1.0 - score)).ln().clamp(-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
}

fn region(grid: &GridSpec, cell: usize) -> Region {
    let (column, row) = (cell as u32 % grid.columns, cell as u32 / grid.columns);
    let (width, height) = (1.0 / grid.columns as f32, 1.0 / grid.rows as f32);
    Region { x: column as f32 * width, y: row as f32 * height, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_slide_apart() {
        let mut window = vec![0.0; 2 * 3 * 2];
        let mut started = false;
        slide(&mut window, 3, 2, &mut started, &[1.0, 2.0, 10.0, 20.0]);
        assert_eq!(window, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 10.0, 20.0, 10.0, 20.0, 10.0, 20.0]);
        slide(&mut window, 3, 2, &mut started, &[3.0, 4.0, 30.0, 40.0]);
        assert_eq!(window, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 10.0, 20.0, 30.0, 40.0]);
    }

    #[test]
    fn the_newest_scores_are_compared() {
        assert_eq!(highest(&[0.9, 0.1, 0.8, 0.3, 0.7, 0.3], 2), (1, 0.3));
        assert_eq!(highest(&[0.5], 1), (0, 0.5));
        let (cell, score) = highest(&[0.9, 0.1, 0.2, f32::NAN, 0.0, 0.5], 2);
        assert!(cell == 1 && score.is_nan());
        assert!(highest(&[], 1).1.is_nan());
    }

    #[test]
    fn log_odds_are_symmetric_and_bounded() {
        assert_eq!(log_odds(0.5), 0.0);
        assert!((log_odds(0.9) - 9.0f64.ln()).abs() < 1e-6);
        assert_eq!((log_odds(0.0), log_odds(1.0)), (-16.0, 16.0));
        assert!(log_odds(f32::NAN).is_nan() && log_odds(1.5).is_nan());
    }

    #[test]
    fn a_cell_has_its_place() {
        let at = region(&GridSpec { columns: 4, rows: 2 }, 6);
        assert_eq!((at.x, at.y, at.width, at.height), (0.5, 0.5, 0.25, 0.5));
    }
}
