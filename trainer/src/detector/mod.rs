//! The semantic detector: UR-DMU (AAAI 2023, arXiv 2302.05160) with the domain-aligned regularised
//! module of PA-VAD (arXiv 2512.06845), trained on real normal and pseudo-abnormal videos only.
//!
//! Reading order: [`bag`] (what goes in) → [`embedding`] → [`attention`] → [`memory`] → [`model`] →
//! [`losses`] and [`darm`] → [`train`](mod@train). Parameters carry the names of the public PyTorch
//! checkpoints, so that those load unchanged and the exporter finds what it needs.

pub mod attention;
pub mod bag;
pub mod checkpoint;
pub mod config;
pub mod darm;
pub mod embedding;
mod error;
mod fused;
pub mod losses;
pub mod memory;
pub mod model;
pub mod noise;
pub mod ops;
pub mod parameters;
mod state;
pub mod train;
pub mod validation;

pub use bag::{Bag, segment};
pub use config::{DetectorConfig, ModelSize, Spans, TermWeights, ValidationConfig};
pub use error::Error;
pub use model::{LONGEST_VIDEO, UrDmu, scores};
pub use train::{Progress, TrainedDetector, train};
pub use validation::Validation;
