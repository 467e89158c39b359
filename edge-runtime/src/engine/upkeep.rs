//! What the inference thread does for the board between two frames: the alarm output and its key
//! switch, the status LED, the watchdog, heat, memory.

use std::time::Duration;

use boards::Rung;

use super::load::Missed;
use super::scorer::Scorer;
use super::{Inference, Running};
use crate::board::Conditions;
use crate::error::Error;
use crate::later::Size;
use crate::life::{self, Sign};
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
                || (0..self.states.len()).any(|number| self.load.is_overloaded(number))
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

    /// Gives up evenly what the machine does not carry, and says so.
    pub(super) fn mind_load(&mut self, scorer: &S) {
        let now = self.setup.clock.monotonic();
        if !self.load.is_due(now) {
            return;
        }
        let missed = |state: &Running<S>| Missed {
            frames: state.misses.total(),
            snippets: state.camera.counts().given_up,
            live: state.live && !state.ended,
        };
        let missed: Vec<Missed> = self.states.iter().map(missed).collect();
        let before = self.load.every();
        if !self.load.look(now, &missed) {
            return;
        }
        let every = self.load.every();
        let mut overloaded = Vec::new();
        for (number, state) in self.states.iter_mut().enumerate() {
            if state.live && every != before {
                state.camera.look_every(every, scorer);
            }
            if self.load.is_overloaded(number) {
                overloaded.push(state.camera.id());
            }
        }
        match overloaded[..] {
            [] => log::info!("the machine carries its cameras again"),
            _ => log::warn!(
                "overloaded: more comes of {} than this machine can look at; of each camera {}. \
                 Use fewer cameras, a smaller model or `model.threads`",
                overloaded.join(", "),
                match every {
                    1 => "what comes too fast is left out".to_owned(),
                    every => format!("one model frame of {every} is looked at"),
                }
            ),
        }
        self.publish_status("running", true);
    }

    /// Leaves a sign of life for the next start: now and then, when the watchdog starves, and at the end.
    pub(super) fn give_sign(&mut self, ended: bool) {
        let Some(file) = &self.setup.life.file else { return };
        let uptime = self.setup.clock.monotonic();
        let limit = self.setup.board.frames_within();
        let silent = || {
            let silent = (0..self.states.len()).filter(|&number| self.silence(number) > limit);
            let ids: Vec<&str> = silent.map(|number| self.states[number].camera.id()).collect();
            format!("no frame for {} s from camera {}", limit.as_secs_f64(), ids.join(", "))
        };
        let starving = self.setup.board.is_starving();
        let due = self.last_sign.as_ref().is_none_or(|last| {
            ended != last.ended
                || starving != last.starving.is_some()
                || uptime.as_secs() >= last.uptime_s + life::EVERY.as_secs()
        });
        if !due {
            return;
        }
        let sign = Sign {
            boot_id: self.setup.life.boot_id.clone(),
            uptime_s: uptime.as_secs(),
            time_ms: self.setup.clock.wall_ms(),
            starving: starving.then(silent),
            ended,
        };
        let (file, written) = (file.clone(), sign.clone());
        let write = move || file.write(&written);
        match &self.setup.outputs.later {
            Some(later) => drop(later.put(Size::Small, false, write)),
            None => {
                if let Err(e) = write() {
                    log::error!("{e}");
                }
            }
        }
        self.last_sign = Some(sign);
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
