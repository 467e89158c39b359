//! What the device gives up when it is hot, rung by rung.
//!
//! | Rung | What is given up | Reached |
//! |---|---|---|
//! | [`Rung::Full`] | nothing | normal |
//! | [`Rung::FrameRate`] | frames that the model would not look at are not decoded | warm |
//! | [`Rung::InputSkip`] | the model looks at every second of its frames | throttled, or warm for [`CLIMB_MS`] |
//! | [`Rung::OneCamera`] | every camera but the first | throttled for [`CLIMB_MS`] |
//! | [`Rung::Paused`] | all cameras: the device says so and only cools | critical |
//!
//! Up goes at once as far as the state asks for, and one rung further if the state lasts and has
//! not yet given up all it may. Down goes one rung at a time, each after [`DESCEND_MS`] in a state
//! that asks for less, so that a board at the edge does not swing between two ways of working.

use crate::ThermalState;

/// Time in a state after which the next rung is taken.
pub const CLIMB_MS: u64 = 60_000;
/// Time in a better state after which one rung is given back.
pub const DESCEND_MS: u64 = 30_000;

/// How much is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Nothing.
    Full,
    /// Cameras deliver no more frames than the model looks at.
    FrameRate,
    /// The model looks at half as many frames: less is seen of what is quick.
    InputSkip,
    /// Only the first camera is watched.
    OneCamera,
    /// Nothing is watched.
    Paused,
}

impl Rung {
    /// All rungs, from the first.
    pub const ALL: [Self; 5] =
        [Self::Full, Self::FrameRate, Self::InputSkip, Self::OneCamera, Self::Paused];

    /// The rung's name, as it is published.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::FrameRate => "frame-rate",
            Self::InputSkip => "input-skip",
            Self::OneCamera => "one-camera",
            Self::Paused => "paused",
        }
    }

    const fn up(self) -> Self {
        match self {
            Self::Full => Self::FrameRate,
            Self::FrameRate => Self::InputSkip,
            Self::InputSkip => Self::OneCamera,
            Self::OneCamera | Self::Paused => Self::Paused,
        }
    }

    const fn down(self) -> Self {
        match self {
            Self::Full | Self::FrameRate => Self::Full,
            Self::InputSkip => Self::FrameRate,
            Self::OneCamera => Self::InputSkip,
            Self::Paused => Self::OneCamera,
        }
    }
}

/// The least and the most that a state gives up.
const fn span(state: ThermalState) -> (Rung, Rung) {
    match state {
        ThermalState::Normal => (Rung::Full, Rung::Full),
        ThermalState::Warm => (Rung::FrameRate, Rung::InputSkip),
        ThermalState::Throttled => (Rung::InputSkip, Rung::OneCamera),
        ThermalState::Critical => (Rung::Paused, Rung::Paused),
    }
}

/// Where on the ladder the device stands. Time is milliseconds of any monotonic clock.
#[derive(Debug, Clone)]
pub struct Ladder {
    rung: Rung,
    /// Since when the state has asked for a move that time alone holds back, and which way.
    waiting: Option<(Way, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Ladder {
    /// At the foot of the ladder.
    pub const fn new() -> Self {
        Self { rung: Rung::Full, waiting: None }
    }

    /// The rung for a board in this state at this time; to be called every few seconds.
    pub fn update(&mut self, state: ThermalState, now_ms: u64) -> Rung {
        let (least, most) = span(state);
        if self.rung < least {
            (self.rung, self.waiting) = (least, None);
        }
        let (way, after, next) = if self.rung > most {
            (Way::Down, DESCEND_MS, self.rung.down())
        } else if self.rung < most {
            (Way::Up, CLIMB_MS, self.rung.up())
        } else {
            self.waiting = None;
            return self.rung;
        };
        match self.waiting {
            Some((same, since)) if same == way => {
                if now_ms.saturating_sub(since) >= after {
                    (self.rung, self.waiting) = (next, Some((way, now_ms)));
                }
            }
            _ => self.waiting = Some((way, now_ms)),
        }
        self.rung
    }

    /// The rung after the last update.
    pub fn rung(&self) -> Rung {
        self.rung
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use Rung::{FrameRate, Full, InputSkip, OneCamera, Paused};
    use ThermalState::{Critical, Normal, Throttled, Warm};

    use super::*;

    /// Times in seconds, states, and the rung that each must give.
    fn play(story: &[(u64, ThermalState, Rung)]) {
        let mut ladder = Ladder::new();
        for &(second, state, expected) in story {
            assert_eq!(ladder.update(state, second * 1000), expected, "at {second} s");
            assert_eq!(ladder.rung(), expected);
        }
    }

    #[test]
    fn up_at_once_and_further_if_it_lasts() {
        play(&[
            (0, Normal, Full),
            (10, Warm, FrameRate),
            (69, Warm, FrameRate),
            (70, Warm, InputSkip),
            (1000, Warm, InputSkip),
            (1010, Throttled, InputSkip),
            (1069, Throttled, InputSkip),
            (1070, Throttled, OneCamera),
            (9000, Throttled, OneCamera),
            (9001, Critical, Paused),
        ]);
    }

    #[test]
    fn down_one_rung_at_a_time() {
        play(&[
            (0, Critical, Paused),
            (1, Normal, Paused),
            (30, Normal, Paused),
            (31, Normal, OneCamera),
            (61, Normal, InputSkip),
            (91, Normal, FrameRate),
            (121, Normal, Full),
            (500, Normal, Full),
        ]);
    }

    #[test]
    fn a_board_at_the_edge_does_not_swing() {
        // Warm and normal in turn: the wait to come down starts again each time.
        let mut ladder = Ladder::new();
        for second in 0..600 {
            let state = if second % 20 < 10 { Warm } else { Normal };
            assert_eq!(ladder.update(state, second * 1000), FrameRate, "at {second} s");
        }
    }
}
