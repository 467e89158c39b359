//! Snippets: stretches of frames as a backbone's input, and their features.

use model_bundle::manifest::SnippetSpec;
use video::{Frame, Resizer};

use crate::{Error, Graph, States};

/// Number of values of a snippet as a whole: `3 * frames * height * width`.
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
/// once. A backbone that takes whole snippets has it written straight into the tensors of the
/// snippets that it belongs to; one that streams is called with every frame once, and a snippet's
/// features are the mean of those of its frames.
pub struct SnippetFeatures {
    spec: SnippetSpec,
    resizer: Resizer,
    resized: Frame,
    form: Form,
    /// Frames taken up so far.
    frames: u64,
    /// The next snippet to complete.
    next: u64,
}

/// What becomes of a resized frame.
enum Form {
    Whole {
        /// Tensors of the snippets being filled, addressed by snippet.
        tensors: Vec<Vec<f32>>,
        outputs: Vec<Vec<f32>>,
    },
    Streaming {
        /// How the graph's input is filled: a snippet of one frame.
        spec: SnippetSpec,
        frame: Vec<f32>,
        states: States,
        /// Sums over the frames so far of the snippets being filled, addressed by snippet.
        sums: Vec<Vec<f32>>,
    },
}

impl SnippetFeatures {
    /// For snippets of this specification.
    pub fn new(spec: &SnippetSpec) -> Self {
        let spec = SnippetSpec { stride: spec.stride.max(1), ..spec.clone() };
        let open = spec.frames.div_ceil(spec.stride) as usize;
        let form = match &spec.stream {
            None => Form::Whole { tensors: vec![vec![0.0; len(&spec)]; open], outputs: Vec::new() },
            Some(stream) => {
                let single = SnippetSpec { frames: 1, ..spec.clone() };
                let (frame, states) = (vec![0.0; len(&single)], States::new(stream));
                Form::Streaming { spec: single, frame, states, sums: vec![Vec::new(); open] }
            }
        };
        Self {
            resizer: Resizer::new(),
            resized: Frame::new(spec.width as usize, spec.height as usize),
            form,
            frames: 0,
            next: 0,
            spec,
        }
    }

    /// Number of snippets whose features have been given.
    pub fn snippets(&self) -> u64 {
        self.next
    }

    /// Model frames taken up.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes up the next model frame, of any size. The features (the graph's first output, flat)
    /// if it completes a snippet. `backbone` has one input `[1, 3, frames, height, width]`, or, if it
    /// streams, `[1, 3, height, width]` and its states.
    ///
    /// # Errors
    /// Those of [`Graph::run`] and [`States::run`], and [`Error::Frame`] for an empty frame.
    pub fn push(
        &mut self,
        backbone: &mut dyn Graph,
        frame: &Frame,
    ) -> Result<Option<&[f32]>, Error> {
        self.push_looking(backbone, frame, true)
    }

    /// As [`Self::push`]; where the backbone streams and `look` is false it is not called, and the frame
    /// counts as one like the frame before it.
    pub(crate) fn push_looking(
        &mut self,
        backbone: &mut dyn Graph,
        frame: &Frame,
        look: bool,
    ) -> Result<Option<&[f32]>, Error> {
        if self.add(Some(backbone), frame, look)? {
            return self.complete(backbone, self.spec.frames as u64).map(Some);
        }
        Ok(None)
    }

    /// As [`Self::push`] where whole snippets are computed elsewhere: the tensor of the snippet that the
    /// frame completes. It may be taken out for another of its length.
    pub(crate) fn push_whole(&mut self, frame: &Frame) -> Result<Option<&mut Vec<f32>>, Error> {
        Ok(if self.add(None, frame, true)? { self.take_whole() } else { None })
    }

    /// As [`Self::finish`] where whole snippets are computed elsewhere.
    pub(crate) fn finish_whole(&mut self) -> Option<&mut Vec<f32>> {
        self.cut_short()?;
        self.take_whole()
    }

    fn take_whole(&mut self) -> Option<&mut Vec<f32>> {
        let next = self.next;
        self.next += 1;
        match &mut self.form {
            Form::Whole { tensors, .. } => {
                let slot = (next % tensors.len() as u64) as usize;
                tensors.get_mut(slot)
            }
            Form::Streaming { .. } => None,
        }
    }

    /// Takes up a frame; whether it completes the next snippet.
    fn add(
        &mut self,
        backbone: Option<&mut dyn Graph>,
        frame: &Frame,
        look: bool,
    ) -> Result<bool, Error> {
        let (length, stride) = (self.spec.frames as u64, self.spec.stride as u64);
        let first = (self.frames + 1).saturating_sub(length).div_ceil(stride);
        let snippets = first..=self.frames / stride;
        match &mut self.form {
            Form::Whole { tensors, .. } => {
                self.resizer.resize(frame, &mut self.resized)?;
                for snippet in snippets {
                    let index = (self.frames - snippet * stride) as usize;
                    let slot = (snippet % tensors.len() as u64) as usize;
                    fill_frame(&self.spec, index, &self.resized, &mut tensors[slot]);
                }
            }
            Form::Streaming { spec, frame: input, states, sums } => {
                let features = match backbone.filter(|_| look || self.frames == 0) {
                    Some(backbone) => {
                        self.resizer.resize(frame, &mut self.resized)?;
                        fill_frame(spec, 0, &self.resized, input);
                        states.run(backbone, input)?
                    }
                    None => states.newest(),
                };
                for snippet in snippets {
                    let slot = (snippet % sums.len() as u64) as usize;
                    let sum = &mut sums[slot];
                    if self.frames == snippet * stride {
                        sum.clear();
                        sum.extend_from_slice(features);
                    } else {
                        sum.iter_mut().zip(features).for_each(|(sum, value)| *sum += value);
                    }
                }
            }
        }
        self.frames += 1;
        Ok(self.next * stride + length == self.frames)
    }

    /// At the end of a stream: the features of the next snippet that the end cut short; `None` when
    /// there are no more. A whole snippet is completed by repeating the last frame, the mean of a
    /// streaming backbone is over the frames that there are.
    ///
    /// # Errors
    /// Those of [`Graph::run`].
    pub fn finish(&mut self, backbone: &mut dyn Graph) -> Result<Option<&[f32]>, Error> {
        match self.cut_short() {
            Some(filled) => self.complete(backbone, filled).map(Some),
            None => Ok(None),
        }
    }

    /// The frames of the next snippet, which the end of the stream cut short; its tensor is complete.
    fn cut_short(&mut self) -> Option<u64> {
        let start = self.next * self.spec.stride as u64;
        let filled = self.frames.checked_sub(start).filter(|frames| *frames > 0)?;
        if let Form::Whole { tensors, .. } = &mut self.form {
            let slot = (self.next % tensors.len() as u64) as usize;
            repeat_last(&self.spec, filled as usize, &mut tensors[slot]);
        }
        Some(filled)
    }

    /// The features of the next snippet, of which there are `frames` frames.
    fn complete(&mut self, backbone: &mut dyn Graph, frames: u64) -> Result<&[f32], Error> {
        let next = self.next;
        self.next += 1;
        match &mut self.form {
            Form::Whole { tensors, outputs } => {
                let slot = (next % tensors.len() as u64) as usize;
                outputs.resize_with(backbone.outputs().len(), Vec::new);
                backbone.run(&[&tensors[slot]], outputs)?;
                Ok(outputs.first().map_or(&[], Vec::as_slice))
            }
            Form::Streaming { sums, .. } => {
                let slot = (next % sums.len() as u64) as usize;
                let share = 1.0 / frames as f32;
                sums[slot].iter_mut().for_each(|value| *value *= share);
                Ok(&sums[slot])
            }
        }
    }
}
