//! From a temperature to what the device should do about it.
//!
//! ```text
//!            ≥ warm               ≥ critical
//!   Normal ─────────► Warm ─────────────────► Critical
//!          ◄─────────      ◄─────────────────
//!     < warm − hysteresis    < critical − hysteresis
//! ```

/// How hot the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThermalState {
    /// Full work.
    Normal,
    /// Work less: the processor is about to throttle itself, at a moment of its own choosing.
    Warm,
    /// Work as little as possible: the board is about to switch off.
    Critical,
}

/// Limits in thousandths of a degree Celsius.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThermalLimits {
    /// From here on [`ThermalState::Warm`].
    pub warm: i32,
    /// From here on [`ThermalState::Critical`].
    pub critical: i32,
    /// A state is left only this far below the limit at which it was entered.
    pub hysteresis: i32,
}

/// Follows the temperature with hysteresis.
#[derive(Debug, Clone)]
pub struct ThermalMonitor {
    limits: ThermalLimits,
    state: ThermalState,
}

impl ThermalMonitor {
    /// A monitor in [`ThermalState::Normal`].
    pub fn new(limits: ThermalLimits) -> Self {
        Self { limits, state: ThermalState::Normal }
    }

    /// The state after a reading in thousandths of a degree Celsius.
    pub fn update(&mut self, temperature: i32) -> ThermalState {
        let ThermalLimits { warm, critical, hysteresis } = self.limits;
        let falling = |limit: i32| limit.saturating_sub(hysteresis);
        self.state = if temperature >= critical
            || (self.state == ThermalState::Critical && temperature >= falling(critical))
        {
            ThermalState::Critical
        } else if temperature >= warm
            || (self.state >= ThermalState::Warm && temperature >= falling(warm))
        {
            ThermalState::Warm
        } else {
            ThermalState::Normal
        };
        self.state
    }

    /// The state after the last reading.
    pub fn state(&self) -> ThermalState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use ThermalState::{Critical, Normal, Warm};

    use super::*;

    #[test]
    fn states_with_hysteresis() {
        let limits = ThermalLimits { warm: 80_000, critical: 95_000, hysteresis: 5_000 };
        let mut monitor = ThermalMonitor::new(limits);
        for (temperature, expected) in [
            (25_000, Normal),
            (79_999, Normal),
            (80_000, Warm),
            (75_000, Warm),
            (74_999, Normal),
            (99_000, Critical),
            (90_000, Critical),
            (89_999, Warm),
            (-40_000, Normal),
        ] {
            assert_eq!(monitor.update(temperature), expected, "{temperature}");
            assert_eq!(monitor.state(), expected);
        }
    }
}
