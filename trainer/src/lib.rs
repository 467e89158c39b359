//! The host: from a site's normal footage to a detector.
//!
//! Modules follow the way of the data: footage (dataset: the published sets; scene: a procedural site
//! for demonstrations) → synthesis → features → detector and local → evaluation, and from all of these
//! selection: which design to take.

pub mod clip;
pub mod dataset;
pub mod detector;
pub mod device;
pub mod evaluation;
pub mod features;
pub mod files;
pub mod footage;
pub mod hash;
pub mod local;
pub mod npy;
pub mod random;
pub mod scene;
pub mod selection;
pub mod student;
pub mod synthesis;
pub mod tensorboard;
#[cfg(test)]
mod testing;
pub mod wan;
