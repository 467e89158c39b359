//! Temperature and throttling, through `/sys/class/thermal`.

use std::path::{Path, PathBuf};

use super::read_number;
use crate::{HardwareError, ThermalReading, ThermalSource};

/// The hottest of the thermal zones in `/sys/class/thermal`, and whether the processor says that it
/// throttles itself.
#[derive(Debug)]
pub struct SysfsThermal {
    zones: Vec<PathBuf>,
    /// State files of the cooling devices that stand for throttling.
    throttles: Vec<PathBuf>,
}

impl SysfsThermal {
    /// The zones below `root` (`/sys/class/thermal`) whose type is one of `zones`, every zone if
    /// that is empty; none at all is [`HardwareError::NotFound`]. `throttles` are types of cooling
    /// devices that are above 0 while the processor throttles itself; one that begins with `*`
    /// stands for all that end so, as `*-throttle-alert` does on Jetson boards.
    pub fn open(
        root: &Path,
        zones: &[String],
        throttles: &[String],
    ) -> Result<Self, HardwareError> {
        let mut found = Self { zones: Vec::new(), throttles: Vec::new() };
        for entry in std::fs::read_dir(root)? {
            let dir = entry?.path();
            let Ok(kind) = std::fs::read_to_string(dir.join("type")) else {
                continue;
            };
            let kind = kind.trim();
            // Zones have a temperature; cooling devices, in the same folder, have a state.
            let (temperature, state) = (dir.join("temp"), dir.join("cur_state"));
            let wanted = zones.is_empty() || zones.iter().any(|zone| zone == kind);
            if wanted && temperature.exists() {
                found.zones.push(temperature);
            } else if throttles.iter().any(|pattern| matches(pattern, kind)) && state.exists() {
                found.throttles.push(state);
            }
        }
        found.zones.sort();
        found.throttles.sort();
        if found.zones.is_empty() { Err(HardwareError::NotFound) } else { Ok(found) }
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => kind.ends_with(end),
        None => kind == pattern,
    }
}

impl ThermalSource for SysfsThermal {
    /// A zone that cannot be read is left out: on Jetson boards the zone of a powered-down unit
    /// answers EAGAIN. Only if no zone can be read, the last one's error is returned.
    fn read(&mut self) -> Result<ThermalReading, HardwareError> {
        let mut hottest = Err(HardwareError::NotFound);
        for zone in &self.zones {
            hottest = match (read_number(zone), hottest) {
                (Ok(one), Ok(other)) => Ok(one.max(other)),
                (Ok(one), Err(_)) => Ok(one),
                (Err(error), Err(_)) => Err(error),
                (Err(_), Ok(other)) => Ok(other),
            };
        }
        let throttling = self.throttles.iter().any(|state| read_number(state).is_ok_and(|s| s > 0));
        Ok(ThermalReading { temperature: hottest?, throttling })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, name: &str, kind: &str, file: &str, value: &str) {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("type"), format!("{kind}\n")).unwrap();
        fs::write(dir.join(file), value).unwrap();
    }

    fn open(
        root: &Path,
        zones: &[&str],
        throttles: &[&str],
    ) -> Result<SysfsThermal, HardwareError> {
        let own = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        SysfsThermal::open(root, &own(zones), &own(throttles))
    }

    #[test]
    fn zones() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "thermal_zone0", "cpu-thermal", "temp", "45500\n");
        write(dir.path(), "thermal_zone1", "gpu-thermal", "temp", "61000\n");
        write(dir.path(), "thermal_zone2", "cv0-thermal", "temp", "\n");
        write(dir.path(), "cooling_device0", "pwm-fan", "cur_state", "3\n");
        let read = |zones: &[&str]| open(dir.path(), zones, &[]).unwrap().read();
        let cool = |temperature| Ok(ThermalReading { temperature, throttling: false });
        assert_eq!(read(&[]), cool(61_000));
        assert_eq!(read(&["cpu-thermal"]), cool(45_500));
        assert_eq!(read(&["cv0-thermal"]), Err(HardwareError::Malformed));
        assert_eq!(open(dir.path(), &["pwm-fan"], &[]).unwrap_err(), HardwareError::NotFound);
        let nowhere = open(&dir.path().join("no"), &[], &[]);
        assert_eq!(nowhere.unwrap_err(), HardwareError::NotFound);
    }

    #[test]
    fn throttling() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "thermal_zone0", "tj-thermal", "temp", "70000\n");
        write(dir.path(), "cooling_device0", "pwm-fan", "cur_state", "3\n");
        write(dir.path(), "cooling_device1", "cpu-throttle-alert", "cur_state", "0\n");
        write(dir.path(), "cooling_device2", "gpu-throttle-alert", "cur_state", "0\n");
        let throttling =
            |patterns: &[&str]| open(dir.path(), &[], patterns).unwrap().read().unwrap().throttling;
        // A fan that turns is not a processor that slows down.
        assert!(!throttling(&["*-throttle-alert"]));
        assert!(throttling(&["pwm-fan"]));
        write(dir.path(), "cooling_device2", "gpu-throttle-alert", "cur_state", "1\n");
        assert!(throttling(&["*-throttle-alert"]));
        assert!(!throttling(&["cpu-throttle-alert"]));
    }
}
