//! Metrics and reports. `docs/reference/evaluation.md` defines every figure.

pub mod baseline;
pub mod events;
pub mod files;
pub mod labels;
pub mod maps;
pub mod masks;
pub mod metrics;
pub mod norms;
pub mod regions;
pub mod report;
pub mod run;
pub mod spread;

pub use baseline::frame_difference;
pub use events::{Announced, Matching, match_events};
pub use files::{AlertLine, FilesError, incidents, read_alerts, read_scores};
pub use labels::{Labels, LabelsError};
pub use metrics::{average_precision, precision_recall_curve, roc_auc, roc_curve};
pub use norms::{NormHistogram, NormSet};
pub use regions::{PixelEvaluation, RegionsError, evaluate_regions};
pub use run::{ClipResult, Delay, Evaluation, ScoredClip, evaluate};
pub use spread::Spread;
