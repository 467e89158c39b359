//! The rows, as a table and as JSON.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use trainer::files;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It was not tried.
    Skipped,
}

/// What a case found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub status: Status,
    /// Why, in a few words with the figures.
    pub why: String,
    /// Seconds of one piece of work here.
    pub seconds: Option<f64>,
    /// Seconds of the same in PyTorch, eager.
    pub pytorch_seconds: Option<f64>,
    /// Most memory in use on the GPU, in bytes.
    pub peak_bytes: Option<u64>,
    /// The same in PyTorch.
    pub pytorch_peak_bytes: Option<u64>,
}

impl Outcome {
    fn new(status: Status, why: String) -> Self {
        Self {
            status,
            why,
            seconds: None,
            pytorch_seconds: None,
            peak_bytes: None,
            pytorch_peak_bytes: None,
        }
    }

    /// Passed or failed by what was found.
    pub fn of(holds: bool, why: String) -> Self {
        Self::new(if holds { Status::Pass } else { Status::Fail }, why)
    }

    pub fn failed(why: String) -> Self {
        Self::new(Status::Fail, why)
    }

    pub fn skipped(why: String) -> Self {
        Self::new(Status::Skipped, why)
    }
}

/// A case and its outcome.
#[derive(Debug, Serialize)]
pub struct Row {
    case: &'static str,
    shows: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Row {
    pub fn new(case: &'static str, shows: &'static str, outcome: Outcome) -> Self {
        Self { case, shows, outcome }
    }
}

/// All rows, and what they were found on.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this layout.
    format: u32,
    program: &'static str,
    /// Name, driver and memory as `nvidia-smi` tells them.
    pub device: String,
    /// PyTorch's version and CUDA, or why there is none.
    pub pytorch: String,
    /// Small sizes: the times mean nothing.
    quick: bool,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn new(quick: bool) -> Self {
        Self {
            format: 1,
            program: concat!("gpu-check ", env!("CARGO_PKG_VERSION")),
            device: String::new(),
            pytorch: "not looked for".to_owned(),
            quick,
            rows: Vec::new(),
        }
    }

    /// Whether any case failed.
    pub fn failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome.status == Status::Fail)
    }

    /// Writes it as JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        files::replace(path, &text)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device:  {}\nPyTorch: {}", self.device, self.pytorch)?;
        if self.quick {
            writeln!(f, "small sizes: the times say nothing")?;
        }
        writeln!(
            f,
            "{:<20}{:<9}{:>10}{:>10}{:>7}{:>9}{:>9}  why",
            "case", "", "ms", "PyTorch", "ratio", "GB", "PyTorch"
        )?;
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let milliseconds = |s: Option<f64>| or_dash(s.map(|s| format!("{:.2}", s * 1e3)));
        let gigabytes = |b: Option<u64>| or_dash(b.map(|b| format!("{:.2}", b as f64 / 1e9)));
        for Row { case, outcome, .. } in &self.rows {
            let status = match outcome.status {
                Status::Pass => "pass",
                Status::Fail => "FAIL",
                Status::Skipped => "skipped",
            };
            let ratio = outcome.seconds.zip(outcome.pytorch_seconds);
            writeln!(
                f,
                "{case:<20}{status:<9}{:>10}{:>10}{:>7}{:>9}{:>9}  {}",
                milliseconds(outcome.seconds),
                milliseconds(outcome.pytorch_seconds),
                or_dash(ratio.map(|(ours, theirs)| format!("{:.2}", ours / theirs))),
                gigabytes(outcome.peak_bytes),
                gigabytes(outcome.pytorch_peak_bytes),
                outcome.why.lines().next().unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(false);
        report.device = "NVIDIA H100".into();
        let timed = Outcome {
            seconds: Some(0.0125),
            pytorch_seconds: Some(0.025),
            peak_bytes: Some(1_500_000_000),
            ..Outcome::of(true, "20 steps".into())
        };
        report.rows.push(Row::new("a-step", "a step", timed));
        report.rows.push(Row::new("b", "another", Outcome::skipped("no PyTorch\nat all".into())));
        report
    }

    #[test]
    fn the_table_has_a_line_for_each_case() {
        let mut report = report();
        assert!(!report.failed());
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(lines[3]),
            ["a-step", "pass", "12.50", "25.00", "0.50", "1.50", "-", "20", "steps"]
        );
        assert_eq!(words(lines[4])[..8], ["b", "skipped", "-", "-", "-", "-", "-", "no"]);
        assert_eq!(lines.len(), 5);
        report.rows.push(Row::new("c", "a third", Outcome::failed("nan".into())));
        assert!(report.failed() && report.to_string().contains("FAIL"));
    }

    #[test]
    fn the_json_has_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        report().write(&path).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(json["device"], "NVIDIA H100");
        assert_eq!(json["rows"][0]["status"], "pass");
        assert_eq!(json["rows"][0]["pytorch_seconds"], 0.025);
        assert_eq!(json["rows"][1]["why"], "no PyTorch\nat all");
        assert_eq!(json["rows"][1]["peak_bytes"], serde_json::Value::Null);
    }
}
