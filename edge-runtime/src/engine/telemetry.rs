//! Measurements, as published.

use std::time::Duration;

use serde::Serialize;

/// Measurements of which percentiles are formed: the last half minute or so of one camera.
const SAMPLES: usize = 512;

/// The retained telemetry message.
#[derive(Debug, Serialize)]
pub struct Telemetry<'a> {
    /// Version of this message: 1.
    pub schema: u8,
    /// Name of the device.
    pub device: &'a str,
    /// Wall time in milliseconds of the Unix epoch.
    pub time_ms: u64,
    /// Whether the wall clock has been set.
    pub time_synced: bool,
    /// Monotonic time in seconds.
    pub uptime_s: u64,
    /// Resident memory of the program.
    pub memory_bytes: Option<u64>,
    /// Temperature of the hottest sensor that the board profile names.
    pub temperature_celsius: Option<f64>,
    /// What the board profile says of it: `normal`, `warm`, `critical`.
    pub thermal_state: Option<&'static str>,
    /// Events waiting for the broker.
    pub spool: SpoolDepth,
    /// Commands.
    pub commands: CommandTotals,
    /// Each camera.
    pub cameras: Vec<CameraTelemetry>,
}

/// The spool in the telemetry; the status has more.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SpoolDepth {
    /// Events waiting.
    pub depth: usize,
    /// Bytes waiting.
    pub bytes: u64,
    /// Events dropped because the spool was full.
    pub dropped_total: u64,
}

/// Commands in the telemetry.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CommandTotals {
    /// Carried out.
    pub accepted_total: u64,
    /// Refused: malformed, too large, retained, unknown.
    pub refused_total: u64,
}

/// A camera in the telemetry.
#[derive(Debug, Clone, Serialize)]
pub struct CameraTelemetry {
    /// Id of the camera.
    pub id: String,
    /// Frames a second, taken since the last telemetry.
    pub frames_per_second: Option<f64>,
    /// Frames taken.
    pub frames_total: u64,
    /// Frames that came too fast.
    pub dropped_total: u64,
    /// The newest score.
    pub score: f64,
    /// Time in which a frame was worked on.
    pub processing_ms: Option<Percentiles>,
    /// Time from a frame's capture to its score, the wait for frames to come included. Only of
    /// sources whose frames are taken as they happen.
    pub latency_ms: Option<Percentiles>,
}

/// Percentiles of a time in milliseconds, over the newest frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the frames took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// The newest measurements of a time. Its size is fixed: adding one allocates nothing.
#[derive(Debug, Clone)]
pub struct Samples {
    micros: Vec<u32>,
    next: usize,
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        Self { micros: Vec::with_capacity(SAMPLES), next: 0 }
    }

    /// Adds a measurement, in place of the oldest if there are enough.
    pub fn push(&mut self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        if self.micros.len() < SAMPLES {
            self.micros.push(micros);
        } else {
            self.micros[self.next] = micros;
        }
        self.next = (self.next + 1) % SAMPLES;
    }

    /// Nearest-rank percentiles; `None` before the first measurement.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let max = f64::from(*sorted.last()?) / 1000.0;
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            f64::from(sorted[at]) / 1000.0
        };
        Some(Percentiles { p50: rank(50), p90: rank(90), p99: rank(99), max })
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_newest() {
        let mut samples = Samples::new();
        assert_eq!(samples.percentiles(), None);
        samples.push(Duration::from_millis(7));
        let one = Percentiles { p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 };
        assert_eq!(samples.percentiles(), Some(one));
        // 1000 ms, then enough to push it out: 1 to 512 ms in another order.
        samples.push(Duration::from_secs(1));
        for i in 0..SAMPLES as u64 {
            samples.push(Duration::from_millis((i * 37) % SAMPLES as u64 + 1));
        }
        let all = Percentiles { p50: 256.0, p90: 461.0, p99: 507.0, max: 512.0 };
        assert_eq!(samples.percentiles(), Some(all));
        assert_eq!(samples.micros.len(), SAMPLES);
    }
}
