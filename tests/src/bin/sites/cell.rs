//! A cell: what came out of one training on one site.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use model_bundle::{Bundle, Trust};
use serde::{Deserialize, Serialize};
use trainer::evaluation::report::ReportData;
use trainer::evaluation::{Evaluation, Labels, Rival, read_scores, rival};

use super::footage::Footage;

/// Least temporal IoU of events that agree.
pub const LEAST_IOU: f64 = 0.2;
/// Alarms an hour at which the delay is measured.
const ALARMS_AN_HOUR: f64 = 6.0;

/// A site and a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub site: String,
    pub seed: u64,
    /// Of the training, as text.
    pub config: String,
    /// From footage to figures.
    pub seconds: f64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done(Box<Figures>),
    Failed { code: i32, log: PathBuf },
}

/// What is compared; `None` where a figure cannot be had.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    pub auc_frame: Option<f64>,
    pub auc_video: Option<f64>,
    /// The frame difference in its best form.
    pub baseline_auc_frame: Option<f64>,
    pub baseline_auc_video: Option<f64>,
    /// Its F1 at the threshold with the best one, and the alarm time there.
    pub baseline_f1: Option<f64>,
    pub baseline_alarm_time: Option<f64>,
    pub events_truth: usize,
    pub events_announced: usize,
    /// Agreement in time at IoU 0.2.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    pub false_alarms_per_hour: Option<f64>,
    pub false_alarms_per_hour_interval: Option<(f64, f64)>,
    pub alarm_time_on_normal: Option<f64>,
    /// Median seconds to the first alarm, at 6 alarms an hour.
    pub delay_seconds: Option<f64>,
    /// Alarms an hour that the bundle says agree with what it was calibrated on.
    pub stated: Option<(f64, f64)>,
}

impl Figures {
    /// Whether the measured alarms an hour lie inside what the bundle states.
    pub fn inside(&self) -> Option<bool> {
        let (rate, (low, high)) = (self.false_alarms_per_hour?, self.stated?);
        Some((low..=high).contains(&rate))
    }

    fn of(evaluation: &Evaluation, rival: &Rival, stated: Option<(f64, f64)>) -> Self {
        let alarms = evaluation.alarms.as_ref();
        let events = alarms.and_then(|a| a.events.iter().find(|e| e.iou == LEAST_IOU));
        let rate = alarms.and_then(|alarms| alarms.false_alarms);
        let delays = &evaluation.delay_at_alarms;
        let delay = delays.iter().find(|delay| delay.alarms_per_hour == ALARMS_AN_HOUR);
        let best = rival.events;
        Self {
            auc_frame: evaluation.auc_micro,
            auc_video: evaluation.auc_video,
            baseline_auc_frame: evaluation.auc_frame_difference,
            baseline_auc_video: rival.auc_video,
            baseline_f1: best.and_then(|events| events.score.f1),
            baseline_alarm_time: best.and_then(|events| events.time_on_normal),
            events_truth: evaluation.events_truth,
            events_announced: alarms.map_or(0, |alarms| alarms.announced),
            precision: events.and_then(|e| e.precision),
            recall: events.and_then(|e| e.recall),
            f1: events.and_then(|e| e.f1),
            false_alarms_per_hour: rate.map(|rate| rate.rate),
            false_alarms_per_hour_interval: rate.map(|rate| (rate.low, rate.high)),
            alarm_time_on_normal: alarms.and_then(|alarms| alarms.time_on_normal),
            delay_seconds: delay.and_then(|delay| delay.median_seconds),
            stated,
        }
    }
}

/// The figures of a demonstration that has run.
pub fn figures(footage: &Footage, folder: &Path) -> Result<Figures> {
    let path = folder.join("report.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let report: ReportData =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let labels = match &footage.labels {
        Some(path) => Labels::read(path)?,
        None => Labels::default(),
    };
    let clips = read_scores(&footage.test, &folder.join("scores"))?;
    let best = rival(&clips, &labels, LEAST_IOU)?;
    let bundle = Bundle::open(&folder.join("model.pavad"), &Trust::Embedded)?;
    let stated = |key: &str| bundle.manifest().provenance.get(key)?.parse::<f64>().ok();
    let stated = stated("alarms_per_hour_low").zip(stated("alarms_per_hour_high"));
    Ok(Figures::of(&report.evaluation, &best, stated))
}

/// A cell that was written before; none if there is none.
pub fn read(path: &Path) -> Result<Option<Cell>> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let problem = || format!("{}: remove it to do the cell again", path.display());
            serde_json::from_str(&text).map(Some).with_context(problem)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

impl Cell {
    /// Writes the cell.
    pub fn write(&self, path: &Path) -> Result<()> {
        let part = path.with_extension("part");
        std::fs::write(&part, serde_json::to_string_pretty(self)?)
            .and_then(|()| std::fs::rename(&part, path))
            .with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell.json");
        assert_eq!(read(&path).unwrap(), None);
        let figures = Figures { f1: Some(0.5), stated: Some((0.0, 3.0)), ..Figures::default() };
        let outcome = Outcome::Done(Box::new(figures));
        let cell =
            Cell { site: "a".into(), seed: 3, config: "x = 1\n".into(), seconds: 2.5, outcome };
        cell.write(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Some(cell));
        std::fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("remove it"));
    }

    #[test]
    fn a_rate_is_inside_what_is_stated_or_not() {
        let figures = |rate, stated| {
            Figures { false_alarms_per_hour: rate, stated, ..Figures::default() }.inside()
        };
        assert_eq!(figures(Some(3.0), Some((0.0, 3.0))), Some(true));
        assert_eq!(figures(Some(3.1), Some((0.0, 3.0))), Some(false));
        assert_eq!(figures(Some(0.5), Some((1.0, 3.0))), Some(false));
        assert_eq!(figures(None, Some((0.0, 3.0))), None);
        assert_eq!(figures(Some(1.0), None), None);
    }
}
