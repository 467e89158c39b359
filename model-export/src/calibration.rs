//! Calibration samples for quantization, cut from video the way the camera cuts its input.

use std::collections::VecDeque;
use std::path::PathBuf;

use inference::{snippet, stack};
use model_bundle::manifest::{InputSpec, LocalSpec, SnippetSpec};
use video::{Clip, Frame, Reader, Resizer};

/// What the frames become.
#[derive(Debug, Clone, PartialEq)]
pub enum Preprocessing {
    /// The local network's input `stack`.
    Stack {
        /// The detector.
        local: LocalSpec,
        /// The picture and rate it works at.
        input: InputSpec,
    },
    /// A backbone's input `snippet`.
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
    /// There is nothing to sample.
    #[error("no clip to calibrate with")]
    NoClips,
}

impl Preprocessing {
    /// Model frames that a sample needs, and where in them the centre is.
    fn span(&self) -> (usize, usize) {
        match self {
            Self::Stack { local, .. } => {
                let past = local.offsets.iter().copied().min().unwrap_or(0).min(0);
                let future = local.offsets.iter().copied().max().unwrap_or(0).max(0);
                let past = past.unsigned_abs() as usize;
                (past + future.unsigned_abs() as usize + 1, past)
            }
            Self::Snippet { snippet, .. } => (snippet.frames as usize, 0),
        }
    }

    fn frame_size(&self) -> (usize, usize) {
        match self {
            Self::Stack { input, .. } => (input.width as usize, input.height as usize),
            Self::Snippet { snippet, .. } => (snippet.width as usize, snippet.height as usize),
        }
    }

    /// Every how many source frames one is taken.
    fn thinning(&self, source_rate: f64) -> usize {
        let rate = match self {
            Self::Stack { input, .. } => Some(input.frame_rate),
            Self::Snippet { frame_rate, .. } => *frame_rate,
        };
        rate.map_or(1, |rate| inference::thinning(source_rate, rate) as usize)
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
}

/// Samples from clips, spread evenly over the clips and over each clip. Read while iterated, so
/// that only one sample is in memory.
pub struct Samples {
    preprocessing: Preprocessing,
    /// Clips still to be opened, last first.
    clips: Vec<PathBuf>,
    left: usize,
    current: Option<Open>,
}

struct Open {
    reader: Reader,
    resizer: Resizer,
    window: VecDeque<Frame>,
    thinning: usize,
    spacing: usize,
    quota: usize,
    source_frame: usize,
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
        Ok(Self { preprocessing, clips, left: count, current: None })
    }

    fn open(&self, path: &std::path::Path) -> Result<Open, Error> {
        let reader = Reader::open(path)?;
        let quota = self.left.div_ceil(self.clips.len() + 1);
        let thinning = self.preprocessing.thinning(reader.info().frame_rate);
        let span = self.preprocessing.span().0;
        // Without a frame count, samples follow each other without overlap.
        let spacing = reader.info().frames.map_or(span, |frames| {
            let frames = usize::try_from(frames).unwrap_or(usize::MAX) / thinning;
            (frames.saturating_sub(span) / quota.max(1)).max(1)
        });
        Ok(Open {
            reader,
            resizer: Resizer::new(),
            window: VecDeque::with_capacity(span),
            thinning,
            spacing,
            quota,
            source_frame: 0,
            wait: span,
        })
    }

    /// The next sample, opening clips as needed; `None` at the end.
    fn next_sample(&mut self) -> Result<Option<Vec<f32>>, Error> {
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
            if let Some(tensor) = open.next(&self.preprocessing)? {
                self.left -= 1;
                return Ok(Some(tensor));
            }
            self.current = None;
        }
        Ok(None)
    }
}

impl Open {
    /// The clip's next sample; `None` if it has no more.
    fn next(&mut self, preprocessing: &Preprocessing) -> Result<Option<Vec<f32>>, Error> {
        if self.quota == 0 {
            return Ok(None);
        }
        let (span, size) = (preprocessing.span().0, preprocessing.frame_size());
        let mut source = Frame::new(1, 1);
        while self.reader.read(&mut source)? {
            let taken = self.source_frame.is_multiple_of(self.thinning);
            self.source_frame += 1;
            if !taken {
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
                return Ok(Some(preprocessing.tensor(&self.window)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Samples {
    type Item = Result<Vec<f32>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_sample();
        if next.is_err() {
            // A broken clip ends the samples: its error must not be passed over.
            self.left = 0;
        }
        next.transpose()
    }
}
