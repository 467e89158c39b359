//! Calibration samples for quantization, cut from video the way the camera cuts its input.
//!
//! A streaming graph's sample is a frame with the states that the frames before it leave, so it is made
//! by running the graph: [`record`].

use std::collections::VecDeque;
use std::path::PathBuf;

use inference::{Graph, Sampling, States, sampled_rate, snippet, stack};
use model_bundle::manifest::{InputSpec, LocalSpec, SnippetSpec, StreamSpec};
use video::{Clip, Frame, Reader, Resizer};

/// Frames that a streaming graph sees before the one of a sample, at least: the shifted blocks of
/// `tsm-mobilenetv2` reach ten back.
pub const WARM_UP: usize = 16;

/// What the frames become.
#[derive(Debug, Clone, PartialEq)]
pub enum Preprocessing {
    /// The local network's input `stack`, or its `frame` and states if it streams.
    Stack {
        /// The detector.
        local: LocalSpec,
        /// The picture and rate it works at.
        input: InputSpec,
    },
    /// A backbone's input `snippet`, or its `frame` and states if it streams.
    Snippet {
        /// How snippets are cut and normalised.
        snippet: SnippetSpec,
        /// Frames per second to which a faster source is thinned; `None` takes every frame.
        frame_rate: Option<f64>,
    },
}

/// Why a sample could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A clip cannot be read.
    #[error("calibration clip {0}")]
    Video(#[from] video::Error),
    /// A streaming graph cannot be run.
    #[error("recording the states for calibration: {0}")]
    Graph(#[from] inference::Error),
    /// A streaming graph was not given to [`Samples::through`].
    #[error("a graph that streams is calibrated with the states that it gives: give it, in fp32")]
    NoGraph,
    /// There is nothing to sample.
    #[error("no clip to calibrate with")]
    NoClips,
}

impl Preprocessing {
    /// Model frames that a sample needs, and where in them the centre is.
    fn span(&self) -> (usize, usize) {
        match self {
            Self::Stack { local, .. } => {
                let (back, ahead) = local.reach();
                match local.stream {
                    None => (back + ahead + 1, back),
                    Some(_) => ((back + ahead).max(WARM_UP) + 1, 0),
                }
            }
            Self::Snippet { snippet, .. } => match snippet.stream {
                None => (snippet.frames as usize, 0),
                Some(_) => (WARM_UP + 1, 0),
            },
        }
    }

    /// How the graph streams, if it does.
    fn stream(&self) -> Option<&StreamSpec> {
        match self {
            Self::Stack { local, .. } => local.stream.as_ref(),
            Self::Snippet { snippet, .. } => snippet.stream.as_ref(),
        }
    }

    fn frame_size(&self) -> (usize, usize) {
        match self {
            Self::Stack { input, .. } => (input.width as usize, input.height as usize),
            Self::Snippet { snippet, .. } => (snippet.width as usize, snippet.height as usize),
        }
    }

    /// Frames a second that are taken; infinite for all.
    fn rate(&self) -> f64 {
        match self {
            Self::Stack { input, .. } => input.frame_rate,
            Self::Snippet { frame_rate, .. } => frame_rate.unwrap_or(f64::INFINITY),
        }
    }

    /// The input tensor of a window of frames, row-major, without the batch axis.
    fn tensor(&self, window: &VecDeque<Frame>) -> Vec<f32> {
        match self {
            Self::Stack { local, input } => {
                let centre = self.span().1;
                let at = |offset: i32| window[centre.saturating_add_signed(offset as isize)].luma();
                let planes: Vec<Vec<u8>> =
                    std::iter::once(0).chain(local.offsets.iter().copied()).map(at).collect();
                let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
                let mut out =
                    vec![0.0; stack::len(local, input.width as usize, input.height as usize)];
                stack::fill(local, &planes, &mut out);
                out
            }
            Self::Snippet { snippet: spec, .. } => {
                let mut out = vec![0.0; snippet::len(spec)];
                for (index, frame) in window.iter().enumerate() {
                    snippet::fill_frame(spec, index, frame, &mut out);
                }
                out
            }
        }
    }

    /// The input `frame` of a graph that streams.
    fn frame(&self, frame: &Frame) -> Vec<f32> {
        match self {
            Self::Stack { .. } => frame.luma().into_iter().map(f32::from).collect(),
            Self::Snippet { snippet: spec, .. } => {
                let spec = SnippetSpec { frames: 1, ..spec.clone() };
                let mut out = vec![0.0; snippet::len(&spec)];
                snippet::fill_frame(&spec, 0, frame, &mut out);
                out
            }
        }
    }
}

/// The inputs of a streaming graph's call with the last of some consecutive frames: that frame and
/// the states that the frames before it leave.
///
/// # Errors
/// Those of [`States::run`].
pub fn record(
    graph: &mut dyn Graph,
    stream: &StreamSpec,
    frames: Vec<Vec<f32>>,
) -> Result<Vec<Vec<f32>>, inference::Error> {
    let mut states = States::new(stream);
    let mut frames = frames.into_iter().peekable();
    let mut inputs = Vec::new();
    while let Some(frame) = frames.next() {
        if frames.peek().is_some() {
            states.run(graph, &frame)?;
        } else {
            inputs.push(frame);
        }
    }
    inputs.extend_from_slice(states.values());
    Ok(inputs)
}

/// Samples from clips, spread evenly over the clips and over each clip. Read while iterated, so
/// that only one sample is in memory. Each has a tensor for every input of the graph.
pub struct Samples {
    preprocessing: Preprocessing,
    /// The graph that gives the states.
    graph: Option<Box<dyn Graph>>,
    /// Clips still to be opened, last first.
    clips: Vec<PathBuf>,
    left: usize,
    current: Option<Open>,
}

struct Open {
    reader: Reader,
    resizer: Resizer,
    window: VecDeque<Frame>,
    sampling: Sampling,
    spacing: usize,
    quota: usize,
    /// Model frames until the next sample is taken.
    wait: usize,
}

impl Samples {
    /// At most `count` samples of these clips; fewer if the clips are short.
    ///
    /// # Errors
    /// [`Error::NoClips`].
    pub fn new(clips: &[Clip], preprocessing: Preprocessing, count: usize) -> Result<Self, Error> {
        if clips.is_empty() {
            return Err(Error::NoClips);
        }
        let clips = clips.iter().rev().map(|clip| clip.path.clone()).collect();
        Ok(Self { preprocessing, graph: None, clips, left: count, current: None })
    }

    /// With the fp32 graph that is calibrated, which a streaming one's states come from.
    #[must_use]
    pub fn through(self, graph: Box<dyn Graph>) -> Self {
        Self { graph: Some(graph), ..self }
    }

    fn open(&self, path: &std::path::Path) -> Result<Open, Error> {
        let reader = Reader::open(path)?;
        let quota = self.left.div_ceil(self.clips.len() + 1);
        let (source_rate, rate) = (reader.info().frame_rate, self.preprocessing.rate());
        let part = sampled_rate(rate, source_rate) / source_rate;
        let span = self.preprocessing.span().0;
        // Without a frame count, samples follow each other without overlap.
        let spacing = reader.info().frames.map_or(span, |frames| {
            // A third of 300 is 100, however it is rounded.
            let frames = (frames as f64 * part + 1e-6) as usize;
            (frames.saturating_sub(span) / quota.max(1)).max(1)
        });
        Ok(Open {
            reader,
            resizer: Resizer::new(),
            window: VecDeque::with_capacity(span),
            sampling: Sampling::new(rate, source_rate),
            spacing,
            quota,
            wait: span,
        })
    }

    /// The next sample, opening clips as needed; `None` at the end.
    fn next_sample(&mut self) -> Result<Option<Vec<Vec<f32>>>, Error> {
        while self.left > 0 {
            if self.current.is_none() {
                let Some(path) = self.clips.pop() else {
                    return Ok(None);
                };
                self.current = Some(self.open(&path)?);
            }
            let Some(open) = &mut self.current else {
                continue;
            };
            if open.next(&self.preprocessing)? {
                self.left -= 1;
                let window = &open.window;
                let Some(stream) = self.preprocessing.stream() else {
                    return Ok(Some(vec![self.preprocessing.tensor(window)]));
                };
                let frames = window.iter().map(|frame| self.preprocessing.frame(frame)).collect();
                let graph = self.graph.as_deref_mut().ok_or(Error::NoGraph)?;
                return Ok(Some(record(graph, stream, frames)?));
            }
            self.current = None;
        }
        Ok(None)
    }
}

impl Open {
    /// Fills the window with the frames of the clip's next sample; false if it has no more.
    fn next(&mut self, preprocessing: &Preprocessing) -> Result<bool, Error> {
        if self.quota == 0 {
            return Ok(false);
        }
        let (span, size) = (preprocessing.span().0, preprocessing.frame_size());
        let mut source = Frame::new(1, 1);
        while self.reader.read(&mut source)? {
            if !self.sampling.takes(self.reader.time()) {
                continue;
            }
            let mut frame = if self.window.len() == span {
                self.window.pop_front().unwrap_or_else(|| Frame::new(size.0, size.1))
            } else {
                Frame::new(size.0, size.1)
            };
            self.resizer.resize(&source, &mut frame)?;
            self.window.push_back(frame);
            self.wait -= 1;
            if self.wait == 0 {
                self.wait = self.spacing;
                self.quota -= 1;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Iterator for Samples {
    type Item = Result<Vec<Vec<f32>>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_sample();
        if next.is_err() {
            // A broken clip ends the samples: its error must not be passed over.
            self.left = 0;
        }
        next.transpose()
    }
}
