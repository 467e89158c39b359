//! What is remembered of one video.

use model_bundle::manifest::{Detectors, LocalSpec, ZScore};
use video::{Frame, Resizer};

use crate::emission::Emission;
use crate::engine::Graphs;
use crate::fusion::parts;
use crate::local::{LocalStage, MapOutlet};
use crate::luma::LumaRing;
use crate::motion::MotionStage;
use crate::semantic::SemanticStage;
use crate::smoothing::Kernel;
use crate::track::Track;
use crate::{Error, FrameScore, RawScores};

/// What is remembered of one video between frames: made by [`crate::Engine::stream`], used with
/// [`crate::Engine::push`]. Its size is fixed when it is made.
pub struct Stream {
    emission: Emission,
    /// Rate of the model, for sampling.
    rate: f64,
    /// Time of the frame that comes next, where its source tells it.
    time: Option<f64>,
    /// Whether the frame that came last was a model frame.
    looked: bool,
    resizer: Resizer,
    resized: Frame,
    lumas: LumaRing,
    local: Option<LocalStage>,
    motion: Option<MotionStage>,
    semantic: Option<SemanticStage>,
    kernel: Kernel,
    lag: u64,
    /// Model frames taken up.
    frames: u64,
    /// Model frames whose raw values were given out.
    raw_given: u64,
    /// Model frames scored.
    scored: u64,
    finished: bool,
}

/// Model frames from a frame's arrival until its score can be known, at most.
pub(crate) fn latency(detectors: &Detectors) -> u64 {
    let ahead = [
        detectors.local.as_ref().map_or(0, |l| l.reach().1 as u64),
        detectors.motion.as_ref().map_or(0, |_| 1), // the first frame's value is the second's
        detectors.semantic.as_ref().map_or(0, |s| u64::from(s.snippet.frames.max(1)) - 1),
    ];
    let radius = Kernel::new(&detectors.smoothing).radius();
    // The first frame alone waits for the motion prior, and only if nothing else is waited for.
    let waits = ahead[0].max(ahead[2]) + radius;
    waits.max(ahead[1]).max(detectors.smoothing.lag.into())
}

impl Stream {
    pub(crate) fn new(detectors: &Detectors, source_rate: f64) -> Self {
        let input = &detectors.input;
        let (width, height) = (input.width as usize, input.height as usize);
        let kernel = Kernel::new(&detectors.smoothing);
        let capacity = (latency(detectors) + kernel.radius() + 2) as usize;
        let (back, ahead) = detectors.local.as_ref().map_or((0, 0), LocalSpec::reach);
        let track = |name| Track::new(name, capacity);
        Self {
            emission: Emission::new(source_rate, input.frame_rate, latency(detectors)),
            rate: input.frame_rate,
            time: None,
            looked: false,
            resizer: Resizer::new(),
            resized: Frame::new(width, height),
            lumas: LumaRing::new((back + ahead + 1).max(2), width * height),
            local: detectors
                .local
                .as_ref()
                .map(|spec| LocalStage::new(spec, input, track("local"), capacity)),
            motion: detectors
                .motion
                .as_ref()
                .map(|spec| MotionStage::new(spec, width, height, track("motion"))),
            semantic: detectors
                .semantic
                .as_ref()
                .map(|spec| SemanticStage::new(spec, track("semantic"), capacity)),
            kernel,
            lag: detectors.smoothing.lag.into(),
            frames: 0,
            raw_given: 0,
            scored: 0,
            finished: false,
        }
    }

    /// From now on the local detector and the motion prior look only where `keep` is true: one value
    /// for each pixel of the model's input, row by row. The semantic detector sees the whole picture
    /// as before. False, and nothing changes, if the size is another or nothing of the local
    /// detector's map is kept.
    pub fn look_only_at(&mut self, keep: &[bool]) -> bool {
        if keep.len() != self.resized.width() * self.resized.height() {
            return false;
        }
        if let Some(local) = &mut self.local
            && !local.look_only_at(keep)
        {
            return false;
        }
        if let Some(motion) = &mut self.motion {
            motion.look_only_at(keep);
        }
        true
    }

    /// Tells the time in seconds of the frame that is pushed next. Model frames are chosen by it, see
    /// [`crate::Sampling`]; frames without a time are as far apart as the stream's rate says. A stream
    /// has times or it has none.
    pub fn at(&mut self, time: f64) -> &mut Self {
        self.emission.timed(self.rate);
        self.time = Some(time);
        self
    }

    /// Whether the frame that was pushed last was a model frame.
    pub fn looked(&self) -> bool {
        self.looked
    }

    /// Source frames taken up so far.
    pub fn frames(&self) -> u64 {
        self.emission.seen()
    }

    /// Takes up a source frame.
    pub(crate) fn push(
        &mut self,
        detectors: &Detectors,
        graphs: &mut Graphs,
        frame: &Frame,
        outlets: &mut Outlets<'_>,
    ) -> Result<(), Error> {
        if self.finished {
            return Err(Error::Finished { frame: self.emission.seen() });
        }
        self.looked = self.emission.see(self.time.take());
        if !self.looked {
            self.emission.emit(outlets.scores);
            return Ok(());
        }
        if self.local.is_some() || self.motion.is_some() {
            self.take_luma(frame)?;
        }
        self.frames += 1;
        if let (Some(stage), Some(graph)) = (&mut self.local, &mut graphs.local) {
            stage.advance(&self.lumas, graph.as_mut(), &mut outlets.maps)?;
        }
        if let Some(stage) = &mut self.motion {
            stage.advance(&self.lumas)?;
        }
        if let (Some(stage), Some((backbone, head))) = (&mut self.semantic, &mut graphs.semantic) {
            stage.advance(frame, backbone.as_mut(), head.as_mut())?;
        }
        self.give(detectors, outlets);
        Ok(())
    }

    /// Ends the stream and gives out what is left.
    pub(crate) fn finish(
        &mut self,
        detectors: &Detectors,
        graphs: &mut Graphs,
        outlets: &mut Outlets<'_>,
    ) -> Result<(), Error> {
        if self.finished || self.frames == 0 {
            self.finished = true;
            return Ok(());
        }
        if let (Some(stage), Some(graph)) = (&mut self.local, &mut graphs.local) {
            stage.finish(&self.lumas, graph.as_mut(), &mut outlets.maps)?;
        }
        if let Some(stage) = &mut self.motion {
            stage.finish(self.frames)?;
        }
        if let (Some(stage), Some((backbone, head))) = (&mut self.semantic, &mut graphs.semantic) {
            stage.finish(self.frames, backbone.as_mut(), head.as_mut())?;
        }
        self.finished = true;
        self.give(detectors, outlets);
        Ok(())
    }

    /// Resizes the frame to the model's input and keeps its luma.
    fn take_luma(&mut self, frame: &Frame) -> Result<(), Error> {
        let same = (frame.width(), frame.height()) == (self.resized.width(), self.resized.height());
        if same {
            frame.luma_into(self.lumas.push());
        } else {
            self.resizer.resize(frame, &mut self.resized)?;
            self.resized.luma_into(self.lumas.push());
        }
        Ok(())
    }

    /// Raw values of the local detector, the motion prior and the semantic detector.
    fn tracks(&self) -> [Option<&Track>; 3] {
        [
            self.local.as_ref().map(|s| &s.track),
            self.motion.as_ref().map(|s| &s.track),
            self.semantic.as_ref().map(|s| &s.track),
        ]
    }

    /// Model frames whose raw values are all known.
    fn known(&self) -> u64 {
        self.tracks().into_iter().flatten().map(Track::known).min().unwrap_or(self.frames)
    }

    /// Gives out raw values and scores that have become known.
    fn give(&mut self, detectors: &Detectors, outlets: &mut Outlets<'_>) {
        let known = self.known();
        while self.raw_given < known {
            let t = self.raw_given;
            let [local, motion, semantic] = self.tracks();
            (outlets.raw)(&RawScores {
                frame: t,
                local: local.map(|track| track.get(t)),
                motion: motion.map(|track| track.get(t)),
                semantic: semantic.map(|track| track.get(t)),
            });
            self.raw_given += 1;
        }
        while self.scored < self.frames {
            let t = self.scored;
            let due = t + self.lag < self.frames && t + self.kernel.radius() < known;
            if !(due || self.finished) {
                break;
            }
            let score = self.score(detectors, t, known - 1);
            self.scored += 1;
            self.emission.score(score, outlets.scores);
        }
    }

    /// The score of a model frame, from raw values up to frame `last`.
    fn score(&self, detectors: &Detectors, t: u64, last: u64) -> FrameScore {
        let smooth = |track: Option<&Track>, z: Option<&ZScore>| {
            let (track, z) = (track?, z?);
            Some(self.kernel.smooth(t, last, |t| (track.get(t) - z.mean) / z.std))
        };
        let [local, motion, semantic] = self.tracks();
        let local = smooth(local, detectors.local.as_ref().map(|d| &d.z));
        let motion = smooth(motion, detectors.motion.as_ref().map(|d| &d.z));
        let semantic = smooth(semantic, detectors.semantic.as_ref().map(|d| &d.z));
        let parts = parts(detectors, local, motion, semantic);
        let fused: f64 = parts.into_iter().flatten().sum();
        let calibration = &detectors.calibration;
        let hit = self.local.as_ref().map(|stage| stage.hit(t));
        // The detector that says more says where, if it knows.
        let cell = self.semantic.as_ref().and_then(|stage| stage.hit(t));
        let region = match (hit.map(|hit| hit.region), cell) {
            (Some(_), Some(cell)) if parts[2] > parts[0] => Some(cell),
            (region, cell) => region.or(cell),
        };
        FrameScore {
            frame: 0, // the emission numbers source frames
            score: 1.0 / (1.0 + (-(fused - calibration.threshold) / calibration.scale).exp()),
            fused,
            local,
            motion,
            semantic,
            kind: hit.map(|h| h.kind),
            region,
        }
    }
}

/// Where a stream gives out what it computes.
pub(crate) struct Outlets<'a> {
    pub(crate) scores: &'a mut dyn FnMut(&FrameScore),
    pub(crate) raw: &'a mut dyn FnMut(&RawScores),
    pub(crate) maps: MapOutlet<'a>,
}
