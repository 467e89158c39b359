//! The student `tsm-mobilenetv2`: a light backbone for cameras, taught to give the features of I3D.
//!
//! [`Network`] is the backbone in candle, for training; the camera runs the graph of the same name that
//! `model-export` builds from its weights.

mod depthwise;
pub mod layer;
pub mod network;

#[cfg(test)]
mod tests;

pub use network::{Architecture, Group, Network};
