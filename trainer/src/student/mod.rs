//! The student `tsm-mobilenetv2`: a light backbone for cameras, taught to give the features of I3D.
//!
//! [`Network`] is the backbone in candle, for training; the camera runs the graph of the same name that
//! `model-export` builds from its weights. [`train`] teaches it from footage without labels: what the
//! teacher makes of a snippet is all there is to learn.

mod config;
mod depthwise;
mod error;
mod fit;
pub mod initial;
pub mod layer;
mod loss;
pub mod network;
mod samples;
mod train;

#[cfg(test)]
mod tests;

pub use config::StudentConfig;
pub use error::Error;
pub use network::{Architecture, Group, Network};
pub use samples::{Clip, Samples, Store};
pub use train::{Footage, Progress, Trained, Validation, train};
