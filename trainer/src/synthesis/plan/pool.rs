//! The pool of frames that a plan chooses from: sampled from normal videos, without near-duplicates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use video::{Clip, Frame, Reader};

use super::Error;
use crate::synthesis::classes::{PoolSettings, Scenes};

/// Cells along a side of a thumbnail.
const CELLS: usize = 16;
/// Levels by which cells of two views of one scene may differ (light, passers-by), in at least
/// [`AGREEING`] of the cells.
const SAME: f32 = 24.0;
/// Share of cells that agree in two views of one scene.
const AGREEING: f32 = 0.8;
/// Standard deviation of the luma, in levels, below which a frame is of one colour: a black screen, a
/// lost signal.
const BLANK: f32 = 4.0;

/// A frame of the pool.
#[derive(Debug, Clone)]
pub struct PoolFrame {
    /// Index of the video.
    pub video: usize,
    /// Number of the frame in it, from 0.
    pub frame: u64,
    /// What it looks like.
    pub thumbnail: Thumbnail,
}

/// A frame's luma, averaged over 16 × 16 cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail(Vec<f32>);

impl Thumbnail {
    /// The thumbnail of a frame of at least one pixel.
    pub fn new(frame: &Frame) -> Self {
        let (w, h) = (frame.width(), frame.height());
        let luma = frame.luma();
        let mut cells = Vec::with_capacity(CELLS * CELLS);
        // A frame smaller than the grid gives cells of one pixel, some of them twice.
        let span = |i: usize, n: usize| i * n / CELLS..((i + 1) * n / CELLS).max(i * n / CELLS + 1);
        for row in 0..CELLS {
            for column in 0..CELLS {
                let (ys, xs) = (span(row, h), span(column, w));
                let count = (ys.len() * xs.len()) as f32;
                let sum: u64 = ys
                    .flat_map(|y| &luma[y * w + xs.start..y * w + xs.end])
                    .map(|&level| u64::from(level))
                    .sum();
                cells.push(sum as f32 / count);
            }
        }
        Self(cells)
    }

    /// The largest difference of a cell, in levels.
    pub fn difference(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// Whether some cell differs by at least `levels`.
    fn differs(&self, other: &Self, levels: f32) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| (a - b).abs() >= levels)
    }

    /// Whether both show the same place.
    fn same_scene(&self, other: &Self) -> bool {
        let agreeing = self.0.iter().zip(&other.0).filter(|(a, b)| (*a - *b).abs() < SAME).count();
        agreeing as f32 >= AGREEING * self.0.len() as f32
    }

    /// The cell-wise median of some; none of nothing.
    fn median<'t>(all: &(impl Iterator<Item = &'t Self> + Clone)) -> Option<Self> {
        let count = all.clone().count();
        (count > 0).then(|| {
            let cell = |i: usize| {
                let mut values: Vec<f32> = all.clone().map(|t| t.0[i]).collect();
                *values.select_nth_unstable_by(count / 2, f32::total_cmp).1
            };
            Self((0..CELLS * CELLS).map(cell).collect())
        })
    }
}

/// Whether a frame shows anything.
fn usable(frame: &Frame) -> bool {
    let luma = frame.luma();
    let n = luma.len().max(1) as f32;
    let mean = luma.iter().map(|&v| f32::from(v)).sum::<f32>() / n;
    let variance = luma.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>() / n;
    variance.sqrt() >= BLANK
}

/// A video of the footage.
#[derive(Debug, Clone)]
pub struct Video {
    /// Path relative to the footage's folder.
    pub name: String,
    /// The file, or the folder of images.
    pub path: PathBuf,
}

/// The videos of a folder, in natural order.
///
/// # Errors
/// [`video::Error`].
pub fn videos(folder: &Path) -> Result<Vec<Video>, Error> {
    let relative = |clip: Clip| {
        let name = match clip.path.strip_prefix(folder) {
            Ok(rest) if !rest.as_os_str().is_empty() => rest.to_string_lossy().into_owned(),
            // The folder is itself a clip, or is one file.
            _ => clip.path.file_name().map_or(clip.name, |n| n.to_string_lossy().into_owned()),
        };
        Video { name, path: clip.path }
    };
    Ok(video::list_clips(folder)?.into_iter().map(relative).collect())
}

/// Reads a video's candidates: a usable frame every so many seconds, each different from all before it.
/// `take` gets each with its picture and says whether to go on.
///
/// # Errors
/// [`video::Error`], and what `take` returns.
pub fn sample(
    index: usize,
    video: &Video,
    settings: &PoolSettings,
    mut take: impl FnMut(&PoolFrame, &Frame) -> Result<(), Error>,
) -> Result<Vec<PoolFrame>, Error> {
    let mut reader = Reader::open(&video.path)?;
    let step = (settings.every_seconds * reader.info().frame_rate).round().max(1.0) as u64;
    let mut kept: Vec<PoolFrame> = Vec::new();
    let mut picture = Frame::default();
    let mut number = 0;
    while reader.read(&mut picture)? {
        if number % step == 0 && usable(&picture) {
            let thumbnail = Thumbnail::new(&picture);
            let frame = PoolFrame { video: index, frame: number, thumbnail };
            if is_new(&frame, kept.iter(), settings.difference as f32) {
                take(&frame, &picture)?;
                kept.push(frame);
            }
        }
        number += 1;
    }
    Ok(kept)
}

fn is_new<'f>(
    frame: &PoolFrame,
    mut others: impl DoubleEndedIterator<Item = &'f PoolFrame>,
    difference: f32,
) -> bool {
    // The most alike are the most recent.
    !others.any(|other| !frame.thumbnail.differs(&other.thumbnail, difference))
}

/// The scene of each video, numbered from 0 in order of appearance; `frames` are all videos'
/// candidates.
pub fn scenes(videos: &[Video], frames: &[PoolFrame], rule: Scenes) -> Vec<usize> {
    match rule {
        Scenes::Video => (0..videos.len()).collect(),
        Scenes::Name => {
            let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
            let camera = |name: &'_ str| name.find('_').unwrap_or(name.len());
            videos
                .iter()
                .map(|v| {
                    let next = numbers.len();
                    *numbers.entry(&v.name[..camera(&v.name)]).or_insert(next)
                })
                .collect()
        }
        Scenes::Background => {
            let mut views: Vec<Thumbnail> = Vec::new();
            let own = |index: usize| frames.iter().filter(move |f| f.video == index);
            (0..videos.len())
                .map(|index| {
                    let Some(view) = Thumbnail::median(&own(index).map(|f| &f.thumbnail)) else {
                        // Nothing of it can be chosen.
                        return views.len().saturating_sub(1);
                    };
                    views.iter().position(|other| other.same_scene(&view)).unwrap_or_else(|| {
                        views.push(view);
                        views.len() - 1
                    })
                })
                .collect()
        }
    }
}

/// Indices of the frames that differ from every one kept before them in their scene.
pub fn distinct(frames: &[PoolFrame], scenes: &[usize], difference: f32) -> Vec<usize> {
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); scenes.iter().max().map_or(0, |s| s + 1)];
    let mut all = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        let scene = &mut kept[scenes[frame.video]];
        if is_new(frame, scene.iter().map(|&k| &frames[k]), difference) {
            scene.push(i);
            all.push(i);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scene with something bright at `x`; `other` is another scene.
    fn picture(x: usize, other: bool) -> Frame {
        let luma: Vec<u8> = (0..64 * 48)
            .map(|i| {
                let (column, row): (usize, usize) = (i % 64, i / 64);
                let still = if other { 200 - 2 * row } else { 60 + column };
                if column.abs_diff(x) < 3 && row > 20 { 250 } else { still as u8 }
            })
            .collect();
        Frame::from_luma(64, 48, &luma).unwrap()
    }

    fn pool(shown: &[(usize, usize, bool)]) -> Vec<PoolFrame> {
        let frame = |(i, &(video, x, other)): (usize, &(usize, usize, bool))| PoolFrame {
            video,
            frame: i as u64,
            thumbnail: Thumbnail::new(&picture(x, other)),
        };
        shown.iter().enumerate().map(frame).collect()
    }

    fn video(name: &str) -> Video {
        Video { name: name.into(), path: name.into() }
    }

    #[test]
    fn thumbnails_are_cell_means() {
        let luma: Vec<u8> = (0..32 * 32).map(|i| if i % 32 < 2 { 10 } else { 90 }).collect();
        let thumbnail = Thumbnail::new(&Frame::from_luma(32, 32, &luma).unwrap());
        assert_eq!(thumbnail.0[..3], [10.0, 90.0, 90.0]);
        let small = Thumbnail::new(&Frame::from_luma(2, 1, &[1, 7]).unwrap());
        assert_eq!((small.0[0], small.0[15], small.0.len()), (1.0, 7.0, 256));
    }

    #[test]
    fn what_is_seen_twice_is_kept_once() {
        // The same position again, also in another video of the scene; elsewhere it is new.
        let frames =
            pool(&[(0, 10, false), (0, 10, false), (0, 40, false), (1, 40, false), (1, 10, true)]);
        let videos = [video("a.mp4"), video("b.mp4")];
        assert_eq!(distinct(&frames, &[0, 0], 6.0), [0, 2, 4]);
        assert_eq!(distinct(&frames, &[0, 1], 6.0), [0, 2, 3, 4]);
        assert_eq!(scenes(&videos, &frames[..4], Scenes::Background), [0, 0]);
        let frames = pool(&[(0, 10, false), (1, 10, true)]);
        assert_eq!(scenes(&videos, &frames, Scenes::Background), [0, 1]);
        assert_eq!(scenes(&videos, &frames, Scenes::Video), [0, 1]);
        let named = [video("01_7.mp4"), video("02_1.mp4"), video("01_9.mp4"), video("x.mp4")];
        assert_eq!(scenes(&named, &[], Scenes::Name), [0, 1, 0, 2]);
    }

    #[test]
    fn a_video_gives_a_frame_now_and_then_and_no_black_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.mp4");
        let mut writer = video::Writer::create(&path, 64, 48, 10.0).unwrap();
        for t in 0..60 {
            let frame = if t < 20 { Frame::new(64, 48) } else { picture(t, false) };
            writer.write(&frame).unwrap();
        }
        writer.finish().unwrap();
        let settings =
            PoolSettings { every_seconds: 1.0, difference: 6.0, scenes: Scenes::Background };
        let found = &videos(folder.path()).unwrap()[0];
        assert_eq!(found.name, "v.mp4");
        let mut seen = 0;
        let frames = sample(0, found, &settings, |_, picture| {
            seen += picture.width();
            Ok(())
        });
        let numbers: Vec<u64> = frames.unwrap().iter().map(|f| f.frame).collect();
        assert_eq!(numbers, [20, 30, 40, 50]);
        assert_eq!(seen, 4 * 64);
    }
}
