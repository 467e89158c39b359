//! The figures of every step, for people: `metrics.csv` and an event file for TensorBoard.
//!
//! They lie in `metrics/semantic` and `metrics/local` of the checkpoint. A run that was interrupted
//! goes on in the same files; what an unfinished stretch had written is cut off first, so that every
//! step is there once. Nothing reads them back but this.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use trainer::tensorboard::EventFile;

/// Steps after which what was written is handed to the operating system.
const FLUSH_EVERY: usize = 20;

/// Figures before those of the detector: step, Unix time and duration in seconds.
const FIRST: [&str; 3] = ["step", "time", "seconds"];

/// Writes the figures of one detector's training.
pub struct Metrics {
    folder: PathBuf,
    columns: &'static [&'static str],
    files: RefCell<Option<Files>>,
    started: RefCell<Instant>,
    failed: RefCell<Option<std::io::Error>>,
}

struct Files {
    csv: BufWriter<File>,
    events: EventFile,
    rows: usize,
}

impl Metrics {
    /// For figures named `columns`, below `metrics` of the checkpoint `out`. `run` tells runs apart:
    /// the figures of another one are removed.
    pub fn new(
        out: &Path,
        detector: &str,
        run: &str,
        columns: &'static [&'static str],
    ) -> Result<Self> {
        let folder = out.join("metrics").join(detector);
        let mark = folder.join("run");
        if std::fs::read_to_string(&mark).is_ok_and(|other| other != run) {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&mark, run).with_context(|| mark.display().to_string())?;
        let (files, failed) = (RefCell::default(), RefCell::default());
        Ok(Self { folder, columns, files, started: RefCell::new(Instant::now()), failed })
    }

    /// The figures of a step, from 1; NaN for one that the step has not. A failure to write is kept
    /// for [`Metrics::flush`]: it must not end a training.
    pub fn step(&self, step: usize, values: &[f64]) {
        debug_assert_eq!(values.len(), self.columns.len(), "a value for each column");
        let now = Instant::now();
        let seconds = now.duration_since(self.started.replace(now)).as_secs_f64();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        if self.failed.borrow().is_some() {
            return;
        }
        if let Err(error) = self.write(step, time, seconds, values) {
            *self.failed.borrow_mut() = Some(error);
        }
    }

    fn write(&self, step: usize, time: f64, seconds: f64, values: &[f64]) -> std::io::Result<()> {
        let mut files = self.files.borrow_mut();
        let files = match files.as_mut() {
            Some(files) => files,
            None => files.insert(self.open(step, time)?),
        };
        let row: Vec<f64> = [time, seconds].into_iter().chain(values.iter().copied()).collect();
        files.write(self.columns, step, &row)?;
        files.rows += 1;
        if files.rows.is_multiple_of(FLUSH_EVERY) {
            files.csv.flush()?;
            files.events.flush()?;
        }
        Ok(())
    }

    /// Opens the files for a run that goes on with `step`, with the rows of the steps before it.
    fn open(&self, step: usize, time: f64) -> std::io::Result<Files> {
        let path = self.folder.join("metrics.csv");
        let header = [&FIRST, self.columns].concat().join(",");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        let same = lines.next() == Some(header.as_str());
        let width = FIRST.len() + self.columns.len();
        let kept: Vec<(usize, Vec<f64>)> =
            lines.filter(|_| same).filter_map(|line| parse(line, width, step)).collect();

        let partial = self.folder.join("metrics.partial");
        let mut csv = BufWriter::new(File::create(&partial)?);
        writeln!(csv, "{header}")?;
        let first = kept.first().map_or(time, |(_, row)| row[0]);
        let events = EventFile::create(&self.folder.join("events.out.tfevents.0"), first)?;
        let mut files = Files { csv, events, rows: 0 };
        for (step, row) in &kept {
            files.write(self.columns, *step, row)?;
        }
        files.csv.flush()?;
        // The open file goes along with its name.
        std::fs::rename(&partial, &path)?;
        Ok(files)
    }

    /// Hands everything to the operating system; says if something could not be written.
    pub fn flush(&self) {
        let mut error = self.failed.take();
        if let (None, Some(files)) = (&error, self.files.borrow_mut().as_mut()) {
            error = files.csv.flush().and_then(|()| files.events.flush()).err();
        }
        if let Some(error) = error {
            log::warn!("{}: {error}; figures are missing", self.folder.display());
        }
    }
}

impl Files {
    fn write(&mut self, columns: &[&str], step: usize, row: &[f64]) -> std::io::Result<()> {
        write!(self.csv, "{step},{:.3},{:.6}", row[0], row[1])?;
        for value in &row[2..] {
            if value.is_nan() {
                write!(self.csv, ",")?;
            } else {
                write!(self.csv, ",{value}")?;
            }
        }
        writeln!(self.csv)?;
        let names = std::iter::once("seconds").chain(columns.iter().copied());
        let scalars = names.zip(row[1..].iter().copied()).filter(|(_, value)| !value.is_nan());
        self.events.scalars(row[0], step as u64, scalars)
    }
}

/// Step and figures of a whole line of a step before `before`.
fn parse(line: &str, width: usize, before: usize) -> Option<(usize, Vec<f64>)> {
    let mut fields = line.split(',');
    let step: usize = fields.next()?.parse().ok()?;
    let number = |field: &str| if field.is_empty() { Some(f64::NAN) } else { field.parse().ok() };
    let row: Vec<f64> = fields.map(number).collect::<Option<_>>()?;
    (step < before && row.len() + 1 == width).then_some((step, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["loss", "auc"];

    fn steps(folder: &Path, run: &str, steps: std::ops::Range<usize>) {
        let metrics = Metrics::new(folder, "semantic", run, COLUMNS).unwrap();
        for step in steps {
            metrics.step(step, &[step as f64 / 2.0, if step % 2 == 0 { 0.5 } else { f64::NAN }]);
        }
        metrics.flush();
    }

    /// Step, loss and AUC of every line.
    fn rows(folder: &Path) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(folder.join("metrics/semantic/metrics.csv")).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("step,time,seconds,loss,auc"));
        let cut = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            assert!(fields[1].parse::<f64>().unwrap() > 1e9 && fields.len() == 5);
            (fields[0].into(), fields[3].into(), fields[4].into())
        };
        lines.map(cut).collect()
    }

    #[test]
    fn a_resumed_run_has_every_step_once() {
        let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        steps(whole.path(), "a", 1..8);
        steps(resumed.path(), "a", 1..6);
        // Killed in the middle of a line, and the state saved is that of step 3.
        let csv = resumed.path().join("metrics/semantic/metrics.csv");
        let text = std::fs::read_to_string(&csv).unwrap();
        std::fs::write(&csv, &text[..text.len() - 3]).unwrap();
        steps(resumed.path(), "a", 4..8);
        assert_eq!(rows(resumed.path()), rows(whole.path()));
        assert_eq!(rows(whole.path())[1], ("2".into(), "1".into(), "0.5".into()));
        assert_eq!(rows(whole.path())[2].2, "");
        let size = |folder: &Path| {
            folder.join("metrics/semantic/events.out.tfevents.0").metadata().unwrap().len()
        };
        assert_eq!(size(whole.path()), size(resumed.path()));
    }

    #[test]
    fn another_run_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        steps(folder.path(), "a", 1..6);
        steps(folder.path(), "b", 4..6);
        assert_eq!(rows(folder.path()).len(), 2);
    }
}
