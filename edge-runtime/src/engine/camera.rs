//! One camera: from its frames to its events.

use std::collections::VecDeque;
use std::time::Duration;

use alert_wire::{Alert, ModelId, Phase, Region, SCHEMA, truncate};
use inference::FrameScore;
use video::Frame;

use super::outputs::{Outputs, ScoreFile};
use super::scorer::Scorer;
use super::telemetry::Samples;
use crate::capture::Stamp;
use crate::clock::Clock;
use crate::detection::{Detection, IncidentIds, Observation, Rules, Transition};
use crate::error::Error;
use crate::evidence::{ClipFeed, Ring};
use crate::scene::{SceneMonitor, SceneRules, SceneState};
use crate::zones::Zones;

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
    /// Frames at which an incident would have begun if the whole picture had not changed.
    pub vetoed: u64,
    /// Snippets given up because the one before was still being computed.
    pub given_up: u64,
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
    clips: Option<ClipFeed>,
    /// The frame of the current peak, and its picture.
    peak: Option<u64>,
    picture: Frame,
    incident: Option<Running>,
    /// Whether incidents are announced.
    armed: bool,
    scene: Option<SceneMonitor>,
    zones: Zones,
    /// Time from a frame's capture to its score.
    latency: Samples,
    /// Whether frames are given up where the machine is too slow.
    live: bool,
    /// Every how manieth model frame is looked at.
    every: u64,
    /// Snippets that streams before this one have given up.
    given_up: u64,
    counts: Counts,
}

/// The announced incident.
struct Running {
    id: heapless::String<36>,
    started_ms: u64,
    /// Path of its picture, and the frame that it shows.
    snapshot: Option<(String, u64)>,
    /// Path that its clip will have.
    clip: Option<String>,
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
        let lag = scorer.lag();
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
            clips: None,
            peak: None,
            picture: Frame::default(),
            incident: None,
            armed: true,
            scene: None,
            zones: Zones::default(),
            latency: Samples::new(),
            live: false,
            every: 1,
            given_up: 0,
            counts: Counts::default(),
        }
    }

    /// Looks at the picture as a whole too, and for incidents only at some places.
    #[must_use]
    pub fn watching(self, scene: Option<SceneRules>, zones: Zones) -> Self {
        Self { scene: scene.map(SceneMonitor::new), zones, ..self }
    }

    /// Gives its frames to `clips` too.
    #[must_use]
    pub fn recording(self, clips: Option<ClipFeed>) -> Self {
        Self { clips, ..self }
    }

    /// Makes it a live camera, whose frames come whether they are taken or not.
    #[must_use]
    pub fn live(self, scorer: &S) -> Self {
        let lag = scorer.lag() + scorer.slack();
        Self { live: true, ring: self.ring.map(|_| Ring::new(lag)), ..self }
    }

    /// Frames that the model looks at from a frame's arrival to its score, at most.
    fn lag(&self, scorer: &S) -> u64 {
        scorer.lag() + if self.live { scorer.slack() } else { 0 }
    }

    /// Seconds after which an incident is announced at the latest: scores come late, and must hold.
    pub fn delay(&self, scorer: &S) -> f64 {
        let rate = inference::sampled_rate(scorer.rate(), self.rate);
        self.lag(scorer) as f64 / rate.max(1.0) + self.detection.rules().min_duration + 1.0
    }

    /// What is the matter with the picture.
    pub fn scene(&self) -> SceneState {
        self.scene.as_ref().map(SceneMonitor::state).unwrap_or_default()
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

    /// Whether the score has stayed high since an incident that lasted too long.
    pub fn is_lasting(&self) -> bool {
        self.detection.is_lasting()
    }

    /// Whether incidents are announced.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Score at which an incident starts.
    pub fn threshold(&self) -> f64 {
        self.detection.rules().enter
    }

    /// Changes the score at which an incident starts.
    pub fn set_threshold(&mut self, enter: f64) {
        self.detection.set_threshold(enter);
    }

    /// Announces incidents or no longer does so, which ends a running one. Frames are scored either
    /// way.
    ///
    /// # Errors
    /// If the end of the incident cannot be written.
    pub fn set_armed(
        &mut self,
        armed: bool,
        scorer: &S,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.armed = armed;
        if armed { Ok(()) } else { self.end_incident(scorer, context) }
    }

    /// As [`Camera::set_armed`] before the first frame, when there is no incident to end.
    pub fn restore_armed(&mut self, armed: bool) {
        self.armed = armed;
    }

    /// Goes on with another model and its event rules, after [`Camera::gap`] has ended the stream.
    pub fn renew(&mut self, rules: Rules, scorer: &S) {
        let lag = self.lag(scorer);
        self.detection.renew(rules);
        if self.ring.is_some() {
            self.ring = Some(Ring::new(lag));
        }
        if let Some(clips) = &self.clips {
            clips.open(self.delay(scorer));
        }
        self.stamps.reserve(lag as usize + 1);
        self.scores.reserve(lag as usize + 1);
    }

    /// Time from a frame's capture to its score, of the newest frames.
    pub fn latency(&self) -> &Samples {
        &self.latency
    }

    /// Looks at every so manieth model frame from now on.
    pub fn look_every(&mut self, every: u64, scorer: &S) {
        self.every = every;
        if let Some(stream) = &mut self.stream {
            scorer.look_every(stream, every);
        }
    }

    /// Whether a frame, or a gap after [`Camera::end`], can be taken without waiting for what is computed
    /// aside.
    pub fn is_ready(&self, scorer: &S) -> bool {
        self.stream.as_ref().is_none_or(|stream| scorer.is_ready(stream))
    }

    /// Takes up what was computed aside.
    ///
    /// # Errors
    /// As [`Camera::frame`].
    pub fn collect(&mut self, scorer: &mut S, context: &mut Context<'_>) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        self.scores.clear();
        let scores = &mut self.scores;
        let collected = scorer.collect(stream, &mut |score| scores.push(*score));
        self.counts.given_up = self.given_up + scorer.given_up(stream);
        self.take_scores(scorer, context)?;
        collected.map_err(|e| Error::Failed(format!("camera {}: {e}", self.id)))
    }

    /// Begins what is left to be computed before a [gap](Camera::gap).
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn end(&mut self, scorer: &mut S) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        scorer.end(stream).map_err(|e| Error::Failed(format!("camera {}: {e}", self.id)))
    }

    /// Takes a frame; whether the model looks at it.
    ///
    /// # Errors
    /// If the model cannot be run, or a file not written.
    pub fn frame(
        &mut self,
        scorer: &mut S,
        frame: &Frame,
        stamp: Stamp,
        context: &mut Context<'_>,
    ) -> Result<bool, Error> {
        let number = self.counts.frames;
        self.counts.frames += 1;
        self.stamps.push_back(stamp);
        if let Some(scene) = &mut self.scene {
            scene.push(frame, stamp.stream);
        }
        if let Some(clips) = &mut self.clips {
            clips.push(frame, stamp.stream).map_err(Error::Input)?;
        }
        let stream = self.stream.get_or_insert_with(|| {
            let mut stream = scorer.stream(self.rate);
            if self.live {
                scorer.go_live(&mut stream);
            }
            scorer.look_every(&mut stream, self.every);
            if !self.zones.is_everything() && !scorer.look_only_at(&mut stream, &self.zones) {
                log::error!("camera {}: its zones hold nothing that the model sees", self.id);
            }
            stream
        });
        self.scores.clear();
        let scores = &mut self.scores;
        let pushed = scorer.push(stream, frame, stamp.stream, &mut |score| scores.push(*score));
        self.counts.given_up = self.given_up + scorer.given_up(stream);
        // Only what the model looks at can be the picture of a peak.
        if let (Some(ring), Ok(true)) = (&mut self.ring, &pushed) {
            ring.push(number, frame).map_err(Error::Input)?;
        }
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
            self.given_up = self.counts.given_up;
        }
        // After an error some scores never come.
        self.stamps.clear();
        if let Some(scene) = &mut self.scene {
            scene.gap();
        }
        self.base = self.counts.frames;
        result = result.and(self.end_incident(scorer, context));
        if let Some(clips) = &mut self.clips {
            clips.flush();
        }
        if let Some(file) = &mut self.score_file {
            result = result.and(file.flush());
        }
        result
    }

    /// Ends a running incident at the newest frame scored.
    fn end_incident(&mut self, scorer: &S, context: &mut Context<'_>) -> Result<(), Error> {
        self.peak = None;
        let Some(transition) = self.detection.finish() else {
            return Ok(());
        };
        let now = Stamp {
            stream: transition.incident.last.time,
            wall_ms: context.clock.wall_ms(),
            uptime_ms: context.clock.monotonic().as_millis() as u64,
        };
        let stamp = self.last_stamp.unwrap_or(now);
        self.announce(&transition, stamp, scorer, context)
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
        let taken = Duration::from_millis(stamp.uptime_ms);
        self.latency.push(context.clock.monotonic().saturating_sub(taken));
        if let Some(file) = &mut self.score_file {
            file.write(frame, score)?;
        }
        context.outputs.score(self.number, stamp.wall_ms, score.score);
        if !self.armed {
            return Ok(());
        }
        let region =
            score.region.map(|r| Region { x: r.x, y: r.y, width: r.width, height: r.height });
        let vetoed = self.scene.as_ref().is_some_and(|scene| scene.vetoes(stamp.stream));
        if vetoed && score.score >= self.detection.rules().enter && !self.detection.is_active() {
            self.counts.vetoed += 1;
        }
        let lasted = self.detection.is_lasting();
        let transition = self.detection.push(Observation {
            vetoed,
            frame,
            time: stamp.stream,
            score: score.score,
            kind: score.kind,
            region: region.filter(|r| [r.x, r.y, r.width, r.height].iter().all(|v| v.is_finite())),
        });
        self.tell_of_lasting(lasted);
        self.remember_peak(&transition);
        match transition {
            Some(transition) => self.announce(&transition, stamp, scorer, context),
            None => Ok(()),
        }
    }

    /// A score that stays high is told of when it begins to and when it is over.
    fn tell_of_lasting(&self, before: bool) {
        let (id, rules) = (&self.id, self.detection.rules());
        match (before, self.detection.is_lasting()) {
            (false, true) => log::warn!(
                "camera {id}: an incident is ended after {} s, its score still above {:.3}; no other \
                 begins until the score has been below. If nothing happens there the site has changed: \
                 train the model again, or raise the threshold",
                rules.longest,
                rules.exit
            ),
            (true, false) => log::info!("camera {id}: the score is back to normal"),
            _ => {}
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
        // Before anything that goes to a disk or a network.
        let now_ms = context.clock.monotonic().as_millis() as u64;
        context.outputs.alarm.set(self.number, *phase != Phase::End, now_ms);
        let (first, peak, last) = (&incident.first, &incident.peak, &incident.last);
        if self.incident.is_none() {
            let id = context
                .ids
                .make(&self.id, incident.number)
                .map_err(|e| Error::Failed(format!("no random numbers for an id: {e}")))?;
            let age_ms = ((stamp.stream - first.time).max(0.0) * 1000.0).round() as u64;
            let started_ms = stamp.wall_ms.saturating_sub(age_ms);
            let clip = self.clips.as_mut().map(|clips| clips.begin(&id, first.time));
            self.incident = Some(Running { id, started_ms, snapshot: None, clip });
            self.counts.events += 1;
        }
        let Some(running) = &mut self.incident else {
            return Ok(());
        };
        if let Some(evidence) = &mut context.outputs.evidence
            && running.snapshot.as_ref().is_none_or(|(_, shows)| *shows != peak.frame)
            && self.picture.width() > 0
        {
            match evidence.save(&self.id, &running.id, &self.picture, peak.region, !self.live) {
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
            clip: running.clip.as_deref().map(truncate),
            model: context.identity.model.clone(),
        };
        if *phase == Phase::End {
            self.incident = None;
            if let Some(clips) = &mut self.clips {
                clips.end(last.time);
            }
        }
        context.outputs.event(&alert, !self.live)
    }
}
