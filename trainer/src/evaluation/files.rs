//! What a camera left behind: score files by clip, and alerts as a subscriber received them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use video::list_clips;

use super::baseline::frame_difference;
use super::events::Announced;
use super::run::ScoredClip;

/// Why the files of a run cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Scores and video do not belong together.
    #[error("clip {clip}: {scores} scores for {frames} frames; score the same videos")]
    Length {
        /// The clip.
        clip: String,
        /// Rows of the score file.
        scores: usize,
        /// Frames of the video.
        frames: usize,
    },
    /// A video cannot be read.
    #[error(transparent)]
    Video(#[from] video::Error),
}

/// An alert's fields that evaluation needs; the rest of the message is not looked at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AlertLine {
    /// Incident.
    pub id: String,
    /// Camera, which is the clip.
    pub camera: String,
    /// Kind of the anomaly.
    pub kind: String,
    /// Highest score so far.
    pub peak_score: f64,
    /// First frame of the incident, from 0.
    pub first_frame: u64,
    /// Frame of this message.
    pub frame: u64,
    /// Frame of the highest score.
    pub peak_frame: u64,
    /// Path of the picture, relative to the evidence folder.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// The clips of `videos` with the scores of `scores`: `CLIP.csv` with the header `frame,score` and,
/// if there is one, `CLIP.detectors.csv` with the columns `local`, `motion` and `semantic`.
///
/// # Errors
/// [`FilesError`], which names the file and the line.
pub fn read_scores(videos: &Path, scores: &Path) -> Result<Vec<ScoredClip>, FilesError> {
    let unscored = |clip: video::Clip| -> Result<ScoredClip, FilesError> {
        let (frame_difference, frame_rate) = frame_difference(&clip.path)?;
        let (name, video) = (clip.name, clip.path);
        Ok(ScoredClip { name, video, frame_rate, frame_difference, ..ScoredClip::default() })
    };
    let listed = list_clips(videos)?;
    // What is missing is told before videos are looked at, which takes long.
    for clip in &listed {
        let path = scores.join(format!("{}.csv", clip.name));
        std::fs::metadata(&path).map_err(|source| FilesError::Io { path, source })?;
    }
    let clips: Vec<ScoredClip> = listed.into_iter().map(unscored).collect::<Result<_, _>>()?;
    rescored(&clips, scores)
}

/// The same clips with other scores, as [`read_scores`] finds them, without looking at the videos again.
///
/// # Errors
/// [`FilesError`], which names the file and the line.
pub fn rescored(clips: &[ScoredClip], scores: &Path) -> Result<Vec<ScoredClip>, FilesError> {
    let one = |clip: &ScoredClip| {
        let path = scores.join(format!("{}.csv", clip.name));
        let table = read_table(&path)?;
        let score = column(&path, &table, "score")?.ok_or_else(|| FilesError::Line {
            path: path.clone(),
            line: 1,
            reason: "no column 'score'".into(),
        })?;
        if score.len() != clip.frame_difference.frames() {
            let (scores, frames) = (score.len(), clip.frame_difference.frames());
            return Err(FilesError::Length { clip: clip.name.clone(), scores, frames });
        }
        let path = scores.join(format!("{}.detectors.csv", clip.name));
        let own = if path.exists() { read_table(&path)? } else { Vec::new() };
        let detector = |name| column(&path, &own, name);
        Ok(ScoredClip {
            score,
            local: detector("local")?,
            motion: detector("motion")?,
            semantic: detector("semantic")?,
            ..clip.clone()
        })
    };
    clips.iter().map(one).collect()
}

/// The alerts of a file, one JSON object a line.
///
/// # Errors
/// [`FilesError`], which names the file and the line.
pub fn read_alerts(path: &Path) -> Result<Vec<AlertLine>, FilesError> {
    let lines = read(path)?;
    lines
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|e| FilesError::Line {
                path: path.to_path_buf(),
                line: number + 1,
                reason: e.to_string(),
            })
        })
        .collect()
}

/// The incidents of alerts, each with its last message: messages of one incident share an id.
pub fn incidents(alerts: &[AlertLine]) -> Vec<(Announced, AlertLine)> {
    let mut incidents: BTreeMap<&str, (Announced, AlertLine)> = BTreeMap::new();
    for alert in alerts {
        let first = || {
            let clip = alert.camera.clone();
            (Announced { clip, first: alert.first_frame, last: alert.frame }, alert.clone())
        };
        let (announced, last) = incidents.entry(&alert.id).or_insert_with(first);
        announced.last = announced.last.max(alert.frame);
        let snapshot = alert.snapshot.clone().or(last.snapshot.take());
        *last = AlertLine { snapshot, ..alert.clone() };
    }
    let mut incidents: Vec<_> = incidents.into_values().collect();
    incidents.sort_by(|a, b| (&a.0.clip, a.0.first).cmp(&(&b.0.clip, b.0.first)));
    incidents
}

fn read(path: &Path) -> Result<String, FilesError> {
    std::fs::read_to_string(path)
        .map_err(|source| FilesError::Io { path: path.to_path_buf(), source })
}

fn read_table(path: &Path) -> Result<Vec<Vec<String>>, FilesError> {
    let rows = |line: &str| line.split(',').map(str::to_string).collect();
    Ok(read(path)?.lines().map(rows).collect())
}

/// A column of a table whose rows are frames from 0; `None` if it is not there, or empty because
/// the model does not have the detector.
fn column(path: &Path, table: &[Vec<String>], name: &str) -> Result<Option<Vec<f64>>, FilesError> {
    let Some(at) = table.first().and_then(|header| header.iter().position(|f| f == name)) else {
        return Ok(None);
    };
    let mut values = Vec::with_capacity(table.len());
    for (frame, row) in table[1..].iter().enumerate() {
        let wrong =
            |reason: String| FilesError::Line { path: path.to_path_buf(), line: frame + 2, reason };
        if row.first().and_then(|f| f.parse().ok()) != Some(frame) {
            return Err(wrong(format!("expected frame {frame}")));
        }
        match row.get(at).map(String::as_str) {
            Some("") => return Ok(None),
            Some(field) => match field.parse::<f64>() {
                Ok(value) if !value.is_nan() => values.push(value),
                _ => return Err(wrong(format!("{name} is '{field}', not a number"))),
            },
            None => return Err(wrong(format!("no field for {name}"))),
        }
    }
    Ok(Some(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<Vec<String>> {
        text.lines().map(|l| l.split(',').map(str::to_string).collect()).collect()
    }

    #[test]
    fn columns_by_name_with_empty_ones_absent() {
        let rows = table("frame,local,semantic\n0,1.5,\n1,-2e-3,");
        let path = Path::new("a.csv");
        assert_eq!(column(path, &rows, "local").unwrap(), Some(vec![1.5, -0.002]));
        assert_eq!(column(path, &rows, "semantic").unwrap(), None);
        assert_eq!(column(path, &rows, "motion").unwrap(), None);
    }

    #[test]
    fn wrong_rows_are_named() {
        let message =
            |text| column(Path::new("a.csv"), &table(text), "score").unwrap_err().to_string();
        assert!(message("frame,score\n0,1\n2,1").contains("line 3: expected frame 1"));
        assert!(message("frame,score\n0,x").contains("line 2"));
        assert!(message("frame,score\n0,NaN").contains("'NaN'"));
        assert!(message("frame,score\n0").contains("no field"));
    }

    #[test]
    fn messages_of_one_incident_become_one() {
        let alert = |id: &str, frame, snapshot: Option<&str>| AlertLine {
            id: id.into(),
            camera: "a".into(),
            kind: "fast".into(),
            peak_score: frame as f64,
            first_frame: 3,
            frame,
            peak_frame: frame,
            snapshot: snapshot.map(str::to_string),
        };
        let alerts = [alert("x", 5, None), alert("x", 9, Some("x.jpg")), alert("y", 4, None)];
        let found = incidents(&alerts);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0.first, found[0].0.last), (3, 9));
        assert_eq!(found[0].1.snapshot.as_deref(), Some("x.jpg"));
    }
}
