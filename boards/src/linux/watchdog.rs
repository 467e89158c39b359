//! The watchdog device: the board resets unless it is fed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

use crate::{BootCause, HardwareError, Watchdog};

/// `WDIOC_SETTIMEOUT` of the kernel's watchdog interface: seconds in, the seconds that the driver
/// took out.
const SET_TIMEOUT: Opcode = opcode::read_write::<libc::c_int>(b'W', 6);
/// `WDIOC_GETBOOTSTATUS`: what the last reset came of, as flags.
const BOOT_STATUS: Opcode = opcode::read::<libc::c_int>(b'W', 2);

/// A watchdog device (`/dev/watchdog0`). Opening starts it.
///
/// A program that ends without [`Watchdog::disarm`], a crash above all, leaves it running: the
/// board resets.
#[derive(Debug)]
pub struct WatchdogDevice {
    file: Option<File>,
}

impl WatchdogDevice {
    /// Opens and starts the watchdog, to reset the board after `timeout` seconds; without one, after
    /// the time that the driver has.
    ///
    /// # Errors
    /// If the device is not there, is in use (by the service manager, above all), or does not take
    /// the timeout; in the last case it is stopped again.
    pub fn open(path: &Path, timeout: Option<u32>) -> Result<Self, HardwareError> {
        let file = OpenOptions::new().write(true).open(path)?;
        let mut watchdog = Self { file: Some(file) };
        if let Some(seconds) = timeout
            && let Err(error) = watchdog.set_timeout(seconds)
        {
            watchdog.disarm()?;
            return Err(error);
        }
        Ok(watchdog)
    }

    fn set_timeout(&mut self, seconds: u32) -> Result<(), HardwareError> {
        let file = self.file.as_ref().ok_or(HardwareError::NotFound)?;
        let mut value = libc::c_int::try_from(seconds).map_err(|_| HardwareError::Malformed)?;
        // SAFETY: the kernel defines the operation as reading and writing one `int`, which `value`
        // is, and keeps no pointer to it. On a file that is no watchdog it is answered by an error.
        let done = unsafe { ioctl(file, Updater::<SET_TIMEOUT, libc::c_int>::new(&mut value)) };
        done.map_err(|e| HardwareError::Os(e.raw_os_error()))?;
        if value != seconds as libc::c_int {
            log::info!("watchdog: the driver rounds {seconds} s to {value} s");
        }
        Ok(())
    }
}

/// `WDIOF_OVERHEAT`, `WDIOF_POWERUNDER`, `WDIOF_CARDRESET`, `WDIOF_POWEROVER`.
const FLAGS: [libc::c_int; 4] = [0x01, 0x10, 0x20, 0x40];

impl Watchdog for WatchdogDevice {
    fn boot_cause(&mut self) -> Option<BootCause> {
        let file = self.file.as_ref()?;
        // SAFETY: the kernel defines the operation as writing one `int`. On a file that is no watchdog it
        // is answered by an error.
        let flags = unsafe { ioctl(file, Getter::<BOOT_STATUS, libc::c_int>::new()) }.ok()?;
        Some(cause(flags))
    }

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

fn cause(flags: libc::c_int) -> BootCause {
    let [overheat, power_under, watchdog, power_over] = FLAGS.map(|flag| flags & flag != 0);
    BootCause { watchdog, overheat, power_under, power_over }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_watchdog_closes_with_the_magic_letter_only_when_disarmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchdog");
        fs::write(&path, "").unwrap();
        let mut watchdog = WatchdogDevice::open(&path, None).unwrap();
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        drop(watchdog);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0");
        let mut watchdog = WatchdogDevice::open(&path, None).unwrap();
        watchdog.disarm().unwrap();
        watchdog.disarm().unwrap();
        assert_eq!(watchdog.feed(), Err(HardwareError::NotFound));
        assert_eq!(fs::read(&path).unwrap(), b"V\0");
    }

    #[test]
    fn the_flags_of_the_last_reset() {
        assert_eq!(cause(0), BootCause::default());
        let reset = BootCause { watchdog: true, ..BootCause::default() };
        assert_eq!((cause(0x20), cause(0x20).told()), (reset, Some("the watchdog was not fed")));
        assert_eq!(cause(0x01 | 0x08).told(), Some("overheated"));
        assert_eq!(cause(0x10).told(), Some("its voltage was too low"));
        assert_eq!(cause(0x40).told(), Some("its voltage was too high"));
        // A file that is no watchdog knows of none.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchdog");
        fs::write(&path, "").unwrap();
        assert_eq!(WatchdogDevice::open(&path, None).unwrap().boot_cause(), None);
    }

    #[test]
    fn what_takes_no_timeout_is_no_watchdog_and_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchdog");
        fs::write(&path, "").unwrap();
        let error = WatchdogDevice::open(&path, Some(30)).unwrap_err();
        assert_eq!(error, HardwareError::Os(libc::ENOTTY));
        assert_eq!(fs::read(&path).unwrap(), b"V");
    }
}
