//! Configuration of a training run: `train.toml`, every field optional.

use std::path::Path;

use anyhow::Result;
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, MotionSpec, SmoothingSpec, SnippetSpec, ZScore,
};
use model_export::graphs::{i3d, mobilenetv2};
use serde::{Deserialize, Serialize};
use trainer::detector::DetectorConfig;
use trainer::local::LocalConfig;
use trainer::synthesis::CompositeConfig;

use crate::commands::{Usage, toml_problem};

/// Configuration of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Height in pixels of the model's picture; a smaller source keeps its size. Default 240.
    pub input_height: usize,
    /// Model frames kept of all normal clips together; what is beyond is left out. Default 6000.
    pub max_normal_frames: usize,
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
    /// `i3d` or `mobilenetv2`. Default `i3d`.
    pub backbone: Backbone,
    /// Snippets that the camera's head looks at together. Default 32.
    pub window: usize,
    /// Model frames from one snippet to the next. Default 16, the snippet's length.
    pub stride: u32,
    /// The detector's training.
    pub detector: DetectorConfig,
}

/// A backbone whose weights `cargo xtask weights` fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backbone {
    /// Inception-I3D RGB, Kinetics-400.
    I3d,
    /// MobileNetV2, ImageNet, averaged over the frames of a snippet.
    MobileNetV2,
}

impl Backbone {
    /// Length of a feature vector.
    pub fn feature_size(self) -> usize {
        match self {
            Self::I3d => i3d::FEATURE_SIZE,
            Self::MobileNetV2 => mobilenetv2::FEATURE_SIZE,
        }
    }

    /// How snippets are cut and normalised: 16 frames of 224×224, as the weights were trained.
    pub fn snippet(self, stride: u32) -> SnippetSpec {
        let (mean, std) = match self {
            Self::I3d => (i3d::MEAN, i3d::STD),
            Self::MobileNetV2 => (mobilenetv2::MEAN, mobilenetv2::STD),
        };
        SnippetSpec { frames: 16, stride, width: 224, height: 224, mean, std }
    }
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
            window: 32,
            stride: 16,
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
            max_normal_frames: 6000,
            held_out: 0.2,
            false_alarms_per_hour: 0.25,
            pseudo_clips: 128,
            pseudo_validation_clips: 8,
            composite: CompositeConfig::default(),
            local: LocalConfig::default(),
            semantic: SemanticConfig::default(),
            fusion: Fusion::default(),
            // A Gaussian of 5 frames, cut at two and a half deviations; the local detector looks 4
            // frames ahead.
            smoothing: SmoothingSpec { sigma: 5.0, radius: 12, lag: 16 },
            events: EventSpec {
                enter: 0.5,
                exit: 0.4,
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
        let mut whole = toml::Table::try_from(Self::default()).map_err(|e| e.to_string())?;
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
        ];
        for (field, valid, wanted) in rules {
            if !valid {
                return Err(format!("{field} must be {wanted}"));
            }
        }
        self.composite.validate().map_err(|e| e.to_string())?;
        self.semantic.detector.validate().map_err(|e| e.to_string())?;
        // The kinds are the synthesizer's to name.
        let named = LocalConfig { kinds: vec!["any".into()], ..self.local.clone() };
        named.validate().map_err(|e| e.to_string())?;
        model_bundle::detectors::validate(&self.motion_alone()).map_err(|e| e.to_string())
    }

    /// A model of the motion prior alone, with this smoothing and these event rules: what the
    /// bundle would refuse is refused before hours of training.
    fn motion_alone(&self) -> Detectors {
        Detectors {
            input: InputSpec { width: 64, height: 64, frame_rate: 10.0 },
            local: None,
            motion: Some(MotionSpec {
                box_size: 6,
                epsilon: 0.1,
                z: ZScore { mean: 0.0, std: 1.0 },
                weight: self.fusion.motion,
                excess_over: Some(self.fusion.excess_over),
            }),
            semantic: None,
            smoothing: self.smoothing.clone(),
            calibration: Calibration { threshold: 0.0, scale: 1.0, false_alarms_per_hour: 0.0 },
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
    fn wrong_fields_are_named_with_their_line() {
        let message = |text: &str| TrainConfig::parse(text).unwrap_err();
        assert!(message("pseudo_clips = 4\npseudo_clip = 3").starts_with("line 2: "));
        assert!(message("pseudo_clip = 3").contains("pseudo_clip"));
        assert!(message("[local]\nstepps = 3").contains("stepps"));
        assert!(message("held_out = 0.9").contains("held_out must be 0.01 to 0.5"));
        assert!(message("false_alarms_per_hour = 0.0").contains("false_alarms_per_hour"));
        assert!(message("[local]\nsteps = 0").contains("steps"));
        assert!(message("[smoothing]\nradius = 20").contains("lag"));
        assert!(message("pseudo_clips = [").starts_with("line 1: "));
    }
}
