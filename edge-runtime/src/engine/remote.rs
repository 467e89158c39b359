//! What comes from outside while the program runs, and what is told in return: commands, echoed
//! settings, telemetry, the introduction to Home Assistant.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alert_wire::{Setting, Topics};
use serde::Serialize;
use video::{Frame, Resizer};

use super::scorer::Scorer;
use super::telemetry::{CameraTelemetry, CommandTotals, SpoolDepth, Telemetry};
use super::{Inference, Setup, context};
use crate::control::{CameraSettings, Command, CommandCounters, Settings};
use crate::later::Size;
use crate::publish::Publisher;
use crate::vitals;

/// Wider pictures are made smaller: a broker is no file server.
const SNAPSHOT_WIDTH: usize = 640;
const SNAPSHOT_QUALITY: u8 = 75;
/// Shortest time between two pictures of a camera, so that asking for them cannot stop the frames.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);

/// What a run needs to be told things and to tell them.
pub struct Remote {
    /// The device's topics, if there is a broker.
    pub topics: Option<Topics>,
    /// What commands have set.
    pub settings: Settings,
    /// What became of commands.
    pub counters: Arc<CommandCounters>,
    /// Time between two telemetry messages.
    pub telemetry_every: Duration,
    /// Topic and content of the message for Home Assistant; an empty one removes the device.
    pub introduction: Option<(String, String)>,
}

/// A picture that is asked for.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    wanted: bool,
    taken: Option<Duration>,
}

impl<S: Scorer> Inference<'_, S> {
    /// Takes up what commands have set before the last restart, and tells all settings.
    pub(super) fn restore_settings(&mut self) {
        let Some(remote) = &self.setup.remote else { return };
        for state in &mut self.states {
            let configured = state.camera.threshold();
            let known = remote.settings.of(state.camera.id(), configured);
            state.configured = configured;
            if let Some(threshold) = known.threshold {
                state.camera.set_threshold(threshold);
            }
            state.camera.restore_armed(known.armed);
        }
        self.echo();
        self.introduce();
    }

    /// Carries out a command.
    pub(super) fn command(&mut self, scorer: &mut S, command: Command) {
        log::info!("command: {command:?}");
        match command {
            Command::Arm { camera, armed } => {
                let chosen = |number: usize| camera.is_none_or(|camera| camera == number);
                for number in (0..self.states.len()).filter(|&number| chosen(number)) {
                    let state = &mut self.states[number];
                    let mut context = context(&mut self.setup);
                    if let Err(e) = state.camera.set_armed(armed, scorer, &mut context) {
                        log::error!("{e}");
                    }
                    self.remember(number);
                }
            }
            Command::Threshold { camera, value } => {
                let Some(state) = self.states.get_mut(camera) else { return };
                state.camera.set_threshold(value);
                self.remember(camera);
            }
            Command::Snapshot { camera } => {
                if let Some(state) = self.states.get_mut(camera) {
                    state.snapshot.wanted = true;
                }
                return;
            }
            Command::Introduce => return self.introduce(),
        }
        self.echo();
        self.publish_status("running", true);
    }

    fn remember(&mut self, number: usize) {
        let (Some(remote), Some(state)) = (&mut self.setup.remote, self.states.get(number)) else {
            return;
        };
        let threshold = state.camera.threshold();
        let settings = CameraSettings {
            armed: state.camera.is_armed(),
            threshold: (threshold != state.configured).then_some(threshold),
            configured: state.configured,
        };
        let Some(write) = remote.settings.set(state.camera.id(), settings) else { return };
        match &self.setup.outputs.later {
            Some(later) => drop(later.put(Size::Small, false, write)),
            None => {
                if let Err(e) = write() {
                    log::error!("{e}");
                }
            }
        }
    }

    /// Tells every setting, retained.
    fn echo(&self) {
        let Some((publisher, topics, _)) = told(&self.setup) else { return };
        let on = |armed: bool| if armed { "ON" } else { "OFF" };
        for state in &self.states {
            let camera = &state.camera;
            let tell = |setting, value: String| {
                if let Some(topic) = topics.setting(camera.id(), setting) {
                    publisher.set_retained(&topic, value);
                }
            };
            tell(Setting::Armed, on(camera.is_armed()).into());
            tell(Setting::Threshold, camera.threshold().to_string());
        }
        let all = self.states.iter().all(|state| state.camera.is_armed());
        publisher.set_retained(&topics.armed(), on(all));
    }

    /// Publishes or removes the device at Home Assistant.
    fn introduce(&self) {
        if let Some((publisher, _, remote)) = told(&self.setup)
            && let Some((topic, message)) = &remote.introduction
        {
            publisher.set_retained(topic, message.as_str());
        }
    }

    /// Publishes the frame as a picture if one is wanted and due.
    pub(super) fn take_snapshot(&mut self, number: usize, frame: &Frame) {
        let now = self.setup.clock.monotonic();
        let Some(state) = self.states.get_mut(number) else { return };
        if let Some(live) = &self.setup.outputs.live
            && live.wants_picture(number)
        {
            match picture(frame) {
                Ok(jpeg) => live.set_picture(number, jpeg),
                Err(e) => log::error!("picture: {e}"),
            }
        }
        let wait = &mut state.snapshot;
        if !wait.wanted || wait.taken.is_some_and(|taken| now < taken + SNAPSHOT_EVERY) {
            return;
        }
        (wait.wanted, wait.taken) = (false, Some(now));
        let Some((publisher, topics, _)) = told(&self.setup) else { return };
        let topic = topics.setting(self.states[number].camera.id(), Setting::Snapshot);
        match (picture(frame), topic) {
            (Ok(jpeg), Some(topic)) => publisher.set_retained(&topic, jpeg),
            (Err(e), _) => log::error!("picture: {e}"),
            (_, None) => {}
        }
    }

    pub(super) fn publish_telemetry(&mut self, now: bool) {
        let clock = Arc::clone(&self.setup.clock);
        let uptime = clock.monotonic();
        let Some(remote) = &self.setup.remote else { return };
        let due = self.last_telemetry.is_none_or(|last| uptime >= last + remote.telemetry_every);
        if !due && !now {
            return;
        }
        self.last_telemetry = Some(uptime);
        if let Some(evidence) = &mut self.setup.outputs.evidence {
            evidence.expire(SystemTime::now());
        }
        let heat = self.setup.board.heat();
        let cameras = self.states.iter_mut().enumerate().map(|(number, state)| {
            let frames = state.camera.counts().frames;
            let rate = state.counted.replace((uptime, frames)).and_then(|(then, before)| {
                let seconds = uptime.saturating_sub(then).as_secs_f64();
                (seconds > 0.0).then(|| (frames - before) as f64 / seconds)
            });
            CameraTelemetry {
                id: state.camera.id().to_owned(),
                frames_per_second: rate,
                frames_total: frames,
                dropped_total: self.hub.dropped(number),
                score: state.camera.counts().score,
                processing_ms: state.processing.percentiles(),
                latency_ms: state.camera.latency().percentiles().filter(|_| state.live),
            }
        });
        let cameras = cameras.collect();
        let Some(remote) = &self.setup.remote else { return };
        let report = self.setup.outputs.publisher.as_ref().map(Publisher::report);
        let report = report.unwrap_or_default();
        let telemetry = Telemetry {
            schema: 1,
            device: &self.setup.identity.device,
            time_ms: clock.wall_ms(),
            time_synced: clock.synced(),
            uptime_s: uptime.as_secs(),
            memory_bytes: vitals::resident_memory(),
            temperature_celsius: heat.map(|(celsius, _)| celsius),
            thermal_state: heat.map(|(_, state)| state),
            spool: SpoolDepth {
                depth: report.depth,
                bytes: report.bytes,
                dropped_total: report.counters.dropped,
            },
            commands: CommandTotals {
                accepted_total: remote.counters.accepted(),
                refused_total: remote.counters.refused() + report.oversized,
            },
            cameras,
        };
        let Some(json) = to_json(&telemetry) else { return };
        if let Some(live) = &self.setup.outputs.live {
            live.set_telemetry(json.clone());
        }
        if let Some((publisher, topics, _)) = told(&self.setup) {
            publisher.set_retained(&topics.telemetry(), json);
        }
    }
}

/// Through what the run tells things, if anybody may hear them.
pub(super) fn told(setup: &Setup) -> Option<(&Publisher, &Topics, &Remote)> {
    let remote = setup.remote.as_ref()?;
    Some((setup.outputs.publisher.as_ref()?, remote.topics.as_ref()?, remote))
}

/// A message as JSON.
pub(super) fn to_json(message: &impl Serialize) -> Option<String> {
    serde_json::to_string(message).map_err(|e| log::error!("a message as JSON: {e}")).ok()
}

/// A frame as a JPEG of at most [`SNAPSHOT_WIDTH`].
fn picture(frame: &Frame) -> Result<Vec<u8>, video::Error> {
    if frame.width() <= SNAPSHOT_WIDTH {
        return video::encode_jpeg(frame, SNAPSHOT_QUALITY);
    }
    let height = (frame.height() * SNAPSHOT_WIDTH / frame.width()).max(1);
    let mut small = Frame::new(SNAPSHOT_WIDTH, height);
    Resizer::new().resize(frame, &mut small)?;
    video::encode_jpeg(&small, SNAPSHOT_QUALITY)
}
