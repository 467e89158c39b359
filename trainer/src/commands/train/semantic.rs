//! The semantic detector's part of a run: backbone, features, UR-DMU with DARM, head.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use candle_core::Device;
use inference::{Backend, snippet};
use model_bundle::manifest::{InputSpec, SemanticSpec, SnippetSpec, ZScore};
use model_export::calibration::{WARM_UP, record};
use model_export::{graphs, onnx};
use trainer::detector::{self, Bag, TrainedDetector};
use trainer::features::{Extractor, changed};
use trainer::synthesis::{NormalClip, PseudoClip};
use video::{Frame, Resizer};

use super::config::{Plan, Precision, SemanticConfig, TrainConfig};
use super::go_on;
use super::graphs::{Exported, weights};
use super::metrics::Metrics;
use super::progress::Progress;
use crate::commands::Usage;

/// Snippets of normal footage by which the backbone is quantized: with a dozen, the features'
/// cosine to fp32 no longer grows.
const CALIBRATION_SNIPPETS: usize = 12;

/// The backbone with its features of the training clips.
pub struct Features {
    pub backbone: Exported,
    pub normal: Vec<Bag>,
    extractor: Extractor,
    plan: Plan,
}

impl Features {
    /// Builds and quantizes the backbone, then computes the normal clips' features with what the
    /// camera runs.
    pub fn new(
        config: &TrainConfig,
        input: &InputSpec,
        normals: &[NormalClip],
        work: &Path,
        backend: &dyn Backend,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let plan = config.semantic.plan(input).map_err(Usage)?;
        let backbone = build(&config.semantic, &plan, normals, backend)?;
        let (_, graph) = backbone.load(backend)?;
        let bytes = backbone.bytes(backend.kind());
        let spec = plan.snippet.clone();
        let mut extractor = Extractor::new(graph, bytes, spec, &work.join("features"));
        let progress = Progress::new("features of normal clips", normals.len());
        let mut normal = Vec::new();
        for clip in normals {
            go_on(stop)?;
            normal.push(extractor.extract(&clip.name, &clip.frames)?);
            progress.step();
        }
        Ok(Self { backbone, normal, extractor, plan })
    }

    /// Features of a pseudo clip; with cells, also which of them the synthesizer changed.
    pub fn pseudo(&mut self, clip: &PseudoClip) -> Result<Bag> {
        let bag = self.extract(&clip.name, &clip.frames)?;
        let changed = self
            .plan
            .cells
            .as_ref()
            .map(|(_, grid)| changed(&clip.labels, &self.plan.snippet, grid));
        Ok(Bag { changed, ..bag })
    }

    /// Features of a clip.
    pub fn extract(&mut self, name: &str, frames: &[Frame]) -> Result<Bag> {
        Ok(self.extractor.extract(name, frames)?)
    }
}

/// The backbone's graph; quantized on normal clips unless its features are to be fp32.
pub fn build(
    config: &SemanticConfig,
    plan: &Plan,
    normals: &[NormalClip],
    backend: &dyn Backend,
) -> Result<Exported> {
    let spec = &plan.snippet;
    let cells = plan.cells.as_ref().map(|(cells, _)| cells.clone());
    let weights = config.backbone.weights(config.weights.as_deref())?;
    let model = config.backbone.model(&weights, spec, cells)?;
    if config.features == Precision::Fp32 {
        return Ok(Exported { name: "backbone", fp32: onnx::to_bytes(&model), int8: None });
    }
    let lengths: Vec<usize> = normals.iter().map(|clip| clip.frames.len()).collect();
    let Some(stream) = &spec.stream else {
        let starts = spread(&lengths, spec.frames as usize, CALIBRATION_SNIPPETS);
        let progress = Progress::new("quantizing the backbone", starts.len());
        let mut samples = starts.into_iter().map(|(clip, first)| {
            progress.step();
            vec![tensor(spec, &normals[clip].frames[first..first + spec.frames as usize])]
        });
        return Exported::quantized("backbone", &model, &mut samples, backend);
    };
    // As many frames in all, each behind the frames that its states come from.
    let count = CALIBRATION_SNIPPETS * spec.frames as usize;
    let starts = spread(&lengths, WARM_UP + 1, count);
    let progress = Progress::new("quantizing the backbone", starts.len());
    let mut graph = backend.load("backbone", &onnx::to_bytes(&model))?;
    let mut failed = None;
    let mut samples = starts.into_iter().map_while(|(clip, first)| {
        progress.step();
        let frames = &normals[clip].frames[first..=first + WARM_UP];
        let sample = record(graph.as_mut(), stream, frame_tensors(spec, frames));
        sample.map_err(|error| failed = Some(error)).ok()
    });
    let exported = Exported::quantized("backbone", &model, &mut samples, backend);
    drop(samples);
    match failed {
        Some(error) => Err(error).context("recording the backbone's states"),
        None => exported,
    }
}

/// Up to `count` (clip, first frame) evenly spread over clips of the given numbers of frames, each
/// with `length` frames.
pub fn spread(frames: &[usize], length: usize, count: usize) -> Vec<(usize, usize)> {
    let rooms: Vec<usize> = frames.iter().map(|n| (n + 1).saturating_sub(length)).collect();
    let total: usize = rooms.iter().sum();
    let count = count.min(total);
    (0..count)
        .filter_map(|i| {
            let mut at = (2 * i + 1) * total / (2 * count);
            rooms.iter().enumerate().find_map(|(clip, &room)| {
                if at < room {
                    Some((clip, at))
                } else {
                    at -= room;
                    None
                }
            })
        })
        .collect()
}

/// The snippet tensor `[3, frames, height, width]` of exactly a snippet's frames.
pub fn tensor(spec: &SnippetSpec, frames: &[Frame]) -> Vec<f32> {
    let mut resizer = Resizer::new();
    let mut resized = Frame::new(spec.width as usize, spec.height as usize);
    let mut out = vec![0.0; snippet::len(spec)];
    for (index, frame) in frames.iter().enumerate() {
        // A frame that was read has a size, and so has the specification: resizing cannot fail.
        if resizer.resize(frame, &mut resized).is_ok() {
            snippet::fill_frame(spec, index, &resized, &mut out);
        }
    }
    out
}

/// The tensors `[3, height, width]` of single frames, as a streaming backbone takes them.
pub fn frame_tensors(spec: &SnippetSpec, frames: &[Frame]) -> Vec<Vec<f32>> {
    let single = SnippetSpec { frames: 1, ..spec.clone() };
    frames.iter().map(|frame| tensor(&single, std::slice::from_ref(frame))).collect()
}

/// The figures of a step, in the order of [`figures`].
pub const METRICS: &[&str] = &[
    "loss/total",
    "loss/urdmu",
    "loss/classification",
    "loss/abnormal_in_a",
    "loss/abnormal_not_in_n",
    "loss/normal_in_n",
    "loss/normal_not_in_a",
    "loss/triplet",
    "loss/kl",
    "loss/distance",
    "loss/instances",
    "loss/domain",
    "loss/mean_distance",
    "loss/update",
    "norm/normal",
    "norm/abnormal",
    "learning_rate",
    "validation/auc",
    "validation/loss",
];

/// The figures of a step; NaN where there was no validation.
fn figures(p: &detector::Progress) -> [f64; METRICS.len()] {
    let l = &p.losses;
    let (auc, loss) = p.validation.map_or((f64::NAN, f64::NAN), |v| (v.auc, v.loss));
    [
        l.total,
        l.urdmu,
        l.classification,
        l.abnormal_in_a,
        l.abnormal_not_in_n,
        l.normal_in_n,
        l.normal_not_in_a,
        l.triplet,
        l.kl,
        l.distance,
        l.instances,
        l.domain,
        l.mean_distance,
        l.update,
        p.normal_norm,
        p.abnormal_norm,
        p.learning_rate,
        auc,
        loss,
    ]
}

/// The losses for a line of progress.
fn brief(p: &detector::Progress) -> String {
    let l = &p.losses;
    let darm = l.domain + l.mean_distance + l.update;
    format!("loss {:.3} (classification {:.3}, DARM {darm:.3})", l.total, l.classification)
}

/// Trains UR-DMU with DARM on the features.
#[expect(clippy::too_many_arguments, reason = "each is one independent thing the run needs")]
pub fn train(
    config: &TrainConfig,
    normal: &[Bag],
    pseudo: &[Bag],
    seed: u64,
    device: &Device,
    work: Option<&Path>,
    metrics: &Metrics,
    stop: &AtomicBool,
) -> Result<TrainedDetector> {
    let detector = config.semantic.detector().map_err(Usage)?;
    let progress = Progress::new("semantic detector", detector.steps);
    let trained = detector::train(
        normal,
        pseudo,
        &detector,
        seed,
        device,
        work,
        &mut |p| {
            metrics.step(p.step, &figures(p));
            progress.at(p.step, &brief(p));
        },
        stop,
    );
    metrics.flush();
    let trained = trained?;
    if let Some(best) = trained.selected {
        let (step, auc) = (best.step, best.auc);
        log::info!(
            "semantic detector: kept step {step}, AUC {auc:.4} on bags kept out of training"
        );
    }
    Ok(trained)
}

/// The head's graph and the detector's description; the z-score is found later.
pub fn export(
    config: &TrainConfig,
    input: &InputSpec,
    trained: &TrainedDetector,
) -> Result<(Exported, SemanticSpec)> {
    let window = config.semantic.window;
    let plan = config.semantic.plan(input).map_err(Usage)?;
    let grid = plan.cells.map(|(_, grid)| grid);
    let cells = grid.map_or(1, |grid| (grid.columns * grid.rows) as usize);
    let weights = weights("semantic detector", &trained.tensors)?;
    let head = graphs::head::Config { cells, window, heads: trained.config.model.heads };
    let model = graphs::head::build(&weights, &head).context("building the head's graph")?;
    let spec = SemanticSpec {
        backbone: "backbone".into(),
        head: "head".into(),
        snippet: plan.snippet,
        feature_size: plan.feature_size as u32,
        window: window as u32,
        grid,
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: config.fusion.semantic,
        excess_over: Some(config.fusion.excess_over),
    };
    Ok((Exported { name: "head", fp32: onnx::to_bytes(&model), int8: None }, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_is_spread_over_all_footage() {
        // Rooms of 5, 0 and 5 starts.
        let clips = [20, 10, 20];
        assert_eq!(spread(&clips, 16, 2), [(0, 2), (2, 2)]);
        assert_eq!(spread(&clips, 16, 100).len(), 10);
        assert!(spread(&clips[1..2], 16, 4).is_empty());
    }
}
