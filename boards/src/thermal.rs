//! From a temperature to a named state of the board.
//!
//! ```text
//!          ≥ warm             ≥ throttled            ≥ critical
//!   Normal ───────►   Warm   ───────────► Throttled ───────────► Critical
//!          ◄───────          ◄───────────           ◄───────────
//!          each state is left `hysteresis` below the limit at which it was entered
//! ```
//!
//! A processor that says it is throttled is at least [`ThermalState::Throttled`], whatever the
//! temperature: on boards with a power budget it may slow down while it is still cool. What the
//! device does in each state is the [`Ladder`](crate::Ladder)'s to say.

/// How hot the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThermalState {
    /// Full work.
    Normal,
    /// Work less: the processor is about to throttle itself, at a moment of its own choosing.
    Warm,
    /// The processor throttles itself, or is about to at once.
    Throttled,
    /// The board is about to switch off.
    Critical,
}

impl ThermalState {
    /// The state's name, as it is published.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warm => "warm",
            Self::Throttled => "throttled",
            Self::Critical => "critical",
        }
    }
}

/// What the sensors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThermalReading {
    /// The highest temperature of the sensors watched, in thousandths of a degree Celsius.
    pub temperature: i32,
    /// Whether the processor says that it has slowed itself down.
    pub throttling: bool,
}

/// Limits in thousandths of a degree Celsius.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThermalLimits {
    /// From here on [`ThermalState::Warm`].
    pub warm: i32,
    /// From here on [`ThermalState::Throttled`].
    pub throttled: i32,
    /// From here on [`ThermalState::Critical`].
    pub critical: i32,
    /// A state is left only this far below the limit at which it was entered.
    pub hysteresis: i32,
}

/// Follows the temperature with hysteresis.
#[derive(Debug, Clone)]
pub struct ThermalMonitor {
    limits: ThermalLimits,
    /// By temperature alone, so that a flag that comes and goes moves no limit.
    by_temperature: ThermalState,
    state: ThermalState,
}

impl ThermalMonitor {
    /// A monitor in [`ThermalState::Normal`].
    pub fn new(limits: ThermalLimits) -> Self {
        let state = ThermalState::Normal;
        Self { limits, by_temperature: state, state }
    }

    /// The state after a reading.
    pub fn update(&mut self, reading: ThermalReading) -> ThermalState {
        let ThermalLimits { warm, throttled, critical, hysteresis } = self.limits;
        let before = self.by_temperature;
        let reached = |state: ThermalState, limit: i32| {
            let left = limit.saturating_sub(hysteresis);
            reading.temperature >= limit || (before >= state && reading.temperature >= left)
        };
        self.by_temperature = if reached(ThermalState::Critical, critical) {
            ThermalState::Critical
        } else if reached(ThermalState::Throttled, throttled) {
            ThermalState::Throttled
        } else if reached(ThermalState::Warm, warm) {
            ThermalState::Warm
        } else {
            ThermalState::Normal
        };
        let floor = if reading.throttling { ThermalState::Throttled } else { ThermalState::Normal };
        self.state = self.by_temperature.max(floor);
        self.state
    }

    /// The state after the last reading.
    pub fn state(&self) -> ThermalState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use ThermalState::{Critical, Normal, Throttled, Warm};

    use super::*;

    const LIMITS: ThermalLimits =
        ThermalLimits { warm: 80_000, throttled: 88_000, critical: 95_000, hysteresis: 5_000 };

    #[test]
    fn states_with_hysteresis() {
        let mut monitor = ThermalMonitor::new(LIMITS);
        for (temperature, expected) in [
            (25_000, Normal),
            (79_999, Normal),
            (80_000, Warm),
            (75_000, Warm),
            (74_999, Normal),
            (88_000, Throttled),
            (83_000, Throttled),
            (82_999, Warm),
            (99_000, Critical),
            (90_000, Critical),
            (89_999, Throttled),
            (-40_000, Normal),
        ] {
            let reading = ThermalReading { temperature, throttling: false };
            assert_eq!(monitor.update(reading), expected, "{temperature}");
            assert_eq!(monitor.state(), expected);
        }
    }

    #[test]
    fn a_processor_that_throttles_is_believed_and_moves_no_limit() {
        let mut monitor = ThermalMonitor::new(LIMITS);
        let mut update =
            |temperature, throttling| monitor.update(ThermalReading { temperature, throttling });
        assert_eq!(update(40_000, true), Throttled);
        // Were the flag taken for a temperature, this would still be within its hysteresis.
        assert_eq!(update(84_000, false), Warm);
        assert_eq!(update(96_000, true), Critical);
        assert_eq!(update(40_000, false), Normal);
    }
}
