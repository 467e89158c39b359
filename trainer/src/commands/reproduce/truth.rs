//! Which frames of a published set's test videos are abnormal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trainer::evaluation::Labels;
use trainer::features::list::video_name;
use trainer::features::Error;
use trainer::npy;

use super::sets::Set;
use crate::commands::Usage;

/// Abnormal frames from the first to before the second, counted from 0.
type Ranges = Vec<(u64, u64)>;

/// Ground truth of a set.
pub enum Truth {
    /// Labels of all test videos one after the other, in the list's order, as `gt-*.npy`.
    InARow(PathBuf, Vec<bool>),
    /// A folder with labels by video, as ShanghaiTech's `test_frame_mask`.
    Masks(PathBuf),
    /// Ranges by video.
    Ranges(PathBuf, BTreeMap<String, Ranges>),
    /// The project's own labels.
    Labels(Labels),
}

/// A test video as the labels must fit it.
pub struct Tested<'a> {
    pub name: &'a str,
    pub abnormal: bool,
    /// Frames that its features are of.
    pub frames: usize,
}

impl Truth {
    /// Reads what `--test-labels` takes.
    pub fn read(path: &Path, set: Set) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Masks(path.to_path_buf()));
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match (extension, set) {
            ("npy", _) => Ok(Self::InARow(path.to_path_buf(), labels(path)?)),
            ("json", _) => Ok(Self::Labels(Labels::read(path)?)),
            ("txt", Set::UcfCrime | Set::XdViolence) => {
                let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
                    std::io::ErrorKind::InvalidData => damaged(path, "is no UTF-8 text".into()),
                    _ => Usage(format!("{}: {e}; check the path", path.display())).into(),
                })?;
                let ranges = annotations(&text, set).map_err(|e| damaged(path, e))?;
                Ok(Self::Ranges(path.to_path_buf(), ranges))
            }
            _ => Err(Usage(format!(
                "{}: labels of this set are a .npy file, a .json file, a folder of masks or, except \
                 for shanghaitech, the official .txt",
                path.display()
            ))
            .into()),
        }
    }

    /// Labels of each video's frames; a mask may end up to `slack` frames before or after the
    /// features do, and the shorter of both counts.
    pub fn frames(&self, videos: &[Tested<'_>], slack: usize) -> anyhow::Result<Vec<Vec<bool>>> {
        if let Self::InARow(path, labels) = self {
            let total: usize = videos.iter().map(|v| v.frames).sum();
            if total != labels.len() {
                return Err(damaged(
                    path,
                    format!(
                        "{} labels, but the test list's features are of {total} frames; the list, \
                         its order or the frames a snippet are other ones",
                        labels.len()
                    ),
                ));
            }
            let mut rest = labels.as_slice();
            let cut = |video: &Tested<'_>| {
                let (labels, others) = rest.split_at(video.frames);
                rest = others;
                labels.to_vec()
            };
            return Ok(videos.iter().map(cut).collect());
        }
        videos.iter().map(|video| self.of(video, slack)).collect()
    }

    fn of(&self, video: &Tested<'_>, slack: usize) -> anyhow::Result<Vec<bool>> {
        let filled = |ranges: &[(u64, u64)], path: &Path| {
            if let Some((first, _)) = ranges.iter().find(|r| r.0 >= (video.frames + slack) as u64) {
                let (name, frames) = (video.name, video.frames);
                return Err(damaged(
                    path,
                    format!(
                        "{name}: an event from frame {first}, but its features are of {frames} frames"
                    ),
                ));
            }
            let mut labels = vec![false; video.frames];
            for &(first, end) in ranges {
                let end = (end as usize).min(video.frames);
                labels[(first as usize).min(end)..end].fill(true);
            }
            Ok(labels)
        };
        match self {
            Self::InARow(path, _) => Err(damaged(path, "has no labels by video".into())),
            Self::Labels(labels) => {
                let ranges: Ranges = labels
                    .ranges(video.name)
                    .iter()
                    .map(|&(first, last)| (first - 1, last))
                    .collect();
                filled(&ranges, Path::new("labels"))
            }
            Self::Ranges(path, by_name) => match by_name.get(video.name) {
                Some(ranges) => filled(ranges, path),
                None if video.abnormal => {
                    Err(damaged(path, format!("nothing of the abnormal video {}", video.name)))
                }
                None => Ok(vec![false; video.frames]),
            },
            Self::Masks(folder) => {
                let path = folder.join(format!("{}.npy", video.name));
                if !video.abnormal && !path.exists() {
                    return Ok(vec![false; video.frames]);
                }
                let mut labels = labels(&path)?;
                if labels.len().abs_diff(video.frames) > slack {
                    return Err(damaged(
                        &path,
                        format!(
                            "{} labels, but the video's features are of {} frames; the frames a \
                             snippet are other ones",
                            labels.len(),
                            video.frames
                        ),
                    ));
                }
                labels.truncate(video.frames);
                Ok(labels)
            }
        }
    }
}

fn damaged(path: &Path, problem: String) -> anyhow::Error {
    Error::Damaged { path: path.to_path_buf(), problem }.into()
}

/// Labels of frames, 0 or 1.
fn labels(path: &Path) -> anyhow::Result<Vec<bool>> {
    let array = npy::read(path)?;
    if let Some(at) = array.values.iter().position(|&v| v != 0.0 && v != 1.0) {
        let problem = format!("value {} at {at}; frame labels are 0 or 1", array.values[at]);
        return Err(Error::Shape { path: path.to_path_buf(), shape: array.shape, problem }.into());
    }
    Ok(array.values.iter().map(|&v| v == 1.0).collect())
}

/// The official annotations. UCF-Crime: `NAME CLASS FIRST LAST FIRST LAST`, frames from 1, the last
/// included, -1 for none. XD-Violence: `NAME (START END)...`, frames from 0, the end not included.
fn annotations(text: &str, set: Set) -> Result<BTreeMap<String, Ranges>, String> {
    let mut by_name = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        if set == Set::UcfCrime {
            words.next().ok_or_else(|| format!("line {number}: no class"))?;
        }
        let numbers: Vec<i64> = words
            .map(|w| w.parse().map_err(|_| format!("line {number}: {w:?} is no frame number")))
            .collect::<Result<_, _>>()?;
        if !numbers.len().is_multiple_of(2) {
            return Err(format!("line {number}: a range without an end"));
        }
        let mut ranges = Ranges::new();
        for pair in numbers.chunks_exact(2) {
            let (first, end) = match (set, pair[0], pair[1]) {
                (Set::UcfCrime, -1, -1) => continue,
                (Set::UcfCrime, first, last) => (first - 1, last),
                (_, start, end) => (start, end),
            };
            if first < 0 || end < first || end > 1 << 32 {
                return Err(format!("line {number}: range {} {} cannot be", pair[0], pair[1]));
            }
            ranges.push((first as u64, end as u64));
        }
        if by_name.insert(video_name(name, false), ranges).is_some() {
            return Err(format!("line {number}: {name} is named twice"));
        }
    }
    if by_name.is_empty() {
        return Err("names no video".into());
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(name: &str, abnormal: bool, frames: usize) -> Tested<'_> {
        Tested { name, abnormal, frames }
    }

    fn numbers(labels: &[Vec<bool>]) -> Vec<Vec<usize>> {
        let abnormal = |l: &Vec<bool>| (0..l.len()).filter(|&i| l[i]).collect();
        labels.iter().map(abnormal).collect()
    }

    #[test]
    fn official_annotations_are_read() {
        let ucf = "Abuse028_x264.mp4  Abuse  2  4  -1  -1  \r\nNormal_Videos_003_x264.mp4  Normal  -1 -1 -1 -1";
        let truth = Truth::Ranges("a.txt".into(), annotations(ucf, Set::UcfCrime).unwrap());
        let videos = [tested("Abuse028", true, 16), tested("Normal_Videos_003", false, 16)];
        assert_eq!(numbers(&truth.frames(&videos, 32).unwrap()), [vec![1, 2, 3], vec![]]);
        let xd = "v=a__#1_label_B4-0-0 0 2 14 99\n";
        let truth = Truth::Ranges("b.txt".into(), annotations(xd, Set::XdViolence).unwrap());
        let videos = [tested("v=a__#1_label_B4-0-0", true, 16), tested("v=b_label_A", false, 2)];
        assert_eq!(numbers(&truth.frames(&videos, 32).unwrap()), [vec![0, 1, 14, 15], vec![]]);
        let error = truth.frames(&[tested("v=c_label_G", true, 16)], 32).unwrap_err().to_string();
        assert!(error.contains("v=c_label_G"), "{error}");
        let far = annotations("v=a 99 120", Set::XdViolence).unwrap();
        let error = Truth::Ranges("c.txt".into(), far)
            .frames(&[tested("v=a", true, 16)], 32)
            .unwrap_err()
            .to_string();
        assert!(error.contains("frame 99") && error.contains("16 frames"), "{error}");
    }

    #[test]
    fn wrong_annotations_name_their_line() {
        let refused = |text, set| annotations(text, set).unwrap_err();
        assert!(refused("a b 1 2\nc d x 3", Set::UcfCrime).contains("line 2: \"x\""));
        assert!(refused("a 1", Set::XdViolence).contains("line 1: a range without"));
        assert!(refused("a 5 3", Set::XdViolence).contains("cannot be"));
        assert!(refused("a c 0 3", Set::UcfCrime).contains("cannot be"));
        assert!(refused("a 1 2\na 3 4", Set::XdViolence).contains("twice"));
        assert!(refused("a", Set::UcfCrime).contains("no class"));
        assert!(refused(" \n", Set::UcfCrime).contains("no video"));
    }

    #[test]
    fn labels_in_a_row_must_fit_and_masks_may_end_a_little_off() {
        let folder = tempfile::tempdir().unwrap();
        let row = folder.path().join("gt.npy");
        npy::write(&row, &[5], &[0.0, 1.0, 0.0, 0.0, 1.0]).unwrap();
        let truth = Truth::read(&row, Set::Shanghaitech).unwrap();
        let videos = [tested("a", true, 2), tested("b", true, 3)];
        assert_eq!(numbers(&truth.frames(&videos, 32).unwrap()), [vec![1], vec![2]]);
        let error = truth.frames(&videos[..1], 32).unwrap_err().to_string();
        assert!(error.contains("5 labels") && error.contains("2 frames"), "{error}");

        let masks = folder.path().join("masks");
        std::fs::create_dir(&masks).unwrap();
        npy::write(&masks.join("01_0001.npy"), &[5], &[0.0, 0.0, 0.0, 1.0, 1.0]).unwrap();
        let truth = Truth::read(&masks, Set::Shanghaitech).unwrap();
        let of = |name, abnormal, frames| truth.frames(&[tested(name, abnormal, frames)], 2);
        assert_eq!(of("01_0001", true, 4).unwrap()[0], [false, false, false, true]);
        assert_eq!(of("01_0001", true, 7).unwrap()[0].len(), 5);
        assert_eq!(of("01_001", false, 3).unwrap()[0], [false; 3]);
        assert!(of("01_0001", true, 8).unwrap_err().to_string().contains("8 frames"));
        assert!(of("01_0002", true, 8).unwrap_err().to_string().contains("01_0002.npy"));

        npy::write(&row, &[2], &[0.0, 2.0]).unwrap();
        let error = Truth::read(&row, Set::UcfCrime).err().unwrap().to_string();
        assert!(error.contains("value 2 at 1"), "{error}");
    }

    /// The real annotations, where they are at hand, name every test video of the lists.
    #[test]
    fn the_official_files_agree_with_the_official_lists() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|dir| dir.join("shared/data/annotations"))
            .find(|dir| dir.is_dir());
        let Some(folder) = shared else {
            println!("skipped: no shared/data/annotations");
            return;
        };
        use trainer::features::List;
        let count = |list: &List, set: Set| {
            let abnormal = list.entries.iter().filter(|e| set.abnormal(&e.name)).count();
            (list.entries.len() - abnormal, abnormal)
        };
        let ucf = folder.join("ucf-crime");
        let test = List::read(&ucf.join("Anomaly_Test.txt")).unwrap();
        assert_eq!(count(&test, Set::UcfCrime), (150, 140));
        assert_eq!(
            count(&List::read(&ucf.join("Anomaly_Train.txt")).unwrap(), Set::UcfCrime),
            (800, 810)
        );
        let path = ucf.join("Temporal_Anomaly_Annotation.txt");
        let truth = Truth::read(&path, Set::UcfCrime).unwrap();
        let videos: Vec<_> = test
            .entries
            .iter()
            .map(|e| tested(&e.name, Set::UcfCrime.abnormal(&e.name), 1 << 20))
            .collect();
        for (video, labels) in videos.iter().zip(truth.frames(&videos, 32).unwrap()) {
            assert_eq!(labels.contains(&true), video.abnormal, "{}", video.name);
        }

        let sh = folder.join("shanghaitech");
        let train = List::read(&sh.join("SH_Train.txt")).unwrap();
        assert_eq!(count(&train, Set::Shanghaitech), (175, 63));
        let test = List::read(&sh.join("SH_Test.txt")).unwrap();
        assert_eq!(count(&test, Set::Shanghaitech), (155, 44));
        for entry in test.entries.iter().filter(|e| Set::Shanghaitech.abnormal(&e.name)) {
            let mask = labels(&sh.join(format!("test_frame_mask/{}.npy", entry.name))).unwrap();
            assert!(mask.contains(&true), "{}", entry.name);
        }

        let path = folder.join("xd-violence/annotations.txt");
        let Truth::Ranges(_, ranges) = Truth::read(&path, Set::XdViolence).unwrap() else {
            panic!("annotations are ranges");
        };
        assert_eq!(ranges.len(), 500);
        assert!(ranges.iter().all(|(name, r)| Set::XdViolence.abnormal(name) && !r.is_empty()));
    }
}
