//! A camera's controls (brightness, exposure, focus, ...), by the names that `v4l2-ctl` gives them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::path::Path;

use v4l::Device;
use v4l::control::{Control, Value};
use v4l::v4l_sys::{V4L2_CTRL_FLAG_NEXT_CTRL, v4l2_query_ext_ctrl};
use v4l::v4l2::{self, vidioc};

/// Most controls that are looked at; a driver that counts in a circle must not hold the program up.
const MAX_CONTROLS: usize = 1000;

/// Sets controls. What the camera does not have or does not take is said in the log: a picture a
/// little too dark is better than none.
pub fn apply(camera: &Device, path: &Path, wanted: &BTreeMap<String, i64>) {
    if wanted.is_empty() {
        return;
    }
    let known = match list(camera) {
        Ok(known) => known,
        Err(e) => {
            log::warn!("{}: the controls cannot be listed: {e}", path.display());
            return;
        }
    };
    let mut left: Vec<(&String, u32, i64)> = Vec::new();
    for (name, &value) in wanted {
        match known.get(name) {
            Some(&id) => left.push((name, id, value)),
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let names = names.join(", ");
                log::warn!("{}: no control `{name}`; there are {names}", path.display());
            }
        }
    }
    // Some controls can be set only after another one: the exposure after the automatic has been
    // switched off. So what fails is tried once more when the rest is done.
    for last in [false, true] {
        left.retain(|&(name, id, value)| {
            match camera.set_control(Control { id, value: Value::Integer(value) }) {
                Ok(()) => false,
                Err(e) => {
                    if last {
                        log::warn!("{}: control `{name}` = {value}: {e}", path.display());
                    }
                    true
                }
            }
        });
    }
}

/// The controls of a camera: name and number. Arrays and other compound ones are left out.
fn list(camera: &Device) -> io::Result<BTreeMap<String, u32>> {
    // The driver library can list controls too, but panics on types that newer kernels have.
    let mut controls = BTreeMap::new();
    // SAFETY: the structure is plain numbers and arrays of them, for which zero is a value.
    let mut query: v4l2_query_ext_ctrl = unsafe { std::mem::zeroed() };
    for _ in 0..MAX_CONTROLS {
        query.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
        // SAFETY: the kernel defines the operation as reading and writing this structure, which
        // lives until the call returns.
        let answer = unsafe {
            v4l2::ioctl(
                camera.handle().fd(),
                vidioc::VIDIOC_QUERY_EXT_CTRL,
                std::ptr::from_mut(&mut query).cast(),
            )
        };
        match answer {
            Ok(()) => {}
            // No further control.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            // The driver has none at all.
            Err(e) if e.raw_os_error() == Some(libc::ENOTTY) => break,
            Err(e) => return Err(e),
        }
        // SAFETY: the kernel ends the name with a zero; the last byte is one in any case.
        let name = unsafe { CStr::from_ptr(query.name.as_ptr()) };
        controls.insert(plain(&name.to_string_lossy()), query.id);
    }
    Ok(controls)
}

/// `White Balance, Automatic` becomes `white_balance_automatic`, as `v4l2-ctl` writes it.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            plain.push(c.to_ascii_lowercase());
        } else if !plain.is_empty() && !plain.ends_with('_') {
            plain.push('_');
        }
    }
    plain.truncate(plain.trim_end_matches('_').len());
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        for (name, expected) in [
            ("Brightness", "brightness"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("Power Line Frequency (50/60 Hz)", "power_line_frequency_50_60_hz"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }
}
