//! From folders of normal videos to what the student learns from: frames on disk and the teacher's
//! features of them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use inference::Backend;
use model_export::graphs::i3d;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use trainer::features::Extractor;
use trainer::hash::hex;
use trainer::random;
use trainer::student::network::SNIPPET;
use trainer::student::{Clip, Footage, Samples, Store};
use trainer::synthesis::{Composite, NormalClip, PseudoClip, Synthesizer};
use video::Frame;

use super::DistillArgs;
use super::config::DistillConfig;
use crate::commands::Usage;
use crate::commands::train::config::{Precision, SemanticConfig};
use crate::commands::train::progress::Progress;
use crate::commands::train::{go_on, normals, semantic};

/// Pseudo clips made at once: their colour frames are in memory together.
const AT_ONCE: usize = 8;
/// Purpose of the random streams of windows: other numbers than those of the student's training.
const WINDOWS: u8 = 64;
/// Tells the streams of pseudo clips of two folders, and of what is kept out of them, apart.
const NEXT_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the student learns from, and where it is from.
pub struct Prepared {
    pub footage: Footage,
    /// SHA-256 of the frames read of each folder.
    pub folders: Vec<String>,
    /// SHA-256 of the teacher's graph.
    pub teacher: String,
}

/// Reads the folders, makes the pseudo-abnormal clips, and computes what features the cache does not
/// have.
pub fn prepare(
    args: &DistillArgs,
    config: &DistillConfig,
    backend: &dyn Backend,
    stop: &AtomicBool,
) -> Result<Prepared> {
    let work = args.out.join("work");
    let mut teacher: Option<Teacher> = None;
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    let mut folders = Vec::new();
    for (index, folder) in args.input.iter().enumerate() {
        go_on(stop)?;
        log::info!("{}", folder.display());
        let footage = normals::read(folder, &config.reading())?;
        folders.push(footage.hash.clone());
        let teacher = match &mut teacher {
            Some(teacher) => teacher,
            none => none.insert(Teacher::new(config, &footage, &work, backend)?),
        };
        let seed = args.seed.wrapping_add(NEXT_SEED.wrapping_mul(2 * index as u64));
        let (clips, pseudo) = (&footage.training, config.pseudo_clips);
        let all = clips.len() * (1 + config.windows) + pseudo;
        let progress = Progress::new("clips for training", all);
        teacher.normal(clips, &mut training, &progress, stop)?;
        teacher.windows(clips, config.windows, seed, &mut training, &progress, stop)?;
        teacher.pseudo(clips, config, pseudo, seed, &mut training, &progress, stop)?;
        drop(progress);
        let (clips, pseudo) = (&footage.held_out, config.pseudo_validation_clips);
        let progress = Progress::new("clips kept out", clips.len() + pseudo);
        teacher.normal(clips, &mut held_out, &progress, stop)?;
        let seed = seed.wrapping_add(NEXT_SEED);
        teacher.pseudo(clips, config, pseudo, seed, &mut held_out, &progress, stop)?;
    }
    let teacher = teacher.ok_or_else(|| Usage("give --input".into()))?;
    let samples =
        |clips| Samples::new(&teacher.store, clips, config.student.run, i3d::FEATURE_SIZE);
    let footage = Footage { training: samples(training)?, validation: samples(held_out)? };
    log::info!(
        "{} snippets for training, {} kept out",
        footage.training.snippets(),
        footage.validation.snippets()
    );
    Ok(Prepared { footage, folders, teacher: teacher.hash })
}

/// The teacher, and where what it saw is kept.
struct Teacher {
    extractor: Extractor,
    store: Store,
    mirror: bool,
    hash: String,
}

impl Teacher {
    fn new(
        config: &DistillConfig,
        footage: &normals::Normals,
        work: &Path,
        backend: &dyn Backend,
    ) -> Result<Self> {
        let semantic = SemanticConfig { features: config.teacher, ..SemanticConfig::default() };
        let plan = semantic.plan(&footage.input).map_err(Usage)?;
        let teacher = semantic::build(&semantic, &plan, &footage.training, backend)?;
        let (_, graph) = teacher.load(backend)?;
        let bytes = teacher.bytes(backend.kind());
        let hash = hex(&Sha256::digest(bytes));
        Ok(Self {
            extractor: Extractor::new(graph, bytes, plan.snippet, &work.join("features")),
            store: Store::new(&work.join("frames"), config.student.width, config.student.height),
            mirror: config.student.mirror,
            hash,
        })
    }

    /// The features of a clip's whole snippets: one that the end cut short is another for the teacher,
    /// which sees the last frame repeated.
    fn features(&mut self, name: &str, frames: &[Frame]) -> Result<Vec<f32>> {
        let bag = self.extractor.extract(name, frames)?;
        let mut features = bag.features;
        features.truncate(frames.len() / SNIPPET * bag.d);
        Ok(features)
    }

    fn look(&mut self, name: &str, frames: &[Frame]) -> Result<Clip> {
        let features = self.features(name, frames)?;
        let mirrored = if self.mirror {
            let mirrored: Vec<Frame> = frames.iter().map(|f| Window::mirrored(f).of(f)).collect();
            Some(self.features(&format!("{name}, mirrored"), &mirrored)?)
        } else {
            None
        };
        let file = self.store.write(frames).with_context(|| format!("clip {name}"))?;
        let snippets = frames.len() / SNIPPET;
        Ok(Clip { name: name.to_owned(), frames: file, snippets, teacher: features, mirrored })
    }

    /// The normal clips as they are.
    fn normal(
        &mut self,
        clips: &[NormalClip],
        kept: &mut Vec<Clip>,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<()> {
        for clip in clips {
            go_on(stop)?;
            kept.push(self.look(&clip.name, &clip.frames)?);
            progress.step();
        }
        Ok(())
    }

    /// `count` windows of each clip.
    fn windows(
        &mut self,
        clips: &[NormalClip],
        count: usize,
        seed: u64,
        kept: &mut Vec<Clip>,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<()> {
        for (index, clip) in clips.iter().enumerate() {
            let mut rng = random::stream(seed, WINDOWS, index as u64);
            for number in 1..=count {
                go_on(stop)?;
                let Some(first) = clip.frames.first() else { continue };
                let window = Window::draw((first.width(), first.height()), &mut rng);
                let frames: Vec<Frame> = clip.frames.iter().map(|f| window.of(f)).collect();
                kept.push(self.look(&format!("{}, window {number}", clip.name), &frames)?);
                progress.step();
            }
        }
        Ok(())
    }

    /// Pseudo-abnormal clips `0..count` of some normal ones.
    #[expect(clippy::too_many_arguments, reason = "each is one independent thing the work needs")]
    fn pseudo(
        &mut self,
        normals: &[NormalClip],
        config: &DistillConfig,
        count: usize,
        seed: u64,
        kept: &mut Vec<Clip>,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let composite = Composite::new(normals, &config.composite, seed)?;
        for start in (0..count).step_by(AT_ONCE) {
            go_on(stop)?;
            let made: Vec<PseudoClip> = (start..(start + AT_ONCE).min(count))
                .into_par_iter()
                .map(|index| composite.synthesize(index as u64))
                .collect::<Result<_, _>>()?;
            for clip in made {
                kept.push(self.look(&clip.name, &clip.frames)?);
                progress.step();
            }
        }
        Ok(())
    }
}

/// A part of a picture, perhaps seen in a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    mirror: bool,
}

impl Window {
    /// The whole of a picture, in a mirror.
    fn mirrored(frame: &Frame) -> Self {
        let (width, height) = (frame.width(), frame.height());
        Self { left: 0, top: 0, width, height, mirror: true }
    }

    /// One of half to nine tenths of the picture's sides, anywhere, mirrored or not.
    fn draw((width, height): (usize, usize), rng: &mut ChaCha8Rng) -> Self {
        let share = rng.random_range(0.5..0.9);
        let part = |side: usize| ((side as f64 * share).round() as usize).clamp(1, side);
        let (inner_width, inner_height) = (part(width), part(height));
        Self {
            left: rng.random_range(0..=width - inner_width),
            top: rng.random_range(0..=height - inner_height),
            width: inner_width,
            height: inner_height,
            mirror: rng.random(),
        }
    }

    fn of(&self, frame: &Frame) -> Frame {
        let mut out = Frame::new(self.width, self.height);
        let rows = frame.rgb().chunks_exact(frame.width() * 3).skip(self.top);
        for (from, to) in rows.zip(out.rgb_mut().chunks_exact_mut(self.width * 3)) {
            let from = &from[self.left * 3..][..self.width * 3];
            if self.mirror {
                for (from, to) in from.rchunks_exact(3).zip(to.chunks_exact_mut(3)) {
                    to.copy_from_slice(from);
                }
            } else {
                to.copy_from_slice(from);
            }
        }
        out
    }
}

/// The teacher's name, as files have it.
pub fn teacher_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "i3d/fp32",
        Precision::Int8 => "i3d/int8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel says where it is.
    fn picture(width: usize, height: usize) -> Frame {
        let mut frame = Frame::new(width, height);
        for (at, pixel) in frame.rgb_mut().chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[(at % width) as u8, (at / width) as u8, 7]);
        }
        frame
    }

    #[test]
    fn a_window_is_a_part_of_the_picture_and_a_mirror_turns_it() {
        let frame = picture(9, 5);
        let window = Window { left: 2, top: 1, width: 3, height: 2, mirror: false };
        let xy = |frame: &Frame| -> Vec<(u8, u8)> {
            frame.rgb().chunks_exact(3).map(|p| (p[0], p[1])).collect()
        };
        let part = window.of(&frame);
        assert_eq!((part.width(), part.height()), (3, 2));
        assert_eq!(xy(&part), [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2)]);
        let part = Window { mirror: true, ..window }.of(&frame);
        assert_eq!(xy(&part), [(4, 1), (3, 1), (2, 1), (4, 2), (3, 2), (2, 2)]);
        let twice = Window::mirrored(&frame).of(&Window::mirrored(&frame).of(&frame));
        assert_eq!(twice.rgb(), frame.rgb());
    }

    #[test]
    fn windows_lie_in_the_picture_and_differ() {
        let mut rng = random::stream(1, WINDOWS, 0);
        let drawn: Vec<Window> = (0..200).map(|_| Window::draw((40, 3), &mut rng)).collect();
        for w in &drawn {
            assert!(w.left + w.width <= 40 && w.top + w.height <= 3, "{w:?}");
            assert!((20..=36).contains(&w.width) && (2..=3).contains(&w.height), "{w:?}");
        }
        assert!(drawn.iter().any(|w| w.mirror) && drawn.iter().any(|w| !w.mirror));
        assert!(drawn.windows(2).any(|pair| pair[0].left != pair[1].left));
    }
}
