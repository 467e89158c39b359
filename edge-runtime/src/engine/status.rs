//! The device's state, as published.

use std::time::Duration;

use serde::Serialize;
use video::Frame;

use super::camera::Camera;
use super::scorer::Scorer;
use crate::board::BoardStatus;
use crate::clock::ClockState;
use crate::later::Written;
use crate::life::LastEnd;
use crate::publish;
use crate::scene::SceneState;

/// The retained status message.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    /// `running` or `stopped`.
    pub state: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Name of the device.
    pub device: &'a str,
    /// Wall time in milliseconds of the Unix epoch.
    pub time_ms: u64,
    /// Whether the wall clock has been set.
    pub time_synced: bool,
    /// What is known of the wall clock: `synced`, `unsynced` (set, and kept right by nothing) or `unset`.
    pub clock: ClockState,
    /// Monotonic time in seconds.
    pub uptime_s: u64,
    /// The system's start that `uptime_s` counts from, as the kernel names it.
    pub boot_id: Option<&'a str>,
    /// How the program ended before this start, if that is known.
    pub last_end: Option<&'a LastEnd>,
    /// The model.
    pub model: &'a ModelStatus,
    /// Whether the alarm output is to be on.
    pub alarm: bool,
    /// Whether it would be on if it had not been for as long as it may be.
    pub alarm_silenced: bool,
    /// The board.
    pub board: BoardStatus,
    /// Events waiting for the broker.
    pub spool: SpoolStatus,
    /// Writes to the disk: scores, events, pictures, settings.
    pub files: Written,
    /// Whether more comes of a camera than the machine can look at.
    pub overloaded: bool,
    /// Each camera.
    pub cameras: Vec<CameraStatus>,
}

/// What of a status is told at once when it changes: everything but times, counters and measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    state: &'static str,
    clock: ClockState,
    alarm: (bool, bool),
    board: (Option<bool>, Option<&'static str>, &'static str, bool),
    spool: (bool, usize),
    overloaded: bool,
    model: ModelStatus,
    cameras: Vec<CameraTold>,
}

#[derive(Debug, Clone, PartialEq)]
struct CameraTold {
    state: &'static str,
    reason: Option<String>,
    size: (usize, usize),
    rate: f64,
    flags: [bool; 4],
    looks_every: u64,
    events: u64,
    threshold: f64,
    scene: SceneState,
}

impl Status<'_> {
    /// What of it is told at once. Every field is named here, so that a new one is thought of.
    pub fn told(&self) -> Told {
        let Self {
            state,
            version: _,
            device: _,
            time_ms: _,
            time_synced: _,
            clock,
            uptime_s: _,
            boot_id: _,
            last_end: _,
            model,
            alarm,
            alarm_silenced,
            board,
            spool,
            files: _,
            overloaded,
            cameras,
        } = self;
        let BoardStatus { profile: _, armed, thermal, temperature_celsius: _, rung, watchdog } =
            board;
        Told {
            state,
            clock: *clock,
            alarm: (*alarm, *alarm_silenced),
            board: (*armed, *thermal, rung, *watchdog),
            spool: (spool.connected, spool.held_topics),
            overloaded: *overloaded,
            model: (*model).clone(),
            cameras: cameras.iter().map(CameraStatus::told).collect(),
        }
    }
}

/// The model in the status.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelStatus {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// SHA-256 of the bundle's file.
    pub digest: String,
    /// `ort` or `tract`.
    pub backend: String,
    /// What it computes with: `tensorrt`, `cuda` or `cpu`.
    pub provider: String,
    /// `int8` or `fp32`.
    pub precision: String,
    /// The processor's instructions for sums of 8-bit products.
    pub kernels: String,
    /// Whether the INT8 graphs give the integers here that they give everywhere.
    pub exact: bool,
    /// Whether the bundle is signed by a key that the configuration names.
    pub origin_checked: bool,
}

/// The spool in the status.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SpoolStatus {
    /// Events waiting.
    pub depth: usize,
    /// Bytes waiting.
    pub bytes: u64,
    /// Events dropped because the spool was full.
    pub dropped_total: u64,
    /// Damaged files deleted.
    pub corrupt_total: u64,
    /// Events that the disk refused.
    pub write_errors_total: u64,
    /// Events acknowledged by the broker.
    pub acknowledged_total: u64,
    /// Whether the broker has accepted the connection that there is now.
    pub connected: bool,
    /// Connections that the broker accepted.
    pub connections_total: u64,
    /// Messages that the broker refused, by an answer or by ending the link.
    pub refused_total: u64,
    /// Topics that the broker does not take at this time.
    pub held_topics: usize,
    /// Connections that another client with this device's id has ended.
    pub taken_over_total: u64,
}

impl From<publish::Report> for SpoolStatus {
    fn from(report: publish::Report) -> Self {
        Self {
            depth: report.depth,
            bytes: report.bytes,
            dropped_total: report.counters.dropped,
            corrupt_total: report.counters.corrupt,
            write_errors_total: report.counters.write_errors,
            acknowledged_total: report.acknowledged,
            connected: report.connected,
            connections_total: report.connections,
            refused_total: report.refused,
            held_topics: report.held,
            taken_over_total: report.taken_over,
        }
    }
}

/// A camera in the status.
#[derive(Debug, Clone, Serialize)]
pub struct CameraStatus {
    /// Id of the camera.
    pub id: String,
    /// `starting`, `running`, `lost` (being opened again), `ended` or `failed`.
    pub state: &'static str,
    /// Why it is lost or failed.
    pub reason: Option<String>,
    /// Width of its frames.
    pub width: usize,
    /// Height of its frames.
    pub height: usize,
    /// Frames per second that the source promises.
    pub rate: f64,
    /// Frames per second taken since the last status.
    pub measured_rate: Option<f64>,
    /// Frames taken.
    pub frames_total: u64,
    /// Frames that came too fast.
    pub dropped_total: u64,
    /// Whether more comes of it than the machine can look at: something is given up, of all live cameras
    /// alike.
    pub overloaded: bool,
    /// Frames that the model should have looked at and that came too fast.
    pub missed_total: u64,
    /// Snippets of the semantic detector given up because the one before was still being computed.
    pub given_up_total: u64,
    /// Every how manieth model frame is looked at: 1 unless overloaded.
    pub looks_every: u64,
    /// Times that the picture did not go on.
    pub gaps_total: u64,
    /// Failures of the model on this camera.
    pub errors: u64,
    /// Milliseconds since the last frame.
    pub last_frame_age_ms: Option<u64>,
    /// The newest score.
    pub score: f64,
    /// Incidents announced.
    pub events_total: u64,
    /// Whether an incident is running.
    pub active: bool,
    /// Whether the score has stayed high since an incident that lasted too long: until it has been
    /// back to normal no other begins.
    pub lasting: bool,
    /// Whether incidents are announced.
    pub armed: bool,
    /// Score at which an incident starts.
    pub threshold: f64,
    /// What is the matter with the picture: `ok`, `frozen`, `dark`, `covered`, `moved`.
    pub scene: SceneState,
    /// Frames at which an incident would have begun if the whole picture had not changed.
    pub vetoed_total: u64,
    #[serde(skip)]
    last_frame: Option<Duration>,
    #[serde(skip)]
    last_update: Option<(Duration, u64)>,
}

impl CameraStatus {
    pub(super) fn new(id: &str, rate: f64) -> Self {
        Self {
            id: id.to_owned(),
            state: "starting",
            reason: None,
            width: 0,
            height: 0,
            rate,
            measured_rate: None,
            frames_total: 0,
            dropped_total: 0,
            overloaded: false,
            missed_total: 0,
            given_up_total: 0,
            looks_every: 1,
            gaps_total: 0,
            errors: 0,
            last_frame_age_ms: None,
            score: 0.0,
            events_total: 0,
            active: false,
            lasting: false,
            armed: true,
            threshold: 0.0,
            scene: SceneState::Ok,
            vetoed_total: 0,
            last_frame: None,
            last_update: None,
        }
    }

    fn told(&self) -> CameraTold {
        let Self {
            id: _,
            state,
            reason,
            width,
            height,
            rate,
            measured_rate: _,
            frames_total: _,
            dropped_total: _,
            overloaded,
            missed_total: _,
            given_up_total: _,
            looks_every,
            gaps_total: _,
            errors: _,
            last_frame_age_ms: _,
            score: _,
            events_total,
            active,
            lasting,
            armed,
            threshold,
            scene,
            vetoed_total: _,
            last_frame: _,
            last_update: _,
        } = self;
        CameraTold {
            state,
            reason: reason.clone(),
            size: (*width, *height),
            rate: *rate,
            flags: [*overloaded, *active, *lasting, *armed],
            looks_every: *looks_every,
            events: *events_total,
            threshold: *threshold,
            scene: *scene,
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame, now: Duration) {
        self.state = "running";
        self.reason = None;
        (self.width, self.height) = (frame.width(), frame.height());
        self.last_frame = Some(now);
    }

    pub(super) fn lost(&mut self, reason: String) {
        self.state = "lost";
        self.reason = Some(reason);
    }

    pub(super) fn ended(&mut self, reason: Option<String>) {
        if self.state != "failed" {
            self.state = if reason.is_some() { "failed" } else { "ended" };
            self.reason = reason;
        }
    }

    pub(super) fn update<S: Scorer>(
        &mut self,
        camera: &Camera<S>,
        dropped: u64,
        now: Duration,
    ) -> Self {
        let counts = camera.counts();
        if let Some((then, frames)) = self.last_update {
            let seconds = now.saturating_sub(then).as_secs_f64();
            // Shorter spans say little.
            if seconds >= 0.5 {
                self.measured_rate = Some((counts.frames - frames) as f64 / seconds);
                self.last_update = Some((now, counts.frames));
            }
        } else {
            self.last_update = Some((now, counts.frames));
        }
        self.frames_total = counts.frames;
        self.dropped_total = dropped;
        self.given_up_total = counts.given_up;
        self.score = counts.score;
        self.events_total = counts.events;
        self.active = camera.is_active();
        self.lasting = camera.is_lasting();
        self.armed = camera.is_armed();
        self.threshold = camera.threshold();
        self.vetoed_total = counts.vetoed;
        self.last_frame_age_ms =
            self.last_frame.map(|last| now.saturating_sub(last).as_millis() as u64);
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    /// Every kind of change, and whether it is told at once.
    #[test]
    fn every_kind_of_change_is_told_at_once_and_counters_are_not() {
        type Change = (&'static str, fn(&mut Status<'static>));
        static OTHER: std::sync::LazyLock<ModelStatus> = std::sync::LazyLock::new(|| ModelStatus {
            version: "2".into(),
            ..ModelStatus::default()
        });
        static FIRST: std::sync::LazyLock<ModelStatus> =
            std::sync::LazyLock::new(ModelStatus::default);
        let make = || Status {
            state: "running",
            version: "1",
            device: "cam-01",
            time_ms: 1,
            time_synced: true,
            clock: ClockState::Synced,
            uptime_s: 1,
            boot_id: None,
            last_end: None,
            model: &FIRST,
            alarm: false,
            alarm_silenced: false,
            board: Board::none().status(),
            spool: SpoolStatus::from(publish::Report::default()),
            files: Written::default(),
            overloaded: false,
            cameras: vec![CameraStatus::new("door", 10.0), CameraStatus::new("yard", 10.0)],
        };
        let changes: &[Change] = &[
            ("the end", |s| s.state = "stopped"),
            ("the clock is lost", |s| s.clock = ClockState::Unset),
            ("another model", |s| s.model = &OTHER),
            ("the siren", |s| s.alarm = true),
            ("the siren's limit", |s| s.alarm_silenced = true),
            ("the key switch", |s| s.board.armed = Some(false)),
            ("heat", |s| s.board.thermal = Some("warm")),
            ("a rung", |s| s.board.rung = "paused"),
            ("the watchdog", |s| s.board.watchdog = true),
            ("the broker", |s| s.spool.connected = true),
            ("a topic is held", |s| s.spool.held_topics = 1),
            ("overload", |s| s.overloaded = true),
            ("a camera is lost", |s| s.cameras[1].lost("gone".into())),
            ("a camera ends", |s| s.cameras[0].ended(None)),
            ("a camera's size", |s| s.cameras[0].width = 5),
            ("a camera's rate", |s| s.cameras[0].rate = 5.0),
            ("a camera is overloaded", |s| s.cameras[1].overloaded = true),
            ("less is looked at", |s| s.cameras[1].looks_every = 2),
            ("an incident", |s| s.cameras[0].active = true),
            ("an incident that came and went", |s| s.cameras[0].events_total += 1),
            ("a lasting score", |s| s.cameras[0].lasting = true),
            ("disarmed", |s| s.cameras[0].armed = false),
            ("a threshold", |s| s.cameras[0].threshold = 0.7),
            ("a picture", |s| s.cameras[0].scene = SceneState::Dark),
        ];
        for (what, change) in changes {
            let mut status = make();
            change(&mut status);
            assert_ne!(status.told(), make().told(), "{what}");
        }
        let mut status = make();
        (status.time_ms, status.uptime_s, status.files.waiting) = (9, 9, 9);
        status.spool.acknowledged_total = 9;
        status.board.temperature_celsius = Some(50.0);
        for camera in &mut status.cameras {
            (camera.frames_total, camera.dropped_total, camera.score) = (9, 9, 0.9);
            camera.measured_rate = Some(9.0);
        }
        assert_eq!(status.told(), make().told());
    }
}
