//! List files: which videos, in which order.
//!
//! One path a line. The published ones (RTFM's and UR-DMU's `*.list`, the data sets' own splits) hold
//! paths of other machines, and name the features (`/home/x/Abuse001_x264__3.npy`, one line a crop),
//! or the video (`Abuse/Abuse001_x264.mp4`), or the clip alone (`01_0014`). All three mean the same
//! video, so a line stands for its file name without what tells of the features.

use std::path::{Path, PathBuf};

use super::Error;

/// Ends of file names that say how the file was made, not which video it is of.
const ENDINGS: [&str; 8] = [".npy", ".mp4", ".avi", ".mkv", "_i3d", "_c3d", "_x264", "_features"];

/// A video of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the video.
    pub name: String,
    /// Line in the list, from 1.
    pub line: usize,
    /// The path as the list has it, with `/` between its parts.
    pub path: String,
}

/// A list of videos, each once, in the order of their first lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The file.
    pub path: PathBuf,
    /// The videos.
    pub entries: Vec<Entry>,
    /// Lines of each video, if the list names every crop of every video on its own.
    pub crops: Option<usize>,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], or [`Error::Damaged`] if it is no text, names no video, or
    /// names different numbers of crops.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let damaged = |problem: String| Error::Damaged { path: path.to_path_buf(), problem };
        let text = String::from_utf8(bytes)
            .map_err(|e| damaged(format!("no UTF-8 from byte {}", e.utf8_error().valid_up_to())))?;
        Self::parse(&text, path).map_err(damaged)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let lines: Vec<(usize, String)> = (1..)
            .zip(text.trim_start_matches('\u{feff}').lines())
            .map(|(number, line)| (number, entry_path(line)))
            .filter(|(_, line)| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return Err("names no video; one path a line is expected".into());
        }
        let by_crop = lines.iter().all(|(_, path)| split_crop(stem(path)).1.is_some());
        let mut entries: Vec<Entry> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (line, path) in lines {
            let name = video_name(&path, by_crop);
            let place = *places.entry(name.clone()).or_insert(entries.len());
            if place == entries.len() {
                entries.push(Entry { name, line, path });
                counts.push(0);
            }
            counts[place] += 1;
        }
        if let Some(other) = counts.iter().position(|&n| n != counts[0]) {
            return Err(format!(
                "line {}: {} has {} lines, but {} has {}; each video once, or each crop of each",
                entries[other].line, entries[other].name, counts[other], entries[0].name, counts[0]
            ));
        }
        if !by_crop && counts[0] > 1 {
            return Err(format!("{} is named {} times", entries[0].name, counts[0]));
        }
        // One line a video that ends in `__0` says nothing of how many crops there are.
        let crops = (by_crop && counts[0] > 1).then(|| counts[0]);
        Ok(Self { path: path.to_path_buf(), entries, crops })
    }
}

/// The path of a line: up to `.npy`, because some lists have labels behind it.
fn entry_path(line: &str) -> String {
    let line = line.trim();
    let end = line.find(".npy ").or_else(|| line.find(".npy\t")).map_or(line.len(), |at| at + 4);
    line[..end].replace('\\', "/")
}

/// File name without `.npy`.
pub fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".npy").unwrap_or(name)
}

/// `NAME__3` is crop 3 of `NAME`.
pub fn split_crop(stem: &str) -> (&str, Option<usize>) {
    let crop = stem.rsplit_once("__").and_then(|(name, digits)| {
        let number = digits.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty();
        Some((name, digits.parse().ok().filter(|_| number)?))
    });
    crop.map_or((stem, None), |(name, crop)| (name, Some(crop)))
}

/// The video that a path is of; `by_crop` if its file name ends with the number of a crop.
pub fn video_name(path: &str, by_crop: bool) -> String {
    let mut name = stem(path);
    if by_crop {
        name = split_crop(name).0;
    }
    while let Some(short) =
        ENDINGS.iter().find_map(|e| name.strip_suffix(e).filter(|n| !n.is_empty()))
    {
        name = short;
    }
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<List, String> {
        List::parse(text, Path::new("a.list"))
    }

    fn names(text: &str) -> Vec<String> {
        parse(text).unwrap().entries.into_iter().map(|e| e.name).collect()
    }

    #[test]
    fn published_lists_name_videos() {
        // RTFM, ShanghaiTech; UR-DMU, UCF-Crime and XD-Violence; the data sets' own splits.
        assert_eq!(
            names("/home/yu/SH_Train_ten_crop_i3d/01_0014_i3d.npy\n/home/yu/x/01_002_i3d.npy\n"),
            ["01_0014", "01_002"]
        );
        let crops = "dataset/Abuse/Abuse001_x264__0.npy\ndataset/Abuse/Abuse001_x264__1.npy\n\
                     dataset/Abuse/Abuse002_x264__0.npy\r\ndataset/Abuse/Abuse002_x264__1.npy";
        assert_eq!(names(crops), ["Abuse001", "Abuse002"]);
        assert_eq!(parse(crops).unwrap().crops, Some(2));
        assert_eq!(parse(crops).unwrap().entries[1].line, 3);
        assert_eq!(
            names("E:\\data\\RGBTest\\v=S-7rRLrxnVQ__#1_label_B4-0-0__0.npy"),
            ["v=S-7rRLrxnVQ__#1_label_B4-0-0"]
        );
        assert_eq!(names("Abuse/Abuse028_x264.mp4\n\n"), ["Abuse028"]);
        assert_eq!(names("01_001\n01_0015"), ["01_001", "01_0015"]);
        assert_eq!(names("with a space/a b.npy 1\n"), ["a b"]);
    }

    #[test]
    fn wrong_lists_are_refused() {
        assert!(parse("\n \n").unwrap_err().contains("no video"));
        let error = parse("a__0.npy\na__1.npy\nb__0.npy\n").unwrap_err();
        assert!(error.contains("line 3: b has 1 lines, but a has 2"), "{error}");
        assert!(parse("a.npy\na.mp4\n").unwrap_err().contains("2 times"));
    }

    #[test]
    fn only_a_number_is_a_crop() {
        assert_eq!(split_crop("a__12"), ("a", Some(12)));
        assert_eq!(split_crop("a__#1"), ("a__#1", None));
        assert_eq!(split_crop("a__"), ("a__", None));
        assert_eq!(split_crop("__1"), ("__1", None));
        assert_eq!(split_crop("a__99999999999999999999"), ("a__99999999999999999999", None));
    }
}
