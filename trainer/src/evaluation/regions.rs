//! Where it happens: the local detector's score maps against masks of the truth.
//!
//! A map has fewer cells than a frame has pixels. Each pixel gets the score of the cell that its
//! centre lies in, so a cell with its numbers of abnormal and normal pixels stands for all of them,
//! and nothing is resampled: the figures are those of all pixels.

use std::path::{Path, PathBuf};

use inference::Sampling;
use serde::{Deserialize, Serialize};
use video::{Frame, Reader};

use super::labels::Labels;
use super::maps::MapReader;
use super::masks::{Mask, Masks};
use super::metrics::{PixelRanking, localisation_score, rbdc_tbdc, roc_auc};
use super::places::{Tracks, detections};
use super::run::ScoredClip;
use crate::footage::MODEL_RATE;
use crate::npy;

/// Why maps and masks cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum RegionsError {
    /// A file cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file of maps is not one.
    #[error("{}: {reason}; run 'edge-runtime replay --maps' again", path.display())]
    Maps {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Masks are missing, or too many.
    #[error("{}: {reason}; each frame needs one mask, DIR/CLIP/NNN.png from 001", path.display())]
    Masks {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Maps, masks and video do not belong together.
    #[error("clip {clip}: {reason}")]
    Fit {
        /// The clip.
        clip: String,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A video or a mask cannot be read.
    #[error(transparent)]
    Video(#[from] video::Error),
}

impl From<npy::Error> for RegionsError {
    fn from(error: npy::Error) -> Self {
        match error {
            npy::Error::Read { path, source } | npy::Error::Write { path, source } => {
                Self::Io { path, source }
            }
            npy::Error::Damaged { path, problem } => Self::Maps { path, reason: problem },
        }
    }
}

/// How well the maps say where. The truth are the masks alone.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PixelEvaluation {
    /// ROC AUC over all pixels of all frames that have a map; `None` if only one class occurs.
    pub auc_pixel: Option<f64>,
    /// How far `auc_pixel` may be off: 0, unless there were too many cells to keep them all.
    pub auc_pixel_error: f64,
    /// ROC AUC of frames under the pixel-level criterion (two fifths of a frame's abnormal pixels
    /// must be found, and a single pixel found in a normal frame is a false alarm).
    pub auc_localised: Option<f64>,
    /// Frames that have a map.
    pub frames: usize,
    /// Of them with an abnormal pixel.
    pub abnormal_frames: usize,
    /// Region-based detection criterion; `None` without an abnormal region.
    #[serde(default)]
    pub rbdc: Option<f64>,
    /// Track-based detection criterion; so, too.
    #[serde(default)]
    pub tbdc: Option<f64>,
    /// Tracks that the masks were made into.
    #[serde(default)]
    pub tracks: usize,
}

/// Compares the maps `maps/CLIP.npy` with the masks `masks/CLIP/NNN.png`. A clip without a folder of
/// masks is normal, and must be so by its labels. In memory are one map, one mask, what
/// [`PixelRanking`] holds, and a few boxes for each frame.
///
/// # Errors
/// [`RegionsError`].
pub fn evaluate_regions(
    clips: &[ScoredClip],
    labels: &Labels,
    masks: &Path,
    maps: &Path,
) -> Result<PixelEvaluation, RegionsError> {
    if !masks.is_dir() {
        let reason = "no such folder".to_string();
        return Err(RegionsError::Masks { path: masks.into(), reason });
    }
    let mut ranking = PixelRanking::default();
    let (mut frame_scores, mut frame_labels) = (Vec::new(), Vec::new());
    let mut map = Vec::new();
    let (mut tracks, mut found) = (Tracks::default(), Vec::new());
    for (number, clip) in clips.iter().enumerate() {
        let fit = |reason: String| RegionsError::Fit { clip: clip.name.clone(), reason };
        let info = *Reader::open(&clip.video)?.info();
        let truth = Masks::open(&masks.join(&clip.name))?;
        match &truth {
            Some(truth) => truth.check(clip.score.len())?,
            None if labels.ranges(&clip.name).is_empty() => {}
            None => {
                let place = masks.join(&clip.name).display().to_string();
                return Err(fit(format!("labelled abnormal, but there are no masks in {place}")));
            }
        }
        let mut mask = Mask {
            width: info.width,
            height: info.height,
            abnormal: vec![false; info.width * info.height],
        };
        let mut file = MapReader::open(&maps.join(format!("{}.npy", clip.name)))?;
        let numbers = model_frames(&clip.video, clip.score.len(), file.frames())?;
        let numbers = numbers.ok_or_else(|| {
            let (maps, frames) = (file.frames(), clip.score.len());
            fit(format!("{maps} maps for {frames} frames; replay the same video"))
        })?;
        tracks.cut();
        for frame in numbers {
            if !file.read(&mut map)? {
                break;
            }
            if let Some(truth) = &truth {
                mask = truth.read(frame)?;
            }
            if (mask.width, mask.height) != (info.width, info.height) {
                return Err(fit(format!(
                    "the mask of frame {} is {}x{} pixels, the video {}x{}",
                    frame + 1,
                    mask.width,
                    mask.height,
                    info.width,
                    info.height
                )));
            }
            let place = (number, frame as u64);
            tracks.push(&mask, place);
            found.extend(detections(&map, file.size(), (mask.width, mask.height), place));
            let mut cells = cells(&map, file.size(), &mask.abnormal, (mask.width, mask.height));
            for &(score, abnormal, normal) in &cells {
                ranking.add(score, abnormal, normal);
            }
            frame_scores.extend(localisation_score(&mut cells));
            frame_labels.push(mask.any());
        }
    }
    let area = ranking.auc();
    let criteria = rbdc_tbdc(found, &tracks.regions, frame_labels.len());
    Ok(PixelEvaluation {
        auc_pixel: area.map(|(auc, _)| auc),
        auc_pixel_error: area.map_or(0.0, |(_, error)| error),
        auc_localised: roc_auc(&frame_scores, &frame_labels),
        frames: frame_labels.len(),
        abnormal_frames: frame_labels.iter().filter(|label| **label).count(),
        rbdc: criteria.map(|(rbdc, _)| rbdc),
        tbdc: criteria.map(|(_, tbdc)| tbdc),
        tracks: tracks.count,
    })
}

/// The cell, of `cells` along an axis of `pixels`, that a pixel's centre lies in:
/// (pixel + 1/2) / pixels · cells, in integers.
pub(super) fn cell_of(pixel: usize, pixels: usize, cells: usize) -> usize {
    (2 * pixel + 1) * cells / (2 * pixels)
}

/// Each cell of a map with its numbers of abnormal and normal pixels. `scores` has `columns` × `rows`
/// cells, `mask` `width` × `height` pixels; a pixel belongs to the cell that its centre lies in.
///
/// # Panics
/// If a length is not that of its size, or there are no cells.
pub fn cells(
    scores: &[f32],
    (columns, rows): (usize, usize),
    mask: &[bool],
    (width, height): (usize, usize),
) -> Vec<(f32, u32, u32)> {
    assert_eq!(scores.len(), columns * rows, "a score for each cell");
    assert_eq!(mask.len(), width * height, "a label for each pixel");
    assert!(!scores.is_empty(), "a map has cells");
    let mut cells: Vec<(f32, u32, u32)> = scores.iter().map(|score| (*score, 0, 0)).collect();
    let column: Vec<usize> = (0..width).map(|x| cell_of(x, width, columns)).collect();
    for (y, row) in mask.chunks_exact(width.max(1)).enumerate() {
        let own = &mut cells[cell_of(y, height, rows) * columns..][..columns];
        for (abnormal, column) in row.iter().zip(&column) {
            let (_, hit, miss) = &mut own[*column];
            if *abnormal { *hit += 1 } else { *miss += 1 }
        }
    }
    cells
}

/// The frames that have a map: those of the model, by the times of the video; of a model with another
/// rate than the usual one every n-th. `None` if neither gives that number of maps.
fn model_frames(
    video: &Path,
    frames: usize,
    maps: usize,
) -> Result<Option<Vec<usize>>, video::Error> {
    let mut reader = Reader::open(video)?;
    let mut sampling = Sampling::new(MODEL_RATE, reader.info().frame_rate);
    let (mut frame, mut numbers, mut number) = (Frame::default(), Vec::new(), 0);
    while reader.read(&mut frame)? {
        if sampling.takes(reader.time()) {
            numbers.push(number);
        }
        number += 1;
    }
    if number == frames && numbers.len() == maps {
        return Ok(Some(numbers));
    }
    Ok(step(frames, maps).map(|step| (0..frames).step_by(step).collect()))
}

/// Every how many frames there is a map: the smallest step of which `frames` frames give `maps`
/// maps. It is the only one as soon as a clip has more maps than the step.
fn step(frames: usize, maps: usize) -> Option<usize> {
    if frames == 0 || maps == 0 {
        return (frames == maps).then_some(1);
    }
    let step = frames.div_ceil(maps);
    (frames.div_ceil(step) == maps).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_belong_to_the_cell_of_their_centre() {
        // Five pixels in a row over two cells: the middle one's centre lies on the edge and belongs
        // to the right one.
        let found = cells(&[1.0, 2.0], (2, 1), &[true, false, true, false, false], (5, 1));
        assert_eq!(found, [(1.0, 1, 1), (2.0, 1, 2)]);
        // More cells than pixels: some have none.
        let found = cells(&[1.0, 2.0, 3.0], (3, 1), &[true], (1, 1));
        assert_eq!(found, [(1.0, 0, 0), (2.0, 1, 0), (3.0, 0, 0)]);
    }

    #[test]
    fn the_step_follows_from_the_counts() {
        assert_eq!(step(180, 180), Some(1));
        assert_eq!(step(180, 60), Some(3));
        assert_eq!(step(181, 61), Some(3));
        assert_eq!(step(10, 1), Some(10));
        assert_eq!(step(180, 100), None);
        assert_eq!(step(5, 7), None);
        assert_eq!((step(0, 0), step(0, 1), step(3, 0)), (Some(1), None, None));
    }

    /// Two clips of 8×4 pixels at every second frame, maps of 4×2 cells.
    fn files(folder: &Path) -> Vec<ScoredClip> {
        let clip = |name: &str| {
            let video = folder.join("videos").join(name);
            std::fs::create_dir_all(&video).unwrap();
            for t in 0..4 {
                image::GrayImage::new(8, 4).save(video.join(format!("{t}.png"))).unwrap();
            }
            ScoredClip { name: name.into(), video, score: vec![0.0; 4], ..ScoredClip::default() }
        };
        // In frame 2 (from 0) the four pixels of the top left cell are abnormal.
        std::fs::create_dir_all(folder.join("masks/a")).unwrap();
        for t in 0..4 {
            let hot = |x, y| if t == 2 && x < 2 && y < 2 { 255 } else { 0 };
            let mask = image::GrayImage::from_fn(8, 4, |x, y| image::Luma([hot(x, y)]));
            mask.save(folder.join(format!("masks/a/{:03}.png", t + 1))).unwrap();
        }
        std::fs::create_dir_all(folder.join("maps")).unwrap();
        let map = |name: &str, values: &[f32]| {
            let path = folder.join(format!("maps/{name}.npy"));
            npy::write(&path, &[2, 2, 4], values).unwrap();
        };
        let mut values = [0.0; 16];
        values[8] = 3.0; // the second map's first cell
        values[9] = 1.0;
        map("a", &values);
        map("b", &[2.0; 16]);
        vec![clip("a"), clip("b")]
    }

    fn labels(folder: &Path, text: &str) -> Labels {
        let path = folder.join("labels.json");
        std::fs::write(&path, text).unwrap();
        Labels::read(&path).unwrap()
    }

    #[test]
    fn two_clips_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let clips = files(folder.path());
        let labels = labels(folder.path(), r#"{"a": [[3, 3]]}"#);
        let (masks, maps) = (folder.path().join("masks"), folder.path().join("maps"));
        let found = evaluate_regions(&clips, &labels, &masks, &maps).unwrap();
        // The abnormal pixels have the highest score of all; the abnormal frame's is 3 against 0
        // and 2.
        let expected = PixelEvaluation {
            auc_pixel: Some(1.0),
            auc_pixel_error: 0.0,
            auc_localised: Some(1.0),
            frames: 4,
            abnormal_frames: 1,
            // The highest detection finds the one region; those of clip b are false and come later.
            rbdc: Some(1.0),
            tbdc: Some(1.0),
            tracks: 1,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let clips = files(folder.path());
        let (masks, maps) = (folder.path().join("masks"), folder.path().join("maps"));
        let says = |labels: &str, what: &str| {
            let labels = self::labels(folder.path(), labels);
            let message = evaluate_regions(&clips, &labels, &masks, &maps).unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
        };
        says(r#"{"b": [[1, 1]]}"#, "clip b: labelled abnormal, but there are no masks");
        image::GrayImage::new(7, 4).save(masks.join("a/003.png")).unwrap();
        says("{}", "clip a: the mask of frame 3 is 7x4 pixels, the video 8x4");
        std::fs::remove_file(masks.join("a/004.png")).unwrap();
        says("{}", "no mask of frame 4");
        std::fs::remove_dir_all(masks.join("a")).unwrap();
        std::fs::remove_file(maps.join("b.npy")).unwrap();
        says("{}", "b.npy");
        let none = Path::new("nowhere");
        let message = evaluate_regions(&clips, &Labels::default(), none, &maps).unwrap_err();
        assert!(message.to_string().contains("nowhere: no such folder"));
    }
}
