//! One camera: from its frames to its events.

use std::collections::VecDeque;

use alert_wire::{Alert, ModelId, Region, SCHEMA, truncate};
use inference::FrameScore;
use video::Frame;

use super::outputs::{Outputs, ScoreFile};
use super::scorer::Scorer;
use crate::capture::Stamp;
use crate::clock::Clock;
use crate::detection::{Detection, IncidentIds, Observation, Rules, Transition};
use crate::error::Error;
use crate::evidence::Ring;

/// What all cameras of a device share in their messages.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the device.
    pub device: String,
    /// The model.
    pub model: ModelId,
}

/// What a camera has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Frames taken.
    pub frames: u64,
    /// Frames scored.
    pub scored: u64,
    /// Incidents announced.
    pub events: u64,
    /// The newest score.
    pub score: f64,
}

/// The state of one camera.
pub struct Camera<S: Scorer> {
    number: usize,
    id: String,
    rate: f64,
    stream: Option<S::Stream>,
    /// Number of the first frame of the scorer's current stream.
    base: u64,
    /// Frames taken whose score has not come yet, oldest first. As long as the scorer's lag.
    stamps: VecDeque<Stamp>,
    scores: Vec<FrameScore>,
    /// Of the newest frame scored.
    last_stamp: Option<Stamp>,
    detection: Detection,
    score_file: Option<ScoreFile>,
    ring: Option<Ring>,
    /// The frame of the current peak, and its picture.
    peak: Option<u64>,
    picture: Frame,
    incident: Option<Running>,
    counts: Counts,
}

/// The announced incident.
struct Running {
    id: heapless::String<36>,
    started_ms: u64,
    /// Path of its picture, and the frame that it shows.
    snapshot: Option<(String, u64)>,
}

/// What a camera needs of the rest while it works.
pub struct Context<'a> {
    /// Where events go.
    pub outputs: &'a mut Outputs,
    /// What identifies the device.
    pub identity: &'a Identity,
    /// Ids of incidents.
    pub ids: &'a mut IncidentIds,
    /// Time.
    pub clock: &'a dyn Clock,
}

impl<S: Scorer> Camera<S> {
    /// Camera `number`; pictures are remembered only if `pictures`.
    pub fn new(
        number: usize,
        id: &str,
        rules: Rules,
        rate: f64,
        pictures: bool,
        score_file: Option<ScoreFile>,
        scorer: &S,
    ) -> Self {
        let lag = scorer.lag(rate);
        Self {
            number,
            id: id.to_owned(),
            rate,
            stream: None,
            base: 0,
            stamps: VecDeque::with_capacity(lag as usize + 1),
            scores: Vec::with_capacity(lag as usize + 1),
            last_stamp: None,
            detection: Detection::new(rules),
            score_file,
            ring: pictures.then(|| Ring::new(lag)),
            peak: None,
            picture: Frame::default(),
            incident: None,
            counts: Counts::default(),
        }
    }

    /// Id of the camera.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether an incident is running.
    pub fn is_active(&self) -> bool {
        self.detection.is_active()
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// If the model cannot be run, or a file not written.
    pub fn frame(
        &mut self,
        scorer: &mut S,
        frame: &Frame,
        stamp: Stamp,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let number = self.counts.frames;
        self.counts.frames += 1;
        self.stamps.push_back(stamp);
        if let Some(ring) = &mut self.ring {
            ring.push(number, frame).map_err(Error::Input)?;
        }
        let stream = self.stream.get_or_insert_with(|| scorer.stream(self.rate));
        self.scores.clear();
        let scores = &mut self.scores;
        let pushed = scorer.push(stream, frame, &mut |score| scores.push(*score));
        self.take_scores(scorer, context)?;
        pushed.map_err(|e| Error::Failed(format!("camera {}: frame {number}: {e}", self.id)))
    }

    /// Ends the scorer's stream and a running incident: at a gap, and at the end. Frames after it
    /// begin a new stream of `rate`.
    ///
    /// # Errors
    /// As [`Camera::frame`].
    pub fn gap(
        &mut self,
        scorer: &mut S,
        rate: f64,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.rate = rate;
        let mut result = Ok(());
        if let Some(mut stream) = self.stream.take() {
            self.scores.clear();
            let scores = &mut self.scores;
            let finished = scorer.finish(&mut stream, &mut |score| scores.push(*score));
            result = self
                .take_scores(scorer, context)
                .and(finished.map_err(|e| Error::Failed(format!("camera {}: {e}", self.id))));
        }
        // After an error some scores never come.
        self.stamps.clear();
        self.base = self.counts.frames;
        if let Some(transition) = self.detection.finish() {
            let now = Stamp {
                stream: transition.incident.last.time,
                wall_ms: context.clock.wall_ms(),
                uptime_ms: context.clock.monotonic().as_millis() as u64,
            };
            let stamp = self.last_stamp.unwrap_or(now);
            result = result.and(self.announce(&transition, stamp, scorer, context));
        }
        self.peak = None;
        if let Some(file) = &mut self.score_file {
            result = result.and(file.flush());
        }
        result
    }

    fn take_scores(&mut self, scorer: &S, context: &mut Context<'_>) -> Result<(), Error> {
        let scores = std::mem::take(&mut self.scores);
        let mut result = Ok(());
        for score in &scores {
            let stamp = self.stamps.pop_front().unwrap_or_default();
            result = result.and(self.score(score, stamp, scorer, context));
        }
        self.scores = scores;
        result
    }

    fn score(
        &mut self,
        score: &FrameScore,
        stamp: Stamp,
        scorer: &S,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let frame = self.base + score.frame;
        self.counts.scored += 1;
        self.counts.score = score.score;
        self.last_stamp = Some(stamp);
        if let Some(file) = &mut self.score_file {
            file.write(frame, score)?;
        }
        let region =
            score.region.map(|r| Region { x: r.x, y: r.y, width: r.width, height: r.height });
        let transition = self.detection.push(Observation {
            frame,
            time: stamp.stream,
            score: score.score,
            kind: score.kind,
            region: region.filter(|r| [r.x, r.y, r.width, r.height].iter().all(|v| v.is_finite())),
        });
        self.remember_peak(&transition);
        match transition {
            Some(transition) => self.announce(&transition, stamp, scorer, context),
            None => Ok(()),
        }
    }

    /// Copies the picture of a new peak before the ring forgets it.
    fn remember_peak(&mut self, transition: &Option<Transition>) {
        let peak =
            self.detection.peak_frame().or(transition.as_ref().map(|t| t.incident.peak.frame));
        if peak != self.peak {
            self.peak = peak;
            if let (Some(ring), Some(peak)) = (&self.ring, peak)
                && let Some(frame) = ring.nearest(peak)
            {
                self.picture.clone_from(frame);
            }
        }
    }

    fn announce(
        &mut self,
        transition: &Transition,
        stamp: Stamp,
        scorer: &S,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let Transition { phase, incident, score } = transition;
        let (first, peak, last) = (&incident.first, &incident.peak, &incident.last);
        if self.incident.is_none() {
            let id = context
                .ids
                .make(&self.id, incident.number)
                .map_err(|e| Error::Failed(format!("no random numbers for an id: {e}")))?;
            let age_ms = ((stamp.stream - first.time).max(0.0) * 1000.0).round() as u64;
            let started_ms = stamp.wall_ms.saturating_sub(age_ms);
            self.incident = Some(Running { id, started_ms, snapshot: None });
            self.counts.events += 1;
        }
        let Some(running) = &mut self.incident else {
            return Ok(());
        };
        if let Some(evidence) = &mut context.outputs.evidence
            && running.snapshot.as_ref().is_none_or(|(_, shows)| *shows != peak.frame)
            && self.picture.width() > 0
        {
            match evidence.save(&self.id, &running.id, &self.picture, peak.region) {
                Ok(path) => running.snapshot = Some((path, peak.frame)),
                // An event without a picture is still an event.
                Err(e) => log::error!("{e}"),
            }
        }
        let kind = peak.kind.and_then(|k| scorer.kinds().get(usize::from(k)));
        let alert = Alert {
            schema: SCHEMA,
            id: running.id.clone(),
            sequence: incident.sequence,
            phase: *phase,
            device: truncate(&context.identity.device),
            camera: truncate(&self.id),
            kind: truncate(kind.map_or("anomaly", String::as_str)),
            score: *score as f32,
            peak_score: peak.score as f32,
            threshold: self.detection.rules().enter as f32,
            region: peak.region,
            started_ms: running.started_ms,
            time_ms: stamp.wall_ms,
            uptime_ms: stamp.uptime_ms,
            duration_ms: ((last.time - first.time).max(0.0) * 1000.0).round() as u64,
            first_frame: first.frame,
            frame: last.frame,
            peak_frame: peak.frame,
            time_synced: context.clock.synced(),
            snapshot: running.snapshot.as_ref().map(|(path, _)| truncate(path)),
            model: context.identity.model.clone(),
        };
        if *phase == alert_wire::Phase::End {
            self.incident = None;
        }
        let now_ms = context.clock.monotonic().as_millis() as u64;
        context.outputs.event(self.number, &alert, now_ms)
    }
}
