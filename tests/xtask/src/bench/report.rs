//! Figures out of the JSON that a measured program prints.

use crate::shell::Failure;

/// What one run of one program has reported.
pub struct Report(pub String);

impl Report {
    /// A number of the report, by its name; of an object by the name of its member.
    pub fn number(&self, name: &str) -> Result<f64, Failure> {
        let mut rest = self.0.as_str();
        for part in name.split('.') {
            let missing = || Failure::work(format!("a report without {name}: {}", self.0));
            let key = format!("\"{part}\":");
            rest = &rest[rest.find(&key).ok_or_else(missing)? + key.len()..];
        }
        let end = rest.find([',', '}', '\n']).unwrap_or(rest.len());
        let wrong = |_| Failure::work(format!("{name} is no number in {}", self.0));
        rest[..end].trim().parse().map_err(wrong)
    }
}
