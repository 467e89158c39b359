//! Writing the checkpoint: weights, configuration, graphs, and what proves them on another machine.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;
use inference::Backend;
use model_bundle::manifest::{Detectors, StreamSpec};
use model_export::calibration::record;
use model_export::pack::checkpoint::write_golden;
use model_export::pack::{GoldenInput, InputTensor};
use serde::Serialize;
use trainer::local::LumaClip;
use trainer::synthesis::PseudoClip;
use video::{Frame, encode_jpeg};

use super::config::TrainConfig;
use super::graphs::Exported;
use super::{local_stack, semantic};
use crate::commands::write_file;

/// What goes into a checkpoint.
pub struct Content<'a> {
    pub folder: &'a Path,
    pub config: &'a TrainConfig,
    pub seed: u64,
    /// What was trained on: names for the provenance, and SHA-256.
    pub footage_hashes: &'a [(&'a str, &'a str)],
    /// What the threshold was chosen by.
    pub calibration: &'a [(&'static str, String)],
    pub detectors: &'a Detectors,
    pub graphs: &'a [Exported],
    pub local: &'a HashMap<String, Tensor>,
    pub detector: &'a BTreeMap<String, Tensor>,
    /// What runs the graphs that stream, for the states of their golden inputs.
    pub backend: &'a dyn Backend,
    /// The clip on which INT8 and fp32 are compared.
    pub golden: &'a PseudoClip,
}

/// `config.toml`: what `model-export pack` reads, and how the training was done.
#[derive(Serialize)]
struct ConfigFile<'a> {
    detectors: &'a Detectors,
    provenance: BTreeMap<&'a str, String>,
    training: &'a TrainConfig,
}

/// Writes the checkpoint; `config.toml` comes last, so that a cut leaves none that looks whole.
pub fn write(content: &Content<'_>) -> Result<()> {
    let folder = content.folder;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let config_path = folder.join("config.toml");
    if config_path.exists() {
        std::fs::remove_file(&config_path).with_context(|| config_path.display().to_string())?;
    }
    let tensors: HashMap<String, Tensor> = content
        .local
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .chain(content.detector.iter().map(|(name, tensor)| (name.clone(), tensor.clone())))
        .collect();
    let path = folder.join("model.safetensors");
    candle_core::safetensors::save(&tensors, &path).with_context(|| path.display().to_string())?;
    for graph in content.graphs {
        graph.write(folder)?;
    }
    golden(content)?;

    let mut provenance = BTreeMap::from([
        ("tool", format!("trainer {}", env!("CARGO_PKG_VERSION"))),
        ("seed", content.seed.to_string()),
    ]);
    provenance.extend(content.calibration.iter().cloned());
    provenance.extend(content.footage_hashes.iter().map(|&(name, hash)| (name, hash.to_owned())));
    let file = ConfigFile { detectors: content.detectors, provenance, training: content.config };
    let text = toml::to_string(&file).context("writing the configuration")?;
    write_file(&config_path, text.as_bytes())
}

/// One input for each graph, and a clip of frames without loss.
fn golden(content: &Content<'_>) -> Result<()> {
    let (folder, clip) = (content.folder, content.golden);
    let centre = clip.events.first().map_or(clip.frames.len() / 2, |e| (e.first + e.last) / 2);
    let input = &content.detectors.input;
    let size = (input.width as usize, input.height as usize);
    let luma = LumaClip::resized(&clip.frames, None, size).frames;
    if let Some(spec) = &content.detectors.local {
        let shape = vec![1, 1 + spec.offsets.len(), input.height as usize, input.width as usize];
        let golden = match &spec.stream {
            None => {
                GoldenInput::single(&spec.graph, "stack", shape, local_stack(spec, &luma, centre))
            }
            Some(stream) => {
                let (back, ahead) = spec.reach();
                let last = (centre + ahead).min(luma.len().saturating_sub(1));
                let frames = luma[last.saturating_sub(back + ahead)..=last].iter();
                let frames = frames.map(|luma| luma.iter().map(|&v| v.into()).collect());
                recorded(content, &spec.graph, stream, frames.collect())?
            }
        };
        write_golden(folder, &golden)?;
    }
    if let Some(spec) = &content.detectors.semantic {
        let (frames, width, height) = (
            spec.snippet.frames as usize,
            spec.snippet.width as usize,
            spec.snippet.height as usize,
        );
        let first = centre.min(clip.frames.len().saturating_sub(frames));
        let last = (first + frames).min(clip.frames.len());
        let shown = &clip.frames[first..last];
        let golden = match &spec.snippet.stream {
            None => {
                let shape = vec![1, 3, frames, height, width];
                let values = semantic::tensor(&spec.snippet, shown);
                GoldenInput::single(&spec.backbone, "snippet", shape, values)
            }
            Some(stream) => {
                let frames = semantic::frame_tensors(&spec.snippet, shown);
                recorded(content, &spec.backbone, stream, frames)?
            }
        };
        write_golden(folder, &golden)?;
        let (cells, window) = (spec.cells() as usize, spec.window as usize);
        let size = spec.feature_size as usize;
        // Features are averages of rectified values: small and not negative.
        let values =
            (0..cells * window * size).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
        let shape = vec![cells, window, size];
        write_golden(folder, &GoldenInput::single(&spec.head, "features", shape, values))?;
    }
    let pictures = folder.join("golden/clip");
    if pictures.exists() {
        std::fs::remove_dir_all(&pictures).with_context(|| pictures.display().to_string())?;
    }
    std::fs::create_dir_all(&pictures).with_context(|| pictures.display().to_string())?;
    for (number, frame) in clip.frames.iter().enumerate() {
        let path = pictures.join(format!("{number:03}.png"));
        let (width, height) = (frame.width() as u32, frame.height() as u32);
        image::save_buffer(&path, frame.rgb(), width, height, image::ColorType::Rgb8)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The golden input of a graph that streams: the last of these frames with the states that those
/// before it leave in the fp32 graph.
fn recorded(
    content: &Content<'_>,
    name: &str,
    stream: &StreamSpec,
    frames: Vec<Vec<f32>>,
) -> Result<GoldenInput> {
    let Some(exported) = content.graphs.iter().find(|graph| graph.name == name) else {
        anyhow::bail!("graph {name} was not exported");
    };
    let mut graph = content.backend.load(name, &exported.fp32)?;
    let values = record(graph.as_mut(), stream, frames)
        .with_context(|| format!("recording the states of graph {name}"))?;
    let inputs = graph.inputs().iter().zip(values).map(|(info, values)| InputTensor {
        name: info.name.clone(),
        shape: info.shape.clone(),
        values,
    });
    Ok(GoldenInput { graph: name.to_owned(), inputs: inputs.collect() })
}

/// Writes a picture.
pub fn write_picture(path: &Path, frame: &Frame) -> Result<()> {
    if frame.width() == 0 {
        return Ok(());
    }
    std::fs::write(path, encode_jpeg(frame, 85)?).with_context(|| path.display().to_string())
}
