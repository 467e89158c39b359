//! The button with which someone acknowledges an alarm.
//!
//! ```text
//!            pressed for DEBOUNCE_MS              pressed for STUCK_MS
//!   Released ──────────────────────► Pressed (counts once) ─────────► Stuck
//!      ▲                                 │                              │
//!      └──────── released for DEBOUNCE_MS┴──────────────────────────────┘
//! ```
//!
//! Only the change from released to pressed counts. A button that is jammed, short-circuited or held
//! down by a brick acknowledges one alarm and none after it; one that is pressed from the start
//! counts for nothing until it has been seen released.

/// Time for which a level must last to be believed; contacts bounce for a few milliseconds.
pub const DEBOUNCE_MS: u64 = 30;
/// Time after which a button that is still pressed counts as stuck.
pub const STUCK_MS: u64 = 10_000;

/// What a button has just become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ButtonEvent {
    /// Pressed, by someone who has taken note.
    Pressed,
    /// Pressed for so long that it is broken, or held on purpose.
    Stuck,
    /// Released after it was stuck.
    Freed,
}

/// Follows the level of a button.
#[derive(Debug, Clone)]
pub struct Button {
    /// The level believed, and since when.
    pressed: bool,
    since_ms: u64,
    /// Since when the level has been another than the one believed.
    changed_ms: Option<u64>,
    stuck: bool,
}

impl Button {
    /// A button that has not been seen released yet.
    pub const fn new(now_ms: u64) -> Self {
        Self { pressed: true, since_ms: now_ms, changed_ms: None, stuck: false }
    }

    /// Takes a level; to be called every few milliseconds.
    pub fn update(&mut self, pressed: bool, now_ms: u64) -> Option<ButtonEvent> {
        if pressed == self.pressed {
            self.changed_ms = None;
            let held = now_ms.saturating_sub(self.since_ms);
            if self.pressed && !self.stuck && held >= STUCK_MS {
                self.stuck = true;
                return Some(ButtonEvent::Stuck);
            }
            return None;
        }
        let changed = *self.changed_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(changed) < DEBOUNCE_MS {
            return None;
        }
        (self.pressed, self.since_ms, self.changed_ms) = (pressed, now_ms, None);
        match (pressed, core::mem::take(&mut self.stuck)) {
            (true, _) => Some(ButtonEvent::Pressed),
            (false, true) => Some(ButtonEvent::Freed),
            (false, false) => None,
        }
    }

    /// Whether the button is stuck.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::ButtonEvent::{Freed, Pressed, Stuck};
    use super::*;

    /// Plays levels, each from its time on until the next one's, a look every 5 ms.
    fn play(levels: &[(u64, bool)], end: u64) -> Vec<(u64, ButtonEvent)> {
        let mut button = Button::new(0);
        let mut seen = Vec::new();
        for now in (0..end).step_by(5) {
            let level = levels.iter().rev().find(|(from, _)| *from <= now).unwrap().1;
            if let Some(event) = button.update(level, now) {
                seen.push((now, event));
            }
        }
        seen
    }

    #[test]
    fn a_press_counts_once_and_a_bounce_not_at_all() {
        let bounce = [(0, false), (1000, true), (1010, false), (1020, true), (1400, false)];
        assert_eq!(play(&bounce, 3000), [(1050, Pressed)]);
        let glitch = [(0, false), (1000, true), (1020, false)];
        assert_eq!(play(&glitch, 3000), []);
    }

    #[test]
    fn a_stuck_button_is_told_and_counts_again_when_it_is_free() {
        let story = [(0, false), (1000, true), (20_000, false), (21_000, true), (21_500, false)];
        let seen = play(&story, 25_000);
        assert_eq!(seen, [(1030, Pressed), (11_030, Stuck), (20_030, Freed), (21_030, Pressed)]);
    }

    #[test]
    fn a_button_that_is_pressed_from_the_start_counts_for_nothing() {
        assert_eq!(play(&[(0, true)], 60_000), [(10_000, Stuck)]);
        assert_eq!(play(&[(0, true), (500, false), (900, true)], 2000), [(930, Pressed)]);
    }
}
