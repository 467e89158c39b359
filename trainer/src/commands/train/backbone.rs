//! The backbones by name: weights, how frames come to them, and their graphs.

use std::path::Path;

use model_bundle::manifest::SnippetSpec;
use model_export::graphs::{self, Cells, i3d, mobilenetv2, tsm_mobilenetv2};
use model_export::onnx::ModelProto;
use model_export::weights::{self, Weights};
use serde::{Deserialize, Serialize};

/// A backbone whose weights `cargo xtask weights` fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Backbone {
    /// Inception-I3D RGB, Kinetics-400: 1024 values.
    #[serde(rename = "i3d")]
    #[value(name = "i3d")]
    I3d,
    /// MobileNetV2, ImageNet, averaged over a snippet's frames: 1280 values.
    #[serde(rename = "mobilenetv2")]
    #[value(name = "mobilenetv2")]
    MobileNetV2,
    /// MobileNetV2 with a causal temporal shift, one call a frame, averaged over a snippet's frames:
    /// 1280 values, or as many as the student in --weights gives.
    #[serde(rename = "tsm-mobilenetv2")]
    #[value(name = "tsm-mobilenetv2")]
    TsmMobileNetV2,
}

impl Backbone {
    /// The name by which configurations and command lines call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::I3d => "i3d",
            Self::MobileNetV2 => "mobilenetv2",
            Self::TsmMobileNetV2 => "tsm-mobilenetv2",
        }
    }

    /// The weights in a file, or the published ones.
    ///
    /// # Errors
    /// Those of [`Weights::read`].
    pub fn weights(self, file: Option<&Path>) -> Result<Weights, weights::Error> {
        match (file, self) {
            (Some(file), _) => Weights::read(file),
            (None, Self::I3d) => Weights::fetched(i3d::WEIGHTS_FILE),
            (None, Self::MobileNetV2 | Self::TsmMobileNetV2) => {
                Weights::fetched(mobilenetv2::WEIGHTS_FILE)
            }
        }
    }

    /// Length of a pooled feature vector; `file` are weights other than the published ones.
    ///
    /// # Errors
    /// If that file cannot be read.
    pub fn feature_size(self, file: Option<&Path>) -> Result<usize, weights::Error> {
        Ok(match self {
            Self::I3d => i3d::FEATURE_SIZE,
            Self::MobileNetV2 => mobilenetv2::FEATURE_SIZE,
            // The published weights have no projection.
            Self::TsmMobileNetV2 => match file {
                Some(file) => tsm_mobilenetv2::feature_size(&Weights::read(file)?),
                None => mobilenetv2::FEATURE_SIZE,
            },
        })
    }

    /// Channels and stride of a layer, see [`i3d::endpoint`] and [`mobilenetv2::layer`].
    pub fn layer(self, name: &str) -> Option<(usize, usize)> {
        match self {
            Self::I3d => i3d::endpoint(name),
            Self::MobileNetV2 | Self::TsmMobileNetV2 => mobilenetv2::layer(name),
        }
    }

    /// The last layer that keeps places apart.
    pub fn last_layer(self) -> &'static str {
        match self {
            Self::I3d => "Mixed_5c",
            Self::MobileNetV2 | Self::TsmMobileNetV2 => "features.18",
        }
    }

    /// The layer that cells are of unless another is asked for: early enough for something small.
    pub fn early_layer(self) -> &'static str {
        match self {
            Self::I3d => "Mixed_3c",
            Self::MobileNetV2 | Self::TsmMobileNetV2 => "features.6",
        }
    }

    /// How snippets of 16 frames are cut and normalised: 224×224 pixels, as the published weights were
    /// trained, or what `file` says; the streaming backbone's are its own. Its states are filled in by
    /// [`Self::streaming`].
    ///
    /// # Errors
    /// If that file cannot be read.
    pub fn snippet(self, stride: u32, file: Option<&Path>) -> Result<SnippetSpec, weights::Error> {
        let (mean, std) = match self {
            Self::I3d => (i3d::MEAN, i3d::STD),
            Self::MobileNetV2 | Self::TsmMobileNetV2 => (mobilenetv2::MEAN, mobilenetv2::STD),
        };
        let (mut width, mut height) = match self {
            Self::I3d | Self::MobileNetV2 => (224, 224),
            Self::TsmMobileNetV2 => (tsm_mobilenetv2::SIZE, tsm_mobilenetv2::SIZE),
        };
        if let Some(file) = file {
            let weights = Weights::read(file)?;
            width = weights.number("width")?.unwrap_or(width);
            height = weights.number("height")?.unwrap_or(height);
        }
        let (width, height) = (width as u32, height as u32);
        Ok(SnippetSpec { frames: 16, stride, width, height, mean, std, stream: None })
    }

    /// The snippets with the states of a graph that ends at these cells, if the backbone streams.
    #[must_use]
    pub fn streaming(self, snippet: &SnippetSpec, cells: Option<&Cells>) -> SnippetSpec {
        let stream = match self {
            Self::I3d | Self::MobileNetV2 => None,
            Self::TsmMobileNetV2 => {
                let (width, height) = (snippet.width as usize, snippet.height as usize);
                let config = tsm_mobilenetv2::Config { width, height, cells: cells.cloned() };
                Some(tsm_mobilenetv2::states(&config))
            }
        };
        SnippetSpec { stream, ..snippet.clone() }
    }

    /// The graph: pooled features, or those of cells.
    ///
    /// # Errors
    /// Those of the graph's builder.
    pub fn model(
        self,
        weights: &Weights,
        snippet: &SnippetSpec,
        cells: Option<Cells>,
    ) -> Result<ModelProto, graphs::Error> {
        let SnippetSpec { frames, width, height, .. } = *snippet;
        let (frames, width, height) = (frames as usize, width as usize, height as usize);
        match self {
            Self::I3d => {
                let features = cells.is_none();
                let config = i3d::Config { frames, width, height, ..i3d::Config::default() };
                i3d::build(weights, &i3d::Config { features, cells, ..config })
            }
            Self::MobileNetV2 => {
                mobilenetv2::build(weights, &mobilenetv2::Config { frames, width, height, cells })
            }
            Self::TsmMobileNetV2 => {
                tsm_mobilenetv2::build(weights, &tsm_mobilenetv2::Config { width, height, cells })
            }
        }
    }
}
