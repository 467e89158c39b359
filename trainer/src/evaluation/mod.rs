//! Metrics and reports.

pub mod baseline;
pub mod events;
pub mod files;
pub mod labels;
pub mod metrics;
pub mod report;
pub mod run;

pub use baseline::frame_difference;
pub use events::{Announced, Matching, match_events};
pub use files::{AlertLine, FilesError, incidents, read_alerts, read_scores};
pub use labels::{Labels, LabelsError};
pub use metrics::{average_precision, roc_auc, roc_curve};
pub use run::{ClipResult, Evaluation, ScoredClip, evaluate};
