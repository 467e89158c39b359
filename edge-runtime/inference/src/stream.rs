//! What is remembered of one video.

use model_bundle::manifest::{Detectors, LocalSpec, ZScore};
use video::{Frame, Resizer};

use crate::emission::Emission;
use crate::engine::Graphs;
use crate::fusion::parts;
use crate::local::{LocalStage, MapOutlet};
use crate::luma::LumaRing;
use crate::motion::MotionStage;
use crate::semantic::{self, Place, SemanticStage};
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
    /// Whether frames may be given up rather than waited for.
    live: bool,
    /// Every how manieth model frame the networks look at.
    every: u64,
    /// The end has been told of.
    ending: bool,
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

/// Model frames by which scores of a live stream may be later than that while snippets are computed aside.
pub(crate) fn slack(detectors: &Detectors) -> u64 {
    detectors.semantic.as_ref().map_or(0, semantic::slack)
}

impl Stream {
    pub(crate) fn new(detectors: &Detectors, source_rate: f64) -> Self {
        let input = &detectors.input;
        let (width, height) = (input.width as usize, input.height as usize);
        let kernel = Kernel::new(&detectors.smoothing);
        let latest = latency(detectors) + slack(detectors);
        let capacity = (latest + kernel.radius() + 2) as usize;
        let (back, ahead) = detectors.local.as_ref().map_or((0, 0), LocalSpec::reach);
        let track = |name| Track::new(name, capacity);
        Self {
            emission: Emission::new(source_rate, input.frame_rate, latest),
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
            live: false,
            every: 1,
            ending: false,
            finished: false,
        }
    }

    /// From now on this is a camera's: while a snippet is computed aside ([`crate::Engine::compute_aside`])
    /// frames go on, and what is complete before that is done is given up. Of any other stream nothing is
    /// given up: it waits.
    pub fn go_live(&mut self) {
        self.live = true;
    }

    /// Looks at every so manieth model frame only, from now on; the frames between have the values of the
    /// one before them. Time goes on as before: what a network sees of the past is as long ago, and a
    /// snippet that is computed as a whole has every frame. Networks that keep states are called less often,
    /// and to them time goes faster.
    pub fn look_every(&mut self, every: u64) {
        self.every = every.max(1);
        if let Some(local) = &mut self.local {
            local.look_every(self.every);
        }
    }

    /// Whether a frame can be pushed without waiting for what is being computed aside.
    pub fn is_ready(&self) -> bool {
        let live = self.live && !self.ending;
        self.semantic.as_ref().is_none_or(|stage| stage.is_ready(live))
    }

    /// Snippets that were given up because the one before was still being computed.
    pub fn given_up(&self) -> u64 {
        self.semantic.as_ref().map_or(0, SemanticStage::given_up)
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
        if self.finished || self.ending {
            return Err(Error::Finished { frame: self.emission.seen() });
        }
        if !self.is_ready() {
            self.collect(detectors, graphs, outlets, true)?;
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
        if let (Some(stage), Some(place)) = (&mut self.semantic, &mut graphs.semantic) {
            stage.advance(frame, place, (self.frames - 1).is_multiple_of(self.every))?;
        }
        self.give(detectors, outlets);
        Ok(())
    }

    /// Takes up what has been computed aside, and begins what is left of an ending stream.
    pub(crate) fn collect(
        &mut self,
        detectors: &Detectors,
        graphs: &mut Graphs,
        outlets: &mut Outlets<'_>,
        wait: bool,
    ) -> Result<(), Error> {
        let end = if self.ending { self.frames } else { u64::MAX };
        let Some(stage) = &mut self.semantic else { return Ok(()) };
        if !stage.collect(end, wait)? {
            return Ok(());
        }
        if self.ending {
            self.end(graphs)?;
        }
        self.give(detectors, outlets);
        Ok(())
    }

    /// Begins the end: no frame comes any more. What has to be computed aside is begun, so that
    /// [`Self::finish`] need not wait once the stream [is ready](Self::is_ready).
    pub(crate) fn end(&mut self, graphs: &mut Graphs) -> Result<(), Error> {
        self.ending = true;
        if let (Some(stage), Some(place @ Place::Aside(_))) =
            (&mut self.semantic, &mut graphs.semantic)
        {
            stage.finish(self.frames, place)?;
        }
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
        self.end(graphs)?;
        while !self.is_ready() {
            self.collect(detectors, graphs, outlets, true)?;
        }
        if let (Some(stage), Some(graph)) = (&mut self.local, &mut graphs.local) {
            stage.finish(&self.lumas, graph.as_mut(), &mut outlets.maps)?;
        }
        if let Some(stage) = &mut self.motion {
            stage.finish(self.frames)?;
        }
        if let (Some(stage), Some(place)) = (&mut self.semantic, &mut graphs.semantic) {
            stage.finish(self.frames, place)?;
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
