//! Ground truth: which frames of a clip are abnormal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Abnormal frame ranges by clip name: 1-based, both ends included. A clip that is absent is normal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(BTreeMap<String, Vec<(u64, u64)>>);

/// Why a labels file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// It cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not of the form `{"clip": [[first, last], ...]}`.
    #[error("{}: {reason}; expected {{\"clip\": [[first, last], ...]}}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A range that cannot be.
    #[error(
        "{}: clip {clip}: range [{first}, {last}]: frames count from 1 and the last is not before \
         the first", path.display()
    )]
    Range {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip: String,
        /// First frame given.
        first: u64,
        /// Last frame given.
        last: u64,
    },
    /// A range beyond the clip's end.
    #[error("labels of clip {clip}: range ends at frame {last}, but the clip has {frames}")]
    BeyondEnd {
        /// The clip.
        clip: String,
        /// Last frame of the range.
        last: u64,
        /// Frames of the clip.
        frames: u64,
    },
}

impl Labels {
    /// Reads a labels file.
    ///
    /// # Errors
    /// [`LabelsError`], which names the clip and the range.
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let io = |source| LabelsError::Io { path: path.to_path_buf(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(io)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, LabelsError> {
        let labels: BTreeMap<String, Vec<(u64, u64)>> = serde_json::from_str(text)
            .map_err(|e| LabelsError::Format { path: path.to_path_buf(), reason: e.to_string() })?;
        for (clip, ranges) in &labels {
            if let Some(&(first, last)) = ranges.iter().find(|(f, l)| *f == 0 || l < f) {
                let (path, clip) = (path.to_path_buf(), clip.clone());
                return Err(LabelsError::Range { path, clip, first, last });
            }
        }
        Ok(Self(labels))
    }

    /// The clips that are named, in order.
    pub fn clips(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Abnormal ranges of a clip.
    pub fn ranges(&self, clip: &str) -> &[(u64, u64)] {
        self.0.get(clip).map_or(&[], Vec::as_slice)
    }

    /// Whether each of a clip's frames is abnormal.
    ///
    /// # Errors
    /// [`LabelsError::BeyondEnd`] if a range ends beyond the clip.
    pub fn frames(&self, clip: &str, count: usize) -> Result<Vec<bool>, LabelsError> {
        let mut abnormal = vec![false; count];
        for &(first, last) in self.ranges(clip) {
            if last > count as u64 {
                let clip = clip.to_string();
                return Err(LabelsError::BeyondEnd { clip, last, frames: count as u64 });
            }
            abnormal[first as usize - 1..last as usize].fill(true);
        }
        Ok(abnormal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Labels, LabelsError> {
        Labels::parse(text, Path::new("labels.json"))
    }

    #[test]
    fn ranges_are_one_based_and_inclusive() {
        let labels = parse(r#"{"a": [[1, 2], [5, 5]]}"#).unwrap();
        assert_eq!(labels.frames("a", 5).unwrap(), [true, true, false, false, true]);
        assert_eq!(labels.frames("absent", 2).unwrap(), [false, false]);
    }

    #[test]
    fn wrong_labels_are_named() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert!(message(r#"{"a": [[0, 2]]}"#).contains("clip a"));
        assert!(message(r#"{"a": [[3, 2]]}"#).contains("[3, 2]"));
        assert!(message(r#"{"a": 3}"#).contains("labels.json"));
        let labels = parse(r#"{"a": [[1, 9]]}"#).unwrap();
        assert!(labels.frames("a", 5).unwrap_err().to_string().contains("frame 9"));
    }
}
