//! `trainer features`: snippet features of videos, as training and the camera compute them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use inference::{Backend, BackendKind, Graph};
use model_bundle::manifest::{Detectors, GridSpec, InputSpec, SnippetSpec};
use model_export::graphs::{self, Cells};
use model_export::onnx;
use model_export::pack::checkpoint::read_detectors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainer::features::Error;
use trainer::features::extract::of_video;
use trainer::hash::hex;
use trainer::{footage, npy};
use video::{Clip, Reader, list_clips};

use super::train::config::{Backbone, Plan, Precision, SemanticConfig, TrainConfig};
use super::train::progress::Progress;
use super::train::{backend, normals, semantic};
use super::{NoDevice, Usage, write_file};

/// Which features a folder has: features of two kinds must not lie in one.
const KIND_FILE: &str = "features.json";

/// Computes snippet features of videos: one .npy a video, [snippets, d].
///
/// Frames are thinned, resized and cut into snippets as in training and on the camera. Videos whose
/// features are there already are passed over, so a run that was broken off goes on where it was.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer features --backbone i3d --input videos --out features\n  \
                  trainer features --checkpoint checkpoints/gate-3 --input videos --out features"
)]
pub struct FeaturesArgs {
    /// Published backbone, in fp32 unless --precision says otherwise.
    #[arg(long, value_enum, value_name = "NAME", required_unless_present = "checkpoint")]
    backbone: Option<Backbone>,
    /// Weights file instead of the published ones, such as a distilled student's.
    #[arg(long, value_name = "FILE", requires = "backbone")]
    weights: Option<PathBuf>,
    /// With int8, the backbone as the camera runs it: quantized, by the videos of --calibration. Needs
    /// ONNX Runtime.
    #[arg(
        long,
        value_enum,
        value_name = "PRECISION",
        default_value = "fp32",
        requires = "backbone"
    )]
    precision: Precision,
    /// Normal videos by which the backbone is quantized. Take none that anything is tested on.
    #[arg(long, value_name = "DIR", requires = "backbone")]
    calibration: Option<PathBuf>,
    /// A trained checkpoint instead: the very graph and frame size that its camera has, INT8 with
    /// ONNX Runtime.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["backbone", "cells", "stride", "input_height", "rate"])]
    checkpoint: Option<PathBuf>,
    /// Videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Folder that gets NAME.npy for each video.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Keep the places of the picture apart: [snippets, cells, d], cells row by row. A checkpoint that
    /// has cells gives them without being asked.
    #[arg(long)]
    cells: bool,
    /// The network's layer that the cells are of: an endpoint of i3d (default Mixed_5c), or features.0
    /// to features.18 of the others (default features.18).
    #[arg(long, value_name = "NAME", requires = "cells")]
    endpoint: Option<String>,
    /// Model frames from one snippet to the next.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=16))]
    stride: u32,
    /// Height in pixels to which pictures are reduced before the backbone's own size.
    #[arg(long, value_name = "PIXELS", default_value_t = 240, value_parser = clap::value_parser!(u32).range(64..=4320))]
    input_height: u32,
    /// Frames a second that are used, about; published features use them all.
    #[arg(long, value_name = "FPS", default_value_t = footage::MODEL_RATE)]
    rate: f64,
    /// ONNX Runtime's library, if it is not in the usual places; without it tract computes, in fp32.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
}

/// What decides over features, besides the video.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kind {
    /// The backbone, or the checkpoint's.
    backbone: String,
    /// SHA-256 of the graph, the snippets and the size and rate of the frames.
    sha256: String,
    /// Shape of a snippet's features.
    shape: Vec<usize>,
}

/// A graph and how frames come to it.
struct Source {
    name: String,
    onnx: Vec<u8>,
    spec: SnippetSpec,
    /// Size and rate of the frames; a size of its own for each video if it follows the source.
    input: Option<InputSpec>,
}

/// Runs the command.
pub fn run(args: &FeaturesArgs) -> Result<()> {
    if !(args.rate.is_finite() && args.rate > 0.0) {
        return Err(Usage(format!("--rate must be greater than 0, is {}", args.rate)).into());
    }
    let clips = list_clips(&args.input)?;
    let backend = backend(args.ort_library.as_deref())?;
    let source = match (&args.checkpoint, args.backbone) {
        (Some(folder), _) => of_checkpoint(folder, backend.as_ref())?,
        (None, Some(backbone)) => of_backbone(args, backbone, backend.as_ref())?,
        (None, None) => return Err(Usage("give --backbone or --checkpoint".into()).into()),
    };
    let mut graph = backend.load("backbone", &source.onnx)?;
    let shape = row_shape(graph.as_ref())?;
    claim(args, &source, &shape)?;

    let progress = Progress::new("features", clips.len());
    let mut kept = 0;
    for clip in &clips {
        let path = args.out.join(format!("{}.npy", clip.name));
        if is_whole(&path, &shape) {
            kept += 1;
        } else {
            let rows = one(args, &source, graph.as_mut(), clip)?;
            if let Some(at) = rows.iter().position(|v| !v.is_finite()) {
                anyhow::bail!("features of clip {}: value {} at {at}", clip.name, rows[at]);
            }
            let snippets = rows.len() / shape.iter().product::<usize>();
            npy::write(&path, &[&[snippets], shape.as_slice()].concat(), &rows)?;
        }
        progress.step();
    }
    drop(progress);
    log::info!("{}: {} videos, {kept} of them were there", args.out.display(), clips.len());
    Ok(())
}

/// Features of a video as the graph gives them.
fn one(
    args: &FeaturesArgs,
    source: &Source,
    graph: &mut dyn Graph,
    clip: &Clip,
) -> Result<Vec<f32>> {
    let input = match &source.input {
        Some(input) => input.clone(),
        None => {
            let info = *Reader::open(&clip.path)?.info();
            let input = footage::input_spec(info.width, info.height, args.input_height as usize);
            InputSpec { frame_rate: args.rate, ..input }
        }
    };
    Ok(of_video(graph, &source.spec, clip, &input)??)
}

/// The published backbone, or one with other weights, built as training builds it.
fn of_backbone(args: &FeaturesArgs, backbone: Backbone, backend: &dyn Backend) -> Result<Source> {
    let file = args.weights.as_deref();
    let layer = args.endpoint.clone().unwrap_or_else(|| backbone.last_layer().into());
    let name = match args.cells {
        true => format!("{}/{layer}", backbone.name()),
        false => backbone.name().to_owned(),
    };
    let cells = args.cells.then_some(Cells { layer, pool: 1 });
    let weights = backbone.weights(file)?;
    let spec = backbone.streaming(&backbone.snippet(args.stride, file)?, cells.as_ref());
    if args.precision == Precision::Int8 {
        let onnx = quantized(args, backbone, &spec, cells, backend)?;
        return Ok(Source { name: format!("{name} int8"), onnx, spec, input: None });
    }
    let model = backbone.model(&weights, &spec, cells).map_err(|error| match error {
        graphs::Error::Weights(error) => anyhow::Error::new(error),
        graphs::Error::Config { .. } => Usage(error.to_string()).into(),
        graphs::Error::Graph(_) => anyhow::Error::new(error),
    })?;
    Ok(Source { name, onnx: onnx::to_bytes(&model), spec, input: None })
}

/// The backbone quantized on the calibration videos, as training does it.
fn quantized(
    args: &FeaturesArgs,
    backbone: Backbone,
    spec: &SnippetSpec,
    cells: Option<Cells>,
    backend: &dyn Backend,
) -> Result<Vec<u8>> {
    let Some(folder) = &args.calibration else {
        return Err(Usage("--precision int8 needs --calibration".into()).into());
    };
    if backend.kind() != BackendKind::Ort {
        let missing =
            "--precision int8: tract does not run INT8; name ONNX Runtime with --ort-library";
        return Err(NoDevice(missing.into()).into());
    }
    let reading = TrainConfig {
        input_height: args.input_height as usize,
        several_sites: true,
        ..TrainConfig::default()
    };
    let footage = normals::read(folder, &reading)?;
    let clips = [footage.training, footage.held_out].concat();
    let semantic = SemanticConfig {
        backbone,
        weights: args.weights.clone(),
        stride: args.stride,
        features: Precision::Int8,
        ..SemanticConfig::default()
    };
    // The grid of cells does not matter for the graph.
    let cells = cells.map(|cells| (cells, GridSpec { columns: 1, rows: 1 }));
    let plan = Plan { snippet: spec.clone(), feature_size: 0, cells };
    Ok(semantic::build(&semantic, &plan, &clips, backend)?.bytes(backend.kind()).to_vec())
}

/// The backbone of a checkpoint, in the form that this backend runs.
fn of_checkpoint(folder: &Path, backend: &dyn Backend) -> Result<Source> {
    let usage = |problem: String| anyhow::Error::from(Usage(problem));
    let path = folder.join("config.toml");
    let Detectors { input, semantic, .. } =
        read_detectors(&path).map_err(|e| usage(e.to_string()))?;
    let Some(semantic) = semantic else {
        return Err(usage(format!("{}: has no semantic detector", path.display())));
    };
    let ending = match backend.kind() {
        BackendKind::Ort => ["ort.int8", "ort.fp32"],
        BackendKind::Tract => ["tract.fp32"; 2],
    };
    let files = ending.map(|e| folder.join(format!("graphs/{}.{e}.onnx", semantic.backbone)));
    let Some(file) = files.iter().find(|f| f.exists()) else {
        return Err(usage(format!("{}: not there; train again", files[0].display())));
    };
    let onnx = std::fs::read(file).with_context(|| file.display().to_string())?;
    let name = file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Ok(Source { name, onnx, spec: semantic.snippet, input: Some(input) })
}

/// Shape of a snippet's features in the file, from that of the graph's output `[1, d]` or
/// `[1, cells, d]`.
fn row_shape(graph: &dyn Graph) -> Result<Vec<usize>> {
    let shape = graph.outputs().first().map_or(&[][..], |o| o.shape.as_slice());
    match shape {
        [1, row @ ..] if (1..=2).contains(&row.len()) && !row.contains(&0) => Ok(row.to_vec()),
        _ => anyhow::bail!("the backbone's output has the shape {shape:?}"),
    }
}

/// Writes which features the folder has, or refuses one that has others.
fn claim(args: &FeaturesArgs, source: &Source, shape: &[usize]) -> Result<()> {
    let input = match &source.input {
        Some(input) => format!("{input:?}"),
        None => format!("{} {}", args.input_height, args.rate),
    };
    let hash = Sha256::new()
        .chain_update(Sha256::digest(&source.onnx))
        .chain_update(format!("{:?} {input}", source.spec))
        .finalize();
    let kind = Kind { backbone: source.name.clone(), sha256: hex(&hash), shape: shape.to_vec() };
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let path = args.out.join(KIND_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            if serde_json::from_str::<Kind>(&text).is_ok_and(|there| there == kind) {
                return Ok(());
            }
            Err(Usage(format!(
                "{}: the folder has features of another backbone or other frames; choose another \
                 folder, or remove it",
                path.display()
            ))
            .into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_file(&path, serde_json::to_string_pretty(&kind)?.as_bytes())
        }
        Err(error) => Err(Error::Io { path, source: error }.into()),
    }
}

/// Whether a file has features of this kind, undamaged.
fn is_whole(path: &Path, shape: &[usize]) -> bool {
    npy::read(path).is_ok_and(|array| {
        array.shape.split_first().is_some_and(|(&snippets, rest)| snippets > 0 && rest == shape)
            && array.values.iter().all(|v| v.is_finite())
    })
}
