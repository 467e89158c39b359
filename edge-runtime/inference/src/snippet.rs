//! Snippets: stretches of frames as a backbone's input, and their features.

use model_bundle::manifest::SnippetSpec;
use video::{Frame, Resizer};

use crate::{Error, Graph};

/// Number of values of a snippet: `3 * frames * height * width`.
pub fn len(spec: &SnippetSpec) -> usize {
    3 * spec.frames as usize * spec.height as usize * spec.width as usize
}

/// Writes one frame, already of snippet size, into a snippet tensor `[3, frames, height, width]`
/// as its frame `index`: `(level - mean) / std` for each channel.
///
/// # Panics
/// If the frame's size, the index or the length of `out` does not match the specification.
pub fn fill_frame(spec: &SnippetSpec, index: usize, frame: &Frame, out: &mut [f32]) {
    let size = (spec.width as usize, spec.height as usize);
    assert_eq!((frame.width(), frame.height()), size, "a frame of snippet size");
    assert_eq!(out.len(), len(spec), "a snippet's length");
    let (frames, plane) = (spec.frames as usize, size.0 * size.1);
    assert!(index < frames, "a frame inside the snippet");
    for channel in 0..3 {
        let (mean, std) = (spec.mean[channel], spec.std[channel]);
        let target = &mut out[(channel * frames + index) * plane..][..plane];
        for (value, pixel) in target.iter_mut().zip(frame.rgb().chunks_exact(3)) {
            *value = (pixel[channel] as f32 - mean) / std;
        }
    }
}

/// Completes a snippet of which only the first `filled` frames (at least one) have been written, by
/// repeating the last of them.
fn repeat_last(spec: &SnippetSpec, filled: usize, out: &mut [f32]) {
    let (frames, plane) = (spec.frames as usize, (spec.width * spec.height) as usize);
    for channel in out.chunks_exact_mut(frames * plane) {
        for index in filled..frames {
            channel.copy_within((filled - 1) * plane..filled * plane, index * plane);
        }
    }
}

/// Cuts a stream of frames into snippets and computes their features.
///
/// Snippet s covers model frames `s * stride` to `s * stride + frames - 1`. Each frame is resized
/// once and written straight into the tensors of the snippets that it belongs to.
pub struct SnippetFeatures {
    spec: SnippetSpec,
    resizer: Resizer,
    resized: Frame,
    /// Tensors of the snippets being filled, addressed by snippet.
    tensors: Vec<Vec<f32>>,
    /// Frames taken up so far.
    frames: u64,
    /// The next snippet to complete.
    next: u64,
    outputs: Vec<Vec<f32>>,
}

impl SnippetFeatures {
    /// For snippets of this specification.
    pub fn new(spec: &SnippetSpec) -> Self {
        let open = spec.frames.div_ceil(spec.stride.max(1)) as usize;
        Self {
            spec: SnippetSpec { stride: spec.stride.max(1), ..spec.clone() },
            resizer: Resizer::new(),
            resized: Frame::new(spec.width as usize, spec.height as usize),
            tensors: vec![vec![0.0; len(spec)]; open],
            frames: 0,
            next: 0,
            outputs: Vec::new(),
        }
    }

    /// Number of snippets whose features have been given.
    pub fn snippets(&self) -> u64 {
        self.next
    }

    /// Takes up the next model frame, of any size. The features (the graph's first output, flat)
    /// if it completes a snippet. `backbone` has one input `[1, 3, frames, height, width]`.
    ///
    /// # Errors
    /// Those of [`Graph::run`], and [`Error::Frame`] for an empty frame.
    pub fn push(
        &mut self,
        backbone: &mut dyn Graph,
        frame: &Frame,
    ) -> Result<Option<&[f32]>, Error> {
        self.resizer.resize(frame, &mut self.resized)?;
        let (length, stride) = (self.spec.frames as u64, self.spec.stride as u64);
        let first = (self.frames + 1).saturating_sub(length).div_ceil(stride);
        for snippet in first..=self.frames / stride {
            let index = (self.frames - snippet * stride) as usize;
            let slot = (snippet % self.tensors.len() as u64) as usize;
            fill_frame(&self.spec, index, &self.resized, &mut self.tensors[slot]);
        }
        self.frames += 1;
        if self.next * stride + length == self.frames {
            return self.run(backbone).map(Some);
        }
        Ok(None)
    }

    /// At the end of a stream: the features of the next snippet that the end cut short, completed
    /// by repeating the last frame; `None` when there are no more.
    ///
    /// # Errors
    /// Those of [`Graph::run`].
    pub fn finish(&mut self, backbone: &mut dyn Graph) -> Result<Option<&[f32]>, Error> {
        let start = self.next * self.spec.stride as u64;
        if start >= self.frames {
            return Ok(None);
        }
        let slot = (self.next % self.tensors.len() as u64) as usize;
        repeat_last(&self.spec, (self.frames - start) as usize, &mut self.tensors[slot]);
        self.run(backbone).map(Some)
    }

    fn run(&mut self, backbone: &mut dyn Graph) -> Result<&[f32], Error> {
        let slot = (self.next % self.tensors.len() as u64) as usize;
        self.outputs.resize_with(backbone.outputs().len(), Vec::new);
        backbone.run(&[&self.tensors[slot]], &mut self.outputs)?;
        self.next += 1;
        Ok(self.outputs.first().map_or(&[], Vec::as_slice))
    }
}
