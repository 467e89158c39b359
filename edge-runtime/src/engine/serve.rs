//! The body of the inference thread: cameras in turn, commands, the board, the status.

use std::sync::Arc;
use std::time::Duration;

use inference::Wake;

use super::away::Away;
use super::heartbeat::Heartbeat;
use super::hub::{Hub, Item, Work};
use super::load::{Load, Misses};
use super::remote::{Snapshot, to_json, told};
use super::scorer::Scorer;
use super::status::{CameraStatus, SpoolStatus, Status, Told};
use super::telemetry::Samples;
use super::{Camera, Setup, context};
use crate::clock::ClockState;
use crate::error::Error;
use crate::life::Sign;
use crate::publish::Publisher;
use crate::update::{Exchange, Offer};

/// Longest wait for a frame before the alarm and the status are looked after.
const TICK: Duration = Duration::from_millis(500);
/// Time between two looks at whether something in the status has changed: with the longest wait for a
/// frame less than the second within which it is told.
const SHOW_EVERY: Duration = Duration::from_millis(400);

/// A change is told within a second, also while no frame comes.
const _: () = assert!(TICK.as_millis() + SHOW_EVERY.as_millis() < 1000);

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
    /// What has come from the source and waits for what is computed aside.
    pub(super) waiting: Option<Item>,
    pub(super) misses: Misses,
}

/// The inference thread.
pub(super) struct Inference<'a, S: Scorer> {
    pub(super) setup: Setup,
    pub(super) states: Vec<Running<S>>,
    pub(super) hub: &'a Hub,
    pub(super) exchange: &'a Exchange<S>,
    pub(super) last_status: Option<Duration>,
    pub(super) last_told: Option<Told>,
    pub(super) last_sign: Option<Sign>,
    pub(super) memory_seen: Option<Duration>,
    /// Why the run is given up.
    pub(super) failure: Option<Error>,
    pub(super) last_shown: Option<Duration>,
    pub(super) last_telemetry: Option<Duration>,
    pub(super) heartbeat: Heartbeat,
    pub(super) load: Load,
    /// Of which cameras something can be taken.
    pub(super) ready: Vec<bool>,
    pub(super) wake: Wake,
}

impl<S: Scorer> Inference<'_, S> {
    /// Works until the cameras end or the hub is stopped.
    pub(super) fn serve(&mut self, scorer: &mut S) {
        let mut last = 0;
        self.restore_settings();
        self.publish_status("running", true);
        self.give_sign(false);
        while !self.hub.is_stopped() {
            if self.setup.end_with_sources && self.states.iter().all(|s| s.ended) {
                break;
            }
            if let Some(offer) = self.exchange.take() {
                self.take_over(scorer, offer);
            }
            self.ready.clear();
            self.ready.extend(self.states.iter().map(|state| state.camera.is_ready(scorer)));
            let work = self.hub.pop(last, &self.ready, TICK);
            let began = self.setup.clock.monotonic();
            match work {
                Some(Work::Camera(number, item)) => {
                    last = number;
                    self.take(scorer, number, item);
                }
                Some(Work::Command(command)) => self.command(scorer, command),
                Some(Work::Computed) => self.collect(scorer),
                None => {}
            }
            self.load.work(self.setup.clock.monotonic().saturating_sub(began));
            self.mind_load(scorer);
            self.look_after_board(scorer);
            self.publish_status("running", false);
            self.publish_telemetry(false);
            if let Some(live) = &self.setup.outputs.live {
                live.round();
            }
            self.give_sign(false);
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
        self.give_sign(true);
        self.publish_telemetry(true);
        self.publish_status("stopped", true);
    }

    /// Takes what a source gave. A gap and an end wait for what is computed aside, so that other cameras
    /// need not; the camera gives nothing else before.
    fn take(&mut self, scorer: &mut S, number: usize, item: Item) {
        if matches!(item, Item::Gap(..) | Item::End(_)) {
            let camera = &mut self.states[number].camera;
            if let Err(e) = camera.end(scorer) {
                self.failed(scorer, number, e);
            } else if !camera.is_ready(scorer) {
                self.states[number].waiting = Some(item);
                return;
            }
        }
        self.handle(scorer, number, item);
    }

    /// Takes up what was computed aside, and what has waited for it.
    fn collect(&mut self, scorer: &mut S) {
        for number in 0..self.states.len() {
            let state = &mut self.states[number];
            let before = state.camera.counts().scored;
            let mut context = context(&mut self.setup);
            let done = state.camera.collect(scorer, &mut context);
            self.exchange.count_scored(state.camera.counts().scored - before);
            if let Err(e) = done {
                self.failed(scorer, number, e);
            }
            let state = &mut self.states[number];
            if state.camera.is_ready(scorer)
                && let Some(item) = state.waiting.take()
            {
                self.handle(scorer, number, item);
            }
        }
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
                    let dropped = self.hub.dropped(number);
                    let mut context = context(&mut self.setup);
                    let done = state.camera.frame(scorer, &frame, stamp, &mut context);
                    if let Ok(true) = done {
                        let rate = inference::sampled_rate(scorer.rate(), state.status.rate);
                        state.misses.looked(stamp.stream, dropped, rate);
                    }
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
        scorer.begin(Arc::clone(&self.wake));
        log::info!("model {} {} takes over", offer.status.name, offer.status.version);
        self.setup.model = offer.status;
        self.setup.identity.model = offer.id;
        for (state, rules) in self.states.iter_mut().zip(offer.rules) {
            state.camera.renew(rules, scorer);
        }
        // What has waited for the old model.
        self.collect(scorer);
        self.restore_settings();
        self.publish_status("running", true);
    }

    fn gap(&mut self, scorer: &mut S, number: usize, rate: f64) {
        let mut context = context(&mut self.setup);
        let state = &mut self.states[number];
        state.misses.gap();
        if let Err(e) = state.camera.gap(scorer, rate, &mut context) {
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

    /// Publishes the status if it is time, if something in it has changed, or `now`.
    pub(super) fn publish_status(&mut self, word: &'static str, now: bool) {
        let live = self.setup.outputs.live.as_ref();
        if live.is_none() && told(&self.setup).is_none() {
            return;
        }
        let clock = &self.setup.clock;
        let uptime = clock.monotonic();
        let passed = |last: Option<Duration>, every| last.is_none_or(|last| uptime >= last + every);
        if !now && !passed(self.last_shown, SHOW_EVERY) {
            return;
        }
        self.last_shown = Some(uptime);
        let report = self.setup.outputs.publisher.as_ref().map(Publisher::report);
        let report = report.unwrap_or_default();
        let cameras = self.states.iter_mut().enumerate().map(|(number, state)| {
            state.status.overloaded = self.load.is_overloaded(number);
            state.status.missed_total = state.misses.total();
            state.status.looks_every = if state.live { self.load.every() } else { 1 };
            state.status.update(&state.camera, self.hub.dropped(number), uptime)
        });
        let cameras: Vec<CameraStatus> = cameras.collect();
        let clock_state = clock.state();
        let status = Status {
            state: word,
            version: env!("CARGO_PKG_VERSION"),
            device: &self.setup.identity.device,
            time_ms: clock.wall_ms(),
            time_synced: clock_state == ClockState::Synced,
            clock: clock_state,
            uptime_s: uptime.as_secs(),
            boot_id: self.setup.life.boot_id.as_deref(),
            last_end: self.setup.life.last_end.as_ref(),
            model: &self.setup.model,
            alarm: self.setup.outputs.alarm.is_active(),
            alarm_silenced: self.setup.outputs.alarm.is_silenced(),
            board: self.setup.board.status(),
            spool: SpoolStatus::from(report),
            files: self.setup.outputs.later.as_ref().map(|l| l.written()).unwrap_or_default(),
            overloaded: cameras.iter().any(|camera| camera.overloaded),
            cameras,
        };
        let told_now = status.told();
        let changed = self.last_told.as_ref() != Some(&told_now);
        let Some(json) = to_json(&status) else { return };
        if let Some(live) = live {
            live.set_status(json.clone());
        }
        let due = now || changed || passed(self.last_status, self.setup.status_every);
        if let Some((publisher, topics, _)) = told(&self.setup).filter(|_| due) {
            publisher.set_retained(&topics.status(), json);
            self.last_status = Some(uptime);
        }
        self.last_told = Some(told_now);
    }
}
