//! Splitting loose videos so that no source is on both sides.
//!
//! Collections of short clips cut several of them from one recording: fi031 and fi032 of fight-surv
//! show the same camera seconds apart. A test clip whose recording was trained on says nothing about
//! a new camera. What a file itself tells of its source is the size of its pictures and their rate,
//! which all clips of one recording share; so clips that agree in both count as one [`Source`],
//! though they may be several. That errs on the safe side: a source is never divided.

use std::collections::BTreeMap;

use video::{Clip, Frame, Reader};

use super::Error;

/// A clip of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The video.
    pub clip: Clip,
    /// Whether something abnormal happens in it.
    pub abnormal: bool,
    /// Its frames.
    pub frames: u64,
}

/// Clips that may be of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Width, height and rate: `426x240@29.97`.
    pub name: String,
    /// Its clips: normal ones first, each in the order given.
    pub members: Vec<Member>,
}

impl Source {
    /// Its normal clips.
    fn normal(&self) -> usize {
        self.members.iter().filter(|member| !member.abnormal).count()
    }
}

/// The sources of normal and abnormal clips, the largest first. Every clip is decoded, so that
/// labels for all of its frames can be written.
///
/// # Errors
/// [`Error::Video`] if a clip cannot be read.
pub fn sources(normal: Vec<Clip>, abnormal: Vec<Clip>) -> Result<Vec<Source>, Error> {
    let mut by_name: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    let all = [(normal, false), (abnormal, true)];
    for (clip, abnormal) in
        all.into_iter().flat_map(|(clips, is)| clips.into_iter().map(move |c| (c, is)))
    {
        let mut reader = Reader::open(&clip.path)?;
        let info = *reader.info();
        let (mut frame, mut frames) = (Frame::default(), 0);
        while reader.read(&mut frame)? {
            frames += 1;
        }
        let name = format!("{}x{}@{:.2}", info.width, info.height, info.frame_rate);
        by_name.entry(name).or_default().push(Member { clip, abnormal, frames });
    }
    let mut sources: Vec<Source> =
        by_name.into_iter().map(|(name, members)| Source { name, members }).collect();
    // Stable: equally large ones stay in the order of their names.
    sources.sort_by_key(|source| std::cmp::Reverse(source.members.len()));
    Ok(sources)
}

/// The fold of each source, from 0: the largest first, each to the fold that has fewest normal clips
/// so far, of equals to the one with fewest clips. `None` if a fold would have no normal clip.
#[must_use]
pub fn assign(sources: &[Source], folds: usize) -> Option<Vec<usize>> {
    let mut load = vec![(0, 0); folds];
    let mut fold_of = Vec::with_capacity(sources.len());
    for source in sources {
        let fold = (0..folds).min_by_key(|fold| load[*fold])?;
        load[fold].0 += source.normal();
        load[fold].1 += source.members.len();
        fold_of.push(fold);
    }
    load.iter().all(|(normal, _)| *normal > 0).then_some(fold_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, normal: usize, abnormal: usize) -> Source {
        let member = |abnormal| Member {
            clip: Clip { name: "a".into(), path: "a.mp4".into() },
            abnormal,
            frames: 1,
        };
        let members = [vec![member(false); normal], vec![member(true); abnormal]].concat();
        Source { name: name.into(), members }
    }

    #[test]
    fn sources_stay_whole_and_folds_balanced() {
        let sources = [source("a", 6, 4), source("b", 0, 7), source("c", 3, 2), source("d", 3, 1)];
        // b goes to the fold without normal clips, which then is still the one to be filled up.
        assert_eq!(assign(&sources, 2).unwrap(), [0, 1, 1, 1]);
        assert_eq!(assign(&sources, 1).unwrap(), [0; 4]);
    }

    #[test]
    fn a_fold_without_normal_clips_is_none() {
        assert_eq!(assign(&[source("a", 2, 0), source("b", 0, 3)], 2), None);
        assert_eq!(assign(&[source("a", 2, 0)], 3), None);
    }
}
