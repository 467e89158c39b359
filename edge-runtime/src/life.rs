//! What became of the program before: signs of life in a small file, and what is read off them at the next
//! start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use boards::BootCause;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::{self, Disk, Files as _};

/// Far more than a sign takes.
const MAX_FILE: u64 = 4096;
/// Time between two signs while nothing changes.
pub const EVERY: Duration = Duration::from_secs(60);
/// Longest reason that is kept.
const REASON: usize = 512;

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sign {
    /// The system's start, as the kernel names it.
    pub boot_id: Option<String>,
    /// Monotonic time of the device in seconds.
    pub uptime_s: u64,
    /// Wall time in milliseconds of the Unix epoch.
    pub time_ms: u64,
    /// Why the watchdog is fed no more.
    pub starving: Option<String>,
    /// The program has ended in order.
    pub ended: bool,
}

/// How the program ended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// In order.
    InOrder,
    /// The program went, the system stayed: a crash, or it was killed.
    Crash,
    /// The watchdog reset the board.
    Watchdog,
    /// The system went: its power was cut, or it was reset.
    Reset,
}

/// The end before this start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastEnd {
    /// How it came.
    pub how: How,
    /// Why, as far as that is known.
    pub reason: Option<String>,
    /// Monotonic time of its last sign of life, in seconds.
    pub uptime_s: u64,
    /// Wall time of its last sign of life, in milliseconds of the Unix epoch.
    pub time_ms: u64,
}

impl LastEnd {
    /// Reads it off the last sign of life, the system's start now, and what the watchdog says of its
    /// cause.
    pub fn of(sign: &Sign, boot_id: Option<&str>, cause: Option<BootCause>) -> Self {
        let same = boot_id.is_some() && sign.boot_id.as_deref() == boot_id;
        let watchdog = cause.is_some_and(|cause| cause.watchdog);
        let how = match (sign.ended, same) {
            (true, _) => How::InOrder,
            (false, true) => How::Crash,
            // One that starved the watchdog and is gone with the system has been reset by it, even where
            // the driver does not tell.
            (false, false) if watchdog || sign.starving.is_some() => How::Watchdog,
            (false, false) => How::Reset,
        };
        let told =
            cause.filter(|_| how != How::InOrder && how != How::Crash).and_then(BootCause::told);
        let reason = match how {
            How::InOrder => None,
            _ => sign.starving.clone().or(told.map(Into::into)),
        };
        Self { how, reason, uptime_s: sign.uptime_s, time_ms: sign.time_ms }
    }

    /// Says it in the log, if it was no end in order.
    pub fn tell(&self) {
        let what = match self.how {
            How::InOrder => return,
            How::Crash => "the program ended without order",
            How::Watchdog => "the watchdog reset the board",
            How::Reset => "the board was reset, or its power was cut",
        };
        let reason = self.reason.as_deref().unwrap_or("no reason is known");
        log::warn!(
            "before this start {what}: {reason}; last sign of life at uptime {} s",
            self.uptime_s
        );
    }
}

/// The file of signs.
#[derive(Debug, Clone)]
pub struct SignFile {
    path: PathBuf,
}

impl SignFile {
    /// The file `life.json` of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("life.json") }
    }

    /// The last sign; none if there is no such file, or it is damaged.
    pub fn read(&self) -> Option<Sign> {
        let bytes = match Disk.read(&self.path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) => {
                if e.kind() != std::io::ErrorKind::NotFound {
                    log::warn!(
                        "{}: {e}; how the program ended before is not known",
                        self.path.display()
                    );
                }
                return None;
            }
        };
        let sign = serde_json::from_slice::<Sign>(&bytes);
        sign.map_err(|e| {
            log::warn!("{}: {e}; how the program ended before is not known", self.path.display());
        })
        .ok()
    }

    /// Writes a sign, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, sign: &Sign) -> Result<(), Error> {
        let mut sign = sign.clone();
        if let Some(reason) = &mut sign.starving {
            let end = (0..=REASON.min(reason.len())).rev().find(|&i| reason.is_char_boundary(i));
            reason.truncate(end.unwrap_or(0));
        }
        let json = serde_json::to_vec(&sign).map_err(std::io::Error::other);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let written = json.and_then(|json| {
            std::fs::create_dir_all(folder)?;
            files::replace(&Disk, &self.path, &json)
        });
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

/// The kernel's name of the system's start, if it tells. `root` is `/` on a real machine.
pub fn boot_id(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("proc/sys/kernel/random/boot_id")).ok()?;
    let id = text.trim();
    let fits =
        (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    fits.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(boot: &str) -> Sign {
        Sign { boot_id: Some(boot.into()), uptime_s: 77, time_ms: 5, starving: None, ended: false }
    }

    #[test]
    fn a_watchdog_reset_and_its_cause_are_told_at_the_next_start() {
        let starved =
            Sign { starving: Some("no frame for 60 s from camera door".into()), ..sign("a") };
        let end = LastEnd::of(&starved, Some("b"), None);
        assert_eq!(end.how, How::Watchdog);
        assert!(end.reason.unwrap().contains("camera door"));
        // The driver knows of one that nobody foresaw: the system hung.
        let cause = BootCause { watchdog: true, ..BootCause::default() };
        assert_eq!(LastEnd::of(&sign("a"), Some("b"), Some(cause)).how, How::Watchdog);
        // What it says of an earlier start does not make a crash one.
        assert_eq!(LastEnd::of(&sign("b"), Some("b"), Some(cause)).how, How::Crash);
        let hot = BootCause { overheat: true, ..BootCause::default() };
        let end = LastEnd::of(&sign("a"), Some("b"), Some(hot));
        assert_eq!((end.how, end.reason.as_deref()), (How::Reset, Some("overheated")));
    }

    #[test]
    fn an_end_in_order_a_crash_and_a_power_cut_are_told_apart() {
        let how = |sign: &Sign, boot: Option<&str>| LastEnd::of(sign, boot, None).how;
        assert_eq!(how(&Sign { ended: true, ..sign("a") }, Some("b")), How::InOrder);
        assert_eq!(how(&sign("a"), Some("a")), How::Crash);
        assert_eq!(how(&sign("a"), Some("b")), How::Reset);
        assert_eq!(how(&Sign { boot_id: None, ..sign("a") }, None), How::Reset);
    }

    #[test]
    fn signs_outlive_the_program_and_damaged_ones_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let file = SignFile::new(&dir.path().join("state"));
        assert_eq!(file.read(), None);
        let long = Sign { starving: Some("ö".repeat(4000)), ..sign("a") };
        file.write(&long).unwrap();
        let read = file.read().unwrap();
        assert_eq!((read.uptime_s, read.starving.unwrap().len()), (77, REASON));
        for bytes in [&b"{"[..], &[b'x'; 10_000]] {
            std::fs::write(dir.path().join("state/life.json"), bytes).unwrap();
            assert_eq!(file.read(), None);
        }
    }

    #[test]
    fn the_kernel_names_the_systems_start() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(boot_id(dir.path()), None);
        let folder = dir.path().join("proc/sys/kernel/random");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("boot_id"), "4f4c3f5c-6b0e-4b44-9a6f-0123456789ab\n").unwrap();
        assert_eq!(boot_id(dir.path()).unwrap().len(), 36);
        std::fs::write(folder.join("boot_id"), "<script>\n").unwrap();
        assert_eq!(boot_id(dir.path()), None);
    }
}
