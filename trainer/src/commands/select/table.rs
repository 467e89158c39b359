//! The ranking: mean ± standard deviation over the seeds, as text, CSV and JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use trainer::evaluation::Spread;
use trainer::evaluation::metrics::{kendall, spearman};
use trainer::selection::Figures;

use super::Run;
use crate::commands::write_file;

/// A figure of a run.
type Pick = fn(&Figures) -> Option<f64>;

/// The figures of the table by their names in CSV and JSON, in its order.
const FIGURES: [(&str, Pick); 8] = [
    ("score", |f| f.score),
    ("left_out", |f| f.left_out),
    ("other", |f| f.other),
    ("pseudo", |f| f.pseudo),
    ("other_maps", |f| f.other_maps),
    ("shift", |f| f.shift),
    ("alarms", |f| f.alarms),
    ("test", |f| f.test),
];

/// Place of `test` in it.
const TEST: usize = 7;

/// Figures for which less is better: they rank by their negative.
const LESS_IS_BETTER: [&str; 2] = ["shift", "alarms"];

/// A design with a fusion weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Place by score among all rows, from 1; equal scores share the better one.
    rank: Option<usize>,
    design: String,
    motion: f64,
    runs: usize,
    /// In the order of [`FIGURES`].
    #[serde(serialize_with = "by_name")]
    figures: [Option<Spread>; FIGURES.len()],
    /// AUC of each left-out family, mean over the seeds.
    families: Vec<(String, Option<f64>)>,
}

/// How far a figure puts designs in the order of the test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    figure: &'static str,
    /// Weight of the motion prior; `None`: all rows together.
    motion: Option<f64>,
    rows: usize,
    spearman: Option<f64>,
    kendall: Option<f64>,
}

/// The whole table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    rows: Vec<Row>,
    /// Empty without a test.
    agreement: Vec<Agreement>,
}

fn by_name<S: serde::Serializer>(
    figures: &[Option<Spread>; FIGURES.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(FIGURES.iter().map(|(name, _)| name).zip(figures))
}

impl Table {
    /// Of all runs of these designs with these weights of the motion prior.
    pub fn of(designs: &[&str], weights: &[f64], runs: &[Run]) -> Self {
        let mut rows: Vec<Row> = weights
            .iter()
            .flat_map(|motion| designs.iter().map(|design| Row::of(design, *motion, runs)))
            .collect();
        let scores: Vec<Option<f64>> = rows.iter().map(|row| row.mean(0)).collect();
        for row in &mut rows {
            let better = |other: f64| scores.iter().flatten().filter(|s| **s > other).count();
            row.rank = row.mean(0).map(|own| better(own) + 1);
        }
        rows.sort_by_key(|row| row.rank.unwrap_or(usize::MAX));
        let groups = weights.iter().copied().map(Some).chain((weights.len() > 1).then_some(None));
        let agreement = groups
            .flat_map(|motion| FIGURES[..TEST].iter().enumerate().map(move |(at, _)| (motion, at)))
            .filter_map(|(motion, at)| agreement(&rows, motion, at))
            .collect();
        Self { rows, agreement }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width =
            self.rows.iter().map(|row| row.design.chars().count()).max().unwrap_or(0).max(6);
        // Writing to a string cannot fail.
        let _ = write!(out, "{:<5}{:<width$}  {:<8}", "rank", "design", "motion");
        for (name, _) in FIGURES {
            let _ = write!(out, "{name:<16}");
        }
        out = out.trim_end().to_owned() + "\n";
        for row in &self.rows {
            let rank = row.rank.map_or("-".into(), |rank| rank.to_string());
            let mut line = format!("{rank:<5}{:<width$}  {:<8}", row.design, row.motion);
            for (spread, (name, _)) in row.figures.iter().zip(FIGURES) {
                let factor = if name == "shift" { 1.0 } else { 100.0 };
                let text = Spread::text(spread.map(|s| s.times(factor)));
                let _ = write!(line, "{text:<16}");
            }
            out += line.trim_end();
            out.push('\n');
        }
        let runs = self.rows.iter().map(|row| row.runs).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "{runs} seed{} of each design; AUC and alarms in percent, shift in deviations",
            if runs == 1 { "" } else { "s" }
        );
        if !self.agreement.is_empty() {
            let _ = writeln!(out, "\nhow far each figure ranks as the test does:");
            let _ = writeln!(
                out,
                "{:<12}{:<8}{:<6}{:<10}kendall",
                "figure", "motion", "rows", "spearman"
            );
        }
        let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.2}"));
        for Agreement { figure, motion, rows, spearman, kendall } in &self.agreement {
            let motion = motion.map_or("all".into(), |motion| motion.to_string());
            let (spearman, kendall) = (number(*spearman), number(*kendall));
            let _ = writeln!(out, "{figure:<12}{motion:<8}{rows:<6}{spearman:<10}{kendall}");
        }
        out
    }

    fn csv(&self) -> String {
        let mut out = String::from("rank,design,motion,runs");
        for (name, _) in FIGURES {
            let _ = write!(out, ",{name}_mean,{name}_std");
        }
        for (family, _) in self.rows.iter().flat_map(|row| &row.families).take(self.families()) {
            let _ = write!(out, ",{family}");
        }
        out.push('\n');
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
        for row in &self.rows {
            let rank = row.rank.map_or(String::new(), |rank| rank.to_string());
            let _ = write!(out, "{rank},{},{},{}", quoted(&row.design), row.motion, row.runs);
            for spread in &row.figures {
                let (mean, std) = (spread.map(|s| s.mean), spread.and_then(|s| s.std));
                let _ = write!(out, ",{},{}", number(mean), number(std));
            }
            for (_, value) in &row.families {
                let _ = write!(out, ",{}", number(*value));
            }
            out.push('\n');
        }
        out
    }

    fn families(&self) -> usize {
        self.rows.first().map_or(0, |row| row.families.len())
    }

    /// Table and runs for programs.
    pub fn json(&self, runs: &[Run]) -> Result<String> {
        #[derive(Serialize)]
        struct All<'a> {
            #[serde(flatten)]
            table: &'a Table,
            runs: &'a [Run],
        }
        Ok(serde_json::to_string_pretty(&All { table: self, runs })?)
    }

    /// Writes `selection.txt`, `selection.csv` and `selection.json`.
    pub fn write(&self, out: &Path, runs: &[Run]) -> Result<()> {
        write_file(&out.join("selection.txt"), self.text().as_bytes())?;
        write_file(&out.join("selection.csv"), self.csv().as_bytes())?;
        write_file(&out.join("selection.json"), self.json(runs)?.as_bytes())
    }
}

impl Row {
    fn of(design: &str, motion: f64, runs: &[Run]) -> Self {
        let own: Vec<&Run> =
            runs.iter().filter(|run| run.design == design && run.motion == motion).collect();
        let figures = FIGURES.map(|(_, pick)| {
            let values: Option<Vec<f64>> = own.iter().map(|run| pick(&run.figures)).collect();
            values.and_then(|values| Spread::of(&values))
        });
        let names = own.first().map_or(&[][..], |run| &run.figures.families);
        let families = names.iter().enumerate().map(|(at, (name, _))| {
            let values: Option<Vec<f64>> =
                own.iter().map(|run| run.figures.families.get(at)?.1).collect();
            (name.clone(), values.and_then(|values| Spread::of(&values)).map(|s| s.mean))
        });
        Self {
            rank: None,
            design: design.into(),
            motion,
            runs: own.len(),
            figures,
            families: families.collect(),
        }
    }

    /// The mean of a figure.
    fn mean(&self, figure: usize) -> Option<f64> {
        self.figures[figure].map(|spread| spread.mean)
    }
}

/// `None` unless every row of the group has the figure and the test.
fn agreement(rows: &[Row], motion: Option<f64>, at: usize) -> Option<Agreement> {
    let figure = FIGURES[at].0;
    let sign = if LESS_IS_BETTER.contains(&figure) { -1.0 } else { 1.0 };
    let group: Vec<&Row> =
        rows.iter().filter(|row| motion.is_none_or(|motion| row.motion == motion)).collect();
    let values: Vec<(f64, f64)> = group
        .iter()
        .map(|row| Some((sign * row.mean(at)?, row.mean(TEST)?)))
        .collect::<Option<_>>()?;
    let (figures, test): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
    Some(Agreement {
        figure,
        motion,
        rows: group.len(),
        spearman: spearman(&figures, &test),
        kendall: kendall(&figures, &test),
    })
}

/// A field of a CSV file (RFC 4180).
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(design: &str, motion: f64, seed: u64, score: f64, test: Option<f64>) -> Run {
        let figures = Figures {
            score: Some(score),
            left_out: Some(score),
            other: None,
            pseudo: Some(1.0 - score),
            other_maps: Some(0.5),
            shift: None,
            alarms: None,
            test,
            families: vec![("bike+cart".into(), Some(score))],
        };
        Run { design: design.into(), motion, seed, figures }
    }

    fn runs(test: impl Fn(f64) -> Option<f64>) -> Vec<Run> {
        let all = [("a", 1, 0.6), ("a", 2, 0.8), ("b", 1, 0.9), ("b", 2, 0.9), ("c", 1, 0.5)];
        all.iter().map(|(name, seed, score)| run(name, 0.0, *seed, *score, test(*score))).collect()
    }

    #[test]
    fn designs_are_ranked_by_their_mean_score() {
        let runs = runs(|_| None);
        let table = Table::of(&["a", "b", "c"], &[0.0], &runs);
        let order: Vec<_> = table.rows.iter().map(|r| (r.rank, r.design.as_str())).collect();
        assert_eq!(order, [(Some(1), "b"), (Some(2), "a"), (Some(3), "c")]);
        assert!(table.agreement.is_empty());
        // (0.1² + 0.1²) / 1, its root 0.1414.
        let text = table.text();
        assert!(text.contains("2    a       0       70.00 ± 14.14   70.00 ± 14.14   -"), "{text}");
        let csv = table.csv();
        assert!(
            csv.starts_with("rank,design,motion,runs,score_mean,score_std,left_out_mean"),
            "{csv}"
        );
        assert!(csv.lines().next().unwrap().ends_with(",test_mean,test_std,bike+cart"), "{csv}");
        assert!(csv.contains("\n1,b,0,2,0.900000,0.000000,0.900000,0.000000,,,"), "{csv}");
        assert!(csv.contains(",0.900000\n3,") || csv.contains(",0.700000\n3,"), "{csv}");
    }

    #[test]
    fn figures_are_held_against_the_test() {
        let table = Table::of(&["a", "b", "c"], &[0.0], &runs(|score| Some(score * score)));
        let of = |figure: &str| {
            table.agreement.iter().find(|a| a.figure == figure).map(|a| (a.spearman, a.kendall))
        };
        assert_eq!(of("score"), Some((Some(1.0), Some(1.0))));
        assert_eq!(of("pseudo"), Some((Some(-1.0), Some(-1.0))));
        // All the same: no order to compare. No other camera: no such line.
        assert_eq!(of("other_maps"), Some((None, None)));
        assert_eq!(of("other"), None);
        let json: serde_json::Value =
            serde_json::from_str(&table.json(&runs(|_| Some(0.5))).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["figures"]["score"]["mean"], 0.9);
        assert_eq!(json["agreement"][0]["figure"], "score");
        assert_eq!(json["runs"][0]["left_out"], 0.6);
    }

    #[test]
    fn weights_are_rows_of_their_own() {
        let runs = [run("a", 0.0, 1, 0.5, Some(0.5)), run("a", 1.0, 1, 0.7, Some(0.6))];
        let table = Table::of(&["a"], &[0.0, 1.0], &runs);
        let order: Vec<_> = table.rows.iter().map(|row| (row.rank, row.motion)).collect();
        assert_eq!(order, [(Some(1), 1.0), (Some(2), 0.0)]);
        let all = table.agreement.iter().find(|a| a.motion.is_none()).unwrap();
        assert_eq!((all.figure, all.rows, all.spearman), ("score", 2, Some(1.0)));
    }

    #[test]
    fn names_with_commas_stay_one_field() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
