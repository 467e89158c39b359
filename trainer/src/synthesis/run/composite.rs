//! The composite synthesizer as a renderer: one scene's footage, shared by all threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use model_bundle::manifest::InputSpec;
use rayon::prelude::*;
use video::{Clip, Frame};

use super::manifest::Event;
use super::{RenderError, Rendered, Renderer, RunError, Step};
use crate::footage;
use crate::synthesis::composite::{MIN_CLIP_FRAMES, Request, all_kinds};
use crate::synthesis::plan::{PlanLine, Scene, content_hash};
use crate::synthesis::{Composite, CompositeConfig, Error, NormalClip};

/// Model frames of a scene that are kept in memory: ten minutes, as in training.
const MOST_FRAMES: usize = 6000;

/// A scene's normal footage, at the size and rate of its lines.
pub struct Actors {
    clips: Vec<NormalClip>,
    /// Each video's index in `clips`, and the number in the video of each frame that is kept.
    videos: BTreeMap<String, (usize, Vec<usize>)>,
}

impl Actors {
    /// Reads the videos of a scene, which must be those that were planned with. Where there are more
    /// than ten minutes, each video gives an equal part of that, from its start.
    ///
    /// # Errors
    /// [`RunError::Input`] naming the video; `line` is any of the scene's lines.
    pub fn read(folder: &Path, scene: &Scene, line: &PlanLine) -> Result<Self, RunError> {
        let job = &line.composite;
        let input = InputSpec { width: job.width, height: job.height, frame_rate: job.frame_rate };
        let limit = (MOST_FRAMES / scene.videos.len().max(1)).max(MIN_CLIP_FRAMES);
        let fail = |problem: String| RunError::Input { id: line.id.clone(), problem };
        let read = |(name, hash): (&String, &String)| {
            let path = folder.join(name);
            if !path.exists() {
                let text = "is not there; give the footage that was planned with";
                return Err(fail(format!("{}: {text}", path.display())));
            }
            let found = content_hash(&path).map_err(|e| fail(e.to_string()))?;
            if found != *hash {
                let text = "is not the video that was planned with; plan again";
                return Err(fail(format!("{}: {text}", path.display())));
            }
            let video = |source| RunError::Video { id: line.id.clone(), source };
            let clip = Clip { name: name.clone(), path };
            let (clip, numbers) = footage::read_numbered(&clip, &input, limit).map_err(video)?;
            Ok((name.clone(), numbers, clip))
        };
        let read: Vec<_> = scene
            .videos
            .iter()
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        let (mut clips, mut videos) = (Vec::new(), BTreeMap::new());
        for (name, numbers, clip) in read {
            if clip.frames.len() >= MIN_CLIP_FRAMES {
                videos.insert(name, (clips.len(), numbers));
                clips.push(clip);
            }
        }
        if clips.is_empty() {
            return Err(fail(format!(
                "scene {}: no video has {MIN_CLIP_FRAMES} frames at {} a second",
                line.scene, job.frame_rate
            )));
        }
        Ok(Self { clips, videos })
    }

    /// The synthesizer that has learned the scene.
    ///
    /// # Errors
    /// [`RunError::Failed`].
    pub fn composite(&self, line: &PlanLine) -> Result<Composite<'_>, RunError> {
        // Rates are each request's own; the seed of the noise tiles is every run's.
        Composite::new(&self.clips, &CompositeConfig::default(), 0)
            .map_err(|e| RunError::Failed { id: line.id.clone(), problem: e.to_string() })
    }
}

/// Makes composite clips of one scene.
pub struct CompositeRenderer<'a> {
    actors: &'a Actors,
    composite: &'a Composite<'a>,
}

impl<'a> CompositeRenderer<'a> {
    /// A renderer for one thread.
    pub fn new(actors: &'a Actors, composite: &'a Composite<'a>) -> Self {
        Self { actors, composite }
    }
}

impl Renderer for CompositeRenderer<'_> {
    fn device(&self) -> &str {
        "cpu"
    }

    fn render(
        &mut self,
        line: &PlanLine,
        _initial: &Frame,
        _progress: &mut dyn FnMut(Step),
        _stop: &AtomicBool,
    ) -> Result<Rendered, RenderError> {
        let (clip, numbers) = self.actors.videos.get(&line.video).ok_or_else(|| {
            let least = MIN_CLIP_FRAMES;
            RenderError::Impossible(format!("{}: has fewer than {least} frames", line.video))
        })?;
        let clip = *clip;
        // The model frame that shows what the planned one does: it, or the one before it.
        let planned = numbers.partition_point(|number| *number as u64 <= line.frame);
        let config = line.composite.config().map_err(|e| RenderError::Failed(e.to_string()))?;
        let request =
            Request { seed: line.seed, clip, frame: planned.saturating_sub(1), config: &config };
        let made = self.composite.perform(&request).map_err(|e| match e {
            Error::NoWalker => RenderError::Impossible(e.to_string()),
            e => RenderError::Failed(e.to_string()),
        })?;
        let kinds = all_kinds();
        let events = made.events.iter().map(|e| Event {
            kind: kinds[e.kind].clone(),
            first: e.first,
            last: e.last,
        });
        Ok(Rendered {
            events: events.collect(),
            frames: made.frames,
            frame_rate: self.actors.clips[clip].frame_rate,
            labels: Some(made.labels),
            kinds,
            start: numbers.get(made.source.1).copied().unwrap_or_default() as u64,
        })
    }
}
