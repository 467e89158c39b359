//! Wan 2.2 image-to-video: a port of the published models to candle.
//!
//! One file for each part of the published directory: [`index`] (`model_index.json`), [`umt5`] with
//! [`tokenizer`] and [`clean`], [`vae`], [`transformer`], [`scheduler`]; [`pipeline`] puts them to work.
//! Every size comes from the directory's configurations. What is computed is what diffusers 0.42
//! computes: `docs/design/diffusion.md` says how that is checked, and what memory it takes.

pub mod clean;
pub mod cost;
mod error;
mod fields;
pub mod image;
pub mod index;
mod layers;
pub mod pipeline;
pub mod scheduler;
pub mod sentencepiece;
pub mod tokenizer;
pub mod transformer;
pub mod umt5;
pub mod vae;
mod weights;

pub use error::Error;
pub use pipeline::{Clip, MAX_SEQUENCE_LENGTH, Options, Pipeline, Progress, Prompt, Request};
