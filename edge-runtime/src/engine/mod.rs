//! The loop: a capture thread for each camera, one inference thread for all.
//!
//! The inference thread takes the cameras in turn and shares one loaded model among them, each
//! with a stream of its own. It also drives the alarm and publishes the status, so that a status
//! that goes on says that frames are being looked at.

mod away;
mod camera;
mod flow;
mod heartbeat;
mod hub;
mod intake;
mod load;
mod outputs;
mod remote;
mod scorer;
mod serve;
mod status;
mod telemetry;
#[cfg(test)]
mod tests;
mod upkeep;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::capture::{Delivery, FrameSource};
use crate::clock::Clock;
use crate::detection::{IncidentIds, Rules};
use crate::error::Error;
use crate::life::{LastEnd, SignFile};
use crate::scene::SceneRules;
use crate::update::Exchange;
use crate::zones::Zones;
use heartbeat::Heartbeat;
use inference::Wake;
use load::{Load, Misses};
use remote::Snapshot;
use serve::{Inference, Running};

pub use camera::{Camera, Context, Counts, Identity};
pub use flow::Flow;
pub use hub::{Hub, Item, Work};
pub use outputs::{EventFile, Outputs, ScoreFile};
pub use remote::Remote;
pub use scorer::Scorer;
pub use status::{CameraStatus, ModelStatus, SpoolStatus, Status};
pub use telemetry::{CameraTelemetry, CommandTotals, Percentiles, Samples, SpoolDepth, Telemetry};

/// Longest wait for what is to be written when the run was stopped.
const PATIENCE: Duration = Duration::from_secs(3);

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
    /// What is known of the start and of the end before it.
    pub life: Life,
}

/// What is known of the start and of the end before it.
#[derive(Debug, Default)]
pub struct Life {
    /// Where signs of life go; a replay leaves none.
    pub file: Option<SignFile>,
    /// The system's start, as the kernel names it.
    pub boot_id: Option<String>,
    /// How the program ended before.
    pub last_end: Option<LastEnd>,
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
    let wake = wake(hub);
    scorer.begin(Arc::clone(&wake));
    let mut states = Vec::new();
    let mut sources = Vec::new();
    for (number, camera) in cameras.into_iter().enumerate() {
        let rate = camera.source.rate();
        let wait = camera.delivery == Delivery::Lossless;
        let mut watching =
            Camera::new(number, &camera.id, camera.rules, rate, pictures, camera.scores, scorer)
                .watching(camera.scene, camera.zones);
        if !wait {
            watching = watching.live(scorer);
        }
        let delay = watching.delay(scorer);
        let evidence = setup.outputs.evidence.as_ref();
        let clips = evidence.and_then(|evidence| evidence.feed(number, &camera.id, delay, wait));
        states.push(Running {
            camera: watching.recording(clips),
            status: CameraStatus::new(&camera.id, rate),
            ended: false,
            error: None,
            live: camera.delivery == Delivery::Newest,
            away: None,
            processing: Samples::new(),
            snapshot: Snapshot::default(),
            configured: camera.rules.enter,
            counted: None,
            waiting: None,
            misses: Misses::default(),
        });
        sources.push(camera.source);
    }
    std::thread::scope(|scope| {
        for (number, source) in sources.into_iter().enumerate() {
            scope.spawn(move || intake::capture(hub, number, source));
        }
        let mut inference = Inference {
            load: Load::new(states.len()),
            ready: Vec::with_capacity(states.len()),
            wake,
            setup,
            states,
            hub,
            exchange,
            last_status: None,
            last_told: None,
            last_sign: None,
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
        let Inference { setup, states, mut failure, .. } = inference;
        if let Some(later) = &setup.outputs.later {
            let error = later.close(if stopped { PATIENCE } else { Duration::MAX / 4 });
            // A live camera goes on without its files; who asks for those of a recording wants them whole.
            failure = failure.or(error.filter(|_| setup.end_with_sources && !stopped));
        }
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

/// What tells the inference thread that something was computed aside.
fn wake(hub: &Arc<Hub>) -> Wake {
    let hub = Arc::clone(hub);
    Arc::new(move || hub.computed())
}

fn context(setup: &mut Setup) -> Context<'_> {
    Context {
        outputs: &mut setup.outputs,
        identity: &setup.identity,
        ids: &mut setup.ids,
        clock: setup.clock.as_ref(),
    }
}
