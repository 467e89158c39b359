//! The ground truth of the UCSD sets: MATLAB scripts of frame ranges.
//!
//! ```text
//! TestVideoFile = {};
//! TestVideoFile{end+1}.gt_frame = [60:152];
//! TestVideoFile{end+1}.gt_frame = [5:90, 140:200];
//! ```
//!
//! One line a test clip, in order; frames count from 1, and MATLAB's `a:b` includes `b`.

use std::path::Path;

use super::error::quote;
use super::places::lines;
use super::{Error, Truth};

/// Test clips at most; Ped1 has 36.
const MAX_CLIPS: usize = 1000;

/// The abnormal ranges of each test clip, in order.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Truth>, Error> {
    let mut clips = Vec::new();
    for (line, whole) in lines(text) {
        let wrong = |reason: String| Error::Line { path: path.into(), line, reason };
        let statement = whole.split('%').next().unwrap_or_default().trim();
        if statement.is_empty() || statement.trim_end_matches(';').trim() == "TestVideoFile = {}" {
            continue;
        }
        let expected = || {
            let form = "TestVideoFile{end+1}.gt_frame = [first:last, ...];";
            wrong(format!("{} is not of the form {form}", quote(whole)))
        };
        let (_, value) = statement
            .split_once('=')
            .filter(|(left, _)| left.trim() == "TestVideoFile{end+1}.gt_frame")
            .ok_or_else(expected)?;
        let ranges = value
            .trim()
            .trim_end_matches(';')
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(expected)?;
        let mut found = Vec::new();
        for range in ranges.split([',', ' ', ';']).filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            match (first.trim().parse(), last.trim().parse()) {
                (Ok(first), Ok(last)) if 1 <= first && first <= last => found.push((first, last)),
                _ => return Err(wrong(format!("{} is no range, from 1 upwards", quote(range)))),
            }
        }
        clips.push(Truth::Ranges(found));
        if clips.len() > MAX_CLIPS {
            return Err(wrong(format!("more than {MAX_CLIPS} clips")));
        }
    }
    if clips.is_empty() {
        return Err(Error::damaged(path, "no gt_frame in it"));
    }
    Ok(clips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_published() {
        let text = "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [60:152];\r\n\n\
                    TestVideoFile{end+1}.gt_frame = [5:90, 140:200]; % two\n\
                    TestVideoFile{end+1}.gt_frame = [];\n";
        let clips = parse(text, Path::new("a.m")).unwrap();
        let ranges: Vec<_> = clips.iter().map(Truth::ranges).collect();
        assert_eq!(ranges, [vec![(60, 152)], vec![(5, 90), (140, 200)], vec![]]);
    }

    #[test]
    fn wrong_lines_are_named() {
        let message = |text| parse(text, Path::new("a.m")).unwrap_err().to_string();
        assert!(message("").contains("no gt_frame"));
        assert!(message("\nx = 3;").contains("a.m: line 2"));
        for range in ["[0:3]", "[5:4]", "[a:b]", "[1:2:3]", "[1:99999999999999999999]"] {
            let text = format!("TestVideoFile{{end+1}}.gt_frame = {range};");
            let error = parse(&text, Path::new("a.m")).unwrap_err().to_string();
            assert!(error.contains("line 1") && error.contains("no range"), "{error}");
        }
        assert!(message("TestVideoFile{end+1}.gt_frame = [1:3").contains("not of the form"));
    }
}
