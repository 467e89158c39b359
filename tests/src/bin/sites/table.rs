//! The table, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use trainer::evaluation::Spread;

use super::cell::{Cell, Figures, Outcome};

const HEAD: &str = "\
| Site | frame AUC (best frame difference) | video AUC (same) | precision | recall | F1 at IoU 0.2 (frame \
difference at its best) | announced, true | alarms an hour, 95 % of each seed | stated; inside | alarm time on \
normal (frame difference) | delay, s |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// Writes `sites.md` and `sites.json`; the text of the former.
pub fn write(out: &Path, cells: &[Cell], skipped: &[&str]) -> Result<String> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let text = markdown(cells, skipped);
    let json = serde_json::json!({ "cells": cells, "skipped": skipped });
    for (name, text) in [("sites.md", text.as_str()), ("sites.json", &format!("{json:#}"))] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(text)
}

fn markdown(cells: &[Cell], skipped: &[&str]) -> String {
    let mut text = HEAD.to_string();
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.site.as_str()) {
            names.push(&cell.site);
        }
    }
    let done = |cell: &Cell| match &cell.outcome {
        Outcome::Done(figures) => Some(figures.as_ref().clone()),
        Outcome::Failed { .. } => None,
    };
    for name in names {
        let of_site: Vec<Figures> =
            cells.iter().filter(|cell| cell.site == name).filter_map(done).collect();
        text += &row(name, &of_site);
    }
    let all: Vec<bool> = cells.iter().filter_map(done).filter_map(|f| f.inside()).collect();
    let inside = all.iter().filter(|inside| **inside).count();
    let _ = writeln!(
        text,
        "\nAlarms an hour inside the interval that the bundle states: {inside} of {} cells. Mean ± standard \
         deviation over the seeds. The frame difference is the best of its forms, its F1 that of the \
         threshold that suits it best; the delay is the median at 6 alarms an hour.",
        all.len()
    );
    for cell in cells {
        if let Outcome::Failed { code, log } = &cell.outcome {
            let log = log.display();
            let _ =
                writeln!(text, "\nFailed: {}, seed {}, code {code}: {log}", cell.site, cell.seed);
        }
    }
    if !skipped.is_empty() {
        let _ = writeln!(text, "\nNot there and left out: {}.", skipped.join(", "));
    }
    text
}

/// A row: a site over its seeds.
fn row(name: &str, seeds: &[Figures]) -> String {
    let spread = |pick: &dyn Fn(&Figures) -> Option<f64>| {
        let values: Vec<f64> = seeds.iter().filter_map(pick).collect();
        Spread::of(&values)
    };
    let text = |pick: &dyn Fn(&Figures) -> Option<f64>| three(spread(pick));
    let percent = |pick: &dyn Fn(&Figures) -> Option<f64>| {
        spread(pick).map_or("-".into(), |s| format!("{} %", Spread::text(Some(s.times(100.0)))))
    };
    let beside =
        |own: String, base: String| if base == "-" { own } else { format!("{own} ({base})") };
    let mean = |pick: &dyn Fn(&Figures) -> Option<f64>| {
        spread(pick).map_or("-".into(), |s| format!("{:.3}", s.mean))
    };
    let sum = |pick: fn(&Figures) -> usize| seeds.iter().map(pick).sum::<usize>();
    let range = |(low, high): (f64, f64)| format!("{low:.0} to {high:.0}");
    let list = |pick: &dyn Fn(&Figures) -> Option<(f64, f64)>| {
        let all: Vec<String> = seeds.iter().filter_map(pick).map(range).collect();
        if all.is_empty() { "-".into() } else { all.join("; ") }
    };
    let inside = seeds.iter().filter(|f| f.inside() == Some(true)).count();
    let columns = [
        name.to_string(),
        beside(text(&|f| f.auc_frame), mean(&|f| f.baseline_auc_frame)),
        beside(text(&|f| f.auc_video), mean(&|f| f.baseline_auc_video)),
        text(&|f| f.precision),
        text(&|f| f.recall),
        beside(text(&|f| f.f1), mean(&|f| f.baseline_f1)),
        format!("{}, {}", sum(|f| f.events_announced), sum(|f| f.events_truth)),
        format!(
            "{} ({})",
            Spread::text(spread(&|f| f.false_alarms_per_hour)),
            list(&|f| f.false_alarms_per_hour_interval)
        ),
        format!("{}; {inside} of {}", list(&|f| f.stated), seeds.len()),
        beside(percent(&|f| f.alarm_time_on_normal), {
            let base = spread(&|f| f.baseline_alarm_time);
            base.map_or("-".into(), |s| format!("{:.1} %", 100.0 * s.mean))
        }),
        Spread::text(spread(&|f| f.delay_seconds)),
    ];
    format!("| {} |\n", columns.join(" | "))
}

/// Mean and deviation with three digits.
fn three(spread: Option<Spread>) -> String {
    match spread {
        None => "-".into(),
        Some(Spread { mean, std: None }) => format!("{mean:.3}"),
        Some(Spread { mean, std: Some(std) }) => format!("{mean:.3} ± {std:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(site: &str, seed: u64, outcome: Outcome) -> Cell {
        Cell { site: site.into(), seed, config: String::new(), seconds: 1.0, outcome }
    }

    #[test]
    fn the_table_has_spreads_intervals_failures_and_what_is_missing() {
        let figures = |f1: f64, rate: f64| {
            Outcome::Done(Box::new(Figures {
                auc_frame: Some(0.9),
                baseline_auc_frame: Some(0.7),
                f1: Some(f1),
                baseline_f1: Some(0.25),
                events_truth: 4,
                events_announced: 3,
                false_alarms_per_hour: Some(rate),
                false_alarms_per_hour_interval: Some((0.0, 18.0)),
                stated: Some((0.0, 10.0)),
                ..Figures::default()
            }))
        };
        let failed = Outcome::Failed { code: 3, log: "x/log".into() };
        let cells = [
            cell("hall", 1, figures(0.5, 0.0)),
            cell("hall", 2, figures(1.0, 12.0)),
            cell("yard", 1, failed),
        ];
        let text = markdown(&cells, &["ped2"]);
        let hall = text.lines().find(|line| line.starts_with("| hall")).unwrap();
        for part in [
            "| 0.900 ± 0.000 (0.700) |",
            "| 0.750 ± 0.354 (0.250) |",
            "| 6, 8 |",
            "| 6.00 ± 8.49 (0 to 18; 0 to 18) |",
            "| 0 to 10; 0 to 10; 1 of 2 |",
        ] {
            assert!(hall.contains(part), "{part}\n{hall}");
        }
        assert!(text.contains("states: 1 of 2 cells"), "{text}");
        assert!(text.contains("Failed: yard, seed 1, code 3: x/log"), "{text}");
        assert!(text.contains("left out: ped2."), "{text}");
        assert_eq!(hall.matches('|').count(), HEAD.lines().next().unwrap().matches('|').count());
    }
}
