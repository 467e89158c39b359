//! The table: mean ± standard deviation over the seeds, as text, CSV and JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use trainer::detector::DetectorConfig;
use trainer::evaluation::Spread;

use super::{Outcome, Variant};
use crate::commands::write_file;

/// A variant's line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    variant: &'static str,
    title: &'static str,
    runs: usize,
    auc: Option<Spread>,
    average_precision: Option<Spread>,
    abnormal_norm: Option<Spread>,
}

impl Row {
    /// Of the variant's outcomes among all.
    pub fn of(variant: &Variant, outcomes: &[Outcome]) -> Self {
        let own: Vec<&Outcome> = outcomes.iter().filter(|o| o.variant == variant.name).collect();
        let spread = |value: fn(&Outcome) -> Option<f64>| {
            Spread::of(&own.iter().filter_map(|o| value(o)).collect::<Vec<_>>())
        };
        Self {
            variant: variant.name,
            title: variant.title,
            runs: own.len(),
            auc: spread(|o| Some(o.auc)),
            average_precision: spread(|o| Some(o.average_precision)),
            abnormal_norm: spread(|o| o.abnormal_norm),
        }
    }
}

/// The table for people.
pub fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    let head = ["variant", "frame AUC %", "average precision %", "abnormal norm"];
    let mut line = |cells: [&str; 4]| {
        let [a, b, c, d] = cells;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{a:<22}{b:<18}{c:<22}{d}");
    };
    line(head);
    let percent = |spread: Option<Spread>| Spread::text(spread.map(|s| s.times(100.0)));
    for row in rows {
        line([
            row.title,
            &percent(row.auc),
            &percent(row.average_precision),
            &Spread::text(row.abnormal_norm),
        ]);
    }
    let runs = rows.iter().map(|row| row.runs).max().unwrap_or(0);
    let _ = writeln!(out, "{runs} seed{} of each variant", if runs == 1 { "" } else { "s" });
    out
}

fn csv(rows: &[Row]) -> String {
    let mut out = String::from(
        "variant,runs,auc_mean,auc_std,average_precision_mean,average_precision_std,\
         abnormal_norm_mean,abnormal_norm_std\n",
    );
    for row in rows {
        let _ = write!(out, "{},{}", row.variant, row.runs);
        for spread in [row.auc, row.average_precision, row.abnormal_norm] {
            let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
            let (mean, std) = (spread.map(|s| s.mean), spread.and_then(|s| s.std));
            let _ = write!(out, ",{},{}", number(mean), number(std));
        }
        out.push('\n');
    }
    out
}

/// Table, runs and configuration for programs.
pub fn json(rows: &[Row], outcomes: &[Outcome], config: &DetectorConfig) -> Result<String> {
    #[derive(Serialize)]
    struct All<'a> {
        rows: &'a [Row],
        runs: &'a [Outcome],
        config: &'a DetectorConfig,
    }
    Ok(serde_json::to_string_pretty(&All { rows, runs: outcomes, config })?)
}

/// Writes `ablation.txt`, `ablation.csv` and `ablation.json`.
pub fn write(
    out: &Path,
    rows: &[Row],
    outcomes: &[Outcome],
    config: &DetectorConfig,
) -> Result<()> {
    write_file(&out.join("ablation.txt"), text(rows).as_bytes())?;
    write_file(&out.join("ablation.csv"), csv(rows).as_bytes())?;
    write_file(&out.join("ablation.json"), json(rows, outcomes, config)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ablate::VARIANTS;

    fn outcome(variant: &str, seed: u64, auc: f64) -> Outcome {
        Outcome {
            identity: String::new(),
            variant: variant.into(),
            seed,
            auc,
            average_precision: auc / 2.0,
            abnormal_norm: None,
        }
    }

    #[test]
    fn the_table_has_mean_and_deviation() {
        let outcomes = [outcome("da", 1, 0.90), outcome("da", 2, 0.94), outcome("urdmu", 1, 0.5)];
        let rows: Vec<Row> = VARIANTS.iter().map(|v| Row::of(v, &outcomes)).collect();
        let table = text(&rows);
        // (0.02² + 0.02²) / 1, its root 0.0283.
        assert!(table.contains("+ domain alignment    92.00 ± 2.83      46.00 ± 1.41"), "{table}");
        assert!(table.contains("UR-DMU                50.00             25.00"), "{table}");
        let csv = csv(&rows);
        assert!(csv.contains("\nda,2,0.920000,0.028284,0.460000,0.014142,,\n"), "{csv}");
        assert!(csv.contains("\ndarm,0,,,,,,\n"), "{csv}");
        let json = json(&rows, &outcomes, &DetectorConfig::default()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["rows"][1]["auc"]["mean"], 0.92);
        assert_eq!(json["runs"].as_array().unwrap().len(), 3);
    }
}
