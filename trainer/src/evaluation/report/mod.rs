//! The HTML report of an evaluation: one file, with its charts and pictures inside.
//!
//! `data` is what it shows, `build` and `checkpoint` where that comes from, `page` the order of its
//! sections, `headline`, `figures` and `clips` their figures, `charts`, `plots` and `svg` the drawing,
//! `pictures` the embedding. The page asks nothing of a network and runs no script.

mod build;
mod charts;
mod checkpoint;
mod clips;
mod data;
mod figures;
mod headline;
mod page;
mod pictures;
mod plots;
pub mod svg;

use std::path::{Path, PathBuf};

pub use build::{Incident, alerts, precision_recall_curves, roc_curves, tracks};
pub use checkpoint::{Checkpoint, CheckpointError, read_checkpoint};
pub use data::{
    Alert, AnnouncedEvent, Area, ClipTrack, Facts, Int8Difference, PrCurve, ReportData,
    ReportError, RocCurve, Targets,
};
pub use pictures::data_uri;

/// A report, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The page.
    pub html: String,
    /// Pictures that could not be embedded, and why; the page says so in their places.
    pub missing: Vec<(PathBuf, String)>,
}

/// Renders a report; paths of pictures are relative to `folder`.
pub fn render(data: &ReportData, folder: &Path) -> Report {
    let mut pictures = pictures::Pictures::new(folder);
    let html = page::page(data, &mut pictures);
    Report { html, missing: pictures.missing }
}

#[cfg(test)]
mod tests;
