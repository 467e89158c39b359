//! Which frames of a published set's test videos are abnormal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trainer::dataset::arrays::read_labels;
use trainer::dataset::{self, ucf_crime, xd_violence};
use trainer::evaluation::Labels;
use trainer::features::Error;
use trainer::features::list::video_name;

use super::sets::Set;
use crate::commands::Usage;

/// Ground truth of a set.
pub enum Truth {
    /// Labels of all test videos one after the other, in the list's order, as `gt-*.npy`.
    InARow(PathBuf, Vec<bool>),
    /// A folder with labels by video, as ShanghaiTech's `test_frame_mask`.
    Masks(PathBuf),
    /// Ranges by video.
    Ranges(PathBuf, BTreeMap<String, dataset::Truth>),
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
        if !path.exists() {
            return Err(Usage(format!("{}: not there; check the path", path.display())).into());
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match (extension, set) {
            ("npy", _) => Ok(Self::InARow(path.to_path_buf(), read_labels(path)?)),
            ("json", _) => Ok(Self::Labels(Labels::read(path)?)),
            ("txt", Set::UcfCrime | Set::XdViolence) => {
                Ok(Self::Ranges(path.to_path_buf(), annotations(path, set)?))
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
        let filled = |truth: &dataset::Truth, path: &Path| {
            let begin = (video.frames + slack) as u64;
            if let Some((first, _)) = truth.ranges().into_iter().find(|range| range.0 > begin) {
                let (name, frames) = (video.name, video.frames);
                return Err(damaged(
                    path,
                    format!(
                        "{name}: an event from frame {first}, but its features are of {frames} frames"
                    ),
                ));
            }
            Ok(truth.frames(video.name, video.frames)?)
        };
        match self {
            Self::InARow(path, _) => Err(damaged(path, "has no labels by video".into())),
            Self::Labels(labels) => {
                let ranges = labels.ranges(video.name).to_vec();
                filled(&dataset::Truth::Ranges(ranges), Path::new("labels"))
            }
            Self::Ranges(path, by_name) => match by_name.get(video.name) {
                Some(truth) => filled(truth, path),
                None if video.abnormal => {
                    Err(damaged(path, format!("nothing of the abnormal video {}", video.name)))
                }
                None => Ok(vec![false; video.frames]),
            },
            Self::Masks(folder) => {
                let path = folder.join(format!("{}.npy", video.name));
                if !path.exists() {
                    if !video.abnormal {
                        return Ok(vec![false; video.frames]);
                    }
                    let problem = "not there; check the folder of masks".into();
                    return Err(Error::Missing { path, problem }.into());
                }
                let mut labels = read_labels(&path)?;
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

/// The official annotations, by the names that lists of features have.
fn annotations(path: &Path, set: Set) -> anyhow::Result<BTreeMap<String, dataset::Truth>> {
    let annotated: BTreeMap<String, dataset::Truth> = match set {
        Set::UcfCrime => (ucf_crime::read_annotation(path)?.into_iter())
            .map(|(name, (_, truth))| (name, truth))
            .collect(),
        _ => xd_violence::read_annotation(path)?,
    };
    if annotated.is_empty() {
        return Err(damaged(path, "names no video".into()));
    }
    let mut by_name = BTreeMap::new();
    for (name, truth) in annotated {
        if by_name.insert(video_name(&name, false), truth).is_some() {
            return Err(damaged(path, format!("{name} is annotated twice")));
        }
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainer::npy;

    fn tested(name: &str, abnormal: bool, frames: usize) -> Tested<'_> {
        Tested { name, abnormal, frames }
    }

    fn numbers(labels: &[Vec<bool>]) -> Vec<Vec<usize>> {
        let abnormal = |l: &Vec<bool>| (0..l.len()).filter(|&i| l[i]).collect();
        labels.iter().map(abnormal).collect()
    }

    fn annotated(text: &str, set: Set) -> anyhow::Result<Truth> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        Truth::read(&path, set)
    }

    #[test]
    fn official_annotations_are_read() {
        let ucf = "Abuse028_x264.mp4  Abuse  2  4  -1  -1  \r\nNormal_Videos_003_x264.mp4  Normal  -1 -1 -1 -1";
        let truth = annotated(ucf, Set::UcfCrime).unwrap();
        let videos = [tested("Abuse028", true, 16), tested("Normal_Videos_003", false, 16)];
        assert_eq!(numbers(&truth.frames(&videos, 32).unwrap()), [vec![1, 2, 3], vec![]]);
        let xd = "v=a__#1_label_B4-0-0 0 2 14 99\n";
        let truth = annotated(xd, Set::XdViolence).unwrap();
        let videos = [tested("v=a__#1_label_B4-0-0", true, 16), tested("v=b_label_A", false, 2)];
        assert_eq!(numbers(&truth.frames(&videos, 32).unwrap()), [vec![0, 1, 14, 15], vec![]]);
        let error = truth.frames(&[tested("v=c_label_G", true, 16)], 32).unwrap_err().to_string();
        assert!(error.contains("v=c_label_G"), "{error}");
        let far = |first: usize| {
            let truth = annotated(&format!("v=a_label_G {first} 120"), Set::XdViolence).unwrap();
            truth.frames(&[tested("v=a_label_G", true, 16)], 32)
        };
        assert_eq!(far(47).unwrap()[0], [false; 16]);
        let error = far(48).unwrap_err().to_string();
        assert!(error.contains("frame 49") && error.contains("16 frames"), "{error}");
    }

    #[test]
    fn wrong_annotations_are_named() {
        let refused = |text, set| annotated(text, set).err().unwrap().to_string();
        assert!(refused("A.mp4 Abuse 1 2 -1 x", Set::UcfCrime).contains("a.txt: line 1"));
        assert!(refused("a_label_G 5 3", Set::XdViolence).contains("a.txt: line 1"));
        assert!(refused(" \n", Set::UcfCrime).contains("no video"));
        let twice = "A_x264.mp4 Abuse 1 2 -1 -1\nA.mp4 Abuse 1 2 -1 -1";
        assert!(refused(twice, Set::UcfCrime).contains("twice"));
        let none = Truth::read(Path::new("nowhere.txt"), Set::UcfCrime).err().unwrap();
        assert!(none.is::<Usage>());
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
            let mask =
                read_labels(&sh.join(format!("test_frame_mask/{}.npy", entry.name))).unwrap();
            assert!(mask.contains(&true), "{}", entry.name);
        }

        let path = folder.join("xd-violence/annotations.txt");
        let Truth::Ranges(_, ranges) = Truth::read(&path, Set::XdViolence).unwrap() else {
            panic!("annotations are ranges");
        };
        assert_eq!(ranges.len(), 500);
        assert!(ranges.iter().all(|(name, t)| Set::XdViolence.abnormal(name) && t.abnormal() > 0));
    }
}
