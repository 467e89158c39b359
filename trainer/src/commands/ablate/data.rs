//! The data of an ablation: features of normal, pseudo-abnormal and test videos.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use inference::Backend;
use trainer::detector::Bag;
use trainer::evaluation::Labels;
use trainer::footage;
use trainer::synthesis::Composite;
use video::{Reader, list_clips};

use super::AblateArgs;
use crate::commands::Usage;
use crate::commands::train::config::TrainConfig;
use crate::commands::train::{go_on, normals, progress::Progress, pseudo, semantic};

/// Model frames of a test video that fit into memory: ten minutes.
const LONGEST: usize = 6000;

/// A test video.
pub struct TestVideo {
    /// Its features.
    pub bag: Bag,
    /// Whether each frame of the file is abnormal.
    pub abnormal: Vec<bool>,
    /// The frame of the file with which each snippet begins.
    pub starts: Vec<usize>,
}

impl TestVideo {
    /// Snippet scores repeated over the frames of their snippets, as UR-DMU is evaluated.
    pub fn frame_scores(&self, scores: &[f32]) -> Vec<f64> {
        let last = scores.len().saturating_sub(1);
        let snippet = |frame: usize| self.starts.partition_point(|start| *start <= frame);
        let of = |frame: usize| f64::from(scores[snippet(frame).saturating_sub(1).min(last)]);
        (0..self.abnormal.len()).map(of).collect()
    }
}

/// Everything that is trained on and tested with.
pub struct Data {
    pub normal: Vec<Bag>,
    pub pseudo: Vec<Bag>,
    pub test: Vec<TestVideo>,
}

impl Data {
    /// Reads the videos, makes the pseudo-abnormal ones, and computes what features the cache does
    /// not have.
    pub fn read(
        args: &AblateArgs,
        config: &TrainConfig,
        backend: &dyn Backend,
        stop: &AtomicBool,
    ) -> Result<Self> {
        // What is wrong with the labels is found before hours of work.
        let labels = Labels::read(&args.labels)?;
        let clips = list_clips(&args.test)?;
        if !clips.iter().any(|clip| !labels.ranges(&clip.name).is_empty()) {
            bail!(Usage(format!(
                "{}: names no clip of {}",
                args.labels.display(),
                args.test.display()
            )));
        }
        labels.check_clips(clips.iter().map(|clip| clip.name.as_str()))?;
        let footage = normals::read(&args.normal, config)?;
        let composite = Composite::new(&footage.training, &config.composite, args.seed)?;
        let work = args.out.join("work");
        let (input, training) = (&footage.input, &footage.training);
        let mut features = semantic::Features::new(config, input, training, &work, backend, stop)?;
        let size = (input.width as usize, input.height as usize);
        let (_, pseudo) =
            pseudo::make(&composite, config.pseudo_clips, size, Some(&mut features), stop)?;

        let progress = Progress::new("features of test videos", clips.len());
        let mut test = Vec::new();
        for clip in &clips {
            go_on(stop)?;
            let frames = frames_of(clip)?;
            let abnormal = labels.frames(&clip.name, frames)?;
            let (read, numbers) = footage::read_numbered(clip, &footage.input, LONGEST + 1)?;
            if read.frames.len() > LONGEST {
                bail!(Usage(format!(
                    "{}: {frames} frames; test videos have at most {}: cut it",
                    clip.name, numbers[LONGEST]
                )));
            }
            test.push(TestVideo {
                bag: features.extract(&clip.name, &read.frames)?,
                abnormal,
                starts: numbers.into_iter().step_by(config.semantic.stride as usize).collect(),
            });
            progress.step();
        }
        Ok(Self { normal: features.normal, pseudo, test })
    }
}

/// Frames of the file.
fn frames_of(clip: &video::Clip) -> Result<usize> {
    let mut reader = Reader::open(&clip.path)?;
    let mut frame = video::Frame::default();
    let mut count = 0;
    while reader.read(&mut frame)? {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippets_score_is_that_of_its_frames() {
        let bag = Bag::pooled("a".into(), vec![0.0; 2], 2, 1);
        let video = TestVideo { bag, abnormal: vec![false; 7], starts: vec![0, 3] };
        let scores = video.frame_scores(&[0.25, 0.5]);
        assert_eq!(scores, [0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5]);
    }
}
