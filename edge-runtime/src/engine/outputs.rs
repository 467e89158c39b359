//! Where scores and events go: CSV and JSON Lines files, the broker, the alarm.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alert_wire::{Alert, Phase};
use inference::FrameScore;

use crate::alarm::Alarm;
use crate::error::Error;
use crate::evidence::Evidence;
use crate::later::{Later, Size};
use crate::publish::Publisher;
use crate::web::Live;

/// Bytes of rows that are written at once.
const BLOCK: usize = 8 << 10;

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

    /// Written by the thread that writes from now on; with `wait` no row is left out.
    #[must_use]
    pub fn later(self, later: &Arc<Later>, wait: bool) -> Self {
        let later = |rows: Rows| Rows { later: Some((Arc::clone(later), wait)), ..rows };
        Self { scores: later(self.scores), detectors: self.detectors.map(later) }
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

/// A file that lines are appended to.
#[derive(Clone)]
struct Lines {
    path: Arc<Path>,
    file: Arc<Mutex<File>>,
}

impl Lines {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let fail = |source| Error::Write { path: path.into(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let file = options.open(path).map_err(fail)?;
        Ok(Self { path: path.into(), file: Arc::new(Mutex::new(file)) })
    }

    fn append(&self, lines: &str) -> Result<(), Error> {
        // One write, so that a reader never sees half a line.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes())
            .map_err(|source| Error::Write { path: self.path.to_path_buf(), source })
    }
}

/// A CSV file being written, some kilobytes of whole rows at once.
struct Rows {
    lines: Lines,
    block: String,
    later: Option<(Arc<Later>, bool)>,
}

impl Rows {
    fn create(path: &Path, header: &str) -> Result<Self, Error> {
        let options = OpenOptions::new().create(true).write(true).truncate(true).to_owned();
        let lines = Lines::open(path, &options)?;
        let mut rows = Self { lines, block: String::with_capacity(BLOCK + 256), later: None };
        rows.write(format_args!("{header}"))?;
        Ok(rows)
    }

    fn write(&mut self, row: std::fmt::Arguments<'_>) -> Result<(), Error> {
        // Writing to a string does not fail.
        let _ = writeln!(self.block, "{row}");
        if self.block.len() < BLOCK { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        match &self.later {
            None => {
                let written = self.lines.append(&self.block);
                self.block.clear();
                written
            }
            Some((later, wait)) => {
                let (lines, block) = (self.lines.clone(), self.block.clone());
                self.block.clear();
                // What is left out is counted there.
                later.put(Size::Small, *wait, move || lines.append(&block));
                Ok(())
            }
        }
    }
}

/// Every event as a line of JSON.
pub struct EventFile {
    lines: Lines,
}

impl EventFile {
    /// Opens a file; `append` keeps what is in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path, append: bool) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append);
        Ok(Self { lines: Lines::open(path, &options)? })
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
    /// The thread that writes files. Without one they are written at once, which may take its time.
    pub later: Option<Arc<Later>>,
}

impl Outputs {
    /// No broker, no files, no alarm.
    pub fn none() -> Self {
        Self {
            publisher: None,
            events: None,
            evidence: None,
            alarm: Alarm::none(),
            live: None,
            later: None,
        }
    }

    /// Shows the score of a frame of camera number `camera`.
    pub fn score(&self, camera: usize, wall_ms: u64, score: f64) {
        if let Some(live) = &self.live {
            live.add_score(camera, wall_ms, score);
        }
    }

    /// Sends out an event; with `wait` it is not left out of the file because
    /// the disk is slow. The siren is switched before, by [`Alarm::set`].
    ///
    /// # Errors
    /// If the file of events cannot be written; it has gone everywhere else by then.
    pub fn event(&mut self, alert: &Alert, wait: bool) -> Result<(), Error> {
        if let Some(publisher) = &self.publisher {
            publisher.submit(alert);
        }
        if let Some(live) = &self.live {
            live.add_alert(alert);
        }
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
        if let Some(events) = &self.events {
            match alert.to_json() {
                Ok(json) => {
                    let (lines, line) = (events.lines.clone(), format!("{json}\n"));
                    match &self.later {
                        None => lines.append(&line)?,
                        Some(later) => {
                            later.put(Size::Small, wait, move || lines.append(&line));
                        }
                    }
                }
                Err(e) => log::error!("an event cannot be written: {e}"),
            }
        }
        Ok(())
    }
}
