//! The loop: a capture thread for each camera, one inference thread for all.
//!
//! The inference thread takes the cameras in turn and shares one loaded model among them, each
//! with a stream of its own. It also drives the alarm and publishes the status, so that a status
//! that goes on says that frames are being looked at.

mod camera;
mod flow;
mod heartbeat;
mod hub;
mod outputs;
mod remote;
mod scorer;
mod status;
mod telemetry;
#[cfg(test)]
mod tests;
mod upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::capture::{self, Delivery, FrameSource, Next};
use crate::clock::Clock;
use crate::detection::{IncidentIds, Rules};
use crate::error::Error;
use crate::publish::Publisher;
use crate::scene::SceneRules;
use crate::update::{Exchange, Offer};
use crate::zones::Zones;
use heartbeat::Heartbeat;
use remote::{Snapshot, to_json, told};

pub use camera::{Camera, Context, Counts, Identity};
pub use flow::Flow;
pub use hub::{Hub, Item, Work};
pub use outputs::{EventFile, Outputs, ScoreFile};
pub use remote::Remote;
pub use scorer::Scorer;
pub use status::{CameraStatus, ModelStatus, SpoolStatus, Status};
pub use telemetry::{CameraTelemetry, CommandTotals, Percentiles, Samples, SpoolDepth, Telemetry};

/// A camera that is ready to run.
pub struct CameraSetup {
    /// Id of the camera.
    pub id: String,
    /// Where its frames come from.
    pub source: Box<dyn FrameSource>,
    /// What happens to frames that come too fast.
    pub delivery: Delivery,
    /// The event rules.
    pub rules: Rules,
    /// Where its scores go.
    pub scores: Option<ScoreFile>,
    /// What its picture as a whole is looked at for.
    pub scene: Option<SceneRules>,
    /// The places of its picture that count.
    pub zones: Zones,
}

/// What a run needs beside cameras and scorer.
pub struct Setup {
    /// What identifies the device.
    pub identity: Identity,
    /// Where events go.
    pub outputs: Outputs,
    /// Ids of incidents.
    pub ids: IncidentIds,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The model, for the status.
    pub model: ModelStatus,
    /// Time between two status messages.
    pub status_every: Duration,
    /// Whether the run ends when all sources have ended; else it goes on until stopped.
    pub end_with_sources: bool,
    /// LED, watchdog, key switch and temperature.
    pub board: Board,
    /// Commands and telemetry; a replay has none.
    pub remote: Option<Remote>,
}

/// What one camera did.
#[derive(Debug)]
pub struct CameraReport {
    /// Id of the camera.
    pub id: String,
    /// What it did.
    pub counts: Counts,
    /// Frames that came too fast.
    pub dropped: u64,
    /// Why it ended early.
    pub error: Option<Error>,
}

/// What a run did.
pub struct Report {
    /// Each camera.
    pub cameras: Vec<CameraReport>,
    /// Seconds from the start of the capture threads to the last score.
    pub seconds: f64,
    /// Whether it was stopped from outside before all sources had ended.
    pub stopped: bool,
    /// Why the run as a whole was given up.
    pub failure: Option<Error>,
    /// The outputs, still open but for the alarm's: the caller drains and closes them.
    pub outputs: Outputs,
}

/// Longest wait for a frame before the alarm and the status are looked after.
const TICK: Duration = Duration::from_millis(500);
/// Time between two looks of the local page at the status.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Runs cameras until they end or `hub` is stopped. The hub has one queue for each camera, made of
/// their deliveries in the same order.
pub fn run<S: Scorer>(
    cameras: Vec<CameraSetup>,
    scorer: &mut S,
    setup: Setup,
    hub: &Arc<Hub>,
) -> Report {
    run_exchanging(cameras, scorer, setup, hub, &Exchange::default())
}

/// As [`run`]; a model that is offered through `exchange` takes over between two frames, in place of
/// `scorer`, while cameras and broker stay connected.
pub fn run_exchanging<S: Scorer>(
    cameras: Vec<CameraSetup>,
    scorer: &mut S,
    setup: Setup,
    hub: &Arc<Hub>,
    exchange: &Exchange<S>,
) -> Report {
    let started = Instant::now();
    let pictures = setup.outputs.evidence.is_some();
    let mut states = Vec::new();
    let mut sources = Vec::new();
    for (number, camera) in cameras.into_iter().enumerate() {
        let rate = camera.source.rate();
        states.push(Running {
            camera: Camera::new(
                number,
                &camera.id,
                camera.rules,
                rate,
                pictures,
                camera.scores,
                scorer,
            )
            .watching(camera.scene, camera.zones),
            status: CameraStatus::new(&camera.id, rate),
            ended: false,
            error: None,
            live: camera.delivery == Delivery::Newest,
            away: None,
            processing: Samples::new(),
            snapshot: Snapshot::default(),
            configured: camera.rules.enter,
            counted: None,
        });
        sources.push(camera.source);
    }
    std::thread::scope(|scope| {
        for (number, source) in sources.into_iter().enumerate() {
            scope.spawn(move || capture(hub, number, source));
        }
        let mut inference = Inference {
            setup,
            states,
            hub,
            exchange,
            last_status: None,
            last_shown: None,
            last_telemetry: None,
            heartbeat: Heartbeat::new(),
            memory_seen: None,
            failure: None,
        };
        inference.serve(scorer);
        let stopped = hub.is_stopped();
        let seconds = started.elapsed().as_secs_f64();
        // Everybody must be gone before the scope ends.
        hub.stop();
        let Inference { setup, states, failure, .. } = inference;
        let cameras = states
            .into_iter()
            .enumerate()
            .map(|(number, state)| CameraReport {
                id: state.camera.id().to_owned(),
                counts: state.camera.counts(),
                dropped: hub.dropped(number),
                error: state.error,
            })
            .collect();
        Report { cameras, seconds, stopped, failure, outputs: setup.outputs }
    })
}

/// The body of a capture thread.
fn capture(hub: &Hub, number: usize, mut source: Box<dyn FrameSource>) {
    let stop = || hub.is_stopped();
    let run = catch_unwind(AssertUnwindSafe(|| {
        let (mut every, mut count) = (1, 0);
        hub.flow().set_rate(number, source.rate());
        loop {
            let wanted = hub.flow().wanted(number);
            if wanted != every {
                (every, count) = (wanted, 0);
                hub.push(number, Item::Gap(None, thinned(source.rate(), every)));
            }
            let mut frame = hub.spare(number);
            let keep = every > 0 && count % every == 0;
            let next = if keep {
                source.next(&mut frame, &stop)
            } else {
                source.discard(&mut frame, &stop)
            };
            match next {
                Ok(Next::Frame(stamp)) => {
                    hub.flow().saw(number);
                    count = count.wrapping_add(1);
                    if keep {
                        hub.push(number, Item::Frame(frame, stamp));
                    } else {
                        hub.give_back(number, frame);
                    }
                }
                Ok(Next::Gap(why)) => {
                    count = 0;
                    hub.flow().set_rate(number, source.rate());
                    hub.give_back(number, frame);
                    hub.push(number, Item::Gap(why, thinned(source.rate(), every)));
                }
                Ok(Next::Away(why)) => {
                    hub.give_back(number, frame);
                    hub.push(number, Item::Away(why));
                }
                Ok(Next::End) => return None,
                Err(e) => return Some(e),
            }
        }
    }));
    let error = run.unwrap_or_else(|_| {
        Some(capture::Error::Device {
            path: format!("camera {number}").into(),
            what: "the source failed in an unforeseen way".into(),
        })
    });
    hub.push(number, Item::End(error));
}

/// The rate of what is left of a source when one of every `every` frames is kept.
fn thinned(rate: f64, every: u32) -> f64 {
    rate / f64::from(every.max(1))
}

struct Running<S: Scorer> {
    camera: Camera<S>,
    status: CameraStatus,
    ended: bool,
    error: Option<Error>,
    /// A live camera is tried again after a failure of the model.
    live: bool,
    /// When the camera was last found not to be there.
    away: Option<Duration>,
    /// Time in which a frame was worked on.
    processing: Samples,
    snapshot: Snapshot,
    /// The threshold that the configuration and the bundle ask for.
    configured: f64,
    /// Time and frames at the last telemetry.
    counted: Option<(Duration, u64)>,
}

struct Inference<'a, S: Scorer> {
    setup: Setup,
    states: Vec<Running<S>>,
    hub: &'a Hub,
    exchange: &'a Exchange<S>,
    last_status: Option<Duration>,
    memory_seen: Option<Duration>,
    /// Why the run is given up.
    failure: Option<Error>,
    last_shown: Option<Duration>,
    last_telemetry: Option<Duration>,
    heartbeat: Heartbeat,
}

impl<S: Scorer> Inference<'_, S> {
    fn serve(&mut self, scorer: &mut S) {
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
                    log::warn!("camera {}: {e}; it is opened again", state.camera.id());
                    state.status.lost(e.to_string());
                }
                self.states[number].status.rate = rate;
                self.gap(scorer, number, rate);
                self.publish_status("running", true);
            }
            Item::Away(why) => {
                let state = &mut self.states[number];
                state.away = Some(self.setup.clock.monotonic());
                state.status.lost(why.to_string());
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

    /// Tells at once when something is the matter with a picture, or no longer is.
    fn look_at_scene(&mut self, number: usize) {
        let state = &mut self.states[number];
        let (scene, before) = (state.camera.scene(), state.status.scene);
        if scene != before {
            log::warn!("camera {}: picture {scene:?}, was {before:?}", state.camera.id());
            state.status.scene = scene;
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

    fn publish_status(&mut self, word: &'static str, now: bool) {
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

fn context(setup: &mut Setup) -> Context<'_> {
    Context {
        outputs: &mut setup.outputs,
        identity: &setup.identity,
        ids: &mut setup.ids,
        clock: setup.clock.as_ref(),
    }
}
