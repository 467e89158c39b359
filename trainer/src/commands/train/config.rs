//! Configuration of a training run: `train.toml`, every field optional.

use std::path::{Path, PathBuf};

use anyhow::Result;
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, GridSpec, InputSpec, MotionSpec, SmoothingSpec, SnippetSpec,
    ZScore,
};
use model_export::graphs::Cells;
use serde::{Deserialize, Serialize};
use trainer::detector::{DetectorConfig, ModelSize, Spans, TermWeights};
use trainer::local::LocalConfig;
use trainer::synthesis::CompositeConfig;

pub use super::backbone::Backbone;
use crate::commands::{Usage, toml_problem};

/// Configuration of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Height in pixels of the model's picture at most; a smaller source keeps its size. Default 240.
    pub input_height: usize,
    /// Height in pixels that a usual person has in the model's picture at most: where people are nearer, the
    /// picture is made smaller, for the local detector and the motion prior. The local detector looks at some
    /// 70 pixels around a point; of somebody twice as tall it would see an arm. Default 48.
    pub person_height: usize,
    /// Model frames used of all normal clips together; of more, stretches spread over all of them.
    /// Default 6000.
    pub max_normal_frames: usize,
    /// Whether clips may have pictures of different shapes, and so be of several cameras. Default
    /// false: that is an error.
    pub several_sites: bool,
    /// Share of the normal footage kept out of training for calibration. Default 0.2.
    pub held_out: f64,
    /// False alarms an hour that are allowed for: the threshold is where normal footage is expected
    /// to come so often. Default 0.25, six a day.
    pub false_alarms_per_hour: f64,
    /// Pseudo-abnormal clips made for training. Default 128.
    pub pseudo_clips: usize,
    /// Pseudo-abnormal clips made for calibration. Default 8.
    pub pseudo_validation_clips: usize,
    /// The composite synthesizer.
    pub composite: CompositeConfig,
    /// The local detector; `kinds` is filled in from the synthesizer.
    pub local: LocalConfig,
    /// Whether the local detector's graph keeps the frames that it looks at itself, one call a frame,
    /// instead of taking a stack of them. Default false: the same scores, more slowly.
    pub local_streams: bool,
    /// The semantic detector.
    pub semantic: SemanticConfig,
    /// Weights of the detectors in the fused score. They are fixed before any test is looked at.
    pub fusion: Fusion,
    /// Temporal smoothing of the scores.
    pub smoothing: SmoothingSpec,
    /// When a score becomes an event.
    pub events: EventSpec,
}

/// The semantic detector: backbone and UR-DMU with DARM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticConfig {
    /// `i3d`, `mobilenetv2` or `tsm-mobilenetv2`. Default `i3d`.
    pub backbone: Backbone,
    /// The backbone's weights, such as those of a distilled student; default, the published ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Snippets that the camera's head looks at together. Default 32.
    pub window: usize,
    /// Model frames from one snippet to the next. Default 16, the snippet's length.
    pub stride: u32,
    /// What the instances of a video are. Default `pooled`. The other fields have other defaults with
    /// `cells`: [`SemanticConfig::of`].
    pub bags: Bags,
    /// The precision of the features that the head is trained on. Default `int8`: what the camera
    /// computes with ONNX Runtime. With `fp32` the camera's backbone is left in fp32, too.
    pub features: Precision,
    /// Whether the composite clips, which the local detector is trained on, are bags of the semantic
    /// detector, too. Default true; without them `--pseudo` or `--abnormal` must give some.
    pub composite: bool,
    /// The cells, where `bags` asks for them.
    pub grid: GridConfig,
    /// The detector's training.
    pub detector: DetectorConfig,
}

/// What multiple-instance learning has as instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bags {
    /// Snippets, each with one feature vector of the whole picture, as in UR-DMU and PA-VAD.
    Pooled,
    /// (Snippet, cell) pairs: the places of an early layer's map kept apart, so that something small is
    /// seen.
    Cells,
}

/// How the picture is cut into cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridConfig {
    /// The backbone's layer. Default, an empty text: `Mixed_3c` of I3D (480 values), `features.6` of
    /// MobileNetV2 (32).
    pub layer: String,
    /// Pixels of the model's picture, about, for one place of the layer's map: the picture is resized
    /// for the backbone so that it comes out. Default 16, half a person of 32 pixels.
    pub cell: usize,
    /// Places, along each axis, that are averaged to one cell. Default 1.
    pub pool: usize,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self { layer: String::new(), cell: 16, pool: 1 }
    }
}

/// How a picture of a certain size comes to features.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How snippets are cut.
    pub snippet: SnippetSpec,
    /// Length of a feature vector.
    pub feature_size: usize,
    /// Where the backbone ends, and the cells that come of it; `None` where they are pooled.
    pub cells: Option<(Cells, GridSpec)>,
}

impl SemanticConfig {
    /// The defaults for a kind of bags.
    pub fn of(bags: Bags) -> Self {
        match bags {
            Bags::Pooled => Self::default(),
            // A network of a sixteenth of the weights, because it runs hundreds of times a snippet; runs
            // as long as a pseudo clip.
            Bags::Cells => Self {
                bags,
                window: 4,
                detector: DetectorConfig {
                    segments: 4,
                    spans: Spans::Run,
                    top_share: 64,
                    cells: 64,
                    batch: 8,
                    steps: 100,
                    lr: 1e-3,
                    weights: TermWeights { instances: 1.0, ..TermWeights::default() },
                    model: ModelSize {
                        embedding: 128,
                        head_size: 32,
                        feed_forward: 128,
                        classifier_hidden: 64,
                        ..ModelSize::default()
                    },
                    ..DetectorConfig::default()
                },
                ..Self::default()
            },
        }
    }

    /// The layer that the cells are of, its channels, and its stride in input pixels.
    fn layer(&self) -> Result<(String, usize, usize), String> {
        let name = match self.grid.layer.as_str() {
            "" => self.backbone.early_layer(),
            name => name,
        };
        match self.backbone.layer(name) {
            Some((channels, stride)) => Ok((name.to_owned(), channels, stride)),
            None => Err(format!("semantic.grid.layer: the backbone has no layer {name}")),
        }
    }

    /// How a picture of this size comes to features. Cells are whole: the backbone's input is a
    /// multiple of a cell.
    ///
    /// # Errors
    /// If the backbone does not have the layer, or the cells are too many or too large for the picture.
    pub fn plan(&self, input: &InputSpec) -> Result<Plan, String> {
        let weights = self.weights.as_deref();
        let snippet = self.backbone.snippet(self.stride, weights).map_err(|e| e.to_string())?;
        if self.bags == Bags::Pooled {
            let feature_size = self.feature_size()?;
            let snippet = self.backbone.streaming(&snippet, None);
            return Ok(Plan { snippet, feature_size, cells: None });
        }
        let (layer, feature_size, stride) = self.layer()?;
        let (cell, pool) = (self.grid.cell, self.grid.pool);
        let count = |pixels: u32| {
            let count = (f64::from(pixels) / (cell * pool) as f64).round() as u32;
            let side = count as usize * pool * stride;
            if count == 0 || !(8..=2048).contains(&side) {
                return Err(format!(
                    "semantic.grid: cells of {cell} x {pool} pixels make the backbone's input {side} \
                     pixels of the picture's {pixels}; it must have 8 to 2048"
                ));
            }
            Ok((count, side as u32))
        };
        let ((columns, width), (rows, height)) = (count(input.width)?, count(input.height)?);
        let (snippet, cells) = (SnippetSpec { width, height, ..snippet }, Cells { layer, pool });
        Ok(Plan {
            snippet: self.backbone.streaming(&snippet, Some(&cells)),
            feature_size,
            cells: Some((cells, GridSpec { columns, rows })),
        })
    }

    /// Length of a pooled feature vector.
    fn feature_size(&self) -> Result<usize, String> {
        self.backbone.feature_size(self.weights.as_deref()).map_err(|e| e.to_string())
    }

    /// The detector's configuration with the size of the features that it will get.
    ///
    /// # Errors
    /// If the backbone does not have the layer, or its weights cannot be read.
    pub fn detector(&self) -> Result<DetectorConfig, String> {
        let feature_size = match self.bags {
            Bags::Pooled => self.feature_size()?,
            Bags::Cells => self.layer()?.1,
        };
        let model = ModelSize { feature_size, ..self.detector.model.clone() };
        Ok(DetectorConfig { model, ..self.detector.clone() })
    }
}

/// What a backbone computes in. Where only tract is there, it is fp32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// 8-bit integers, quantized on normal footage.
    Int8,
}

/// How the detectors' z-scores become the fused score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fusion {
    /// The local detector. Default 1.
    pub local: f64,
    /// The motion prior. Default 1.
    pub motion: f64,
    /// The semantic detector. Default 0.25: where a camera looks far, pooled features see little.
    pub semantic: f64,
    /// The motion prior and the semantic detector, which do not know where something happens, count
    /// only by what they exceed this z-score by. Default 2: a crowd moves more than two people, but
    /// seldom beyond two deviations.
    pub excess_over: f64,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { local: 1.0, motion: 1.0, semantic: 0.25, excess_over: 2.0 }
    }
}

impl Default for SemanticConfig {
    fn default() -> Self {
        Self {
            backbone: Backbone::I3d,
            weights: None,
            window: 32,
            stride: 16,
            bags: Bags::Pooled,
            features: Precision::Int8,
            composite: true,
            grid: GridConfig::default(),
            // A site's clips are short: 32 segments instead of the 200 of hour-long videos, and
            // fewer, smaller steps than the published data sets need.
            detector: DetectorConfig {
                segments: 32,
                batch: 8,
                steps: 200,
                ..DetectorConfig::default()
            },
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            input_height: 240,
            person_height: 48,
            max_normal_frames: 6000,
            several_sites: false,
            held_out: 0.2,
            false_alarms_per_hour: 0.25,
            pseudo_clips: 128,
            pseudo_validation_clips: 8,
            composite: CompositeConfig::default(),
            local: LocalConfig::default(),
            local_streams: false,
            semantic: SemanticConfig::default(),
            fusion: Fusion::default(),
            // A Gaussian of 5 frames, cut at two and a half deviations; the local detector looks 4
            // frames ahead.
            smoothing: SmoothingSpec { sigma: 5.0, radius: 12, lag: 16 },
            events: EventSpec {
                enter: 0.5,
                // Calibration raises it above the site's normal level.
                exit: 0.01,
                min_duration: 0.3,
                end_after: 1.0,
                cool_down: 1.0,
            },
        }
    }
}

impl TrainConfig {
    /// Reads a file over the defaults, or the defaults alone without one. What the file leaves out,
    /// in whatever table, stays as it is.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Usage(format!("{}: {e}; check the path", path.display())))?;
        Self::parse(&text).map_err(|e| Usage(format!("{}: {e}", path.display())).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let at_line = |e: &toml::de::Error| toml_problem(text, e);
        let given: toml::Table = toml::from_str(text).map_err(|e| at_line(&e))?;
        let bags = given.get("semantic").and_then(|semantic| semantic.get("bags")).cloned();
        // One that is none is refused below, with its line.
        let bags = bags.and_then(|bags| bags.try_into().ok()).unwrap_or(Bags::Pooled);
        let defaults = Self { semantic: SemanticConfig::of(bags), ..Self::default() };
        let mut whole = toml::Table::try_from(defaults).map_err(|e| e.to_string())?;
        overlay(&mut whole, given);
        let config: Self = match toml::Value::Table(whole).try_into() {
            Ok(config) => config,
            // The file alone knows the line of what does not fit, if it fits nowhere.
            Err(e) => {
                return Err(match toml::from_str::<Self>(text) {
                    Err(own) => at_line(&own),
                    Ok(_) => e.message().to_string(),
                });
            }
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        let rules = [
            ("input_height", self.input_height >= 64, "at least 64"),
            ("person_height", self.person_height >= 24, "at least 24"),
            ("held_out", (0.01..=0.5).contains(&self.held_out), "0.01 to 0.5"),
            (
                "false_alarms_per_hour",
                self.false_alarms_per_hour > 0.0 && self.false_alarms_per_hour <= 600.0,
                "more than 0 and at most 600",
            ),
            ("max_normal_frames", self.max_normal_frames >= 100, "at least 100"),
            ("pseudo_clips", self.pseudo_clips > 0, "at least 1"),
            ("pseudo_validation_clips", self.pseudo_validation_clips > 0, "at least 1"),
            ("semantic.window", (1..=4096).contains(&self.semantic.window), "1 to 4096"),
            ("semantic.stride", (1..=16).contains(&self.semantic.stride), "1 to 16"),
            ("semantic.grid.cell", (2..=256).contains(&self.semantic.grid.cell), "2 to 256"),
            ("semantic.grid.pool", (1..=16).contains(&self.semantic.grid.pool), "1 to 16"),
        ];
        for (field, valid, wanted) in rules {
            if !valid {
                return Err(format!("{field} must be {wanted}"));
            }
        }
        self.composite.validate().map_err(|e| e.to_string())?;
        self.semantic.detector()?.validate().map_err(|e| e.to_string())?;
        // The kinds are the synthesizer's to name.
        let named = LocalConfig { kinds: vec!["any".into()], ..self.local.clone() };
        named.validate().map_err(|e| e.to_string())?;
        model_bundle::detectors::validate(&self.motion_alone()).map_err(|e| e.to_string())
    }

    /// A model of the motion prior alone, with this smoothing and these event rules: what the
    /// bundle would refuse is refused before hours of training. The prior may be off if another
    /// detector is not.
    fn motion_alone(&self) -> Detectors {
        Detectors {
            input: InputSpec { width: 64, height: 64, frame_rate: 10.0 },
            local: None,
            motion: Some(MotionSpec {
                box_size: 6,
                epsilon: 0.1,
                z: ZScore { mean: 0.0, std: 1.0 },
                weight: match self.fusion {
                    Fusion { motion: 0.0, local, semantic, .. } => local + semantic,
                    Fusion { motion, .. } => motion,
                },
                excess_over: Some(self.fusion.excess_over),
            }),
            semantic: None,
            smoothing: self.smoothing.clone(),
            calibration: Calibration {
                threshold: 0.0,
                scale: 1.0,
                false_alarms_per_hour: 0.0,
                normal: None,
            },
            events: self.events.clone(),
        }
    }
}

/// Puts the values of `given` over those of `whole`, table by table.
fn overlay(whole: &mut toml::Table, given: toml::Table) {
    for (key, value) in given {
        match (whole.get_mut(&key), value) {
            (Some(toml::Value::Table(whole)), toml::Value::Table(given)) => overlay(whole, given),
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stays_as_it_is() {
        let config =
            TrainConfig::parse("[semantic.detector]\nsteps = 7\n[smoothing]\nsigma = 3.0").unwrap();
        let default = TrainConfig::default();
        assert_eq!(config.semantic.detector.steps, 7);
        assert_eq!(config.semantic.detector.segments, default.semantic.detector.segments);
        assert_eq!((config.smoothing.sigma, config.smoothing.radius), (3.0, 12));
        assert_eq!(TrainConfig::parse("").unwrap(), default);
    }

    #[test]
    fn cells_have_defaults_of_their_own() {
        let config = TrainConfig::parse(
            "[semantic]\nbags = \"cells\"\n[semantic.detector]\nsteps = 7\n[semantic.grid]\npool = 2",
        )
        .unwrap();
        let cells = SemanticConfig::of(Bags::Cells);
        assert_eq!((config.semantic.grid.pool, config.semantic.grid.cell), (2, 16));
        assert_eq!(config.semantic.detector.steps, 7);
        assert_eq!(config.semantic.detector.model.embedding, cells.detector.model.embedding);
        assert_ne!(config.semantic.window, TrainConfig::default().semantic.window);
        // What the checkpoint records gives the same again.
        let text = toml::to_string(&config).unwrap();
        assert_eq!(TrainConfig::parse(&text).unwrap(), config);
    }

    #[test]
    fn the_backbones_input_follows_from_the_cells() {
        let input = |width, height| InputSpec { width, height, frame_rate: 10.0 };
        let mut config = SemanticConfig::of(Bags::Cells);
        let plan = config.plan(&input(360, 240)).unwrap();
        // 22.5 and 15 cells of 16 pixels; Mixed_3c has a place for each 8 pixels of its input.
        assert_eq!((plan.snippet.width, plan.snippet.height), (184, 120));
        assert_eq!(plan.feature_size, 480);
        let (cells, grid) = plan.cells.unwrap();
        assert_eq!((cells.layer.as_str(), grid), ("Mixed_3c", GridSpec { columns: 23, rows: 15 }));
        config.grid.pool = 2;
        config.backbone = Backbone::MobileNetV2;
        let plan = config.plan(&input(360, 240)).unwrap();
        assert_eq!((plan.snippet.width, plan.snippet.height), (176, 128));
        assert_eq!(plan.cells.unwrap().1, GridSpec { columns: 11, rows: 8 });
        assert_eq!((plan.feature_size, config.detector().unwrap().model.feature_size), (32, 32));
        assert!(config.plan(&input(15, 240)).unwrap_err().contains("semantic.grid"));
        config.backbone = Backbone::TsmMobileNetV2;
        let plan = config.plan(&input(360, 240)).unwrap();
        let states = plan.snippet.stream.unwrap().states;
        // Blocks 3, 5 and 6; the last is on the layer's own places.
        assert_eq!((states.len(), &states[2].shape), (3, &vec![1, 16, 22, 4]));
        let pooled = SemanticConfig::default().plan(&input(360, 240)).unwrap();
        assert_eq!((pooled.cells, pooled.feature_size, pooled.snippet.width), (None, 1024, 224));
    }

    #[test]
    fn wrong_fields_are_named_with_their_line() {
        let message = |text: &str| TrainConfig::parse(text).unwrap_err();
        assert!(message("pseudo_clips = 4\npseudo_clip = 3").starts_with("line 2: "));
        assert!(message("pseudo_clip = 3").contains("pseudo_clip"));
        assert!(message("[local]\nstepps = 3").contains("stepps"));
        assert!(message("held_out = 0.9").contains("held_out must be 0.01 to 0.5"));
        assert!(message("false_alarms_per_hour = 0.0").contains("false_alarms_per_hour"));
        assert!(message("[local]\nsteps = 0").contains("steps"));
        let student = "[semantic]\nbackbone = \"tsm-mobilenetv2\"\nweights = \"no.safetensors\"";
        assert!(message(student).contains("no.safetensors"));
        assert!(message("[semantic]\nbags = \"cell\"").starts_with("line 2: "));
        let layer = message("[semantic]\nbags = \"cells\"\ngrid = { layer = \"features.6\" }");
        assert!(layer.contains("semantic.grid.layer") && layer.contains("features.6"), "{layer}");
        assert!(
            message("[semantic.grid]\npool = 0").contains("semantic.grid.pool must be 1 to 16")
        );
        assert!(message("[smoothing]\nradius = 20").contains("lag"));
        assert!(message("[fusion]\nmotion = -1.0").contains("weight"));
        let none = "[fusion]\nmotion = 0.0\nlocal = 0.0\nsemantic = 0.0";
        assert!(message(none).contains("positive weight"));
        assert!(TrainConfig::parse("[fusion]\nmotion = 0.0").is_ok());
        assert!(message("pseudo_clips = [").starts_with("line 1: "));
    }
}
