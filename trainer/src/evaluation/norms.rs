//! Norms of features: the magnitude bias that the paper is about.
//!
//! The input is a CSV file with the header `set,norm`: one row for each feature vector, the name of
//! the set that it comes from (such as `normal`, `pseudo`, `test normal`, `test abnormal`) and its
//! L2 norm.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::FilesError;
use super::run::median;

/// More rows are refused: they are held in memory.
const MAX_ROWS: usize = 5_000_000;
/// More sets cannot be told apart in one picture.
const MAX_SETS: usize = 6;
/// Longest name of a set.
const MAX_NAME: usize = 40;
/// Longest line.
const MAX_LINE: u64 = 200;
/// Bins of the histogram.
const BINS: usize = 40;

/// How large features are, by set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormHistogram {
    /// Edges of the bins, one more than there are bins, in equal steps of the logarithm.
    pub edges: Vec<f64>,
    /// The sets, in the order of the file.
    pub sets: Vec<NormSet>,
}

/// The norms of one set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormSet {
    /// Name.
    pub name: String,
    /// Feature vectors.
    pub count: usize,
    /// Mean norm.
    pub mean: f64,
    /// Median norm.
    pub median: f64,
    /// Share of the set in each bin; together 1.
    pub shares: Vec<f64>,
}

impl NormHistogram {
    /// Reads a file of norms.
    ///
    /// # Errors
    /// [`FilesError`], which names the line.
    pub fn read(path: &Path) -> Result<Self, FilesError> {
        let io = |source| FilesError::Io { path: path.into(), source };
        let wrong = |line: usize, reason: String| FilesError::Line {
            path: path.into(),
            line: line + 1,
            reason,
        };
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let mut sets: Vec<(String, Vec<f64>)> = Vec::new();
        let mut line = String::new();
        for number in 0.. {
            line.clear();
            if reader.by_ref().take(MAX_LINE).read_line(&mut line).map_err(io)? == 0 {
                break;
            }
            let row = line.trim_end();
            if number == 0 {
                if row != "set,norm" {
                    return Err(wrong(0, "expected the header 'set,norm'".into()));
                }
                continue;
            }
            if row.is_empty() {
                continue;
            }
            let (name, norm) =
                row.rsplit_once(',').ok_or_else(|| wrong(number, "expected set,norm".into()))?;
            let value = norm.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
            let value =
                value.ok_or_else(|| wrong(number, format!("norm '{norm}' is not a length")))?;
            let name = name.trim();
            if name.is_empty() || name.chars().count() > MAX_NAME {
                return Err(wrong(number, format!("a set's name has 1 to {MAX_NAME} characters")));
            }
            if number > MAX_ROWS {
                return Err(wrong(number, format!("more than {MAX_ROWS} rows; sample them")));
            }
            match sets.iter().position(|(known, _)| known == name) {
                Some(set) => sets[set].1.push(value),
                None if sets.len() == MAX_SETS => {
                    return Err(wrong(number, format!("'{name}': more than {MAX_SETS} sets")));
                }
                None => sets.push((name.to_string(), vec![value])),
            }
        }
        if sets.is_empty() {
            return Err(wrong(0, "no norms".into()));
        }
        Ok(Self::of(&sets))
    }

    /// The histogram of named sets of norms. The axis is logarithmic, because the bias is a factor
    /// (the paper has 199 against 9); zeros count in the first bin.
    pub fn of(sets: &[(String, Vec<f64>)]) -> Self {
        let all = || sets.iter().flat_map(|(_, norms)| norms.iter().copied());
        let least = all().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        let most = all().fold(0.0, f64::max);
        // One value alone, or none: any range around it will do.
        let (least, most) = match least < most {
            true => (least, most),
            false if least.is_finite() => (least / 2.0, least * 2.0),
            false => (0.5, 2.0),
        };
        let step = (most / least).ln() / BINS as f64;
        let edges = (0..=BINS).map(|i| least * (i as f64 * step).exp()).collect();
        let bin = |norm: f64| (((norm / least).ln() / step) as usize).min(BINS - 1);
        let set = |(name, norms): &(String, Vec<f64>)| {
            let mut counts = vec![0usize; BINS];
            for norm in norms {
                counts[bin(*norm)] += 1;
            }
            let count = norms.len().max(1) as f64;
            NormSet {
                name: name.clone(),
                count: norms.len(),
                mean: norms.iter().sum::<f64>() / count,
                median: median(norms).unwrap_or(0.0),
                shares: counts.into_iter().map(|n| n as f64 / count).collect(),
            }
        };
        Self { edges, sets: sets.iter().map(set).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NormHistogram, FilesError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("norms.csv");
        std::fs::write(&path, text).unwrap();
        NormHistogram::read(&path)
    }

    #[test]
    fn sets_keep_their_order_and_fill_the_range() {
        let found =
            read("set,norm\npseudo,16\nnormal,1\nnormal,3\n\npseudo,4\nnormal,2\n").unwrap();
        assert_eq!((found.edges.len(), found.edges[0]), (BINS + 1, 1.0));
        assert!((found.edges[BINS] - 16.0).abs() < 1e-9);
        // Half of the logarithm is the square root.
        assert!((found.edges[BINS / 2] - 4.0).abs() < 1e-9);
        let [pseudo, normal] = &found.sets[..] else { panic!("two sets") };
        assert_eq!((pseudo.name.as_str(), pseudo.count, pseudo.mean), ("pseudo", 2, 10.0));
        assert_eq!((normal.median, normal.mean, normal.shares[0]), (2.0, 2.0, 1.0 / 3.0));
        assert_eq!((pseudo.shares[BINS - 1], pseudo.shares.iter().sum::<f64>()), (0.5, 1.0));
        // log₁₆ 2 = 1/4: the tenth of forty bins, or the ninth if rounding puts it there.
        assert!((normal.shares[9] + normal.shares[10] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn equal_norms_and_zeros_have_a_place() {
        let found = read("set,norm\na,5\na,5\n").unwrap();
        assert_eq!((found.edges[0], found.sets[0].shares.iter().sum::<f64>()), (2.5, 1.0));
        let found = read("set,norm\na,0\na,1\na,8\n").unwrap();
        assert_eq!((found.edges[0], found.sets[0].shares[0]), (1.0, 2.0 / 3.0));
        assert_eq!(read("set,norm\na,0\n").unwrap().sets[0].shares[0], 1.0);
    }

    #[test]
    fn wrong_lines_are_named() {
        let says = |text: &str, what: &str| {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("norms.csv") && message.contains(what), "{message}");
        };
        says("", "line 1: no norms");
        says("norm,set\n", "line 1: expected the header");
        says("set,norm\n", "no norms");
        says("set,norm\na,1\nb\n", "line 3: expected set,norm");
        says("set,norm\na,-1\n", "line 2: norm '-1' is not a length");
        says("set,norm\na,inf\n", "'inf'");
        says("set,norm\n,1\n", "a set's name");
        let many: String = (0..7).map(|i| format!("s{i},1\n")).collect();
        says(&format!("set,norm\n{many}"), "'s6': more than 6 sets");
        says(&format!("set,norm\n{}\n", "x".repeat(1000)), "line 2");
    }
}
