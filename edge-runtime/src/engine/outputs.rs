//! Where scores and events go: CSV and JSON Lines files, the broker, the alarm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alert_wire::{Alert, Phase};
use inference::FrameScore;

use crate::alarm::Alarm;
use crate::error::Error;
use crate::evidence::Evidence;
use crate::publish::Publisher;
use crate::web::Live;

/// The score of every frame: header `frame,score`, one row a frame, frames from 0. Beside it, if
/// asked for, `<name>.detectors.csv` with each detector's smoothed z-score.
pub struct ScoreFile {
    scores: Rows,
    detectors: Option<Rows>,
}

impl ScoreFile {
    /// Begins a file, in place of an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self { scores: Rows::create(path, "frame,score")?, detectors: None })
    }

    /// As [`ScoreFile::create`], with the file of each detector's own scores.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub fn with_detectors(path: &Path) -> Result<Self, Error> {
        let own = path.with_extension("detectors.csv");
        let detectors = Rows::create(&own, "frame,local,motion,semantic,fused")?;
        Ok(Self { detectors: Some(detectors), ..Self::create(path)? })
    }

    /// Appends a row. Values are written with as many digits as tell them from every other `f64`;
    /// a detector that the model does not have leaves its field empty.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, frame: u64, score: &FrameScore) -> Result<(), Error> {
        self.scores.write(format_args!("{frame},{}", score.score))?;
        let Some(detectors) = &mut self.detectors else { return Ok(()) };
        let field = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        detectors.write(format_args!(
            "{frame},{},{},{},{}",
            field(score.local),
            field(score.motion),
            field(score.semantic),
            score.fused
        ))
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.scores.flush()?;
        self.detectors.as_mut().map_or(Ok(()), Rows::flush)
    }
}

/// A CSV file being written.
struct Rows {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Rows {
    fn create(path: &Path, header: &str) -> Result<Self, Error> {
        let fail = |source| Error::Write { path: path.into(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let writer = BufWriter::new(File::create(path).map_err(fail)?);
        let mut rows = Self { path: path.into(), writer };
        rows.write(format_args!("{header}"))?;
        Ok(rows)
    }

    fn write(&mut self, row: std::fmt::Arguments<'_>) -> Result<(), Error> {
        writeln!(self.writer, "{row}").map_err(|e| self.fail(e))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|e| self.fail(e))
    }

    fn fail(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

/// Every event as a line of JSON.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens a file; `append` keeps what is in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path, append: bool) -> Result<Self, Error> {
        let fail = |source| Error::Write { path: path.into(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append);
        Ok(Self { path: path.into(), file: options.open(path).map_err(fail)? })
    }

    fn write(&mut self, json: &str) -> Result<(), Error> {
        // One write a line, so that a reader never sees half of one.
        self.file
            .write_all(format!("{json}\n").as_bytes())
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

/// Where events go; each part may be absent.
pub struct Outputs {
    /// The broker.
    pub publisher: Option<Publisher>,
    /// The file of events.
    pub events: Option<EventFile>,
    /// Pictures.
    pub evidence: Option<Evidence>,
    /// The alarm output.
    pub alarm: Alarm,
    /// The local page.
    pub live: Option<Arc<Live>>,
}

impl Outputs {
    /// No broker, no files, no alarm.
    pub fn none() -> Self {
        Self { publisher: None, events: None, evidence: None, alarm: Alarm::none(), live: None }
    }

    /// Shows the score of a frame of camera number `camera`.
    pub fn score(&self, camera: usize, wall_ms: u64, score: f64) {
        if let Some(live) = &self.live {
            live.add_score(camera, wall_ms, score);
        }
    }

    /// Sends out an event of camera number `camera`.
    ///
    /// # Errors
    /// If the file of events cannot be written; it has gone everywhere else by then.
    pub fn event(&mut self, camera: usize, alert: &Alert, now_ms: u64) -> Result<(), Error> {
        if let Some(publisher) = &self.publisher {
            publisher.submit(alert);
        }
        if let Some(live) = &self.live {
            live.add_alert(alert);
        }
        self.alarm.set(camera, alert.phase != Phase::End, now_ms);
        let log_line = format!(
            "camera {}: incident {} {:?}: {} frames {}-{}, score {:.3}",
            alert.camera,
            alert.id,
            alert.phase,
            alert.kind,
            alert.first_frame,
            alert.frame,
            alert.peak_score
        );
        match alert.phase {
            Phase::Update => log::debug!("{log_line}"),
            _ => log::info!("{log_line}"),
        }
        if let Some(events) = &mut self.events {
            match alert.to_json() {
                Ok(json) => events.write(&json)?,
                Err(e) => log::error!("an event cannot be written: {e}"),
            }
        }
        Ok(())
    }
}
