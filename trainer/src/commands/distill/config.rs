//! Configuration of a distillation: `distill.toml`, every field optional.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use trainer::student::StudentConfig;
use trainer::synthesis::CompositeConfig;

use crate::commands::train::config::{Precision, TrainConfig};
use crate::commands::{Usage, toml_problem};

/// Configuration of a distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// Height in pixels of the pictures before they are resized for the teacher and for the student; a
    /// smaller source keeps its size. Default 240.
    pub input_height: usize,
    /// Model frames used of each folder. Default 6000.
    pub max_normal_frames: usize,
    /// Share of each folder kept out of training, by which the student is chosen. Default 0.2.
    pub held_out: f64,
    /// Pseudo-abnormal clips made from each folder for training. Default 16.
    pub pseudo_clips: usize,
    /// Pseudo-abnormal clips made from what is kept out of each folder. Default 4.
    pub pseudo_validation_clips: usize,
    /// Random windows of each clip for training, which the teacher and the student see as clips of their
    /// own: footage of other sizes of people and other places of the picture. Default 0.
    pub windows: usize,
    /// The teacher's precision: `fp32`, or `int8`, faster on a processor. Default `fp32`.
    pub teacher: Precision,
    /// The composite synthesizer.
    pub composite: CompositeConfig,
    /// The student and its training.
    pub student: StudentConfig,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            input_height: 240,
            max_normal_frames: 6000,
            held_out: 0.2,
            pseudo_clips: 16,
            pseudo_validation_clips: 4,
            windows: 0,
            teacher: Precision::Fp32,
            composite: CompositeConfig::default(),
            student: StudentConfig::default(),
        }
    }
}

impl DistillConfig {
    /// Reads a file over the defaults, or the defaults alone without one.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Usage(format!("{}: {e}; check the path", path.display())))?;
        let parsed = Self::parse(&text);
        parsed.map_err(|e| Usage(format!("{}: {e}", path.display())).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| toml_problem(text, &e))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        let rules = [
            ("input_height", self.input_height >= 64, "at least 64"),
            ("max_normal_frames", self.max_normal_frames >= 100, "at least 100"),
            ("held_out", (0.01..=0.5).contains(&self.held_out), "0.01 to 0.5"),
        ];
        if let Some((field, _, wanted)) = rules.into_iter().find(|(_, valid, _)| !valid) {
            return Err(format!("{field} must be {wanted}"));
        }
        self.composite.validate().map_err(|e| e.to_string())?;
        self.student.validate().map_err(|e| e.to_string())
    }

    /// How `trainer train` reads a folder of normal videos with these settings.
    pub fn reading(&self) -> TrainConfig {
        TrainConfig {
            input_height: self.input_height,
            max_normal_frames: self.max_normal_frames,
            // The student is to know more than one camera.
            several_sites: true,
            held_out: self.held_out,
            ..TrainConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_over_the_defaults_and_wrong_ones_are_named() {
        let config = DistillConfig::parse(
            "teacher = \"int8\"\n[student]\nsteps = 7\n[composite.kinds]\nflash = 0.0",
        )
        .unwrap();
        assert_eq!((config.teacher, config.student.steps), (Precision::Int8, 7));
        assert_eq!(config.student.batch, StudentConfig::default().batch);
        assert_eq!(DistillConfig::parse("").unwrap(), DistillConfig::default());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(DistillConfig::parse(&text).unwrap(), config);
        let message = |text: &str| DistillConfig::parse(text).unwrap_err();
        assert!(message("\n[student]\nstep = 7").starts_with("line 3: "));
        assert!(message("[student]\nwidth = 8").contains("student.width must be 32 to 1024"));
        assert!(message("held_out = 0.9").contains("held_out must be 0.01 to 0.5"));
    }
}
