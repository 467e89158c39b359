//! Settings that were made by command and outlive a restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::THRESHOLDS;
use crate::error::Error;
use crate::files::{self, Disk, Files as _};

/// Far more than 32 cameras need.
const MAX_FILE: u64 = 64 << 10;

/// What commands have set at a camera.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CameraSettings {
    /// Whether incidents are announced.
    pub armed: bool,
    /// Score at which an incident starts, if a command has set one.
    pub threshold: Option<f64>,
    /// What the configuration said when it was set: a later change of the configuration wins.
    pub configured: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    cameras: BTreeMap<String, CameraSettings>,
}

/// The settings of all cameras, in a file.
pub struct Settings {
    path: PathBuf,
    content: Content,
}

impl Settings {
    /// Reads the file `settings.json` in a folder. One that is missing or damaged counts as empty:
    /// the device is then armed, with the thresholds of the configuration.
    pub fn open(folder: &Path) -> Self {
        let path = folder.join("settings.json");
        let content = match Disk.read(&path, MAX_FILE) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                log::warn!("{}: {e}; settings made by command are lost", path.display());
                Content::default()
            }),
            Err(e) => {
                if e.kind() != std::io::ErrorKind::NotFound {
                    log::warn!("{}: {e}; settings made by command are lost", path.display());
                }
                Content::default()
            }
        };
        Self { path, content }
    }

    /// What was set at a camera whose configuration asks for the threshold `configured`.
    pub fn of(&self, camera: &str, configured: f64) -> CameraSettings {
        match self.content.cameras.get(camera) {
            Some(known) => CameraSettings {
                armed: known.armed,
                threshold: known
                    .threshold
                    .filter(|value| known.configured == configured && THRESHOLDS.contains(value)),
                configured,
            },
            None => CameraSettings { armed: true, threshold: None, configured },
        }
    }

    /// Remembers what is set at a camera. The answer, if anything is new, writes it: until then, and if
    /// that fails, the setting holds until the next restart.
    #[must_use]
    pub fn set(
        &mut self,
        camera: &str,
        settings: CameraSettings,
    ) -> Option<impl FnOnce() -> Result<(), Error> + Send + use<>> {
        if self.content.cameras.get(camera) == Some(&settings) {
            return None;
        }
        self.content.cameras.insert(camera.to_owned(), settings);
        let (path, json) = (self.path.clone(), serde_json::to_vec_pretty(&self.content));
        Some(move || {
            let folder = path.parent().unwrap_or(Path::new("."));
            let written = json.map_err(std::io::Error::other).and_then(|json| {
                std::fs::create_dir_all(folder)?;
                files::replace(&Disk, &path, &json)
            });
            written.map_err(|e| {
                let path = path.display();
                Error::Failed(format!("{path}: {e}; the setting is lost at the next restart"))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outlive_a_restart_until_the_configuration_changes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let mut settings = Settings::open(&folder);
        let unset = CameraSettings { armed: true, threshold: None, configured: 0.5 };
        assert_eq!(settings.of("door", 0.5), unset);
        let set = CameraSettings { armed: false, threshold: Some(0.7), configured: 0.5 };
        settings.set("door", set).unwrap()().unwrap();
        assert!(settings.set("door", set).is_none());

        let settings = Settings::open(&folder);
        assert_eq!(settings.of("door", 0.5), set);
        assert_eq!(settings.of("yard", 0.5), unset);
        // The configuration was changed afterwards: whoever did it wants the new value.
        let changed = settings.of("door", 0.6);
        assert_eq!((changed.armed, changed.threshold), (false, None));
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b"{\"cameras\": {\"door\": 1}}"[..], b"\0\0\0", &[b' '; 70_000]] {
            std::fs::write(dir.path().join("settings.json"), bytes).unwrap();
            assert!(Settings::open(dir.path()).of("door", 0.5).armed);
        }
    }
}
