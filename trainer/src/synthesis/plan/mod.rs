//! The plan of a synthesis: one line for each clip, with all that makes the clip.
//!
//! From normal videos and a class file ([`crate::synthesis::classes`]) to a list of jobs: frames enter a
//! pool without near-duplicates ([`pool`]), CLIP scores them against each class, the best of each class
//! are taken with the scenes balanced ([`select`]), and each becomes a line ([`PlanLine`]) with prompt,
//! seed and sizes. A line's id is a hash of its content: the same footage, class file, models and seed
//! give the same plan, and a clip that was made for a line is never made again.

mod build;
mod cache;
mod error;
mod line;
pub mod pool;
pub mod preview;
pub mod select;

#[cfg(test)]
pub(crate) use line::tests;

pub use build::content_hash;
pub use build::{Planned, Planner};
pub use error::Error;
pub use line::{CompositeJob, DiffusionJob, Plan, PlanLine, PromptFrom, Scene, Scores};
