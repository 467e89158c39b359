//! From scores to incidents: hysteresis, minimum duration, one id per incident, peak tracking.
//!
//! ```text
//!              score ≥ enter                 min_duration passed
//!   ┌──────┐ ───────────────► ┌─────────┐ ───────────────────────► ┌────────┐
//!   │ idle │                  │ pending │          (new)           │ active │──┐ every update_every
//!   └──────┘ ◄─────────────── └─────────┘                          └────────┘◄─┘   (update)
//!      ▲       score < exit                                             │
//!      ├──────────────── below exit for end_after (end), cool_down ◄────┤
//!      │                        ┌─────────┐        longest passed (end) │
//!      └── below exit for ◄──── │ lasting │ ◄───────────────────────────┘
//!          end_after            └─────────┘
//! ```
//!
//! A score that stays high for minutes is no incident any more but a state: of the site, which has
//! become another one, or of the camera. The incident ends, and with it the siren; the state is told
//! of, and no other incident begins until the score has been back to normal.
//!
//! All times are stream time, so that a recording replayed at any speed gives the same incidents.

mod id;

pub use id::IncidentIds;

use alert_wire::{Phase, Region};
use inference::hysteresis;
use model_bundle::manifest::Detectors;

/// When a score becomes an incident. Times in seconds of stream time.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Rules {
    /// An incident may start at or above this score.
    pub enter: f64,
    /// An incident ends below this score; less than `enter`.
    pub exit: f64,
    /// The score must stay at or above `exit` this long to be announced.
    pub min_duration: f64,
    /// The score must stay below `exit` this long before the incident ends.
    pub end_after: f64,
    /// No new incident starts this long after one has ended.
    pub cool_down: f64,
    /// Time between two updates of a running incident.
    pub update_every: f64,
    /// An incident ends after this long, however high the score still is.
    pub longest: f64,
    /// Score of the site's normal level, below `enter`; 0 if it is not known. `exit` stays above it.
    pub normal_level: f64,
}

/// Seconds between two updates of an incident unless a configuration says otherwise.
pub const UPDATE_EVERY: f64 = 5.0;
/// Seconds after which an incident ends unless a configuration says otherwise.
pub const LONGEST: f64 = 120.0;

impl Rules {
    /// The rules of a model, with an `exit` above its site's normal level.
    pub fn of_model(model: &Detectors) -> Self {
        let events = hysteresis::sound_events(model);
        Self {
            enter: events.enter,
            exit: events.exit,
            min_duration: events.min_duration,
            end_after: events.end_after,
            cool_down: events.cool_down,
            update_every: UPDATE_EVERY,
            longest: LONGEST,
            normal_level: hysteresis::normal_score(model, events.enter).unwrap_or(0.0),
        }
    }

    /// These rules with another `enter`; `exit` moves in proportion, but stays above the normal level.
    pub fn with_threshold(self, enter: f64) -> Self {
        Self { exit: self.exit * (enter / self.enter), enter, ..self }.above_normal()
    }

    /// These rules with an `exit` above the normal level: half-way from it to `enter` if it lies
    /// within. Unchanged if `enter` itself does.
    #[must_use]
    pub fn above_normal(self) -> Self {
        let within = self.exit <= self.normal_level && self.normal_level < self.enter;
        let exit = if within { f64::midpoint(self.normal_level, self.enter) } else { self.exit };
        Self { exit, ..self }
    }
}

/// The score of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Number of the frame in its stream.
    pub frame: u64,
    /// Stream time in seconds; must not go back.
    pub time: f64,
    /// Score, 0 to 1. A value that is not finite counts as 0.
    pub score: f64,
    /// Index of the kind of anomaly, if the model tells.
    pub kind: Option<u16>,
    /// Where it is, if the model tells.
    pub region: Option<Region>,
    /// The whole picture changed about then: no incident begins.
    pub vetoed: bool,
}

/// A message about an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Where in its life the incident is.
    pub phase: Phase,
    /// The incident as it stands now.
    pub incident: Incident,
    /// Score of the incident's newest frame.
    pub score: f64,
}

/// An incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Number of the incident in this stream, from 0.
    pub number: u64,
    /// Number of the message, from 0.
    pub sequence: u32,
    /// The frame whose score reached `enter`.
    pub first: Observation,
    /// The frame with the highest score; the first of them if several are equal.
    pub peak: Observation,
    /// The newest frame at or above `exit`.
    pub last: Observation,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Idle {
        not_before: f64,
    },
    Pending(Incident),
    Active {
        incident: Incident,
        messaged_at: f64,
        below_since: Option<f64>,
    },
    /// An incident has ended because it lasted too long, and the score is still high.
    Lasting {
        below_since: Option<f64>,
    },
}

/// The state of one stream.
#[derive(Debug, Clone)]
pub struct Detection {
    rules: Rules,
    state: State,
    next_number: u64,
}

impl Detection {
    /// A stream in which nothing has happened yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: State::Idle { not_before: f64::NEG_INFINITY }, next_number: 0 }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether the score has stayed high since an incident that lasted too long.
    pub fn is_lasting(&self) -> bool {
        matches!(self.state, State::Lasting { .. })
    }

    /// Changes the score at which an incident starts; the score at which it ends moves in
    /// proportion, above the normal level. A running incident goes on under the new rules.
    pub fn set_threshold(&mut self, enter: f64) {
        self.rules = self.rules.with_threshold(enter);
    }

    /// Goes on with other rules; incidents are numbered on.
    pub fn renew(&mut self, rules: Rules) {
        *self = Self { next_number: self.next_number, ..Self::new(rules) };
    }

    /// Whether an announced incident is running.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// The frame with the highest score of the running or pending incident. A picture of it must
    /// be kept while it is named here.
    pub fn peak_frame(&self) -> Option<u64> {
        match &self.state {
            State::Idle { .. } | State::Lasting { .. } => None,
            State::Pending(incident) | State::Active { incident, .. } => Some(incident.peak.frame),
        }
    }

    /// Takes the next frame's score; at most one message follows.
    pub fn push(&mut self, mut seen: Observation) -> Option<Transition> {
        if !seen.score.is_finite() {
            seen.score = 0.0;
        }
        let rules = self.rules;
        match &mut self.state {
            State::Idle { not_before } => {
                if seen.score < rules.enter || seen.time < *not_before || seen.vetoed {
                    return None;
                }
                let number = self.next_number;
                let incident =
                    Incident { number, sequence: 0, first: seen, peak: seen, last: seen };
                self.state = State::Pending(incident);
                self.announce(seen)
            }
            State::Pending(incident) => {
                if seen.score < rules.exit || seen.vetoed {
                    // Too short to be one: it leaves no trace and costs no cool-down.
                    self.state = State::Idle { not_before: f64::NEG_INFINITY };
                    return None;
                }
                incident.extend(seen);
                self.announce(seen)
            }
            State::Active { incident, messaged_at, below_since } => {
                if seen.score < rules.exit {
                    let since = *below_since.get_or_insert(seen.time);
                    if seen.time - since >= rules.end_after {
                        return self.end(seen.time);
                    }
                    return None;
                }
                *below_since = None;
                incident.extend(seen);
                if seen.time - incident.first.time >= rules.longest {
                    let end = self.end(seen.time);
                    self.state = State::Lasting { below_since: None };
                    return end;
                }
                if seen.time - *messaged_at < rules.update_every {
                    return None;
                }
                *messaged_at = seen.time;
                incident.sequence += 1;
                Some(Transition {
                    phase: Phase::Update,
                    incident: incident.clone(),
                    score: seen.score,
                })
            }
            State::Lasting { below_since } => {
                if seen.score >= rules.exit {
                    *below_since = None;
                    return None;
                }
                let since = *below_since.get_or_insert(seen.time);
                if seen.time - since >= rules.end_after {
                    self.state = State::Idle { not_before: seen.time + rules.cool_down };
                }
                None
            }
        }
    }

    /// Ends the stream: a running incident ends with it, a pending one was too short.
    pub fn finish(&mut self) -> Option<Transition> {
        match &self.state {
            State::Active { incident, .. } => {
                let time = incident.last.time;
                self.end(time)
            }
            _ => {
                self.state = State::Idle { not_before: f64::NEG_INFINITY };
                None
            }
        }
    }

    fn announce(&mut self, seen: Observation) -> Option<Transition> {
        let State::Pending(incident) = &self.state else {
            return None;
        };
        if seen.time - incident.first.time < self.rules.min_duration {
            return None;
        }
        let incident = incident.clone();
        self.next_number += 1;
        self.state =
            State::Active { incident: incident.clone(), messaged_at: seen.time, below_since: None };
        Some(Transition { phase: Phase::New, incident, score: seen.score })
    }

    fn end(&mut self, now: f64) -> Option<Transition> {
        let idle = State::Idle { not_before: now + self.rules.cool_down };
        let State::Active { mut incident, .. } = std::mem::replace(&mut self.state, idle) else {
            return None;
        };
        incident.sequence += 1;
        let score = incident.last.score;
        Some(Transition { phase: Phase::End, incident, score })
    }
}

impl Incident {
    fn extend(&mut self, seen: Observation) {
        self.last = seen;
        if seen.score > self.peak.score {
            self.peak = seen;
        }
    }
}

#[cfg(test)]
mod tests;
