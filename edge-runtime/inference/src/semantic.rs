//! The semantic detector of a stream: snippet features, a window of them, the head's score.

use std::sync::Arc;

use model_bundle::manifest::{GridSpec, SemanticSpec};
use video::Frame;

use crate::aside::{Aside, Flight};
use crate::track::Track;
use crate::{Error, Graph, Region, SnippetFeatures};

/// Log-odds are held within ± this: a score in `f32` rounds to 1 at about 17.
const LARGEST_LOG_ODDS: f64 = 16.0;

/// Snippets by which a live stream's scores may be late, more than the model needs, while its snippet is
/// computed aside.
const PATIENCE: u64 = 3;

/// Model frames by which scores of a live stream may be late while its snippet is computed aside.
pub(crate) fn slack(spec: &SemanticSpec) -> u64 {
    if spec.snippet.stream.is_some() { 0 } else { PATIENCE * u64::from(spec.snippet.stride.max(1)) }
}

/// Backbone and head, here or in a thread of their own.
pub(crate) enum Place {
    Here(Box<dyn Graph>, Box<dyn Graph>),
    Aside(Aside),
}

/// A frame's raw value is the head's score of its snippet, which is the one whose stride it falls
/// into: snippet `frame / stride`. It is known when that snippet is complete. With a grid every cell
/// has a window of its own, and the value is that of the cell that scores highest.
///
/// Where snippets are computed aside, one of a live stream that is complete before the one before it has
/// been computed is given up: its frames have the value, and its place in the window has the features, of
/// the one before it.
pub(crate) struct SemanticStage {
    stride: u64,
    snippets: SnippetFeatures,
    /// `None` while it is computed aside.
    work: Option<Work>,
    flight: Arc<Flight>,
    /// Snippets given up since the one that is computed aside.
    passed: usize,
    given_up: u64,
    /// Model frames whose value may be owed before a live stream has to wait.
    patience: u64,
    grid: Option<GridSpec>,
    /// The highest cell of each frame that is still held; empty without a grid.
    hits: Vec<Region>,
    pub(crate) track: Track,
}

/// What is computed of a snippet, and what is remembered of those before it.
pub(crate) struct Work {
    size: usize,
    /// The snippet, where it is computed as a whole.
    tensor: Vec<f32>,
    /// The backbone's outputs.
    features: Vec<Vec<f32>>,
    /// The head's input `[cells, window, size]`, each cell's oldest first.
    window: Vec<f32>,
    /// Snippets in the window.
    length: usize,
    started: bool,
    /// Snippets given up before this one.
    passed: usize,
    outputs: Vec<Vec<f32>>,
    /// The cell that scores highest, and its score.
    newest: (usize, f32),
}

impl Work {
    /// Computes the snippet of the tensor.
    pub(crate) fn compute(
        &mut self,
        backbone: &mut dyn Graph,
        head: &mut dyn Graph,
    ) -> Result<(), Error> {
        self.features.resize_with(backbone.outputs().len(), Vec::new);
        backbone.run(&[&self.tensor], &mut self.features)?;
        self.score(head)
    }

    /// Scores the snippet of the features.
    fn score(&mut self, head: &mut dyn Graph) -> Result<(), Error> {
        if self.started {
            for _ in 0..std::mem::take(&mut self.passed).min(self.length) {
                slide_again(&mut self.window, self.length, self.size);
            }
        }
        let features = self.features.first().map_or(&[][..], Vec::as_slice);
        slide(&mut self.window, self.length, self.size, &mut self.started, features);
        head.run(&[&self.window], &mut self.outputs)?;
        self.newest = highest(&self.outputs[0], self.length);
        Ok(())
    }
}

impl SemanticStage {
    /// `capacity` is the track's.
    pub(crate) fn new(spec: &SemanticSpec, track: Track, capacity: usize) -> Self {
        let (size, length) = (spec.feature_size as usize, spec.window as usize);
        let nowhere = Region { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        Self {
            stride: spec.snippet.stride.max(1) as u64,
            snippets: SnippetFeatures::new(&spec.snippet),
            work: Some(Work {
                size,
                tensor: Vec::new(),
                features: vec![Vec::new()],
                window: vec![0.0; spec.cells() as usize * length * size],
                length,
                started: false,
                passed: 0,
                outputs: vec![Vec::new()],
                newest: (0, 0.0),
            }),
            flight: Arc::default(),
            passed: 0,
            given_up: 0,
            patience: u64::from(spec.snippet.frames.max(1)) - 1 + slack(spec),
            grid: spec.grid,
            hits: vec![nowhere; if spec.grid.is_some() { capacity } else { 0 }],
            track,
        }
    }

    /// Takes up the next model frame, in its original size; `look` if a backbone that streams is to be
    /// called. The stage must be ready.
    pub(crate) fn advance(
        &mut self,
        frame: &Frame,
        place: &mut Place,
        look: bool,
    ) -> Result<(), Error> {
        match place {
            Place::Here(backbone, head) => {
                let features = self.snippets.push_looking(backbone.as_mut(), frame, look)?;
                if let (Some(features), Some(work)) = (features, &mut self.work) {
                    copy_to(features, &mut work.features[0]);
                    work.score(head.as_mut())?;
                    self.give(u64::MAX)?;
                }
            }
            Place::Aside(aside) => {
                if let Some(tensor) = self.snippets.push_whole(frame)? {
                    match self.work.take() {
                        Some(mut work) => {
                            if work.tensor.len() != tensor.len() {
                                work.tensor.resize(tensor.len(), 0.0);
                            }
                            std::mem::swap(&mut work.tensor, tensor);
                            aside.submit(work, &self.flight);
                        }
                        None => {
                            self.passed += 1;
                            self.given_up += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Scores the snippets that the end of a stream of `frames` model frames cut short. Where they are
    /// computed aside only the next one is begun, if none is under way: to be called again until the
    /// stage [is at rest](Self::is_at_rest).
    pub(crate) fn finish(&mut self, frames: u64, place: &mut Place) -> Result<(), Error> {
        match place {
            Place::Here(backbone, head) => {
                while let Some(features) = self.snippets.finish(backbone.as_mut())? {
                    let Some(work) = &mut self.work else { break };
                    copy_to(features, &mut work.features[0]);
                    work.score(head.as_mut())?;
                    self.give(frames)?;
                }
            }
            Place::Aside(aside) => {
                if let Some(mut work) = self.work.take() {
                    match self.snippets.finish_whole() {
                        Some(tensor) => {
                            if work.tensor.len() != tensor.len() {
                                work.tensor.resize(tensor.len(), 0.0);
                            }
                            std::mem::swap(&mut work.tensor, tensor);
                            aside.submit(work, &self.flight);
                        }
                        None => self.work = Some(work),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is being computed aside.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.work.is_some()
    }

    /// Whether the next frame can be taken: of a stream that is not live when nothing is being computed
    /// aside, of one that is as long as not too many frames wait for their value.
    pub(crate) fn is_ready(&self, live: bool) -> bool {
        self.is_at_rest()
            || live && self.snippets.frames().saturating_sub(self.track.known()) < self.patience
    }

    /// Takes up what has been computed aside, for frames before `end`; waits for it if told to. Whether
    /// there was anything.
    pub(crate) fn collect(&mut self, end: u64, wait: bool) -> Result<bool, Error> {
        if self.is_at_rest() {
            return Ok(false);
        }
        let done = if wait { Some(self.flight.wait()) } else { self.flight.take() };
        let Some((mut work, result)) = done else { return Ok(false) };
        work.passed = std::mem::take(&mut self.passed);
        self.work = Some(work);
        result?;
        self.give(end)?;
        Ok(true)
    }

    /// Snippets given up.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The cell that scored highest at a frame that is still held; `None` without a grid.
    pub(crate) fn hit(&self, frame: u64) -> Option<Region> {
        let slot = frame.checked_rem(self.hits.len() as u64)?;
        self.hits.get(slot as usize).copied()
    }

    /// Gives the frames of the newest snippet, those before `end`, their value.
    fn give(&mut self, end: u64) -> Result<(), Error> {
        let Some(work) = &self.work else { return Ok(()) };
        let (cell, score) = work.newest;
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

fn copy_to(from: &[f32], to: &mut Vec<f32>) {
    to.clear();
    to.extend_from_slice(from);
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

/// Appends to each window what it has last.
fn slide_again(window: &mut [f32], length: usize, size: usize) {
    for window in window.chunks_exact_mut(length * size) {
        window.copy_within(size.., 0);
    }
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
    fn a_snippet_that_was_given_up_is_one_like_that_before_it() {
        let mut window = vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        slide_again(&mut window, 3, 1);
        assert_eq!(window, [2.0, 3.0, 3.0, 20.0, 30.0, 30.0]);
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
