//! UCF-Crime: thirteen kinds of crime and accident from surveillance cameras (Sultani et al., CVPR
//! 2018).
//!
//! `Anomaly_Train.txt` and `Anomaly_Test.txt` name the videos as `Class/Name.mp4`; the classes
//! `Training_Normal_Videos_Anomaly` and `Testing_Normal_Videos_Anomaly` are normal. The videos come in
//! several archives, so they are looked for by file name up to four folders deep.
//!
//! `Temporal_Anomaly_Annotation.txt` has for each test video its class and two ranges, `-1 -1` for
//! none: `Arson011_x264.mp4  Arson  150  420  680  1267`. The authors' `Evaluate_Anomaly_Detector.m`
//! sets `GT(max(first,1) : min(last,frames)) = 1`: frames count from 1, both ends are included, and
//! what goes beyond the video's end is cut. (The later Python programs, such as `make_gt_ucf.py` of
//! VadCLIP, set `gt[first:last]` instead: one frame less for each range, and counted from 0.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use video::Clip;

use super::error::quote;
use super::places::{first, lines, names, text, videos};
use super::survey::Entry;
use super::{Error, Name, Survey, Truth};

/// Folders between the data set's and a video, at most.
const DEPTH: usize = 4;

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Class, which is the folder's name.
    pub class: String,
    /// Name of the video, without `.mp4`.
    pub name: String,
}

impl Listed {
    fn normal(&self) -> bool {
        is_normal(&self.class)
    }
}

/// Whether a class, or the name of a video, is one of normal videos: `Testing_Normal_Videos_Anomaly`,
/// `Normal_Videos_003_x264`.
pub fn is_normal(name: &str) -> bool {
    name.contains("Normal_Videos")
}

/// The videos of a list.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse_list(text: &str, path: &Path) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    for (line, whole) in names(text, path)? {
        let parts = whole.split_once('/').and_then(|(class, file)| {
            let name = file.strip_suffix(".mp4")?;
            let plain = !name.is_empty() && !file.contains(['/', '\\']) && !class.is_empty();
            plain.then(|| Listed { class: class.into(), name: name.into() })
        });
        listed.push(parts.ok_or_else(|| Error::Line {
            path: path.into(),
            line,
            reason: format!("{} is not of the form Class/Name.mp4", quote(&whole)),
        })?);
    }
    Ok(listed)
}

/// Reads the file of annotations: see [`parse_annotation`].
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`] if it is no such text, [`Error::Line`].
pub fn read_annotation(path: &Path) -> Result<BTreeMap<String, (String, Truth)>, Error> {
    parse_annotation(&text(path)?, path)
}

/// The class and the abnormal ranges of each annotated video, by name without `.mp4`.
///
/// # Errors
/// [`Error::Line`]; `path` stands in it for the file.
pub fn parse_annotation(
    text: &str,
    path: &Path,
) -> Result<BTreeMap<String, (String, Truth)>, Error> {
    let mut videos = BTreeMap::new();
    for (line, whole) in lines(text) {
        let wrong = |reason: String| Error::Line { path: path.into(), line, reason };
        let form = "Name.mp4 Class first last first last";
        let fields: Vec<&str> = whole.split_whitespace().collect();
        let [file, class, numbers @ ..] = &fields[..] else {
            return Err(wrong(format!("{} is not of the form {form}", quote(whole))));
        };
        let name = file.strip_suffix(".mp4").filter(|name| !name.is_empty());
        let (Some(name), 4) = (name, numbers.len()) else {
            return Err(wrong(format!("{} is not of the form {form}", quote(whole))));
        };
        let mut ranges = Vec::new();
        for pair in numbers.chunks_exact(2) {
            match (pair[0].parse::<i64>(), pair[1].parse::<i64>()) {
                (Ok(-1), Ok(-1)) => {}
                (Ok(first), Ok(last)) if 0 <= first && 1 <= last && first <= last => {
                    ranges.push((first.max(1) as u64, last as u64));
                }
                _ => {
                    let pair = quote(&pair.join(" "));
                    return Err(wrong(format!("{pair} is no range, and not -1 -1")));
                }
            }
        }
        if (*class == "Normal") != ranges.is_empty() {
            return Err(wrong(format!("class {} with {} ranges", quote(class), ranges.len())));
        }
        let entry = ((*class).to_string(), Truth::Ranges(ranges));
        if videos.insert(name.to_string(), entry).is_some() {
            return Err(wrong(format!("{} is annotated twice", quote(name))));
        }
    }
    Ok(videos)
}

/// Video files by name. The archives hold some normal videos twice, in another folder too: the one
/// in the folder of its class is taken, and without one the first.
struct Index(BTreeMap<String, Vec<PathBuf>>);

impl Index {
    fn read(dir: &Path) -> Result<Self, Error> {
        let mut index: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in videos(dir, DEPTH)? {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            index.entry(name.unwrap_or_default()).or_default().push(path);
        }
        Ok(Self(index))
    }

    fn entry(&self, listed: &Listed) -> Entry {
        let mut entry = Entry::listed(&listed.name);
        entry.class = Some(listed.class.clone());
        let paths = self.0.get(&listed.name).map_or(&[][..], Vec::as_slice);
        let own = |path: &&PathBuf| {
            path.parent().and_then(Path::file_name).is_some_and(|folder| *folder == *listed.class)
        };
        let path = paths.iter().find(own).or(paths.first());
        entry.clip = path.map(|path| Clip { name: listed.name.clone(), path: path.clone() });
        entry
    }
}

/// What is there of UCF-Crime.
///
/// # Errors
/// [`Error`] if something is damaged.
pub fn survey(dir: &Path) -> Result<Survey, Error> {
    let mut survey = Survey::new(Name::UcfCrime);
    let index = Index::read(dir)?;
    if index.0.is_empty() {
        survey.lacks("videos", dir);
    }
    let mut list = |file: &str| -> Result<Vec<Listed>, Error> {
        let path = dir.join(file);
        if path.is_file() {
            return parse_list(&text(&path)?, &path);
        }
        survey.lacks("list of videos", path);
        Ok(Vec::new())
    };
    let (train, test) = (list("Anomaly_Train.txt")?, list("Anomaly_Test.txt")?);
    let candidates =
        ["Temporal_Anomaly_Annotation.txt", "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"];
    let mut annotated = match first(dir, &candidates) {
        Some(path) => Some(read_annotation(&path)?),
        None => {
            survey.lacks("ground truth", dir.join(candidates[0]));
            None
        }
    };
    for listed in &train {
        let entry = index.entry(listed);
        match listed.normal() {
            true => survey.train_normal.push(entry),
            false => survey.train_abnormal.push(entry),
        }
    }
    survey.test_listed = !test.is_empty();
    for listed in &test {
        let mut entry = index.entry(listed);
        let name = &listed.name;
        if let Some(annotated) = &mut annotated {
            match annotated.remove(name) {
                None => survey.contradictions.push(format!("{name} is listed and not annotated")),
                Some((class, truth)) => {
                    let same =
                        if listed.normal() { class == "Normal" } else { class == listed.class };
                    if !same {
                        let listed = &listed.class;
                        let text = format!("{name} is listed as {listed}, annotated as {class}");
                        survey.contradictions.push(text);
                    }
                    entry.truth = Some(truth);
                }
            }
        }
        survey.test.push(entry);
    }
    for name in annotated.unwrap_or_default().into_keys().filter(|_| survey.test_listed) {
        survey.contradictions.push(format!("{name} is annotated and not listed"));
    }
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "a.txt";

    #[test]
    fn both_ends_count_and_frames_begin_at_one() {
        let text = "Abuse028_x264.mp4  Abuse  165  240  -1  -1  \n\
                    Arson011_x264.mp4  Arson  0  1  680  1267\n\
                    Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1";
        let videos = parse_annotation(text, Path::new(PATH)).unwrap();
        let ranges = |name: &str| videos[name].1.ranges();
        assert_eq!(ranges("Abuse028_x264"), [(165, 240)]);
        assert_eq!(ranges("Arson011_x264"), [(1, 1), (680, 1267)]);
        assert_eq!(ranges("Normal_Videos_003_x264"), []);
        assert_eq!(videos["Abuse028_x264"].1.abnormal(), 76);
    }

    #[test]
    fn wrong_annotations_are_named() {
        for (text, part) in [
            ("A.mp4 Abuse 1 2 -1", "not of the form"),
            ("A Abuse 1 2 -1 -1", "not of the form"),
            ("A.mp4 Abuse 5 2 -1 -1", "'5 2' is no range"),
            ("A.mp4 Abuse -1 2 -1 -1", "'-1 2' is no range"),
            ("A.mp4 Abuse x 2 -1 -1", "'x 2' is no range"),
            ("A.mp4 Normal 1 2 -1 -1", "class 'Normal' with 1 ranges"),
            ("A.mp4 Abuse 1 2 -1 -1\nA.mp4 Abuse 1 2 -1 -1", "line 2: 'A' is annotated twice"),
        ] {
            let error = parse_annotation(text, Path::new(PATH)).unwrap_err().to_string();
            assert!(error.starts_with("a.txt: line ") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn wrong_lists_are_named() {
        let listed = parse_list("Abuse/Abuse001_x264.mp4\n", Path::new(PATH)).unwrap();
        assert_eq!((listed[0].class.as_str(), listed[0].name.as_str()), ("Abuse", "Abuse001_x264"));
        for text in ["Abuse001_x264.mp4", "a/../b.mp4", "Abuse/x.avi", "/x.mp4", "A/x.mp4\nA/x.mp4"]
        {
            let error = parse_list(text, Path::new(PATH)).unwrap_err().to_string();
            assert!(error.starts_with("a.txt: line "), "{error}");
        }
    }
}
