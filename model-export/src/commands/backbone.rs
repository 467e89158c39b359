//! `model-export backbone`: a feature extractor as an ONNX graph.

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use model_export::graphs::{Cells, i3d, mobilenetv2};
use model_export::onnx;
use model_export::weights::Weights;

use super::{Usage, print, write_file};

/// Build a backbone's ONNX graph (fp32, static shapes) from its published weights
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export backbone i3d --out i3d.onnx\n  model-export \
                        backbone i3d --out cells.onnx --cells Mixed_3c --width 176 --height \
                        120\n\nWeights are fetched by `cargo xtask weights`.")]
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
    /// Frames in a snippet.
    #[arg(long, default_value_t = 16)]
    frames: usize,
    /// Width in pixels.
    #[arg(long, default_value_t = 224)]
    width: usize,
    /// Height in pixels.
    #[arg(long, default_value_t = 224)]
    height: usize,
    /// Give the feature grid of this endpoint (i3d only), such as Mixed_3c, instead of features.
    #[arg(long, conflicts_with = "cells")]
    endpoint: Option<String>,
    /// Give the features of this layer by cell of the picture, averaged over the snippet: what the
    /// semantic detector takes with a grid. An endpoint of i3d, or features.0 to features.18 of
    /// mobilenetv2.
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
}

impl Backbone {
    /// Mean and divisor of each RGB channel (levels 0 to 255).
    pub fn normalisation(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::I3d => (i3d::MEAN, i3d::STD),
            Self::MobileNetV2 => (mobilenetv2::MEAN, mobilenetv2::STD),
        }
    }

    fn weights_file(self) -> &'static str {
        match self {
            Self::I3d => i3d::WEIGHTS_FILE,
            Self::MobileNetV2 => mobilenetv2::WEIGHTS_FILE,
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
    let Args { frames, width, height, .. } = *args;
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
    }
    .with_context(|| format!("backbone {:?}", args.name))?;
    let bytes = onnx::to_bytes(&model);
    write_file(&args.out, &bytes)?;
    print(&format!("{}: {} bytes\n", args.out.display(), bytes.len()))
}
