//! Drivers through the operating system's files. The one `ioctl` that no crate has for us is in
//! [`watchdog`](WatchdogDevice); the GPIO character device's are `gpiocdev`'s.

mod gpio;
mod led;
mod power;
mod thermal;
mod watchdog;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::HardwareError;

pub use gpio::{GpioInput, GpioOutput, LineAddress};
pub use led::SysfsLed;
pub use power::power_mode;
pub use thermal::SysfsThermal;
pub use watchdog::WatchdogDevice;

/// An absolute path, moved below `root`.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
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
    use super::*;

    #[test]
    fn the_model_loses_its_terminating_zero() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(device_tree_model(dir.path()), None);
        std::fs::create_dir_all(dir.path().join("proc/device-tree")).unwrap();
        std::fs::write(dir.path().join("proc/device-tree/model"), b"Some Board\0").unwrap();
        assert_eq!(device_tree_model(dir.path()).as_deref(), Some("Some Board"));
    }
}
