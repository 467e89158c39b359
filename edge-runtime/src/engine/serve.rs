//! The body of the inference thread: cameras in turn, commands, the board, the status.

use std::time::Duration;

use super::away::Away;
use super::heartbeat::Heartbeat;
use super::hub::{Hub, Item, Work};
use super::remote::{Snapshot, to_json, told};
use super::scorer::Scorer;
use super::status::{CameraStatus, SpoolStatus, Status};
use super::telemetry::Samples;
use super::{Camera, Setup, context};
use crate::error::Error;
use crate::publish::Publisher;
use crate::update::{Exchange, Offer};

/// Longest wait for a frame before the alarm and the status are looked after.
const TICK: Duration = Duration::from_millis(500);
/// Time between two looks of the local page at the status.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// A camera that is served.
pub(super) struct Running<S: Scorer> {
    pub(super) camera: Camera<S>,
    pub(super) status: CameraStatus,
    pub(super) ended: bool,
    pub(super) error: Option<Error>,
    /// A live camera is tried again after a failure of the model.
    pub(super) live: bool,
    /// When the camera was last found not to be there.
    pub(super) away: Option<Away>,
    /// Time in which a frame was worked on.
    pub(super) processing: Samples,
    pub(super) snapshot: Snapshot,
    /// The threshold that the configuration and the bundle ask for.
    pub(super) configured: f64,
    /// Time and frames at the last telemetry.
    pub(super) counted: Option<(Duration, u64)>,
}

/// The inference thread.
pub(super) struct Inference<'a, S: Scorer> {
    pub(super) setup: Setup,
    pub(super) states: Vec<Running<S>>,
    pub(super) hub: &'a Hub,
    pub(super) exchange: &'a Exchange<S>,
    pub(super) last_status: Option<Duration>,
    pub(super) memory_seen: Option<Duration>,
    /// Why the run is given up.
    pub(super) failure: Option<Error>,
    pub(super) last_shown: Option<Duration>,
    pub(super) last_telemetry: Option<Duration>,
    pub(super) heartbeat: Heartbeat,
}

impl<S: Scorer> Inference<'_, S> {
    /// Works until the cameras end or the hub is stopped.
    pub(super) fn serve(&mut self, scorer: &mut S) {
        let mut last = 0;
        self.restore_settings();
        self.publish_status("running", true);
        while !self.hub.is_stopped() {
            if self.setup.end_with_sources && self.states.iter().all(|s| s.ended) {
                break;
            }
            if let Some(offer) = self.exchange.take() {
                self.take_over(scorer, offer);
            }
            match self.hub.pop(last, TICK) {
                Some(Work::Camera(number, item)) => {
                    last = number;
                    self.handle(scorer, number, item);
                }
                Some(Work::Command(command)) => self.command(scorer, command),
                None => {}
            }
            self.look_after_board(scorer);
            self.publish_status("running", false);
            self.publish_telemetry(false);
            if let Some(live) = &self.setup.outputs.live {
                live.round();
            }
            self.beat();
        }
        // Stopped: what has been seen is scored and running incidents come to their end.
        for number in 0..self.states.len() {
            if !self.states[number].ended {
                let rate = self.states[number].status.rate;
                self.gap(scorer, number, rate);
            }
        }
        // The siren is quiet before the broker is waited for, and the board is not reset meanwhile.
        self.setup.outputs.alarm.release();
        self.setup.board.close();
        self.publish_telemetry(true);
        self.publish_status("stopped", true);
    }

    fn handle(&mut self, scorer: &mut S, number: usize, item: Item) {
        match item {
            Item::Frame(frame, stamp) => {
                let now = self.setup.clock.monotonic();
                let state = &mut self.states[number];
                if !state.ended {
                    if state.status.state != "running" {
                        let (width, height) = (frame.width(), frame.height());
                        log::info!("camera {} is running, {width}x{height}", state.camera.id());
                    }
                    state.status.frame(&frame, now);
                    let before = state.camera.counts().scored;
                    let mut context = context(&mut self.setup);
                    let done = state.camera.frame(scorer, &frame, stamp, &mut context);
                    state.processing.push(self.setup.clock.monotonic().saturating_sub(now));
                    self.exchange.count_scored(state.camera.counts().scored - before);
                    if let Err(e) = done {
                        self.failed(scorer, number, e);
                    }
                    self.take_snapshot(number, &frame);
                    self.look_at_scene(number);
                }
                self.hub.give_back(number, frame);
            }
            Item::Gap(why, rate) => {
                if let Some(e) = why {
                    let state = &mut self.states[number];
                    state.away = Away::after_gap(&e, self.setup.clock.monotonic()).or(state.away);
                    log::warn!("camera {}: {e}; it is opened again", state.camera.id());
                    state.status.lost(e.to_string());
                }
                let status = &mut self.states[number].status;
                (status.rate, status.gaps_total) = (rate, status.gaps_total + 1);
                self.gap(scorer, number, rate);
                self.publish_status("running", true);
            }
            Item::Rate(rate) => {
                let state = &mut self.states[number];
                log::info!("camera {}: {rate:.2} frames per second", state.camera.id());
                state.status.rate = rate;
            }
            Item::Away(why) => {
                let state = &mut self.states[number];
                state.away = Some(Away::after_attempt(&why, self.setup.clock.monotonic()));
                let known = state.status.state == "lost";
                if !known {
                    log::warn!("camera {}: {why}; it is waited for", state.camera.id());
                }
                state.status.lost(why.to_string());
                if !known {
                    self.publish_status("running", true);
                }
            }
            Item::End(error) => {
                let rate = self.states[number].status.rate;
                self.gap(scorer, number, rate);
                let state = &mut self.states[number];
                state.ended = true;
                state.status.ended(error.as_ref().map(ToString::to_string));
                if let Some(e) = error {
                    log::error!("camera {}: {e}", state.camera.id());
                    state.error.get_or_insert(e.into());
                }
                self.publish_status("running", true);
            }
        }
    }

    /// Tells the service manager that the program lives: while at least one camera gives frames that
    /// are looked at, or none is expected to because all are lost and being opened again, or the
    /// board is too hot to watch.
    fn beat(&mut self) {
        let frames = self.states.iter().map(|state| state.camera.counts().frames).sum();
        let cooling = self.setup.board.rung() == boards::Rung::Paused;
        let waiting = cooling || self.states.iter().all(|s| s.ended || s.status.state == "lost");
        self.heartbeat.beat(frames, waiting);
    }

    /// Tells at once when something is the matter with a picture or a score stays high, or no longer.
    fn look_at_scene(&mut self, number: usize) {
        let state = &mut self.states[number];
        let (scene, before) = (state.camera.scene(), state.status.scene);
        if scene != before {
            log::warn!("camera {}: picture {scene:?}, was {before:?}", state.camera.id());
            state.status.scene = scene;
            self.publish_status("running", true);
        }
        let state = &mut self.states[number];
        let lasting = state.camera.is_lasting();
        if lasting != state.status.lasting {
            state.status.lasting = lasting;
            self.publish_status("running", true);
        }
    }

    /// Ends every stream of the old model and begins with the new one.
    fn take_over(&mut self, scorer: &mut S, offer: Offer<S>) {
        for number in 0..self.states.len() {
            if !self.states[number].ended {
                let rate = self.states[number].status.rate;
                self.gap(scorer, number, rate);
            }
        }
        *scorer = offer.scorer;
        log::info!("model {} {} takes over", offer.status.name, offer.status.version);
        self.setup.model = offer.status;
        self.setup.identity.model = offer.id;
        for (state, rules) in self.states.iter_mut().zip(offer.rules) {
            state.camera.renew(rules, scorer);
        }
        self.restore_settings();
        self.publish_status("running", true);
    }

    fn gap(&mut self, scorer: &mut S, number: usize, rate: f64) {
        let mut context = context(&mut self.setup);
        if let Err(e) = self.states[number].camera.gap(scorer, rate, &mut context) {
            self.failed(scorer, number, e);
        }
    }

    /// A live camera goes on with a new stream; a recording has lost frames and ends.
    fn failed(&mut self, scorer: &mut S, number: usize, error: Error) {
        let state = &mut self.states[number];
        log::error!("{error}");
        state.status.errors += 1;
        // That a file cannot be written says nothing of the model.
        if matches!(error, Error::Failed(_)) {
            self.exchange.count_failure();
        }
        if !state.live {
            state.ended = true;
            state.status.ended(Some(error.to_string()));
        }
        if !state.live {
            state.error.get_or_insert(error);
        }
        let rate = state.status.rate;
        let mut context = context(&mut self.setup);
        if let Err(e) = state.camera.gap(scorer, rate, &mut context) {
            log::debug!("{e}");
        }
    }

    pub(super) fn publish_status(&mut self, word: &'static str, now: bool) {
        let live = self.setup.outputs.live.as_ref();
        if live.is_none() && told(&self.setup).is_none() {
            return;
        }
        let clock = &self.setup.clock;
        let uptime = clock.monotonic();
        let passed = |last: Option<Duration>, every| last.is_none_or(|last| uptime >= last + every);
        let due = now || passed(self.last_status, self.setup.status_every);
        let seen = live.is_some() && passed(self.last_shown, SHOW_EVERY);
        if !due && !seen {
            return;
        }
        self.last_shown = Some(uptime);
        let report = self.setup.outputs.publisher.as_ref().map(Publisher::report);
        let report = report.unwrap_or_default();
        let cameras = self.states.iter_mut().enumerate().map(|(number, state)| {
            state.status.update(&state.camera, self.hub.dropped(number), uptime)
        });
        let status = Status {
            state: word,
            version: env!("CARGO_PKG_VERSION"),
            device: &self.setup.identity.device,
            time_ms: clock.wall_ms(),
            time_synced: clock.synced(),
            uptime_s: uptime.as_secs(),
            model: &self.setup.model,
            alarm: self.setup.outputs.alarm.is_active(),
            board: self.setup.board.status(),
            spool: SpoolStatus::from(report),
            cameras: cameras.collect(),
        };
        let Some(json) = to_json(&status) else { return };
        if let Some(live) = live {
            live.set_status(json.clone());
        }
        if let Some((publisher, topics, _)) = told(&self.setup).filter(|_| due) {
            self.last_status = Some(uptime);
            publisher.set_retained(&topics.status(), json);
        }
    }
}
