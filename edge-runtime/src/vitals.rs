//! What the machine says of itself: memory and temperature.

use boards::{ThermalMonitor, ThermalSource, ThermalState};

/// Bytes of memory that this process has in use, if the system tells.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    resident(&status)
}

/// `VmRSS` of `/proc/<pid>/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The board's temperature and what it means.
pub struct Thermometer {
    source: Box<dyn ThermalSource + Send>,
    monitor: ThermalMonitor,
    failing: bool,
}

/// A reading of the temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// Degrees Celsius.
    pub celsius: f64,
    /// What the board's limits say of it.
    pub state: ThermalState,
}

impl Thermometer {
    /// Reads `source` and judges by the limits of `monitor`.
    pub fn new(source: Box<dyn ThermalSource + Send>, monitor: ThermalMonitor) -> Self {
        Self { source, monitor, failing: false }
    }

    /// The temperature now; `None` if it cannot be read, which is logged once.
    pub fn read(&mut self) -> Option<Temperature> {
        match self.source.read() {
            Ok(reading) => {
                self.failing = false;
                let celsius = f64::from(reading.temperature) / 1000.0;
                Some(Temperature { celsius, state: self.monitor.update(reading) })
            }
            Err(e) => {
                if !self.failing {
                    self.failing = true;
                    log::warn!("temperature: {e}");
                }
                None
            }
        }
    }
}

/// The word for a thermal state in messages.
pub fn thermal_word(state: ThermalState) -> &'static str {
    state.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        assert_eq!(resident("VmRSS:\t many kB\n"), None);
        assert_eq!(resident(""), None);
        assert!(resident_memory().is_some_and(|bytes| bytes > 100_000));
    }
}
