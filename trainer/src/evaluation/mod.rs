//! Metrics and reports. `docs/reference/evaluation.md` defines every figure.

pub mod alarms;
pub mod baseline;
pub mod events;
pub mod files;
pub mod kinds;
pub mod labels;
pub mod maps;
pub mod masks;
pub mod metrics;
pub mod norms;
pub mod places;
pub mod regions;
pub mod report;
pub mod rival;
pub mod run;
pub mod spread;

pub use alarms::{AlarmFigures, DelayAtAlarms};
pub use baseline::{Form, FrameDifference, frame_difference};
pub use events::{Announced, Matching, UnknownClip, check_clips, match_events};
pub use files::{AlertLine, FilesError, incidents, read_alerts, read_scores, rescored};
pub use kinds::{KindRow, KindTable, kind_table};
pub use labels::{Labels, LabelsError};
pub use metrics::{average_precision, precision_recall_curve, roc_auc, roc_curve};
pub use norms::{NormHistogram, NormSet};
pub use regions::{PixelEvaluation, RegionsError, evaluate_regions};
pub use rival::{Rival, RivalEvents, rival};
pub use run::{ClipResult, Delay, Evaluation, ScoredClip, evaluate};
pub use spread::Spread;
