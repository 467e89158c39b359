//! Drivers through the operating system's files: no ioctl but the GPIO character device's, no
//! unsafe code.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use gpiocdev::Request;
use gpiocdev::line::Value;

use crate::{ActiveLevel, AlarmOutput, HardwareError, StatusLed, ThermalSource, Watchdog};

/// An output line of a GPIO character device (`/dev/gpiochipN`). Held for as long as this lives;
/// what the line does afterwards is up to the kernel's driver, so the controller switches it off
/// first.
#[derive(Debug)]
pub struct GpioLine {
    request: Request,
    offset: u32,
}

impl GpioLine {
    /// Requests a line as an output that is off.
    pub fn open(chip: &Path, offset: u32, active: ActiveLevel) -> Result<Self, HardwareError> {
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer("pavad").with_line(offset).as_output(Value::Inactive);
        if active == ActiveLevel::Low {
            builder.as_active_low();
        }
        let request = builder.request().map_err(|e| gpio_error(&e))?;
        Ok(Self { request, offset })
    }

    fn drive(&mut self, on: bool) -> Result<(), HardwareError> {
        let value = if on { Value::Active } else { Value::Inactive };
        self.request.set_value(self.offset, value).map_err(|e| gpio_error(&e))?;
        Ok(())
    }
}

/// The reason goes to the log: the error number alone does not tell a line that is in use from one
/// that the chip does not have.
fn gpio_error(error: &gpiocdev::Error) -> HardwareError {
    log::warn!("GPIO: {error}");
    match error {
        gpiocdev::Error::Os(errno) => std::io::Error::from_raw_os_error(errno.0).into(),
        gpiocdev::Error::GpioChip(..) => HardwareError::NotFound,
        _ => HardwareError::Os(0),
    }
}

impl AlarmOutput for GpioLine {
    fn set(&mut self, active: bool) -> Result<(), HardwareError> {
        self.drive(active)
    }
}

impl StatusLed for GpioLine {
    fn set(&mut self, on: bool) -> Result<(), HardwareError> {
        self.drive(on)
    }
}

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

/// A watchdog device (`/dev/watchdog0`). Opening starts it, with the timeout that the driver has.
///
/// A program that ends without [`Watchdog::disarm`], a crash above all, leaves it running: the
/// board resets.
#[derive(Debug)]
pub struct WatchdogDevice {
    file: Option<File>,
}

impl WatchdogDevice {
    /// Opens and starts the watchdog.
    pub fn open(path: &Path) -> Result<Self, HardwareError> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file: Some(file) })
    }
}

impl Watchdog for WatchdogDevice {
    fn feed(&mut self) -> Result<(), HardwareError> {
        // Any byte but `V` feeds.
        match &mut self.file {
            Some(file) => Ok(file.write_all(b"\0")?),
            None => Err(HardwareError::NotFound),
        }
    }

    fn disarm(&mut self) -> Result<(), HardwareError> {
        // "Magic close": `V` and then the close say that the end is meant.
        match self.file.take() {
            Some(mut file) => Ok(file.write_all(b"V")?),
            None => Ok(()),
        }
    }
}

/// The hottest of the thermal zones in `/sys/class/thermal`.
#[derive(Debug)]
pub struct SysfsThermal {
    zones: Vec<PathBuf>,
}

impl SysfsThermal {
    /// The zones below `root` (`/sys/class/thermal`) whose type is one of `types`; every zone if
    /// `types` is empty. None at all is [`HardwareError::NotFound`].
    pub fn open(root: &Path, types: &[String]) -> Result<Self, HardwareError> {
        let mut zones = Vec::new();
        for entry in std::fs::read_dir(root)? {
            let dir = entry?.path();
            // Cooling devices, in the same folder, have a type and no temperature.
            let Ok(kind) = std::fs::read_to_string(dir.join("type")) else {
                continue;
            };
            let temp = dir.join("temp");
            let wanted = types.is_empty() || types.iter().any(|t| t == kind.trim());
            if wanted && temp.exists() {
                zones.push(temp);
            }
        }
        zones.sort();
        if zones.is_empty() { Err(HardwareError::NotFound) } else { Ok(Self { zones }) }
    }
}

impl ThermalSource for SysfsThermal {
    /// A zone that cannot be read is left out: on Jetson boards the zone of a powered-down unit
    /// answers EAGAIN. Only if no zone can be read, the last one's error is returned.
    fn read(&mut self) -> Result<i32, HardwareError> {
        let mut hottest = Err(HardwareError::NotFound);
        for zone in &self.zones {
            hottest = match (read_number(zone), hottest) {
                (Ok(one), Ok(other)) => Ok(one.max(other)),
                (Ok(one), Err(_)) => Ok(one),
                (Err(error), Err(_)) => Err(error),
                (Err(_), Ok(other)) => Ok(other),
            };
        }
        hottest
    }
}

fn read_number(path: &Path) -> Result<i32, HardwareError> {
    std::fs::read_to_string(path)?.trim().parse().map_err(|_| HardwareError::Malformed)
}

/// The board's model from the device tree (`/proc/device-tree/model` below `root`, `/` on a real
/// machine); `None` where there is no device tree, as on a PC.
pub fn device_tree_model(root: &Path) -> Option<String> {
    match std::fs::read_to_string(root.join("proc/device-tree/model")) {
        Ok(text) => Some(text.trim_end_matches(['\0', '\n']).to_owned()),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                log::warn!("device tree model: {error}");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn zone(root: &Path, name: &str, kind: &str, temp: Option<&str>) {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("type"), format!("{kind}\n")).unwrap();
        if let Some(temp) = temp {
            fs::write(dir.join("temp"), temp).unwrap();
        }
    }

    #[test]
    fn thermal_zones() {
        let dir = tempfile::tempdir().unwrap();
        zone(dir.path(), "thermal_zone0", "cpu-thermal", Some("45500\n"));
        zone(dir.path(), "thermal_zone1", "gpu-thermal", Some("61000\n"));
        zone(dir.path(), "thermal_zone2", "cv0-thermal", Some("\n"));
        zone(dir.path(), "cooling_device0", "pwm-fan", None);
        let open = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
            SysfsThermal::open(dir.path(), &types)
        };
        assert_eq!(open(&[]).unwrap().read(), Ok(61_000));
        assert_eq!(open(&["cpu-thermal"]).unwrap().read(), Ok(45_500));
        assert_eq!(open(&["cv0-thermal"]).unwrap().read(), Err(HardwareError::Malformed));
        assert_eq!(open(&["pwm-fan"]).unwrap_err(), HardwareError::NotFound);
        let nowhere = SysfsThermal::open(&dir.path().join("no"), &[]);
        assert_eq!(nowhere.unwrap_err(), HardwareError::NotFound);
    }

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

    #[test]
    fn the_watchdog_closes_with_the_magic_letter_only_when_disarmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchdog");
        fs::write(&path, "").unwrap();
        let mut watchdog = WatchdogDevice::open(&path).unwrap();
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        drop(watchdog);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0");
        let mut watchdog = WatchdogDevice::open(&path).unwrap();
        watchdog.disarm().unwrap();
        watchdog.disarm().unwrap();
        assert_eq!(watchdog.feed(), Err(HardwareError::NotFound));
        assert_eq!(fs::read(&path).unwrap(), b"V\0");
    }

    #[test]
    fn the_model_loses_its_terminating_zero() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(device_tree_model(dir.path()), None);
        fs::create_dir_all(dir.path().join("proc/device-tree")).unwrap();
        fs::write(dir.path().join("proc/device-tree/model"), b"Some Board\0").unwrap();
        assert_eq!(device_tree_model(dir.path()).as_deref(), Some("Some Board"));
    }

    #[test]
    fn a_chip_that_is_not_there_is_an_error() {
        let opened = GpioLine::open(Path::new("/nonexistent/gpiochip9"), 0, ActiveLevel::High);
        assert_eq!(opened.unwrap_err(), HardwareError::NotFound);
    }
}
