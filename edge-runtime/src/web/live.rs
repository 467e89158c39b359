//! What the inference thread tells and the web server shows.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alert_wire::Alert;
use boards::Rung;
use serde_json::Value;

/// Alerts that are remembered.
const ALERTS: usize = 100;
/// Seconds of scores that are remembered.
const SECONDS: usize = 3600;

/// A picture as a JPEG file.
pub type Picture = Arc<[u8]>;

/// The highest score of each second, an hour of them.
#[derive(Debug, Default)]
struct Scores {
    /// Wall time in milliseconds at the beginning of the second, and the score.
    seconds: VecDeque<(u64, f64)>,
}

#[derive(Debug, Default)]
struct Camera {
    scores: Scores,
    wanted: bool,
    /// The newest picture, and how many there were.
    picture: Option<Picture>,
    pictures: u64,
}

#[derive(Debug, Default)]
struct State {
    status: String,
    telemetry: String,
    alerts: VecDeque<String>,
    cameras: Vec<Camera>,
    round: Option<Instant>,
}

/// The newest of everything; bounded.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
    pictured: Condvar,
}

impl Live {
    /// Of this many cameras.
    pub fn new(cameras: usize) -> Self {
        let cameras = (0..cameras).map(|_| Camera::default()).collect();
        let (status, telemetry) = ("null".into(), "null".into());
        let state = State { status, telemetry, cameras, ..State::default() };
        Self { state: Mutex::new(state), pictured: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inference thread goes round.
    pub fn round(&self) {
        self.lock().round = Some(Instant::now());
    }

    /// Time since it last did.
    pub fn since_round(&self) -> Option<Duration> {
        self.lock().round.map(|round| round.elapsed())
    }

    /// Why the newest status says that no camera's frames are looked at.
    pub fn unwatched(&self) -> Option<&'static str> {
        let status: Value = serde_json::from_str(&self.lock().status).unwrap_or(Value::Null);
        if status["board"]["rung"] == Rung::Paused.name() {
            return Some("too hot: no frame is looked at");
        }
        let mut cameras = status["cameras"].as_array().into_iter().flatten();
        match cameras.any(|camera| camera["state"] == "running") {
            true => None,
            false => Some("no camera gives frames"),
        }
    }

    /// Whether the newest status says that more comes of a camera than the machine can look at.
    pub fn overloaded(&self) -> bool {
        let status: Value = serde_json::from_str(&self.lock().status).unwrap_or(Value::Null);
        status["overloaded"] == true
    }

    /// Takes the newest status message.
    pub fn set_status(&self, json: String) {
        self.lock().status = json;
    }

    /// Takes the newest telemetry message.
    pub fn set_telemetry(&self, json: String) {
        self.lock().telemetry = json;
    }

    /// Takes an alert.
    pub fn add_alert(&self, alert: &Alert) {
        if let Ok(json) = alert.to_json() {
            let mut state = self.lock();
            if state.alerts.len() == ALERTS {
                state.alerts.pop_front();
            }
            state.alerts.push_back(json);
        }
    }

    /// Takes the score of a frame that was taken at this wall time.
    pub fn add_score(&self, camera: usize, wall_ms: u64, score: f64) {
        let second = wall_ms / 1000 * 1000;
        let mut state = self.lock();
        let Some(camera) = state.cameras.get_mut(camera) else { return };
        let seconds = &mut camera.scores.seconds;
        match seconds.back_mut() {
            // A clock that was set back goes on in the same second.
            Some((then, highest)) if *then >= second => *highest = highest.max(score),
            _ => {
                if seconds.len() == SECONDS {
                    seconds.pop_front();
                }
                seconds.push_back((second, score));
            }
        }
    }

    /// Whether somebody waits for a picture of this camera.
    pub fn wants_picture(&self, camera: usize) -> bool {
        self.lock().cameras.get(camera).is_some_and(|camera| camera.wanted)
    }

    /// Takes the picture that somebody waits for.
    pub fn set_picture(&self, camera: usize, jpeg: Vec<u8>) {
        let mut state = self.lock();
        if let Some(camera) = state.cameras.get_mut(camera) {
            camera.wanted = false;
            camera.picture = Some(jpeg.into());
            camera.pictures += 1;
        }
        drop(state);
        self.pictured.notify_all();
    }

    /// Waits for a picture of this camera; `None` if none came in time.
    pub fn picture(&self, camera: usize, until: Instant) -> Option<Picture> {
        let mut state = self.lock();
        let own = state.cameras.get_mut(camera)?;
        own.wanted = true;
        let before = own.pictures;
        loop {
            let own = state.cameras.get(camera)?;
            if own.pictures > before {
                return own.picture.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state =
                self.pictured.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The newest status message, or `null`.
    pub fn status(&self) -> String {
        self.lock().status.clone()
    }

    /// The newest telemetry message, or `null`.
    pub fn telemetry(&self) -> String {
        self.lock().telemetry.clone()
    }

    /// The newest alerts as a JSON list, oldest first.
    pub fn events(&self) -> String {
        let state = self.lock();
        let alerts: Vec<&str> = state.alerts.iter().map(String::as_str).collect();
        format!("[{}]", alerts.join(","))
    }

    /// Scores as a JSON list of `[time_ms, score]`.
    pub fn scores(&self, camera: usize) -> String {
        let state = self.lock();
        let seconds = state.cameras.get(camera).into_iter().flat_map(|c| &c.scores.seconds);
        let pairs: Vec<String> =
            seconds.map(|(time, score)| format!("[{time},{score:.4}]")).collect();
        format!("[{}]", pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_is_only_who_looks_at_a_camera() {
        let live = Live::new(2);
        let told = |rung: &str, states: [&str; 2]| {
            let cameras = states.map(|state| serde_json::json!({ "state": state }));
            let status = serde_json::json!({ "board": { "rung": rung }, "cameras": cameras });
            live.set_status(status.to_string());
            live.unwatched()
        };
        assert!(Live::new(1).unwatched().is_some(), "before the first status");
        assert_eq!(told("full", ["lost", "running"]), None);
        assert!(told("full", ["lost", "starting"]).unwrap().contains("no camera"));
        assert!(told("full", ["ended", "failed"]).is_some());
        assert!(told("paused", ["running", "running"]).unwrap().contains("too hot"));
    }

    #[test]
    fn an_hour_of_seconds() {
        let live = Live::new(1);
        for frame in 0..10 * 4000u64 {
            let score = if frame == 39_995 { 0.9 } else { 0.1 };
            live.add_score(0, frame * 100, score);
        }
        live.add_score(0, 5000, 0.5);
        live.add_score(7, 0, 0.5);
        let scores: Vec<(u64, f64)> = serde_json::from_str(&live.scores(0)).unwrap();
        assert_eq!((scores.len(), scores[0]), (SECONDS, (400_000, 0.1)));
        assert_eq!(scores[SECONDS - 1], (3_999_000, 0.9));
        assert_eq!(live.scores(7), "[]");
    }

    #[test]
    fn a_picture_is_taken_when_one_is_wanted() {
        let live = Live::new(1);
        assert!(!live.wants_picture(0));
        assert_eq!(live.picture(0, Instant::now()), None);
        assert!(live.wants_picture(0));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| live.picture(0, Instant::now() + Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(50));
            live.set_picture(0, vec![1, 2]);
            assert_eq!(waiting.join().unwrap().as_deref(), Some(&[1, 2][..]));
        });
        assert!(!live.wants_picture(0));
        assert_eq!(live.picture(3, Instant::now()), None);
    }
}
