//! The device's state, as published.

use std::time::Duration;

use serde::Serialize;
use video::Frame;

use super::camera::Camera;
use super::scorer::Scorer;
use crate::board::BoardStatus;
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
    /// Monotonic time in seconds.
    pub uptime_s: u64,
    /// The model.
    pub model: &'a ModelStatus,
    /// Whether the alarm output is to be on.
    pub alarm: bool,
    /// The board.
    pub board: BoardStatus,
    /// Events waiting for the broker.
    pub spool: SpoolStatus,
    /// Each camera.
    pub cameras: Vec<CameraStatus>,
}

/// The model in the status.
#[derive(Debug, Clone, Default, Serialize)]
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
