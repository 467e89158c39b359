//! Which cameras the broker has been told of, so that one that is taken away is taken out there too:
//! its retained messages, and its entities at Home Assistant.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{self, Disk, Files as _};

/// Cameras that are gone are named this many at most; the newest ones count.
const MAX_GONE: usize = 32;
/// Far more than 64 ids need.
const MAX_FILE: u64 = 64 << 10;

/// The cameras that were announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announced {
    /// Those that there are.
    pub cameras: Vec<String>,
    /// Those that there were, the newest last.
    pub gone: Vec<String>,
}

impl Announced {
    /// What is to be announced once there are these cameras.
    pub fn with(&self, cameras: &[String]) -> Self {
        let mut gone: Vec<String> = self
            .gone
            .iter()
            .chain(&self.cameras)
            .filter(|id| !cameras.contains(id))
            .cloned()
            .collect();
        gone.dedup();
        let gone = gone.split_off(gone.len().saturating_sub(MAX_GONE));
        Self { cameras: cameras.to_vec(), gone }
    }

    /// Reads the file `cameras.json` of a folder, and writes down that there are these cameras. What
    /// cannot be read counts as none; what cannot be read or written is logged.
    pub fn remember(folder: &Path, cameras: &[String]) -> Self {
        let path = folder.join("cameras.json");
        let lost = |e: &dyn std::fmt::Display| {
            log::warn!("{}: {e}; a camera taken away stays at the broker", path.display());
        };
        let known = match Disk.read(&path, MAX_FILE) {
            Ok(bytes) => serde_json::from_slice(&bytes).inspect_err(|e| lost(e)).ok(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                lost(&e);
                None
            }
        };
        let known: Self = known.unwrap_or_default();
        // Ids become topics and templates: those of a file are looked at like those of a configuration.
        let known = Self {
            cameras: known
                .cameras
                .into_iter()
                .filter(|id| alert_wire::check_id(id).is_ok())
                .collect(),
            gone: known.gone.into_iter().filter(|id| alert_wire::check_id(id).is_ok()).collect(),
        };
        let now = known.with(cameras);
        if now != known {
            let written =
                serde_json::to_vec_pretty(&now).map_err(std::io::Error::other).and_then(|json| {
                    std::fs::create_dir_all(folder)?;
                    files::replace(&Disk, &path, &json)
                });
            if let Err(e) = written {
                lost(&e);
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_camera_that_is_renamed_is_gone_until_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        assert_eq!(Announced::remember(&folder, &ids(&["door", "yard"])).gone, ids(&[]));
        assert_eq!(Announced::remember(&folder, &ids(&["gate", "yard"])).gone, ids(&["door"]));
        // And still at the next start: the broker may have lost what it was told.
        assert_eq!(Announced::remember(&folder, &ids(&["gate", "yard"])).gone, ids(&["door"]));
        assert_eq!(Announced::remember(&folder, &ids(&["door"])).gone, ids(&["gate", "yard"]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Announced::default();
        for number in 0..100 {
            known = known.with(&[format!("camera-{number}")]);
        }
        assert_eq!(known.gone.len(), MAX_GONE);
        assert_eq!(known.gone.last().unwrap(), "camera-98");
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cameras.json");
        for bytes in [&b"{\"cameras\": 7}"[..], b"\0\0", br#"{"gone": ["a/b", "{{ x }}", ""]}"#] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Announced::remember(dir.path(), &ids(&["door"])).gone, ids(&[]));
        }
    }
}
