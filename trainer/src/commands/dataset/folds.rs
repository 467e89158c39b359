//! `trainer dataset folds`: loose videos divided for cross-validation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use trainer::dataset::folds::{Member, Source, assign, sources};
use video::list_clips;

use super::say;
use crate::commands::{Usage, write_file};

/// Divides videos labelled as a whole into folds for cross-validation, no source in two of them.
///
/// Clips whose pictures agree in size and rate count as one source, as clips cut from one recording
/// do. DIR gets, for each fold K, `fold-K/train` (the normal videos of all other folds),
/// `fold-K/abnormal` (their abnormal ones, for a training that is to have labels),
/// `fold-K/test` (all videos of this one) and `fold-K/labels.json`; `test` and `labels.json` with all
/// of them; and `sources.csv`. Videos are linked where the file system can, copied elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer dataset folds --normal fight-surv/noFight --abnormal \
                  fight-surv/fight --out folds\n  trainer train --normal folds/fold-1/train \
                  --several-sites --out checkpoint")]
pub struct FoldsArgs {
    /// Normal videos.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// Videos in which something abnormal happens.
    #[arg(long, value_name = "DIR")]
    abnormal: PathBuf,
    /// Number of folds.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=20))]
    folds: u8,
    /// The folder to write; must not be there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &FoldsArgs) -> Result<()> {
    if args.out.exists() {
        let out = args.out.display();
        bail!(Usage(format!("{out}: is there already; remove it or choose another folder")));
    }
    let sources = sources(list_clips(&args.normal)?, list_clips(&args.abnormal)?)?;
    let folds = usize::from(args.folds);
    let Some(fold_of) = assign(&sources, folds) else {
        let (normal, found) = (args.normal.display(), sources.len());
        bail!(Usage(format!(
            "{normal}: too few sources with normal videos for {folds} folds ({found} sources in all)"
        )));
    };
    let members: Vec<(&Source, &Member, usize)> = sources
        .iter()
        .zip(&fold_of)
        .flat_map(|(source, fold)| source.members.iter().map(move |m| (source, m, *fold)))
        .collect();
    // Written beside its place, so that a folder that is there is whole.
    let part = Part::beside(&args.out)?;
    write(&part.0, folds, &members)?;
    part.put(&args.out)?;
    for fold in 0..folds {
        let own = || members.iter().filter(|(_, _, f)| *f == fold);
        let abnormal = own().filter(|(_, member, _)| member.abnormal).count();
        let sources = fold_of.iter().filter(|f| **f == fold).count();
        say(&format!(
            "fold {}: {sources} sources, {} normal and {abnormal} abnormal videos to test",
            fold + 1,
            own().count() - abnormal
        ))?;
    }
    Ok(())
}

/// A folder that this program has made and nobody else: nothing but this one is ever removed.
struct Part(PathBuf);

impl Part {
    /// Makes one beside `out`, of a name that is not taken.
    fn beside(out: &Path) -> Result<Self> {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let path = out.with_file_name(name);
        // Fails if it is there, whoever made it.
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Puts it in its place, which must still be free.
    fn put(self, out: &Path) -> Result<()> {
        std::fs::rename(&self.0, out).with_context(|| out.display().to_string())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // In its place it is no longer here; what is half done helps nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes the folds into a folder.
fn write(part: &Path, folds: usize, members: &[(&Source, &Member, usize)]) -> Result<()> {
    for fold in 0..folds {
        let folder = part.join(format!("fold-{}", fold + 1));
        let train =
            members.iter().filter(|(_, m, f)| *f != fold && !m.abnormal).map(|(_, m, _)| *m);
        place(&folder.join("train"), train)?;
        let abnormal =
            members.iter().filter(|(_, m, f)| *f != fold && m.abnormal).map(|(_, m, _)| *m);
        place(&folder.join("abnormal"), abnormal)?;
        let test: Vec<&Member> =
            members.iter().filter(|(_, _, f)| *f == fold).map(|(_, m, _)| *m).collect();
        place(&folder.join("test"), test.iter().copied())?;
        write_file(&folder.join("labels.json"), whole(&test)?.as_bytes())?;
    }
    let all: Vec<&Member> = members.iter().map(|(_, member, _)| *member).collect();
    place(&part.join("test"), all.iter().copied())?;
    write_file(&part.join("labels.json"), whole(&all)?.as_bytes())?;
    let mut table = String::from("clip,abnormal,source,fold,frames\n");
    for (source, member, fold) in members {
        let Member { clip, abnormal, frames } = member;
        let (clip, source) = (field(&clip.name), field(&source.name));
        table += &format!("{clip},{abnormal},{source},{},{frames}\n", fold + 1);
    }
    write_file(&part.join("sources.csv"), table.as_bytes())
}

/// A field of a CSV table (RFC 4180): in quotes where it has a comma, a quote or a line break.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Puts videos into a folder: links of the files where that can be, else copies.
fn place<'a>(folder: &Path, members: impl Iterator<Item = &'a Member>) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for Member { clip, .. } in members {
        if !clip.path.is_file() {
            let path = clip.path.display();
            bail!(Usage(format!(
                "{path}: folds are made of video files, not of folders of images"
            )));
        }
        let extension = clip.path.extension().unwrap_or_default().to_string_lossy();
        let to = folder.join(format!("{}.{extension}", clip.name));
        if to.exists() {
            let name = &clip.name;
            bail!(Usage(format!(
                "two videos are called {name}; rename the normal or the abnormal one"
            )));
        }
        if std::fs::hard_link(&clip.path, &to).is_err() {
            std::fs::copy(&clip.path, &to).with_context(|| to.display().to_string())?;
        }
    }
    Ok(())
}

/// A labels file in which every frame of an abnormal video is abnormal.
fn whole(members: &[&Member]) -> Result<String> {
    let labels: BTreeMap<&str, [(u64, u64); 1]> = members
        .iter()
        .filter(|member| member.abnormal)
        .map(|member| (member.clip.name.as_str(), [(1, member.frames)]))
        .collect();
    Ok(serde_json::to_string(&labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_it_did_not_make_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("folds.v1");
        // What was removed before: a folder of the user's beside the one to write.
        let theirs = [folder.path().join("folds.part"), folder.path().join("folds.v1.part")];
        for path in &theirs {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("notes.txt"), "mine").unwrap();
        }
        let part = Part::beside(&out).unwrap();
        let place = part.0.clone();
        std::fs::write(place.join("a.txt"), "").unwrap();
        // Its name is taken: an error, and whoever made it keeps it.
        assert!(Part::beside(&out).is_err());
        assert!(place.join("a.txt").exists());
        part.put(&out).unwrap();
        assert!(out.join("a.txt").exists() && !place.exists());
        // Work that fails leaves nothing behind.
        drop(Part::beside(&folder.path().join("other")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert!(theirs.iter().all(|path| path.join("notes.txt").exists()));
    }

    #[test]
    fn names_with_commas_quotes_and_line_breaks_are_quoted() {
        assert_eq!(field("a b;c"), "a b;c");
        assert_eq!(field("x, y \"z\""), "\"x, y \"\"z\"\"\"");
        assert_eq!(field("two\nlines"), "\"two\nlines\"");
    }
}
