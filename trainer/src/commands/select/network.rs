//! One network: its clips, its training, and what it says of a clip.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use candle_core::Device;
use inference::maps::MapReader;
use inference::{Backend, Graph, motion};
use model_bundle::manifest::{InputSpec, LocalSpec, MotionSpec};
use model_export::onnx;
use rayon::prelude::*;
use trainer::local::{self, LocalConfig, LumaClip};
use trainer::selection::Record;
use trainer::synthesis::{Composite, NormalClip, Synthesizer};

use super::footage::Probe;
use crate::commands::train::config::TrainConfig;
use crate::commands::train::progress::Progress;
use crate::commands::train::{go_on, graphs, local_spec, local_stack, motion_spec};

/// Pseudo clips made at once: their colour frames are in memory together.
const AT_ONCE: usize = 8;

/// The pseudo clips of the training at hand. Designs that differ in nothing that concerns them share
/// them, if they come one after the other.
#[derive(Default)]
pub struct Clips {
    /// What they were made by.
    of: String,
    kinds: Vec<String>,
    clips: Vec<LumaClip>,
}

impl Clips {
    /// The clips for a configuration and seed, made unless they are those at hand.
    pub fn of(
        &mut self,
        config: &TrainConfig,
        footage: &[NormalClip],
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<&Self> {
        let of = serde_json::to_string(&(&config.composite, config.pseudo_clips, seed))?;
        if self.of == of {
            return Ok(self);
        }
        *self = Self::default();
        let composite = Composite::new(footage, &config.composite, seed)?;
        let progress = Progress::new("pseudo-abnormal clips", config.pseudo_clips);
        for start in (0..config.pseudo_clips).step_by(AT_ONCE) {
            go_on(stop)?;
            let made: Vec<LumaClip> = (start..(start + AT_ONCE).min(config.pseudo_clips))
                .into_par_iter()
                .map(|index| {
                    let clip = composite.synthesize(index as u64)?;
                    Ok(LumaClip::new(&clip.frames, Some(&clip.labels)))
                })
                .collect::<Result<_>>()?;
            self.clips.extend(made);
            progress.at(self.clips.len(), "");
        }
        self.kinds = composite.kinds().to_vec();
        self.of = of;
        Ok(self)
    }
}

/// The site that a network is trained for.
pub struct Site<'a> {
    pub input: &'a InputSpec,
    /// Normal footage.
    pub normal: &'a [LumaClip],
    /// Every so many frames are looked at.
    pub every: usize,
}

/// A trained local detector and the motion prior.
pub struct Network {
    graph: Box<dyn Graph>,
    local: LocalSpec,
    motion: MotionSpec,
    maps: MapReader,
    size: (usize, usize),
    every: usize,
}

/// Trains a network and loads it, in fp32.
#[expect(clippy::too_many_arguments, reason = "each is one independent thing the run needs")]
pub fn train(
    config: &TrainConfig,
    site: &Site<'_>,
    clips: &Clips,
    seed: u64,
    device: &Device,
    work: &Path,
    backend: &dyn Backend,
    stop: &AtomicBool,
) -> Result<Network> {
    let local = LocalConfig { kinds: clips.kinds.clone(), ..config.local.clone() };
    let progress = Progress::new("local detector", local.steps);
    let mut report = |p: &local::Progress| progress.at(p.step, &format!("loss {:.3}", p.loss));
    let trained = local::train(
        site.normal,
        &clips.clips,
        &local,
        seed,
        device,
        Some(work),
        &mut report,
        stop,
    )?;
    let (width, height) = (site.input.width as usize, site.input.height as usize);
    let weights = graphs::weights("local detector", &trained.tensors)?;
    let size = model_export::graphs::local::Config { width, height };
    let model = model_export::graphs::local::build(&weights, &size)?;
    let spec = local_spec(&local, 1.0);
    let stride = spec.map_stride as usize;
    Ok(Network {
        graph: backend.load("local", &onnx::to_bytes(&model))?,
        maps: MapReader::new(width / stride, height / stride, spec.pool as usize),
        local: spec,
        motion: motion_spec(config, site.input.height),
        size: (width, height),
        every: site.every,
    })
}

impl Network {
    /// Kinds, in the order of the maps.
    pub fn kinds(&self) -> &[String] {
        &self.local.kinds
    }

    /// What the detectors say of clips.
    pub fn records(&mut self, probes: &[Probe], stop: &AtomicBool) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(probes.len());
        for probe in probes {
            go_on(stop)?;
            records.push(self.record(probe)?);
        }
        Ok(records)
    }

    fn record(&mut self, probe: &Probe) -> Result<Record> {
        let (width, height) = self.size;
        let Probe { luma, truth } = probe;
        let mut record = Record { peaks: Vec::new(), motion: Vec::new(), truth: Vec::new() };
        let (mut maps, mut scratch) = (vec![Vec::new()], Vec::new());
        for t in (0..luma.len()).step_by(self.every) {
            self.graph.run(&[&local_stack(&self.local, luma, t)], &mut maps)?;
            let cells = maps[0].len() / self.local.kinds.len();
            let peaks = maps[0].chunks_exact(cells).map(|map| self.maps.peak(map).map(|p| p.value));
            record.peaks.push(
                peaks
                    .collect::<Option<_>>()
                    .context("the local detector gave what is no number")?,
            );
            // The first frame has none before it and copies the second's value.
            let current = t.max(1).min(luma.len() - 1);
            let (before, current) = (&luma[current.saturating_sub(1)], &luma[current]);
            let motion = motion::raw(before, current, width, height, &self.motion, &mut scratch);
            record.motion.push(motion);
            record.truth.push(truth[t]);
        }
        Ok(record)
    }
}
