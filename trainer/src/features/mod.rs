//! Snippet features: computed by the very graph that the camera runs, or read as the field shares
//! them.
//!
//! Reading order: [`extract`] (own features), [`changed`](mod@changed) (labels of their cells) and, for published ones, [`npy`](crate::npy) (one array)
//! → [`crops`] (which axis is what) → [`file`](mod@file) (a checked file) → [`list`](mod@list) (which
//! videos) → [`collection`] (a folder of them). Formats and layouts: `docs/reference/features.md`.

pub mod changed;
pub mod collection;
pub mod crops;
mod error;
pub mod extract;
pub mod file;
pub mod list;

pub use changed::changed;
pub use collection::{Collection, Selection, Video};
pub use crops::{CropLayout, Crops};
pub use error::Error;
pub use extract::Extractor;
pub use list::List;
