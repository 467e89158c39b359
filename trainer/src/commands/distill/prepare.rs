//! From folders of normal videos to what the student learns from: frames on disk and the teacher's
//! features of them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use inference::Backend;
use model_export::graphs::i3d;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use trainer::features::Extractor;
use trainer::hash::hex;
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
        for (clips, kept, pseudo, seed, what) in [
            (&footage.training, &mut training, config.pseudo_clips, seed, "clips for training"),
            (
                &footage.held_out,
                &mut held_out,
                config.pseudo_validation_clips,
                seed.wrapping_add(NEXT_SEED),
                "clips kept out",
            ),
        ] {
            let progress = Progress::new(what, clips.len() + pseudo);
            for clip in clips {
                go_on(stop)?;
                kept.push(teacher.look(&clip.name, &clip.frames)?);
                progress.step();
            }
            teacher.pseudo(clips, config, pseudo, seed, kept, &progress, stop)?;
        }
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
            let mirrored: Vec<Frame> = frames.iter().map(mirrored).collect();
            Some(self.features(&format!("{name}, mirrored"), &mirrored)?)
        } else {
            None
        };
        let file = self.store.write(frames).with_context(|| format!("clip {name}"))?;
        let snippets = frames.len() / SNIPPET;
        Ok(Clip { name: name.to_owned(), frames: file, snippets, teacher: features, mirrored })
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

/// A frame seen in a mirror.
fn mirrored(frame: &Frame) -> Frame {
    let mut out = Frame::new(frame.width(), frame.height());
    let row = frame.width() * 3;
    for (from, to) in frame.rgb().chunks_exact(row).zip(out.rgb_mut().chunks_exact_mut(row)) {
        for (from, to) in from.chunks_exact(3).rev().zip(to.chunks_exact_mut(3)) {
            to.copy_from_slice(from);
        }
    }
    out
}

/// The teacher's name, as files have it.
pub fn teacher_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "i3d/fp32",
        Precision::Int8 => "i3d/int8",
    }
}
