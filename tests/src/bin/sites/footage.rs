//! The sites: what each is trained on and what it watches.

use std::path::{Path, PathBuf};

use ::tests::programs;
use anyhow::{Context, Result, anyhow, bail};
use trainer::scene::DRAWN;
use video::list_clips;

use super::cut;

/// Share of a normal recording that is trained on, from its beginning; the rest is watched.
const TRAINED: f64 = 0.6;
/// Frames below which a recording is not worth cutting in two.
const SHORTEST: u64 = 200;

/// A site.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    pub name: &'static str,
    /// Its normal footage is of several cameras.
    pub several_cameras: bool,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// Filmed by `trainer scene`, another one for each seed.
    Drawn,
    /// UCSD Ped2.
    Ped2,
    /// UP-Fall, camera 1.
    UpFall,
    /// A fold of fight-surv.
    Fight(usize),
    /// Normal footage alone, cut in time: a folder, or one file of it.
    Normal { folder: &'static str, file: Option<&'static str> },
}

/// Where a site's footage is.
#[derive(Debug, Clone, PartialEq)]
pub struct Footage {
    pub normal: PathBuf,
    pub test: PathBuf,
    pub labels: Option<PathBuf>,
}

/// All sites, the drawn ones first.
pub fn sites() -> Vec<Site> {
    let site = |name, source| Site { name, several_cameras: false, source };
    let mut sites = vec![site("plaza", Source::Drawn)];
    sites.extend(DRAWN.map(|name| site(name, Source::Drawn)));
    sites.push(site("ped2", Source::Ped2));
    sites.push(site("up-fall", Source::UpFall));
    for (fold, name) in [(1, "fight-surv-1"), (2, "fight-surv-2")] {
        sites.push(Site { several_cameras: true, ..site(name, Source::Fight(fold)) });
    }
    let normal = |folder, file| Source::Normal { folder, file };
    sites.push(site("avenue", normal("avenue-normal", None)));
    let cctv = "cctv-normal";
    sites.push(site("pets", normal(cctv, Some("vtest.avi"))));
    sites.push(site("ucf-009", normal(cctv, Some("Normal_Videos009_x264.mp4"))));
    sites.push(site("ucf-020", normal(cctv, Some("Normal_Videos020_x264.mp4"))));
    sites.push(site("indoor-walk", normal(cctv, Some("one-by-one-person.mp4"))));
    sites
}

impl Site {
    /// What is missing of the real data.
    pub fn missing(&self, data: &Path) -> Option<PathBuf> {
        let path = match self.source {
            Source::Drawn => return None,
            Source::Ped2 => data.join("ped2/labels.json"),
            Source::UpFall => data.join("up-fall/labels.json"),
            Source::Fight(_) => data.join("fight-surv"),
            Source::Normal { folder, file } => data.join(folder).join(file.unwrap_or("")),
        };
        (!path.exists()).then_some(path)
    }

    /// The footage, made below `out` where it is not there yet.
    pub fn footage(&self, data: &Path, out: &Path, seed: u64) -> Result<Footage> {
        let own = out.join(self.name);
        match self.source {
            Source::Drawn => {
                let folder = own.join(format!("seed-{seed}/site"));
                if !folder.join("kinds.json").exists() {
                    let seed = seed.to_string();
                    let words = ["scene", "--site", self.name, "--seed", &seed, "--out"];
                    trainer(&words, &folder)?;
                }
                Ok(Footage {
                    normal: folder.join("normal"),
                    test: folder.join("test"),
                    labels: Some(folder.join("kinds.json")),
                })
            }
            Source::Ped2 => Ok(Footage {
                normal: data.join("ped2/train"),
                test: data.join("ped2/test"),
                labels: Some(data.join("ped2/labels.json")),
            }),
            Source::UpFall => up_fall(&data.join("up-fall"), &own.join("footage")),
            Source::Fight(fold) => {
                let folds = out.join("fight-surv-folds");
                if !folds.exists() {
                    let set = data.join("fight-surv");
                    let (normal, abnormal) = (set.join("noFight"), set.join("fight"));
                    let (normal, abnormal) =
                        (normal.display().to_string(), abnormal.display().to_string());
                    let words =
                        ["dataset", "folds", "--normal", &normal, "--abnormal", &abnormal, "--out"];
                    trainer(&words, &folds)?;
                }
                let folder = folds.join(format!("fold-{fold}"));
                Ok(Footage {
                    normal: folder.join("train"),
                    test: folder.join("test"),
                    labels: Some(folder.join("labels.json")),
                })
            }
            Source::Normal { folder, file } => {
                let set = data.join(folder);
                let files: Vec<PathBuf> = match file {
                    Some(file) => vec![set.join(file)],
                    None => list_clips(&set)?.into_iter().map(|clip| clip.path).collect(),
                };
                normal_only(&files, &own.join("footage"))
            }
        }
    }
}

/// Daily life of trials 1 and 2 to train on; that of trial 3 and all falls to watch.
fn up_fall(set: &Path, out: &Path) -> Result<Footage> {
    let footage = Footage {
        normal: out.join("train"),
        test: out.join("test"),
        labels: Some(set.join("labels.json")),
    };
    for clip in list_clips(set)? {
        let Some((activity, trial)) = activity(&clip.name) else {
            bail!("{}: not a clip of UP-Fall (aAA-tT-cam1)", clip.path.display());
        };
        let folder = match (activity, trial) {
            (6..=9, 1 | 2) => &footage.normal,
            (6..=9, 3) | (1..=5, _) => &footage.test,
            _ => continue,
        };
        link(&clip.path, folder)?;
    }
    Ok(footage)
}

/// Activity and trial of a clip's name.
fn activity(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.split('-');
    let number = |part: Option<&str>, letter| part?.strip_prefix(letter)?.parse().ok();
    Some((number(parts.next(), 'a')?, number(parts.next(), 't')?))
}

/// Normal recordings, each cut in two in time; short ones are left out.
fn normal_only(files: &[PathBuf], out: &Path) -> Result<Footage> {
    let footage = Footage { normal: out.join("train"), test: out.join("test"), labels: None };
    // Written beside its place, so that a folder that is there is whole.
    if out.exists() {
        return Ok(footage);
    }
    let part = out.with_extension("part");
    if part.exists() {
        std::fs::remove_dir_all(&part).with_context(|| part.display().to_string())?;
    }
    for file in files {
        let frames = cut::frames(file)?;
        if frames < SHORTEST {
            eprintln!("{}: {frames} frames, too short to be cut in two: left out", file.display());
            continue;
        }
        cut::in_two(
            file,
            (frames as f64 * TRAINED) as u64,
            [&part.join("train"), &part.join("test")],
        )?;
    }
    if !part.exists() {
        bail!("no recording has {SHORTEST} frames; see above");
    }
    std::fs::rename(&part, out).with_context(|| out.display().to_string())?;
    Ok(footage)
}

/// A link to a file in a folder, a copy where links cannot be.
fn link(file: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let to = folder.join(file.file_name().unwrap_or_default());
    if !to.exists() && std::fs::hard_link(file, &to).is_err() {
        std::fs::copy(file, &to).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

fn trainer(words: &[&str], out: &Path) -> Result<()> {
    let mut trainer = programs::command("trainer").map_err(|e| anyhow!(e))?;
    let status = trainer.arg("-q").args(words).arg(out).status().context("starting trainer")?;
    if !status.success() {
        bail!("trainer {} failed ({status}); see above", words[0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_fall_is_divided_by_activity_and_trial() {
        assert_eq!(activity("a06-t2-cam1"), Some((6, 2)));
        assert_eq!(activity("a11-t3-cam1"), Some((11, 3)));
        assert_eq!(activity("fi001"), None);
        let set = tempfile::tempdir().unwrap();
        for name in ["a01-t1", "a05-t3", "a06-t1", "a06-t2", "a06-t3", "a10-t1", "a11-t3"] {
            std::fs::write(set.path().join(format!("{name}-cam1.mp4")), "").unwrap();
        }
        let out = tempfile::tempdir().unwrap();
        let footage = up_fall(set.path(), out.path()).unwrap();
        let names = |folder: &Path| -> Vec<String> {
            list_clips(folder).unwrap().into_iter().map(|clip| clip.name).collect()
        };
        assert_eq!(names(&footage.normal), ["a06-t1-cam1", "a06-t2-cam1"]);
        assert_eq!(names(&footage.test), ["a01-t1-cam1", "a05-t3-cam1", "a06-t3-cam1"]);
    }

    #[test]
    fn sites_have_names_of_their_own_and_say_what_is_missing() {
        let sites = sites();
        let mut names: Vec<&str> = sites.iter().map(|site| site.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), sites.len());
        let nowhere = Path::new("/nowhere");
        assert_eq!(sites.iter().filter(|site| site.missing(nowhere).is_none()).count(), 7);
        let ped2 = sites.iter().find(|site| site.name == "ped2").unwrap();
        assert_eq!(ped2.missing(nowhere), Some(nowhere.join("ped2/labels.json")));
    }
}
