//! What a check of a data set found, for people and for programs.

use std::fmt;

use serde::Serialize;

/// How a count stands against the official total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the official total.
    Agrees,
    /// It is what the part that the copy says it has should have.
    Partial,
    /// It is not.
    Differs,
    /// No official total could be confirmed.
    NoOfficial,
    /// What there is does not tell it.
    NotChecked,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Partial => "agrees for the part that is here",
            Self::Differs => "DIFFERS",
            Self::NoOfficial => "no official total",
            Self::NotChecked => "not checked",
        }
    }
}

/// One count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What is counted.
    pub what: &'static str,
    /// How many there are, if that can be told.
    pub found: Option<u64>,
    /// How many the whole data set has.
    pub official: Option<u64>,
    /// How many the part of it has that this copy says it holds; the official total for a whole one.
    pub expected: Option<u64>,
    /// How they compare.
    pub verdict: Verdict,
}

impl Count {
    pub(super) fn new(
        what: &'static str,
        found: Option<u64>,
        official: Option<u64>,
        expected: Option<u64>,
    ) -> Self {
        let verdict = match (found, expected) {
            (None, _) => Verdict::NotChecked,
            (_, None) => Verdict::NoOfficial,
            (found, expected) if found != expected => Verdict::Differs,
            _ if expected == official => Verdict::Agrees,
            _ => Verdict::Partial,
        };
        Self { what, found, official, expected, verdict }
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything that could be checked agrees.
    Agrees,
    /// The copy says itself that it holds a part of the test clips, and that part agrees.
    Partial,
    /// Something differs.
    Differs,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The data set.
    pub name: &'static str,
    /// Its title, split included.
    pub title: &'static str,
    /// The folder.
    pub folder: String,
    /// The outcome.
    pub outcome: Outcome,
    /// There are no videos, so the annotations alone were checked.
    pub annotations_only: bool,
    /// The counts.
    pub counts: Vec<Count>,
    /// What differs, clip by clip.
    pub differences: Vec<String>,
    /// What could not be checked, and why.
    pub not_checked: Vec<String>,
    /// What is worth knowing and no difference.
    pub notes: Vec<String>,
    /// Known discrepancies of the public files.
    pub known_discrepancies: Vec<&'static str>,
}

impl Report {
    /// The number of points in which the copy differs.
    pub fn points(&self) -> usize {
        let counts = self.counts.iter().filter(|count| count.verdict == Verdict::Differs).count();
        counts + self.differences.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |number: Option<u64>| number.map_or("-".to_string(), |n| n.to_string());
        writeln!(f, "{} in {}", self.title, self.folder)?;
        writeln!(f, "{:24}{:>10}{:>10}", "", "found", "official")?;
        // A row of which nothing is known in either column says nothing.
        for count in self.counts.iter().filter(|c| c.found.or(c.official).is_some()) {
            let (found, official) = (show(count.found), show(count.official));
            writeln!(f, "{:24}{found:>10}{official:>10}  {}", count.what, count.verdict.text())?;
        }
        for (title, lines) in [
            ("differences", &self.differences),
            ("not checked", &self.not_checked),
            ("notes", &self.notes),
        ] {
            list(f, title, lines.iter().map(String::as_str))?;
        }
        list(
            f,
            "known discrepancies of the public files",
            self.known_discrepancies.iter().copied(),
        )?;
        let outcome = match (self.outcome, self.annotations_only) {
            (Outcome::Differs, _) => format!("differs in {} points", self.points()),
            (Outcome::Partial, _) => {
                "agrees, but is a partial copy: no figure on it is one on the data set".into()
            }
            (Outcome::Agrees, true) => "the annotations agree; there are no videos".into(),
            (Outcome::Agrees, false) if self.counts.iter().all(|c| c.official.is_none()) => {
                "there is nothing official to compare with".into()
            }
            (Outcome::Agrees, false) => "agrees with the official totals".into(),
        };
        write!(f, "result: {outcome}")
    }
}

/// Lines under a title, if there are any.
fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl ExactSizeIterator<Item = &'a str>,
) -> fmt::Result {
    if lines.len() > 0 {
        writeln!(f, "{title}:")?;
    }
    for line in lines {
        writeln!(f, "  - {line}")?;
    }
    Ok(())
}
