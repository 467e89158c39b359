//! A folder of features: finding the files of a video, checking them all before any work, and
//! reading one video at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::{check, read};
use super::list::{Entry, split_crop, stem, video_name};
use super::{CropLayout, Crops, Error, List};

/// Deeper folders than this hold no features.
const MAX_DEPTH: usize = 8;

/// The `.npy` files of a folder and its subfolders, by video.
#[derive(Debug)]
pub struct Collection {
    folder: PathBuf,
    /// By video: each file with the crop that its name says.
    files: BTreeMap<String, Vec<(Option<usize>, PathBuf)>>,
}

/// Where the features of a video lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// Name of the video.
    pub name: String,
    /// Snippets.
    pub snippets: usize,
    /// One file with all crops, or one for each.
    files: Vec<PathBuf>,
}

/// Videos whose files have been checked: all there, of one length of vector and number of crops.
#[derive(Debug)]
pub struct Selection {
    /// The videos in the order of the list.
    pub videos: Vec<Video>,
    /// Crops of each video.
    pub crops: usize,
    /// Length of a feature vector.
    pub d: usize,
    /// Order of the axes where a shape alone does not tell.
    layout: Option<CropLayout>,
}

impl Collection {
    /// Looks through a folder.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not there or has no `.npy` file, [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut files: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut found = Vec::new();
        walk(folder, 0, &mut found)?;
        found.sort();
        for path in found {
            let text = path.to_string_lossy().replace('\\', "/");
            let crop = split_crop(stem(&text)).1;
            // A name that ends like a crop's may also be the whole name of a video.
            files.entry(video_name(&text, false)).or_default().push((None, path.clone()));
            if crop.is_some() {
                files.entry(video_name(&text, true)).or_default().push((crop, path));
            }
        }
        if files.is_empty() {
            let problem = "has no .npy file; give the folder of the features".into();
            return Err(Error::Missing { path: folder.to_path_buf(), problem });
        }
        Ok(Self { folder: folder.to_path_buf(), files })
    }

    /// All videos of the folder; those in files by crop if there are several crops.
    pub fn all(&self, crops: usize) -> List {
        let whole = |files: &[(Option<usize>, PathBuf)]| files.iter().any(|f| f.0.is_none());
        let entries = (self.files.iter())
            .filter(|(name, files)| {
                if crops == 1 {
                    whole(files)
                } else {
                    !whole(files) || split_crop(name).1.is_none()
                }
            })
            .map(|(name, _)| Entry { name: name.clone(), line: 0, path: name.clone() })
            .collect();
        List { path: self.folder.clone(), entries, crops: None }
    }

    /// Finds and checks the features of a list's videos: headers and lengths of files, not values.
    ///
    /// # Errors
    /// [`Error::Missing`] for a video without features or with several; [`Error::Damaged`] and
    /// [`Error::Shape`] for files that do not serve.
    pub fn select(
        &self,
        list: &List,
        crops: usize,
        layout: Option<CropLayout>,
    ) -> Result<Selection, Error> {
        let mut selection = Selection { videos: Vec::new(), crops, d: 0, layout };
        let mut undecided = None;
        let mut seen: Option<(CropLayout, PathBuf)> = None;
        let mut first: Option<(PathBuf, usize)> = None;
        for entry in &list.entries {
            let files = self.files_of(list, entry, crops)?;
            // A file for each crop holds one.
            let each = if files.len() > 1 { 1 } else { crops };
            let mut snippets: Option<usize> = None;
            for path in &files {
                let (shape, axes) = check(path, each, layout)?;
                let fail = |problem: String| Error::Shape {
                    path: path.clone(),
                    shape: shape.clone(),
                    problem,
                };
                match &first {
                    Some((other, d)) if *d != axes.d => {
                        return Err(fail(format!(
                            "feature vectors of length {}, but {} has {d}",
                            axes.d,
                            other.display()
                        )));
                    }
                    Some(_) => {}
                    None => first = Some((path.clone(), axes.d)),
                }
                match snippets {
                    Some(n) if n != axes.snippets => {
                        let name = files[0].display();
                        return Err(fail(format!(
                            "{} snippets, but {name} has {n}",
                            axes.snippets
                        )));
                    }
                    _ => snippets = Some(axes.snippets),
                }
                if each > 1 {
                    match (axes.layout, &seen) {
                        (None, _) => undecided = undecided.or_else(|| Some((path.clone(), shape))),
                        (Some(found), Some((other, from))) if found != *other => {
                            let from = from.display();
                            return Err(fail(format!(
                                "another order of crops and snippets than {from}; name each \
                                 order's files in a list of their own"
                            )));
                        }
                        (Some(found), _) => seen = Some((found, path.clone())),
                    }
                }
            }
            let snippets = snippets.unwrap_or(0);
            selection.videos.push(Video { name: entry.name.clone(), snippets, files });
        }
        selection.d = first.map_or(0, |(_, d)| d);
        selection.layout = layout.or(seen.map(|(layout, _)| layout));
        if let (Some((path, shape)), None) = (undecided, selection.layout) {
            let problem = "either of the first two dimensions may be the crops; say which with \
                           --crop-layout";
            return Err(Error::Shape { path, shape, problem: problem.into() });
        }
        Ok(selection)
    }

    /// The one file of a video, or its files by crop in their order.
    fn files_of(&self, list: &List, entry: &Entry, crops: usize) -> Result<Vec<PathBuf>, Error> {
        let fail = |problem: String| {
            let (path, line) = (list.path.clone(), entry.line);
            let place = if line > 0 { format!("line {line}: ") } else { String::new() };
            Err(Error::Missing { path, problem: format!("{place}{problem}") })
        };
        let none = Vec::new();
        let files = self.files.get(&entry.name).unwrap_or(&none);
        let of = |crop: Option<usize>| {
            let candidates: Vec<&PathBuf> =
                files.iter().filter(|f| f.0 == crop).map(|f| &f.1).collect();
            closest(&candidates, &entry.path)
        };
        let (name, folder) = (&entry.name, self.folder.display());
        if crops == 1 || files.iter().all(|f| f.0.is_none()) {
            return match of(None) {
                Ok(Some(path)) => Ok(vec![path.clone()]),
                Ok(None) if files.is_empty() => fail(format!("no features of {name} in {folder}")),
                Ok(None) => fail(format!("{name} has a file for each crop; give --crops")),
                Err([a, b]) => {
                    fail(format!("both {} and {} are of {name}", a.display(), b.display()))
                }
            };
        }
        let mut found = Vec::new();
        for crop in 0..crops {
            match of(Some(crop)) {
                Ok(Some(path)) => found.push(path.clone()),
                Ok(None) => {
                    return fail(format!("no crop {crop} of {crops} of {name} in {folder}"));
                }
                Err([a, b]) => {
                    return fail(format!(
                        "both {} and {} are crop {crop}",
                        a.display(),
                        b.display()
                    ));
                }
            }
        }
        match files.iter().find(|f| f.0.is_none() || f.0 >= Some(crops)) {
            Some((_, more)) => fail(format!("{} is more than {crops} crops", more.display())),
            None => Ok(found),
        }
    }
}

impl Selection {
    /// Reads the features of a video.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a value is not finite or the file has changed since it was checked.
    pub fn load(&self, video: &Video) -> Result<Crops, Error> {
        let each = if video.files.len() > 1 { 1 } else { self.crops };
        let mut whole = Crops {
            name: video.name.clone(),
            crops: self.crops,
            snippets: video.snippets,
            d: self.d,
            values: Vec::new(),
        };
        for path in &video.files {
            let part = read(path, &video.name, each, self.layout)?;
            if (part.snippets, part.d) != (whole.snippets, whole.d) {
                let problem = "has changed while it was in use; run again".to_string();
                return Err(Error::Damaged { path: path.clone(), problem });
            }
            if video.files.len() == 1 {
                return Ok(part);
            }
            whole.values.extend(part.values);
        }
        Ok(whole)
    }
}

/// The candidate that agrees with the most parts at the end of a list's path; two that agree alike
/// are an error.
fn closest<'a>(
    candidates: &[&'a PathBuf],
    path: &str,
) -> Result<Option<&'a PathBuf>, [&'a PathBuf; 2]> {
    let folders = |path: &str| -> Vec<String> {
        path.replace('\\', "/").rsplit('/').skip(1).map(str::to_string).collect()
    };
    let wanted = folders(path);
    let agree = |candidate: &PathBuf| {
        let parts = folders(&candidate.to_string_lossy());
        parts.iter().zip(&wanted).take_while(|(a, b)| a == b).count()
    };
    let Some(best) = candidates.iter().map(|c| agree(c)).max() else { return Ok(None) };
    let mut closest = candidates.iter().filter(|c| agree(c) == best);
    match (closest.next(), closest.next()) {
        (Some(a), Some(b)) => Err([a, b]),
        (first, _) => Ok(first.copied()),
    }
}

/// All `.npy` files of a folder.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let io = |e| Error::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // A link to a folder is not followed: it could lead round in circles.
        if entry.file_type().map_err(io)?.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, found)?;
            }
        } else if path.extension().is_some_and(|e| e == "npy") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy;

    /// A folder of arrays filled with ones.
    fn folder(files: &[(&str, &[usize])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, shape) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            npy::write(&path, shape, &vec![1.0; shape.iter().product()]).unwrap();
        }
        folder
    }

    fn list(folder: &Path, text: &str) -> List {
        let path = folder.join("a.list");
        std::fs::write(&path, text).unwrap();
        List::read(&path).unwrap()
    }

    fn select(folder: &Path, text: &str, crops: usize) -> Result<Selection, Error> {
        Collection::open(folder)?.select(&list(folder, text), crops, None)
    }

    #[track_caller]
    fn refused(folder: &Path, text: &str, crops: usize, parts: &[&str]) {
        let error = select(folder, text, crops).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing: {error}");
        }
    }

    #[test]
    fn one_file_a_video_or_one_a_crop() {
        let dir = folder(&[
            ("x/a.npy", &[3, 2]),
            ("x/b.npy", &[1, 2]),
            ("c__0.npy", &[4, 2]),
            ("c__1.npy", &[4, 2]),
        ]);
        let plain = select(dir.path(), "/far/away/b_x264.mp4\nC:\\y\\a.npy\n", 1).unwrap();
        let names: Vec<_> = plain.videos.iter().map(|v| (v.name.as_str(), v.snippets)).collect();
        assert_eq!((names, plain.d), (vec![("b", 1), ("a", 3)], 2));
        let crops = select(dir.path(), "c__0.npy\nc__1.npy\n", 2).unwrap();
        let video = crops.load(&crops.videos[0]).unwrap();
        assert_eq!((video.crops, video.snippets, video.values.len()), (2, 4, 16));
        let names = |crops| -> Vec<String> {
            let all = Collection::open(dir.path()).unwrap().all(crops);
            all.entries.into_iter().map(|e| e.name).collect()
        };
        assert_eq!(names(1), ["a", "b", "c__0", "c__1"]);
        assert_eq!(names(2), ["a", "b", "c"]);
    }

    #[test]
    fn the_other_videos_tell_the_order_of_a_square_one() {
        let shapes: [(&str, &[usize]); 3] =
            [("a.npy", &[3, 3, 2]), ("b.npy", &[3, 5, 2]), ("c.npy", &[5, 3, 2])];
        let dir = folder(&shapes[..2]);
        let selection = select(dir.path(), "a\nb\n", 3).unwrap();
        assert_eq!(selection.layout, Some(CropLayout::CropsFirst));
        assert_eq!(selection.load(&selection.videos[0]).unwrap().snippets, 3);
        refused(dir.path(), "a\n", 3, &["a.npy [3, 3, 2]", "--crop-layout"]);
        let dir = folder(&shapes);
        refused(dir.path(), "b\nc\n", 3, &["c.npy [5, 3, 2]", "another order", "b.npy"]);
        let collection = Collection::open(dir.path()).unwrap();
        let said = Some(CropLayout::SnippetsFirst);
        let all = list(dir.path(), "a\nc");
        assert_eq!(collection.select(&all, 3, said).unwrap().videos.len(), 2);
        let wrong = list(dir.path(), "b");
        let error = collection.select(&wrong, 3, said).unwrap_err().to_string();
        assert!(error.contains("--crop-layout"), "{error}");
    }

    #[test]
    fn the_path_tells_two_files_of_one_name_apart() {
        let dir = folder(&[("RGB/a.npy", &[3, 2]), ("Flow/a.npy", &[4, 2])]);
        assert_eq!(select(dir.path(), "E:/i3d/Flow/a.npy", 1).unwrap().videos[0].snippets, 4);
        refused(dir.path(), "elsewhere/a.npy", 1, &["line 1", "RGB", "Flow"]);
    }

    #[test]
    fn what_does_not_serve_is_named() {
        let dir = folder(&[
            ("a.npy", &[3, 2]),
            ("b.npy", &[3, 4]),
            ("c__0.npy", &[4, 2]),
            ("c__1.npy", &[5, 2]),
            ("d__0.npy", &[4, 2]),
            ("e.npy", &[0, 2]),
        ]);
        let at = dir.path();
        refused(at, "a\nb\n", 1, &["b.npy [3, 4]", "length 4", "a.npy has 2"]);
        refused(at, "a\nz\n", 1, &["a.list", "line 2", "no features of z"]);
        refused(at, "a\n", 10, &["a.npy [3, 2]", "one crop", "--crops"]);
        refused(at, "c\n", 2, &["c__1.npy [5, 2]", "5 snippets", "c__0.npy has 4"]);
        refused(at, "d\n", 2, &["no crop 1 of 2 of d"]);
        refused(at, "c\n", 1, &["file for each crop", "--crops"]);
        refused(at, "e\n", 1, &["e.npy [0, 2]", "no snippets"]);
        std::fs::write(at.join("n.npy"), npy::to_bytes(&[1, 2], &[0.0, f32::NAN])).unwrap();
        let selection = select(at, "n\n", 1).unwrap();
        let error = selection.load(&selection.videos[0]).unwrap_err().to_string();
        assert!(error.contains("n.npy [1, 2]: value NaN at [0, 1]"), "{error}");
        let error = Collection::open(&at.join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
        let empty = folder(&[]);
        let error = Collection::open(empty.path()).unwrap_err().to_string();
        assert!(error.contains("no .npy file"), "{error}");
    }
}
