//! LEDs, and what is wired like one, through `/sys/class/leds`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::read_number;
use crate::{AlarmOutput, HardwareError, StatusLed};

/// A LED, or whatever else the device tree calls one (`gpio-leds` is also how relays are wired),
/// in `/sys/class/leds`.
#[derive(Debug)]
pub struct SysfsLed {
    brightness: PathBuf,
    full: u32,
}

impl SysfsLed {
    /// The LED `name` below `class` (`/sys/class/leds`). Takes it away from its kernel trigger.
    pub fn open(class: &Path, name: &str) -> Result<Self, HardwareError> {
        let dir = class.join(name);
        let full = read_number(&dir.join("max_brightness"))?;
        let full = u32::try_from(full).map_err(|_| HardwareError::Malformed)?;
        let trigger = dir.join("trigger");
        if trigger.exists() {
            std::fs::write(&trigger, "none")?;
        }
        Ok(Self { brightness: dir.join("brightness"), full })
    }

    fn drive(&mut self, on: bool) -> Result<(), HardwareError> {
        let level = if on { self.full } else { 0 };
        // Opened, not created: a name that is not there must not become a file.
        let mut file = OpenOptions::new().write(true).truncate(true).open(&self.brightness)?;
        Ok(file.write_all(level.to_string().as_bytes())?)
    }
}

impl AlarmOutput for SysfsLed {
    fn set(&mut self, active: bool) -> Result<(), HardwareError> {
        self.drive(active)
    }
}

impl StatusLed for SysfsLed {
    fn set(&mut self, on: bool) -> Result<(), HardwareError> {
        self.drive(on)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn leds() {
        let dir = tempfile::tempdir().unwrap();
        let led = dir.path().join("siren");
        fs::create_dir(&led).unwrap();
        fs::write(led.join("max_brightness"), "255\n").unwrap();
        fs::write(led.join("brightness"), "7").unwrap();
        fs::write(led.join("trigger"), "[heartbeat] none").unwrap();
        let mut alarm = SysfsLed::open(dir.path(), "siren").unwrap();
        assert_eq!(fs::read_to_string(led.join("trigger")).unwrap(), "none");
        AlarmOutput::set(&mut alarm, true).unwrap();
        assert_eq!(fs::read_to_string(led.join("brightness")).unwrap(), "255");
        AlarmOutput::set(&mut alarm, false).unwrap();
        assert_eq!(fs::read_to_string(led.join("brightness")).unwrap(), "0");
        fs::remove_file(led.join("brightness")).unwrap();
        assert_eq!(AlarmOutput::set(&mut alarm, true), Err(HardwareError::NotFound));
        assert!(!led.join("brightness").exists());
        assert!(SysfsLed::open(dir.path(), "no").is_err());
    }
}
