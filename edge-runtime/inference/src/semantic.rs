//! The semantic detector of a stream: snippet features, a window of them, the head's score.

use model_bundle::manifest::SemanticSpec;
use video::Frame;

use crate::track::Track;
use crate::{Error, Graph, SnippetFeatures};

/// A frame's raw value is the head's score of its snippet, which is the one whose stride it falls
/// into: snippet `frame / stride`. It is known when that snippet is complete.
pub(crate) struct SemanticStage {
    stride: u64,
    size: usize,
    snippets: SnippetFeatures,
    /// The head's input `[window, size]`, oldest first.
    window: Vec<f32>,
    started: bool,
    outputs: Vec<Vec<f32>>,
    pub(crate) track: Track,
}

impl SemanticStage {
    pub(crate) fn new(spec: &SemanticSpec, track: Track) -> Self {
        let size = spec.feature_size as usize;
        Self {
            stride: spec.snippet.stride.max(1) as u64,
            size,
            snippets: SnippetFeatures::new(&spec.snippet),
            window: vec![0.0; spec.window as usize * size],
            started: false,
            outputs: vec![Vec::new()],
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
            slide(&mut self.window, self.size, &mut self.started, features);
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
            slide(&mut self.window, self.size, &mut self.started, features);
            self.score(head, frames)?;
        }
        Ok(())
    }

    /// Scores the newest snippet and gives its frames, those before `end`, their value.
    fn score(&mut self, head: &mut dyn Graph, end: u64) -> Result<(), Error> {
        head.run(&[&self.window], &mut self.outputs)?;
        let value = self.outputs[0].last().copied().unwrap_or(f32::NAN);
        let end = end.min(self.snippets.snippets() * self.stride);
        while self.track.known() < end {
            self.track.push(value.into())?;
        }
        Ok(())
    }
}

/// Appends a feature vector to the window; the first one fills it.
fn slide(window: &mut [f32], size: usize, started: &mut bool, features: &[f32]) {
    if *started {
        window.copy_within(size.., 0);
        let newest = window.len() - size;
        window[newest..].copy_from_slice(features);
    } else {
        window.chunks_exact_mut(size).for_each(|row| row.copy_from_slice(features));
        *started = true;
    }
}
