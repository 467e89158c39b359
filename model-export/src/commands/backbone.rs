//! `model-export backbone`: a feature extractor as an ONNX graph.

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use model_export::graphs::{Cells, i3d, mobilenetv2, tsm_mobilenetv2};
use model_export::onnx;
use model_export::weights::{self, Weights};

use super::{Usage, print, write_file};

/// Build a backbone's ONNX graph (fp32, static shapes) from its published weights
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export backbone i3d --out i3d.onnx\n  model-export \
                        backbone i3d --out cells.onnx --cells Mixed_3c --width 176 --height \
                        120\n  model-export backbone tsm-mobilenetv2 --weights \
                        student.safetensors --out student.onnx\n\nWeights are fetched by `cargo \
                        xtask weights`; a student's are made by `trainer distill`.")]
pub struct Args {
    /// The network.
    #[arg(value_enum)]
    name: Backbone,
    /// Where to write the graph.
    #[arg(short, long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Weights file; without it, the fetched one in PAVAD_WEIGHTS or target/weights.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Frames in a snippet; 16 unless given. A streaming backbone takes one frame a call.
    #[arg(long)]
    frames: Option<usize>,
    /// Width in pixels; what the weights file says, or the network's usual one, unless given.
    #[arg(long)]
    width: Option<usize>,
    /// Height in pixels; as for the width.
    #[arg(long)]
    height: Option<usize>,
    /// Give the feature grid of this endpoint (i3d only), such as Mixed_3c, instead of features.
    #[arg(long, conflicts_with = "cells")]
    endpoint: Option<String>,
    /// Give the features of this layer by cell of the picture, averaged over the snippet: what the
    /// semantic detector takes with a grid. An endpoint of i3d, or features.0 to features.18 of
    /// the others.
    #[arg(long, value_name = "LAYER")]
    cells: Option<String>,
    /// Places of the layer's map, along each axis, that are averaged to one cell.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "cells", value_parser = clap::value_parser!(u16).range(1..=64))]
    pool: u16,
}

/// The backbones that can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Backbone {
    /// Inception-I3D RGB, Kinetics-400: 1024 features of a snippet.
    I3d,
    /// MobileNetV2, ImageNet: 1280 features, averaged over the frames.
    MobileNetV2,
    /// MobileNetV2 with a causal temporal shift, one call a frame: 1280 features, or as many as a
    /// student's projection gives.
    #[value(name = "tsm-mobilenetv2")]
    TsmMobileNetV2,
}

impl Backbone {
    /// Mean and divisor of each RGB channel (levels 0 to 255).
    pub fn normalisation(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::I3d => (i3d::MEAN, i3d::STD),
            Self::MobileNetV2 | Self::TsmMobileNetV2 => (mobilenetv2::MEAN, mobilenetv2::STD),
        }
    }

    fn weights_file(self) -> &'static str {
        match self {
            Self::I3d => i3d::WEIGHTS_FILE,
            Self::MobileNetV2 | Self::TsmMobileNetV2 => mobilenetv2::WEIGHTS_FILE,
        }
    }

    /// Edge of the input in pixels, if nothing says otherwise.
    fn size(self) -> usize {
        match self {
            Self::I3d | Self::MobileNetV2 => 224,
            Self::TsmMobileNetV2 => tsm_mobilenetv2::SIZE,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.endpoint.is_some() && args.name != Backbone::I3d {
        return Err(Usage("--endpoint is for i3d only".to_owned()).into());
    }
    let weights = match &args.weights {
        Some(path) => Weights::read(path)?,
        None => Weights::fetched(args.name.weights_file())?,
    };
    if args.frames.is_some() && args.name == Backbone::TsmMobileNetV2 {
        return Err(Usage("--frames: tsm-mobilenetv2 takes one frame a call".to_owned()).into());
    }
    let frames = args.frames.unwrap_or(16);
    let size = |given: Option<usize>, key: &str| match given {
        Some(size) => Ok(size),
        None => Ok::<_, weights::Error>(weights.number(key)?.unwrap_or(args.name.size())),
    };
    let (width, height) = (size(args.width, "width")?, size(args.height, "height")?);
    let pool = usize::from(args.pool);
    let cells = args.cells.as_ref().map(|layer| Cells { layer: layer.clone(), pool });
    let model = match args.name {
        Backbone::I3d => {
            let grid = args.endpoint.clone();
            let features = grid.is_none() && cells.is_none();
            let config =
                i3d::Config { frames, width, height, features, cells, logits: false, grid };
            i3d::build(&weights, &config)
        }
        Backbone::MobileNetV2 => {
            mobilenetv2::build(&weights, &mobilenetv2::Config { frames, width, height, cells })
        }
        Backbone::TsmMobileNetV2 => {
            tsm_mobilenetv2::build(&weights, &tsm_mobilenetv2::Config { width, height, cells })
        }
    }
    .with_context(|| format!("backbone {:?}", args.name))?;
    let bytes = onnx::to_bytes(&model);
    write_file(&args.out, &bytes)?;
    let products = onnx::multiply_adds(&model).context("a value of the graph has no shape")?;
    print(&format!(
        "{}: {} bytes, {:.1} million multiply-adds a call\n",
        args.out.display(),
        bytes.len(),
        products as f64 / 1e6
    ))
}
