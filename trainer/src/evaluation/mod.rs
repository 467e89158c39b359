//! Metrics and reports.

pub mod events;
pub mod labels;
pub mod metrics;

pub use events::{Announced, Matching, match_events};
pub use labels::{Labels, LabelsError};
pub use metrics::{average_precision, roc_auc, roc_curve};
