//! Running a model bundle on frames: backends, detectors, fusion, frame scores.
//!
//! [`Engine`] holds the graphs of one model on one backend; a [`Stream`] holds what is remembered
//! of one video. Frames go in one by one, and each comes out again, once and in order, with its
//! score, [`Engine::latency`] frames later. Host and camera both compute with this crate, and the
//! trainer with its building blocks: [`stack`], [`maps`], [`motion`], [`smoothing`], [`snippet`].
//!
//! After the first frames a stream allocates nothing, apart from what a backend does inside.

mod aside;
mod backend;
mod emission;
mod engine;
mod engine_cache;
mod error;
pub mod exactness;
mod fusion;
mod golden;
pub mod hysteresis;
mod local;
mod luma;
pub mod maps;
pub mod motion;
mod nvidia;
mod ort_backend;
pub mod processor;
mod provider;
mod sampling;
mod score;
mod semantic;
pub mod smoothing;
pub mod snippet;
pub mod stack;
mod states;
mod stream;
mod track;
mod tract_backend;

pub use aside::Wake;
pub use backend::{
    Backend, BackendKind, BackendOptions, Building, Engines, Graph, TensorInfo, best_backend,
    open_backend,
};
pub use engine::Engine;
pub use error::{Error, with_causes};
pub use fusion::fuse;
pub use provider::Provider;
pub use sampling::{Sampling, sampled_rate};
pub use score::{FrameScore, RawScores, Region, ScoreMap};
pub use snippet::SnippetFeatures;
pub use states::States;
pub use stream::Stream;
pub use tract_backend::static_ports;

pub use model_bundle::manifest::Detectors;
