//! The matrix: sites trained on, down, and sites watched, across.

use std::fmt::Write as _;

use serde::Serialize;
use trainer::evaluation::{Evaluation, Rival, ScoredClip};

/// Least temporal IoU of events that agree, in the matrix.
pub const LEAST_IOU: f64 = 0.2;

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    pub cells: Vec<Cell>,
    pub watched: Vec<Watched>,
}

/// A site watched by the model of a site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    pub trained_on: String,
    pub watched: String,
    pub auc_frame: Option<f64>,
    pub auc_video: Option<f64>,
    /// At IoU 0.2; so the next two.
    pub f1: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub events_truth: usize,
    pub events_announced: usize,
    /// Share of the normal frames during which an alarm was on.
    pub alarm_time_on_normal: Option<f64>,
    pub false_alarms_per_hour: Option<f64>,
    /// Its exact 95 % interval.
    pub false_alarms_per_hour_interval: Option<(f64, f64)>,
}

impl Cell {
    pub fn of(trained_on: &str, watched: &str, evaluation: &Evaluation) -> Self {
        let alarms = evaluation.alarms.as_ref();
        let events = alarms.and_then(|a| a.events.iter().find(|e| e.iou == LEAST_IOU));
        let rate = alarms.and_then(|alarms| alarms.false_alarms);
        Self {
            trained_on: trained_on.into(),
            watched: watched.into(),
            auc_frame: evaluation.auc_micro,
            auc_video: evaluation.auc_video,
            f1: events.and_then(|e| e.f1),
            precision: events.and_then(|e| e.precision),
            recall: events.and_then(|e| e.recall),
            events_truth: evaluation.events_truth,
            events_announced: alarms.map_or(0, |alarms| alarms.announced),
            alarm_time_on_normal: alarms.and_then(|alarms| alarms.time_on_normal),
            false_alarms_per_hour: rate.map(|rate| rate.rate),
            false_alarms_per_hour_interval: rate.map(|rate| (rate.low, rate.high)),
        }
    }
}

/// What the best baseline makes of a site; it needs no training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Watched {
    pub site: String,
    pub clips: usize,
    pub frames: usize,
    pub rival: Rival,
    /// Frame AUC of its best form.
    pub auc_frame: Option<f64>,
}

impl Watched {
    pub fn of(site: &str, clips: &[ScoredClip], rival: &Rival, auc_frame: Option<f64>) -> Self {
        Self {
            site: site.into(),
            clips: clips.len(),
            frames: clips.iter().map(|clip| clip.score.len()).sum(),
            rival: *rival,
            auc_frame,
        }
    }
}

impl Matrix {
    /// Four tables, one a figure, the baseline as the last row.
    pub fn markdown(&self) -> String {
        let three = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.3}"));
        let share = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{:.1} %", 100.0 * v));
        let hourly =
            |cell: &Cell| match (cell.false_alarms_per_hour, cell.false_alarms_per_hour_interval) {
                (Some(rate), Some((low, high))) => format!("{rate:.1} ({low:.1} to {high:.1})"),
                _ => "-".into(),
            };
        let events = |w: &Watched| w.rival.events;
        let mut text = String::new();
        let mut table =
            |title: &str, of: &dyn Fn(&Cell) -> String, base: &dyn Fn(&Watched) -> String| {
                text += &self.table(title, of, base);
            };
        table("Frame AUC", &|c| three(c.auc_frame), &|w| three(w.auc_frame));
        table("F1 of events at IoU 0.2", &|c| three(c.f1), &|w| {
            three(events(w).and_then(|e| e.score.f1))
        });
        table("Alarm time, share of normal frames", &|c| share(c.alarm_time_on_normal), &|w| {
            share(events(w).and_then(|e| e.time_on_normal))
        });
        table("False alarms an hour (95 % interval)", &hourly, &|_| "-".into());
        text + "The frame difference is the best of its forms; its events are those of the threshold \
                with the best F1, chosen by looking at the truth.\n"
    }

    fn table(
        &self,
        title: &str,
        of: &dyn Fn(&Cell) -> String,
        base: &dyn Fn(&Watched) -> String,
    ) -> String {
        let mut trained: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !trained.contains(&cell.trained_on.as_str()) {
                trained.push(&cell.trained_on);
            }
        }
        let mut text = format!("{title}\n\n| trained on \\ watched |");
        let sites = || self.watched.iter();
        sites().for_each(|w| text += &format!(" {} |", w.site));
        text += "\n|---|";
        sites().for_each(|_| text += "---|");
        for row in trained {
            let _ = write!(text, "\n| {row} |");
            for site in sites() {
                let cell =
                    self.cells.iter().find(|c| c.trained_on == row && c.watched == site.site);
                let _ = write!(text, " {} |", cell.map_or("-".into(), of));
            }
        }
        text += "\n| *frame difference* |";
        sites().for_each(|w| text += &format!(" {} |", base(w)));
        text + "\n\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_a_row_and_every_site_a_column() {
        let cell = |trained: &str, watched: &str, auc: f64| {
            let evaluation = Evaluation { auc_micro: Some(auc), ..Evaluation::default() };
            Cell::of(trained, watched, &evaluation)
        };
        let rival = Rival { auc_video: None, events: None };
        let matrix = Matrix {
            cells: vec![cell("a", "a", 0.9), cell("b", "a", 0.6), cell("a", "c", 0.51)],
            watched: vec![
                Watched::of("a", &[], &rival, Some(0.7)),
                Watched::of("c", &[], &rival, None),
            ],
        };
        let text = matrix.markdown();
        for line in [
            "| trained on \\ watched | a | c |",
            "| a | 0.900 | 0.510 |",
            "| b | 0.600 | - |",
            "| *frame difference* | 0.700 | - |",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
