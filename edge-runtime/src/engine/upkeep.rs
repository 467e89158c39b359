//! What the inference thread does for the board between two frames: the alarm output and its key
//! switch, the status LED, the watchdog, heat, memory.

use std::time::Duration;

use boards::Rung;

use super::scorer::Scorer;
use super::{Inference, Running};
use crate::board::Conditions;
use crate::error::Error;
use crate::vitals::resident_memory;

/// Time between two looks at the memory.
const MEMORY_EVERY: Duration = Duration::from_secs(10);

impl<S: Scorer> Inference<'_, S> {
    /// Looks after the board; to be called after every frame and at least twice a second.
    pub(super) fn look_after_board(&mut self, scorer: &S) {
        let now = self.setup.clock.monotonic();
        let conditions = self.conditions();
        let before = self.setup.board.rung();
        let rung = self.setup.board.tick(now, &conditions);
        if rung != before {
            self.degrade(scorer, rung);
            self.publish_status("running", true);
        }
        let alarm = &mut self.setup.outputs.alarm;
        let armed = self.setup.board.armed();
        let turned = armed.is_some_and(|armed| armed != alarm.is_armed());
        if turned {
            alarm.set_armed(!alarm.is_armed());
        }
        alarm.tick(now.as_millis() as u64);
        if turned {
            self.publish_status("running", true);
        }
        self.mind_memory(now);
    }

    fn conditions(&self) -> Conditions {
        let publisher = self.setup.outputs.publisher.as_ref();
        let watched = |state: &&Running<S>| !state.ended;
        let lost = |state: &Running<S>| state.status.state == "lost";
        let limit = self.setup.board.frames_within();
        Conditions {
            started: self.states.iter().any(|state| state.camera.counts().frames > 0),
            alarm: self.states.iter().any(|state| state.camera.is_active()),
            degraded: self.states.iter().any(lost)
                || publisher.is_some_and(|p| !p.wait_connected(Duration::ZERO)),
            fault: !self.states.iter().filter(watched).any(|state| !lost(state)),
            frames_flow: (0..self.states.len()).all(|number| self.silence(number) <= limit),
        }
    }

    /// Time for which a camera that is there and has given frames before gives none.
    ///
    /// A camera that is not there is no reason to reset the board: a reset does not plug it in. Nor
    /// is one that has never given a frame, or the board would reset for ever.
    fn silence(&self, number: usize) -> Duration {
        let state = &self.states[number];
        if state.ended || !state.live {
            return Duration::ZERO;
        }
        let silence = self.hub.flow().silence(number).unwrap_or_default();
        let (now, lost) = (self.setup.clock.monotonic(), state.status.state == "lost");
        state.away.map_or(silence, |away| away.silence(silence, lost, now))
    }

    /// Takes a rung of the ladder: how many frames a second each live camera is asked for.
    fn degrade(&mut self, scorer: &S, rung: Rung) {
        let first = self.states.iter().position(|state| state.live && !state.ended);
        let model = scorer.rate();
        for (number, state) in self.states.iter().enumerate() {
            if !state.live {
                continue;
            }
            let wanted = match rung {
                Rung::Full => f64::INFINITY,
                Rung::FrameRate => model,
                Rung::InputSkip => model / 2.0,
                Rung::OneCamera if first == Some(number) => model / 2.0,
                Rung::OneCamera | Rung::Paused => 0.0,
            };
            self.hub.flow().want(number, wanted);
        }
    }

    /// Ends the program in order when it has grown beyond the board's ceiling.
    fn mind_memory(&mut self, now: Duration) {
        let Some(ceiling) = self.setup.board.memory_ceiling_mib() else {
            return;
        };
        if self.memory_seen.is_some_and(|seen| now < seen + MEMORY_EVERY) {
            return;
        }
        self.memory_seen = Some(now);
        if let Some(mib) = resident_memory().map(|bytes| bytes >> 20).filter(|mib| *mib > ceiling) {
            let message = format!(
                "the program has grown to {mib} MiB, the board's ceiling is {ceiling} MiB; it ends \
                 to be started afresh"
            );
            log::error!("{message}");
            self.failure.get_or_insert(Error::Failed(message));
            self.hub.stop();
        }
    }
}
