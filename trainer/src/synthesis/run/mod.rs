//! Carrying out a plan: clips, their labels and the manifest.
//!
//! A clip is made, written beside its place, decoded again and judged, and only then put in its place
//! and recorded; the record is what says that a line is done. So a process may be killed at any moment
//! and loses the clip in progress at most, and nothing is made twice. Several processes share a plan by
//! shards, each line belonging to one of them.
//!
//! The output, local or remote: `clips/<id>.mp4`, `labels/<id>.npy.gz`, `records/<id>.json` and
//! `manifest.jsonl`.

mod composite;
mod diffusion;
mod engine;
pub mod labels;
mod manifest;
mod output;
pub mod quality;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;

use video::Frame;

pub use composite::{Actors, CompositeRenderer};
pub use diffusion::{DiffusionRenderer, fingerprint, operations};
pub use engine::{Done, Notice, Run, RunError, Shard};
pub use manifest::{ClipFile, Event, Record, Seconds, Status, made_clips};

use super::LabelMap;
use super::plan::PlanLine;

/// Makes the frames of a plan's lines, on one device.
pub trait Renderer: Send {
    /// Where: `cpu`, `cuda:0`.
    fn device(&self) -> &str;

    /// Makes a line's frames. `progress` is told of every step; `stop` is looked at
    /// now and then.
    ///
    /// # Errors
    /// [`RenderError`], which says what follows for the line and for the device.
    fn render(
        &mut self,
        line: &PlanLine,
        initial: &Frame,
        progress: &mut dyn FnMut(Step),
        stop: &AtomicBool,
    ) -> Result<Rendered, RenderError>;
}

/// How far a renderer is with a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Steps done.
    pub done: usize,
    /// All steps.
    pub of: usize,
    /// The most bytes of a GPU's memory that tensors have taken at once; `None` on the processor.
    pub memory: Option<u64>,
}

/// A clip in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The frames, all of one size.
    pub frames: Vec<Frame>,
    /// Frames per second.
    pub frame_rate: f64,
    /// What each pixel of each frame is, where that is known.
    pub labels: Option<Vec<LabelMap>>,
    /// Names of the labels' kinds.
    pub kinds: Vec<String>,
    /// What happens when.
    pub events: Vec<Event>,
    /// Frame of the line's video at which the clip starts.
    pub start: u64,
}

/// Why a line's frames could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The device is lost: others go on with the line.
    #[error("device {device}: {problem}")]
    Device {
        /// The device.
        device: String,
        /// What it said.
        problem: String,
    },
    /// This line cannot be made of this footage; the others can.
    #[error("{0}")]
    Impossible(String),
    /// No device can make this line, or any.
    #[error("{0}")]
    Failed(String),
    /// The work was interrupted.
    #[error("interrupted")]
    Interrupted,
}
